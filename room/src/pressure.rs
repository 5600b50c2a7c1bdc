//! What a node under load does about it: longer intervals, then fewer extras, then less of what may be lost.
//!
//! Three pure rules, fed with what the node measures of itself ([`Load`]) and the time: the [`LoadFactor`] that
//! intervals are multiplied by, the [`Ladder`] of pressure steps, and [`may_be_woken`], which spreads the wake-ups of
//! big rooms. Priority messages are outside of all three: nothing here drops or delays one.

mod factor;
mod ladder;
mod smooth;
mod spread;

use std::{ops::RangeInclusive, time::Duration};

pub use factor::LoadFactor;
pub use ladder::{Forced, Ladder, STEP_DOWN_DWELL, STEP_UP_DWELL};
pub use spread::{SPREAD_FROM_POLLS, SPREAD_MAX, may_be_woken};

/// Normal messages that one answer has at the most from step 3 on; older ones that wait are skipped and counted.
///
/// A quarter of the default `limit`: a screenful, and a bound on what one answer costs to encode and write.
pub const THINNED_MESSAGES_MAX: usize = 50;

/// `Retry-After` of a node that is full (milliseconds): whoever refuses draws from it, so that those who were refused don't
/// come back all at once.
pub const RETRY_AFTER_MS: RangeInclusive<u64> = 1_000..=5_000;

/// The least interval from step 2 on, so that rooms that are answered at once are held too.
pub const STRETCHED_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// From so many viewers of a room on, its answers are compressed at every step: by estimate, one compression
/// takes as long as copying and sending the bytes that it saves to so many.
pub const COMPRESSED_FROM_VIEWERS: u64 = 64;

/// What intervals are multiplied by at the least from step 2 on, whatever the load factor says.
const STRETCH_MIN: f64 = 2.0;

/// What a node measures of itself.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Load {
    /// How late the event loop of the worst worker was since the last look.
    pub lag: Duration,
    /// CPU time that the process used since the last look, of what its cores had: 0.0 to 1.0.
    pub cpu: f64,
}

/// A step of the pressure ladder: 0 for none, to 4. Each does what those below it do, and more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PressureStep(u8);

impl PressureStep {
    /// No pressure.
    pub const NONE: Self = Self(0);

    /// Everything that a node can do.
    pub const MAX: Self = Self(4);

    /// The step of this number, if there is one.
    #[must_use]
    pub const fn new(step: u8) -> Option<Self> {
        if step <= Self::MAX.0 { Some(Self(step)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The next one up; the highest stays.
    #[must_use]
    pub const fn up(self) -> Self {
        if self.0 < Self::MAX.0 { Self(self.0 + 1) } else { self }
    }

    /// The next one down; none stays none.
    #[must_use]
    pub const fn down(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// From step 1 on: answers go without statistics, and see [`PressureStep::compresses`].
    #[must_use]
    pub const fn leaves_out_extras(self) -> bool {
        self.0 >= 1
    }

    /// Whether answers of a room of so many viewers are compressed: from step 1 on, only where it saves CPU.
    ///
    /// An answer is compressed once and written to all who share it. That costs about as much as writing the larger
    /// plain body to [`COMPRESSED_FROM_VIEWERS`] of them.
    #[must_use]
    pub const fn compresses(self, viewers: u64) -> bool {
        !self.leaves_out_extras() || viewers >= COMPRESSED_FROM_VIEWERS
    }

    /// From step 2 on: intervals are longer, see [`stretched`].
    #[must_use]
    pub const fn stretches_intervals(self) -> bool {
        self.0 >= 2
    }

    /// From step 3 on: sends of priority `low` are refused.
    #[must_use]
    pub const fn refuses_low(self) -> bool {
        self.0 >= 3
    }

    /// From step 3 on: most normal messages in an answer.
    #[must_use]
    pub const fn normal_messages_max(self) -> Option<usize> {
        if self.0 >= 3 { Some(THINNED_MESSAGES_MAX) } else { None }
    }

    /// From step 4 on: polls without a cursor are refused; those who follow a room go on.
    #[must_use]
    pub const fn refuses_new_pollers(self) -> bool {
        self.0 >= 4
    }

    /// What `room.degraded` of an answer says: the words never change, more may come.
    #[must_use]
    pub const fn degraded(self) -> &'static [&'static str] {
        match self.0 {
            0 => &[],
            1 => &["stats", "compression"],
            2 => &["stats", "compression", "interval"],
            3 => &["stats", "compression", "interval", "low", "normal"],
            _ => &["stats", "compression", "interval", "low", "normal", "polls"],
        }
    }
}

/// The least time between two answers to a viewer, on a node with this load factor (1.0 to 4.0) at this step.
///
/// An interval of zero stays zero below step 2: a small room costs little, and its messages are to be fresh.
#[must_use]
pub fn stretched(interval: Duration, factor: f64, step: PressureStep) -> Duration {
    if step.stretches_intervals() {
        interval.mul_f64(factor.max(STRETCH_MIN)).max(STRETCHED_INTERVAL_MIN)
    } else {
        interval.mul_f64(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_does_more_than_the_one_below() {
        let done = |step: PressureStep| {
            [
                step.leaves_out_extras(),
                step.stretches_intervals(),
                step.refuses_low(),
                step.normal_messages_max().is_some(),
                step.refuses_new_pollers(),
            ]
        };
        let mut step = PressureStep::NONE;
        assert_eq!((done(step), step.degraded().len()), ([false; 5], 0));
        while step != PressureStep::MAX {
            let below = step;
            step = step.up();
            assert_eq!(step.down(), below);
            assert!(done(below).into_iter().zip(done(step)).all(|(below, above)| above || !below));
            assert!(step.degraded().starts_with(below.degraded()) && step.degraded() != below.degraded());
        }
        assert_eq!((done(step), step.up(), PressureStep::new(5)), ([true; 5], step, None));
    }

    #[test]
    fn compression_stays_where_many_share_it() {
        assert!(PressureStep::NONE.compresses(0));
        assert!(!PressureStep::NONE.up().compresses(63) && PressureStep::MAX.compresses(64));
    }

    #[test]
    fn intervals_are_multiplied_and_from_step_2_on_never_zero() {
        for (interval_ms, factor, step, expect_ms) in [
            (0, 4.0, 1, 0),
            (1_000, 1.0, 0, 1_000),
            (1_000, 2.5, 1, 2_500),
            (0, 1.0, 2, 500),
            (100, 1.0, 2, 500),
            (1_000, 1.0, 2, 2_000),
            (1_000, 4.0, 4, 4_000),
        ] {
            let step = PressureStep::new(step).unwrap();
            let interval = stretched(Duration::from_millis(interval_ms), factor, step);
            assert_eq!(interval.as_millis(), expect_ms, "{interval_ms} {factor} {step:?}");
        }
    }
}
