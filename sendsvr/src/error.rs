//! From what went wrong in the store to what the client is told.

use room::{ErrorCode, Problem};
use store::StoreError;
use tracing::{debug, error};

/// The refusal that `error` becomes. Its cause stays in the log: damage as an error, a log that can't be written as
/// debug, because the store itself says when that begins and ends.
pub(crate) fn problem_of(error: StoreError) -> Problem {
    match error {
        StoreError::IdReused => id_reused(),
        StoreError::NotFound => {
            Problem::new(ErrorCode::NotFound, "no such message is kept: it has aged out, or never was")
        }
        StoreError::Unavailable(_) => {
            debug!(%error, "write refused");
            Problem::new(ErrorCode::LogUnavailable, "the message log can't be written now: try again later")
        }
        StoreError::Unknown(_) => {
            debug!(%error, "write unanswered");
            unanswered()
        }
        StoreError::Corrupt(_) | StoreError::Open(_) => {
            error!(%error, "message log failed");
            internal()
        }
    }
}

pub(crate) fn id_reused() -> Problem {
    Problem::new(
        ErrorCode::IdReused,
        "you used this id in this room for another message: give every message an id of its own",
    )
}

/// Nobody knows what became of the write; it may be done yet.
pub(crate) fn unanswered() -> Problem {
    Problem::new(
        ErrorCode::LogUnavailable,
        "the message log did not answer: try again with the same id, which finds out",
    )
}

/// The write was not begun.
pub(crate) fn overfull() -> Problem {
    Problem::new(
        ErrorCode::LogUnavailable,
        "the message log is behind, with as many messages on their way as there may be: try again later",
    )
}

pub(crate) fn internal() -> Problem {
    Problem::new(
        ErrorCode::Internal,
        "the message log is damaged or the server has a fault: its log says more",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_do_not_reach_clients() {
        let secret = || "/var/lib/secret".to_owned();
        for (error, code, waits) in [
            (StoreError::IdReused, "id_reused", false),
            (StoreError::NotFound, "not_found", false),
            (StoreError::Unavailable(secret()), "log_unavailable", true),
            (StoreError::Unknown(secret()), "log_unavailable", true),
            (StoreError::Corrupt(secret()), "internal", false),
            (StoreError::Open(secret()), "internal", false),
        ] {
            let problem = problem_of(error);
            assert_eq!(problem.code.as_str(), code);
            assert!(!problem.detail.contains("secret"));
            assert_eq!(problem.retry_after_s().is_some(), waits);
        }
    }
}
