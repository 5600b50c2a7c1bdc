//! The limit on open files: each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files besides the connections: the log's, listeners, pipes.
const RESERVE: u64 = 2_048;

/// Raises the soft limit to the hard one, and gives back how many files may be open then; `None` for no limit.
///
/// Where the system doesn't let us, what there was stays: [`shortfall`] says whether that is too little.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current }
}

/// What to tell the operator if `limit` open files are too few for `parked_polls_max` parked polls.
#[must_use]
pub fn shortfall(limit: Option<u64>, parked_polls_max: usize) -> Option<String> {
    let needed = (parked_polls_max as u64).saturating_add(RESERVE);
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "only {limit} files may be open, but limits.parked_polls_max = {parked_polls_max} needs {needed}: raise the \
         hard limit (ulimit -Hn, LimitNOFILE= of systemd), or set parked_polls_max to {} or less",
        limit.saturating_sub(RESERVE).max(1)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_becomes_the_hard_one() {
        let raised = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, raised);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn too_low_a_limit_is_named() {
        assert_eq!(shortfall(None, 200_000), None);
        assert_eq!(shortfall(Some(1_048_576), 200_000), None);
        let sentence = shortfall(Some(20_000), 200_000).unwrap();
        assert!(sentence.contains("20000") && sentence.contains("17952"), "{sentence}");
        assert!(shortfall(Some(1_024), 200_000).unwrap().ends_with("to 1 or less"));
    }
}
