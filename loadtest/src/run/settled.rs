//! When a run has settled: what the senders tell the readers of the same process.

use std::{sync::OnceLock, time::Duration};

/// Without senders in the process: how long nothing must have come before nothing more is expected. The longest interval of
/// the policy as shipped is 5 s.
const QUIET: Duration = Duration::from_secs(6);

/// What the senders of this process know of the end.
#[derive(Debug)]
pub(super) struct Settled {
    has_senders: bool,
    /// By room and list: the last sequence number that was acknowledged, 0 for none.
    last_seqs: OnceLock<Vec<[u64; 2]>>,
}

impl Settled {
    /// Nothing known yet.
    pub(super) fn new(has_senders: bool) -> Self {
        Self { has_senders, last_seqs: OnceLock::new() }
    }

    /// Whether other processes send.
    pub(super) fn sends_elsewhere(&self) -> bool {
        !self.has_senders
    }

    /// How long it must be quiet then (microseconds).
    pub(super) fn quiet_us(&self) -> u64 {
        super::clock::micros(QUIET)
    }

    /// All sends have ended; these were the last of each room and list.
    pub(super) fn tell(&self, last_seqs: Vec<[u64; 2]>) {
        // Told once, by the one thread that sends.
        let _ = self.last_seqs.set(last_seqs);
    }

    /// What was told.
    pub(super) fn last_seqs(&self) -> Option<&[[u64; 2]]> {
        self.last_seqs.get().map(Vec::as_slice)
    }
}
