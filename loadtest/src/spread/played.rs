//! What the players of a run yielded.

use crate::{
    profile::Expect,
    run::{Finding, RunOutcome, RunVerdict},
};

/// What the players of a run yielded.
#[derive(Default, Debug)]
pub(crate) struct Played {
    /// Merged, of all that handed theirs over.
    pub(crate) outcome: RunOutcome,
    /// Where the shares were played, one line each, for the report; empty if this process played everything itself.
    pub(crate) workers: Vec<String>,
    /// Workers that did not hand over their share, and why.
    pub(super) lost: Vec<Finding>,
    /// Whether the one that sent the messages is among them.
    pub(super) is_sender_lost: bool,
}

impl Played {
    /// Judges the union; a run that lost a worker fails.
    pub(crate) fn verdict(&self, expect: &Expect) -> RunVerdict {
        let mut verdict = RunVerdict::of(&self.outcome, expect);
        if self.is_sender_lost {
            // What was acknowledged went with the sender: everything that viewers got would look as if nobody sent it.
            verdict.findings.clear();
        }
        verdict.findings.splice(0..0, self.lost.iter().cloned());
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_worker_is_said_first_and_fails_the_run() {
        let lost = Finding { what: "worker 127.0.0.1:1 was lost".to_owned(), count: 1 };
        let mut outcome = RunOutcome::default();
        outcome.facts.oddities.unknown = 7;
        let mut played = Played { outcome, lost: vec![lost.clone()], ..Played::default() };
        let verdict = played.verdict(&Expect::default());
        assert_eq!(verdict.findings[0], lost);
        assert!(!verdict.is_clean() && verdict.findings.iter().any(|finding| finding.count == 7));
        // Without the sender's part, nobody can tell what was sent.
        played.is_sender_lost = true;
        assert_eq!(played.verdict(&Expect::default()).findings, [lost]);
    }
}
