//! How long a room's readers wait between two answers, as the poll policy has it now.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::online::LOOK_HOLDS_MS;

/// Nobody has asked yet.
const UNKNOWN: u64 = u64::MAX;

/// The interval of one room: every poll goes by it, and the policy is asked a few times a second, and when the audience is another.
#[derive(Debug)]
pub(crate) struct Pace {
    asked_at_ms: AtomicU64,
    /// For how many users.
    users: AtomicU64,
    interval_us: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            asked_at_ms: AtomicU64::new(0),
            users: AtomicU64::new(UNKNOWN),
            interval_us: AtomicU64::new(UNKNOWN),
        }
    }
}

impl Pace {
    /// The interval for so many users, by `ask` if it was asked for too long ago or for others.
    pub(crate) fn interval(&self, now_ms: u64, users: u64, ask: impl FnOnce() -> Duration) -> Duration {
        let order = Ordering::Relaxed;
        let (known_us, asked_at_ms) = (self.interval_us.load(order), self.asked_at_ms.load(order));
        // When the time is over, one of those who come at once asks; the others go by what was known.
        if known_us != UNKNOWN
            && self.users.load(order) == users
            && (now_ms.abs_diff(asked_at_ms) < LOOK_HOLDS_MS
                || self.asked_at_ms.compare_exchange(asked_at_ms, now_ms, order, order).is_err())
        {
            return Duration::from_micros(known_us);
        }
        let interval = ask();
        let interval_us = u64::try_from(interval.as_micros()).unwrap_or(UNKNOWN);
        self.interval_us.store(interval_us.min(UNKNOWN - 1), order);
        self.users.store(users, order);
        self.asked_at_ms.store(now_ms, order);
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
            pace.interval(now_ms, 7, || {
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
        assert_eq!(pace.interval(0, 1, || Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(pace.interval(0, 1, || Duration::from_secs(4)), Duration::from_secs(3));
        assert_eq!(
            pace.interval(0, 2, || Duration::from_secs(5)),
            Duration::from_secs(5),
            "of another audience"
        );
    }
}
