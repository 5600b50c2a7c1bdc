//! The service's clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Unix milliseconds that never fall: the time of day when the clock was made, and what has passed since.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { start: Instant, start_ms: u64 },
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self(Source::System { start: Instant::now(), start_ms })
    }

    /// A clock that stands still until the other part is set: for tests and benchmarks.
    #[must_use]
    pub fn manual(start_ms: u64) -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(start_ms));
        (Self(Source::Manual(Arc::clone(&hand))), hand)
    }

    /// Now (Unix milliseconds).
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System { start, start_ms } => {
                start_ms + u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
            }
            Source::Manual(hand) => hand.load(Ordering::Relaxed),
        }
    }
}
