//! How far a worker's clock is from the controller's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, by this machine's clock.
pub(super) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// One reading of another clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// What the other clock is ahead of ours (microseconds); negative if it is behind.
    pub(super) ahead_us: i64,
    /// Half of the time that the question and its answer took: the reading is no more wrong than that.
    pub(super) error: Duration,
}

impl Reading {
    /// From the question, asked at `asked_us` of our clock, to its answer.
    pub(super) fn new(asked_us: u64, asked: Instant, answer_us: u64) -> Self {
        Self::after(asked_us, asked.elapsed(), answer_us)
    }

    fn after(asked_us: u64, round_trip: Duration, answer_us: u64) -> Self {
        // As NTP does (RFC 5905, section 8): the answer is taken to be from the middle of the round trip.
        let error = round_trip / 2;
        let middle_us = asked_us.saturating_add(u64::try_from(error.as_micros()).unwrap_or(u64::MAX));
        let ahead_us = i128::from(answer_us) - i128::from(middle_us);
        // Beyond half of the range nobody would believe a clock anyway.
        let ahead_us = ahead_us.clamp((i64::MIN / 2).into(), (i64::MAX / 2).into());
        Self { ahead_us: i64::try_from(ahead_us).expect("it was brought into range"), error }
    }

    /// The better of two.
    pub(super) fn or_better(self, other: Self) -> Self {
        if other.error < self.error { other } else { self }
    }

    /// A time of our clock in milliseconds, by the other clock.
    ///
    /// Clocks that can't be told apart count as equal: on one machine they are, and what was read is the noise of reading.
    pub(super) fn there_ms(self, ours_ms: u64) -> u64 {
        if u128::from(self.ahead_us.unsigned_abs()) <= self.error.as_micros() {
            return ours_ms;
        }
        ours_ms.saturating_add_signed((self.ahead_us + 500).div_euclid(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_counts_from_the_middle_of_the_round_trip() {
        let reading = Reading::after(1_000_000, Duration::from_millis(10), 4_005_000);
        assert_eq!(reading, Reading { ahead_us: 3_000_000, error: Duration::from_millis(5) });
        assert_eq!(reading.there_ms(50_000), 53_000);
        let behind = Reading::after(4_000_000, Duration::from_millis(2), 1_001_000);
        assert_eq!(behind.there_ms(50_000), 47_000);
        assert_eq!(behind.there_ms(1), 0, "before 1970 there is nothing");
    }

    #[test]
    fn clocks_that_cant_be_told_apart_are_equal() {
        let reading = |ahead_us| Reading { ahead_us, error: Duration::from_micros(900) };
        assert_eq!([-900, 0, 900].map(|ahead_us| reading(ahead_us).there_ms(50)), [50; 3]);
        assert_eq!(
            [-1_600, -1_400, 1_400, 1_600].map(|ahead_us| reading(ahead_us).there_ms(50)),
            [48, 49, 51, 52]
        );
    }

    #[test]
    fn quicker_answer_is_the_better_one() {
        let slow = Reading { ahead_us: 9, error: Duration::from_millis(9) };
        let quick = Reading { ahead_us: 1, error: Duration::from_millis(1) };
        assert_eq!(slow.or_better(quick), quick);
        assert_eq!(quick.or_better(slow), quick);
    }
}
