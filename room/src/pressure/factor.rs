//! By how much a busy node lengthens its intervals.

use std::ops::RangeInclusive;

use super::{Load, smooth::Smooth};

/// The factor of a node at rest, and the most it gets to.
const FACTOR: RangeInclusive<f64> = 1.0..=4.0;

/// Lag (seconds) that calls for the least and for the most. 25 ms is twice a turn of the fan-out; at 200 ms half a
/// second's interval is late by nearly half.
const LAG_S: RangeInclusive<f64> = 0.025..=0.2;

/// CPU share that calls for the least and for the most: below 70 % there is room for a burst.
const CPU: RangeInclusive<f64> = 0.7..=0.95;

/// How fast the factor follows (a second): up while it helps, down only as the room proves to stay.
const RISE_PER_S: f64 = 2.0;
const FALL_PER_S: f64 = 0.1;

/// The steps in which it is given: intervals that change with every look would share no encodings.
const STEPS_PER_ONE: f64 = 4.0;

/// What a node multiplies its intervals by, from how late its event loops are and how busy its cores.
///
/// It rises within two seconds and falls within half a minute, in quarters, and a quarter is given back only when a
/// whole one is to spare: a load that swings around a threshold does not make it flap.
#[derive(Clone, Debug)]
pub struct LoadFactor {
    lag_s: Smooth,
    cpu: Smooth,
    exact: f64,
    /// What is given, in steps.
    given: f64,
    at_ms: Option<u64>,
}

impl Default for LoadFactor {
    fn default() -> Self {
        let start = *FACTOR.start();
        Self {
            lag_s: Smooth::default(),
            cpu: Smooth::default(),
            exact: start,
            given: start * STEPS_PER_ONE,
            at_ms: None,
        }
    }
}

impl LoadFactor {
    /// Takes in what was measured up to `now_ms` (any clock that goes forward), and gives the factor: 1.0 to 4.0.
    pub fn observe(&mut self, now_ms: u64, load: Load) -> f64 {
        let since_s = self.at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms)) as f64 / 1_000.0;
        self.at_ms = Some(now_ms);
        let by_lag = share(&LAG_S, self.lag_s.add(now_ms, load.lag.as_secs_f64()));
        let by_cpu = share(&CPU, self.cpu.add(now_ms, load.cpu));
        let called_for = FACTOR.start() + by_lag.max(by_cpu) * (FACTOR.end() - FACTOR.start());
        self.exact = called_for.clamp(self.exact - FALL_PER_S * since_s, self.exact + RISE_PER_S * since_s);
        let steps = self.exact * STEPS_PER_ONE;
        if steps >= self.given + 1.0 {
            self.given = steps.floor();
        } else if steps <= self.given - 1.0 {
            self.given = steps.ceil();
        }
        self.get()
    }

    /// The factor: 1.0 to 4.0, in quarters.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.given / STEPS_PER_ONE
    }
}

/// Where in the range a value lies: 0.0 at its start and below, 1.0 at its end and above.
fn share(range: &RangeInclusive<f64>, value: f64) -> f64 {
    ((value - range.start()) / (range.end() - range.start())).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Feeds a load for `for_ms`, and gives the factors seen.
    fn feed(
        factor: &mut LoadFactor,
        now_ms: &mut u64,
        for_ms: u64,
        load: impl Fn(u64) -> (u64, f64),
    ) -> Vec<f64> {
        let end_ms = *now_ms + for_ms;
        let mut seen = Vec::new();
        while *now_ms < end_ms {
            *now_ms += 100;
            let (lag_ms, cpu) = load(*now_ms);
            seen.push(factor.observe(*now_ms, Load { lag: Duration::from_millis(lag_ms), cpu }));
        }
        seen
    }

    #[test]
    fn rises_fast_and_falls_slowly() {
        for busy in [(400, 0.2), (0, 1.0)] {
            let (mut factor, mut now_ms) = (LoadFactor::default(), 0);
            assert_eq!(feed(&mut factor, &mut now_ms, 5_000, |_| (5, 0.5)).pop(), Some(1.0));
            assert_eq!(feed(&mut factor, &mut now_ms, 10_000, |_| busy).pop(), Some(4.0), "{busy:?}");
            assert!(feed(&mut factor, &mut now_ms, 10_000, |_| (0, 0.1)).pop() > Some(2.0));
            assert_eq!(feed(&mut factor, &mut now_ms, 60_000, |_| (0, 0.1)).pop(), Some(1.0));
        }
    }

    #[test]
    fn load_that_swings_does_not_make_it_flap() {
        for middle_ms in [25, 60, 100, 150, 200] {
            let (mut factor, mut now_ms) = (LoadFactor::default(), 0);
            let swing = |now_ms: u64| {
                (if now_ms.is_multiple_of(200) { middle_ms * 12 / 10 } else { middle_ms * 8 / 10 }, 0.3)
            };
            feed(&mut factor, &mut now_ms, 60_000, swing);
            let mut settled = feed(&mut factor, &mut now_ms, 60_000, swing);
            settled.dedup();
            assert_eq!(settled.len(), 1, "{middle_ms} {settled:?}");
        }
    }

    proptest! {
        #[test]
        fn stays_in_range_and_in_quarters(loads in prop::collection::vec((0u64..5_000, 0u64..2_000, 0.0f64..1.5), 1..200)) {
            let (mut factor, mut now_ms) = (LoadFactor::default(), 0);
            for (after_ms, lag_ms, cpu) in loads {
                now_ms += after_ms;
                let given = factor.observe(now_ms, Load { lag: Duration::from_millis(lag_ms), cpu });
                prop_assert!((1.0..=4.0).contains(&given) && (given * 4.0).fract() == 0.0, "{given}");
            }
        }
    }
}
