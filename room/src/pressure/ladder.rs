//! Which pressure step a node is on.

use std::time::Duration;

use super::{Load, PressureStep, smooth::Smooth};

/// How long a load must call for the next step up before it is taken.
pub const STEP_UP_DWELL: Duration = Duration::from_secs(2);

/// How long a load must allow the next step down before it is taken.
pub const STEP_DOWN_DWELL: Duration = Duration::from_secs(10);

/// Smoothed lag (seconds) from which on each step is called for. At 100 ms viewers begin to notice; at 800 ms a round
/// trip through the node takes longer than most intervals. It is left below half of it.
const LAG_S: [f64; 4] = [0.1, 0.2, 0.4, 0.8];
const LAG_LEFT: f64 = 0.5;

/// Smoothed CPU share from which on each step is called for, and below which it is left. Busy cores alone call for no
/// more than what costs nobody a message: a node that keeps up is well used, not in distress.
const CPU: [f64; 4] = [0.95, 0.98, f64::INFINITY, f64::INFINITY];
const CPU_LEFT: [f64; 4] = [0.85, 0.9, f64::INFINITY, f64::INFINITY];

/// A step that an operator set, for a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forced {
    /// Which.
    pub step: PressureStep,
    /// Until then (milliseconds, of the clock that the ladder is fed with).
    pub until_ms: u64,
}

/// The pressure ladder: one step up at a time when the load calls for it, one step down when it has long not.
#[derive(Clone, Default, Debug)]
pub struct Ladder {
    lag_s: Smooth,
    cpu: Smooth,
    step: PressureStep,
    /// Since when the load has called for the next step up, and allowed the next one down.
    up_since_ms: Option<u64>,
    down_since_ms: Option<u64>,
    forced: Option<Forced>,
}

impl Ladder {
    /// Takes in what was measured up to `now_ms` (any clock that goes forward), and gives the step that holds now.
    ///
    /// What the load calls for is followed on while a step is forced, so the node is where it belongs when that ends.
    pub fn observe(&mut self, now_ms: u64, load: Load) -> PressureStep {
        let lag_s = self.lag_s.add(now_ms, load.lag.as_secs_f64());
        let cpu = self.cpu.add(now_ms, load.cpu);
        let at = usize::from(self.step.get());
        let is_called_for = self.step < PressureStep::MAX && (lag_s >= LAG_S[at] || cpu >= CPU[at]);
        let is_left = at > 0 && lag_s < LAG_S[at - 1] * LAG_LEFT && cpu < CPU_LEFT[at - 1];
        if has_lasted(&mut self.up_since_ms, is_called_for, STEP_UP_DWELL, now_ms) {
            self.step = self.step.up();
            self.down_since_ms = None;
        } else if has_lasted(&mut self.down_since_ms, is_left, STEP_DOWN_DWELL, now_ms) {
            self.step = self.step.down();
        }
        self.step(now_ms)
    }

    /// Holds the node at a step until `until_ms`, whatever its load; `None` ends that.
    pub const fn force(&mut self, forced: Option<Forced>) {
        self.forced = forced;
    }

    /// What is forced at `now_ms`, if anything.
    #[must_use]
    pub fn forced(&self, now_ms: u64) -> Option<Forced> {
        self.forced.filter(|forced| now_ms < forced.until_ms)
    }

    /// The step that holds at `now_ms`: the forced one, or else what the load called for.
    #[must_use]
    pub fn step(&self, now_ms: u64) -> PressureStep {
        self.forced(now_ms).map_or(self.step, |forced| forced.step)
    }
}

/// Whether a condition has held for `dwell`; it begins anew when it has.
fn has_lasted(since_ms: &mut Option<u64>, holds: bool, dwell: Duration, now_ms: u64) -> bool {
    if !holds {
        *since_ms = None;
        return false;
    }
    let since = *since_ms.get_or_insert(now_ms);
    let has_lasted = u128::from(now_ms.saturating_sub(since)) >= dwell.as_millis();
    if has_lasted {
        *since_ms = Some(now_ms);
    }
    has_lasted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(lag_ms: u64, cpu: f64) -> Load {
        Load { lag: Duration::from_millis(lag_ms), cpu }
    }

    /// Feeds one load every 100 ms for `for_s`; the steps seen, without repeats.
    fn feed(ladder: &mut Ladder, now_ms: &mut u64, for_s: u64, load: Load) -> Vec<u8> {
        let mut seen = vec![ladder.step(*now_ms).get()];
        for _ in 0..for_s * 10 {
            *now_ms += 100;
            seen.push(ladder.observe(*now_ms, load).get());
        }
        seen.dedup();
        seen
    }

    #[test]
    fn lag_climbs_one_step_at_a_time_and_rest_comes_down() {
        let (mut ladder, mut now_ms) = (Ladder::default(), 0);
        assert_eq!(feed(&mut ladder, &mut now_ms, 60, load(40, 0.6)), [0]);
        assert_eq!(feed(&mut ladder, &mut now_ms, 2, load(2_000, 0.6)), [0]);
        assert_eq!(feed(&mut ladder, &mut now_ms, 30, load(2_000, 0.6)), [0, 1, 2, 3, 4]);
        assert_eq!(feed(&mut ladder, &mut now_ms, 10, load(5, 0.1)), [4]);
        assert_eq!(feed(&mut ladder, &mut now_ms, 60, load(5, 0.1)), [4, 3, 2, 1, 0]);
    }

    #[test]
    fn each_lag_has_its_step_and_busy_cores_alone_cost_no_message() {
        for (lag_ms, cpu, expect) in [
            (90, 0.9, 0),
            (130, 0.1, 1),
            (250, 0.1, 2),
            (500, 0.1, 3),
            (900, 0.1, 4),
            (10, 0.97, 1),
            (10, 1.0, 2),
        ] {
            let (mut ladder, mut now_ms) = (Ladder::default(), 0);
            let seen = feed(&mut ladder, &mut now_ms, 120, load(lag_ms, cpu));
            assert_eq!(seen.last(), Some(&expect), "{lag_ms} {cpu} {seen:?}");
        }
    }

    #[test]
    fn lag_between_the_thresholds_holds_the_step() {
        let (mut ladder, mut now_ms) = (Ladder::default(), 0);
        feed(&mut ladder, &mut now_ms, 30, load(130, 0.1));
        assert_eq!(feed(&mut ladder, &mut now_ms, 120, load(70, 0.1)), [1]);
        assert_eq!(feed(&mut ladder, &mut now_ms, 120, load(40, 0.9)), [1]);
        assert_eq!(feed(&mut ladder, &mut now_ms, 60, load(40, 0.8)), [1, 0]);
    }

    #[test]
    fn forced_step_wins_and_ends_by_itself() {
        let (mut ladder, mut now_ms) = (Ladder::default(), 1_000);
        let forced = Forced { step: PressureStep::new(3).unwrap(), until_ms: 11_000 };
        ladder.force(Some(forced));
        assert_eq!(ladder.forced(now_ms), Some(forced));
        assert_eq!(feed(&mut ladder, &mut now_ms, 9, load(5, 0.1)), [3]);
        assert_eq!(feed(&mut ladder, &mut now_ms, 5, load(5, 0.1)), [3, 0]);
        assert_eq!(ladder.forced(now_ms), None);
        ladder.force(Some(Forced { step: PressureStep::NONE, until_ms: now_ms + 60_000 }));
        assert_eq!(feed(&mut ladder, &mut now_ms, 30, load(2_000, 1.0)), [0]);
        ladder.force(None);
        assert_eq!(ladder.step(now_ms), PressureStep::MAX);
    }

    proptest! {
        #[test]
        fn never_skips_a_step_and_always_comes_back(
            loads in prop::collection::vec((1u64..5_000, 0u64..3_000, 0.0f64..1.0), 1..300),
        ) {
            let (mut ladder, mut now_ms, mut before) = (Ladder::default(), 0, 0u8);
            let mut changed_ms = None;
            for (after_ms, lag_ms, cpu) in loads {
                now_ms += after_ms;
                let step = ladder.observe(now_ms, load(lag_ms, cpu)).get();
                prop_assert!(step.abs_diff(before) <= 1);
                if step != before {
                    // Not more often than the dwell, seen from any change to the next.
                    let dwell = if step > before { STEP_UP_DWELL } else { STEP_DOWN_DWELL };
                    prop_assert!(changed_ms.is_none_or(|at| u128::from(now_ms - at) >= dwell.as_millis()));
                    changed_ms = Some(now_ms);
                }
                before = step;
            }
            for _ in 0..1_000 {
                now_ms += 100;
                ladder.observe(now_ms, load(0, 0.0));
            }
            prop_assert_eq!(ladder.step(now_ms), PressureStep::NONE);
        }
    }
}
