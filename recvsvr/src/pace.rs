//! How long a room's readers wait between two answers, as the poll policy has it now.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::online::LOOK_HOLDS_MS;

/// Nobody has asked yet.
const UNKNOWN: u64 = u64::MAX;

/// The interval of one room: every poll goes by it, and the policy is asked a few times a second.
#[derive(Debug)]
pub(crate) struct Pace {
    asked_at_ms: AtomicU64,
    interval_us: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { asked_at_ms: AtomicU64::new(0), interval_us: AtomicU64::new(UNKNOWN) }
    }
}

impl Pace {
    /// The interval, by `ask` if it was asked for too long ago.
    pub(crate) fn interval(&self, now_ms: u64, ask: impl FnOnce() -> Duration) -> Duration {
        let known_us = self.interval_us.load(Ordering::Relaxed);
        let asked_at_ms = self.asked_at_ms.load(Ordering::Relaxed);
        if known_us != UNKNOWN {
            let order = Ordering::Relaxed;
            // One of those who come at once asks; the others go by what was known.
            if now_ms.abs_diff(asked_at_ms) < LOOK_HOLDS_MS
                || self.asked_at_ms.compare_exchange(asked_at_ms, now_ms, order, order).is_err()
            {
                return Duration::from_micros(known_us);
            }
        }
        let interval = ask();
        let interval_us = u64::try_from(interval.as_micros()).unwrap_or(UNKNOWN);
        self.interval_us.store(interval_us.min(UNKNOWN - 1), Ordering::Relaxed);
        if known_us == UNKNOWN {
            self.asked_at_ms.store(now_ms, Ordering::Relaxed);
        }
        interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_is_asked_a_few_times_a_second() {
        let pace = Pace::default();
        let mut asked = 0;
        let mut at = |now_ms| {
            pace.interval(now_ms, || {
                asked += 1;
                Duration::from_millis(asked)
            })
            .as_millis()
        };
        assert_eq!((at(1_000), at(1_000), at(1_199)), (1, 1, 1));
        assert_eq!((at(1_200), at(1_399)), (2, 2));
        assert_eq!((at(1_400), at(100)), (3, 4), "a clock that was set back does not stop the looks");
        assert_eq!(asked, 4);
    }

    #[test]
    fn first_answer_is_the_policys() {
        let pace = Pace::default();
        // Also where the clock begins.
        assert_eq!(pace.interval(0, || Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(pace.interval(0, || Duration::from_secs(4)), Duration::from_secs(3));
    }
}
