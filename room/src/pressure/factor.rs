//! By how much a node's load stretches intervals.

use std::time::Duration;

/// The factor moves in steps of this much: readers share an answer only if they are told the same interval.
pub const FACTOR_STEP: f64 = 1.0 / QUARTERS as f64;

const QUARTERS: u8 = 4;
const QUARTERS_MAX: u8 = 16;

/// Event-loop lag at which the factor begins to grow, and at which it is full (milliseconds).
const LAG_MS: (f64, f64) = (20.0, 200.0);

/// The same for the share of its cores that the process uses.
const CPU: (f64, f64) = (0.75, 0.95);

/// Time to each quarter more (milliseconds): from 1 to 4 in 1.2 s.
const RISE_MS: u64 = 100;

/// Time to each quarter less (milliseconds): from 4 to 1 in 24 s. The load that fell because intervals grew must not
/// take them back at once.
const FALL_MS: u64 = 2_000;

/// By how many quarters the load must lie below the factor before that falls: what a small swing of the load takes
/// away, the next one would bring back.
const SLACK_QUARTERS: u8 = 2;

/// By how much intervals grow with the load of a node: 1.0 to 4.0, in steps of a quarter.
///
/// It goes by the event-loop lag of the worst worker and the process's share of its cores, whichever asks for more. It
/// rises fast, falls slowly, and does not follow small swings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LoadFactor(u8);

impl Default for LoadFactor {
    fn default() -> Self {
        Self(QUARTERS)
    }
}

impl LoadFactor {
    /// The factor of so many quarters, brought to 4 (1.0) to 16 (4.0).
    #[must_use]
    pub const fn from_quarters(quarters: u8) -> Self {
        Self(match quarters {
            0..QUARTERS => QUARTERS,
            QUARTERS..=QUARTERS_MAX => quarters,
            _ => QUARTERS_MAX,
        })
    }

    /// In quarters: 4 to 16.
    #[must_use]
    pub const fn quarters(self) -> u8 {
        self.0
    }

    /// As a number: 1.0 to 4.0.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) * FACTOR_STEP
    }

    /// An interval, multiplied.
    #[must_use]
    pub fn of(self, interval: Duration) -> Duration {
        interval * u32::from(self.0) / u32::from(QUARTERS)
    }

    /// What a load asks for, to the nearest quarter.
    pub(super) fn asked(lag_ms: f64, cpu: f64) -> Self {
        let share = |value: f64, (from, to): (f64, f64)| ((value - from) / (to - from)).clamp(0.0, 1.0);
        let share = share(lag_ms, LAG_MS).max(share(cpu, CPU));
        Self(QUARTERS + (share * f64::from(QUARTERS_MAX - QUARTERS)).round() as u8)
    }
}

/// The factor over time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Following {
    pub(super) factor: LoadFactor,
    /// When it moved last, or had no reason to (Unix milliseconds).
    moved_at_ms: u64,
}

impl Following {
    /// Moves the factor towards what the load asks for, as far as the time allows.
    pub(super) fn follow(&mut self, now_ms: u64, asked: LoadFactor) {
        // A clock that was set back starts the time anew.
        self.moved_at_ms = self.moved_at_ms.min(now_ms);
        let since_ms = now_ms - self.moved_at_ms;
        let factor = &mut self.factor.0;
        if asked.0 > *factor {
            let most = (since_ms / RISE_MS).min(u64::from(QUARTERS_MAX)) as u8;
            if most > 0 {
                *factor = asked.0.min(*factor + most);
                self.moved_at_ms = now_ms;
            }
        } else if asked.0 + SLACK_QUARTERS <= *factor || (asked.0 == QUARTERS && *factor > QUARTERS) {
            if since_ms >= FALL_MS {
                *factor -= 1;
                self.moved_at_ms = now_ms;
            }
        } else {
            self.moved_at_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lag_or_cpu_asks_whichever_is_more() {
        for (lag_ms, cpu, expect) in [
            (0.0, 0.0, 1.0),
            (20.0, 0.75, 1.0),
            (110.0, 0.0, 2.5),
            (0.0, 0.85, 2.5),
            (200.0, 0.1, 4.0),
            (1e9, 7.0, 4.0),
        ] {
            assert!((LoadFactor::asked(lag_ms, cpu).value() - expect).abs() < 1e-9, "{lag_ms} {cpu}");
        }
    }

    #[test]
    fn factor_rises_fast_and_falls_slowly() {
        let mut following = Following { moved_at_ms: 10_000, ..Following::default() };
        let time_to = |following: &mut Following, asked: u8, from_ms: u64| {
            (from_ms..)
                .step_by(100)
                .find(|now_ms| {
                    following.follow(*now_ms, LoadFactor(asked));
                    following.factor.0 == asked
                })
                .unwrap()
                - from_ms
        };
        assert_eq!(time_to(&mut following, 16, 10_000), 1_200);
        assert_eq!(time_to(&mut following, 4, 12_000), 23_200);
    }

    #[test]
    fn small_swings_move_nothing() {
        let mut following = Following { factor: LoadFactor(8), moved_at_ms: 0 };
        for now in 0..1_000 {
            following.follow(now * 250, LoadFactor(7 + (now % 2) as u8));
        }
        assert_eq!(following.factor, LoadFactor(8));
    }

    proptest! {
        #[test]
        fn factor_stays_in_its_range(
            loads in proptest::collection::vec((0u64..5_000, 0.0f64..1e4, 0.0f64..2.0), 1..200),
        ) {
            let mut following = Following::default();
            let mut now_ms = 0;
            for (after_ms, lag_ms, cpu) in loads {
                now_ms += after_ms;
                let (before, asked) = (following.factor, LoadFactor::asked(lag_ms, cpu));
                following.follow(now_ms, asked);
                prop_assert!((1.0..=4.0).contains(&following.factor.value()));
                if asked > before {
                    prop_assert!(following.factor >= before && following.factor <= asked);
                } else {
                    prop_assert!(following.factor <= before && following.factor.0 + 1 >= before.0);
                }
            }
        }
    }
}
