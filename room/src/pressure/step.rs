//! The steps of the pressure ladder, and what each of them does.

use std::{fmt, time::Duration};

use super::LoadFactor;

/// The shortest interval of a room where intervals are stretched, before the factor: small rooms, which are otherwise
/// answered at once, are held too.
pub const STRETCHED_INTERVAL_MIN: Duration = Duration::from_millis(250);

/// The factor of stretched intervals at the least: where it is places that run out, not time, readers that wait longer
/// between two polls still take fewer of them.
const STRETCH_MIN: LoadFactor = LoadFactor::from_quarters(6);

/// Most normal messages in an answer that is thinned out (count): what fits a screen and some.
pub const SHED_MESSAGES_MAX: usize = 50;

/// How far a node has gone in doing less: 0 for not at all, up to 4. Each step does what those below it do.
///
/// 1. Extras are left out: `stats` of answers, and compression where it costs more than it saves.
/// 2. Intervals are stretched by the [`LoadFactor`].
/// 3. `low` sends are refused, and answers have the newest normal messages only.
/// 4. New pollers are refused.
///
/// ```
/// # use room::PressureStep;
/// let step = PressureStep::new(2).expect("there are steps 0 to 4");
/// assert!(step.leaves_out_extras() && step.stretches() && !step.thins());
/// assert_eq!(step.degraded(), ["stats", "compression", "interval"]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PressureStep(u8);

impl PressureStep {
    /// No pressure: everything is as it should be.
    pub const NONE: Self = Self(0);
    /// The last step.
    pub const MAX: Self = Self(4);

    /// The step of this number; `None` above 4.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// Its number, 0 to 4.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The step above; the last one is its own.
    pub(super) fn up(self) -> Self {
        Self((self.0 + 1).min(Self::MAX.0))
    }

    /// The step below; the first one is its own.
    pub(super) fn down(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Whether answers go without `stats`, and without compression where few share them.
    #[must_use]
    pub const fn leaves_out_extras(self) -> bool {
        self.0 >= 1
    }

    /// Whether intervals are stretched.
    #[must_use]
    pub const fn stretches(self) -> bool {
        self.0 >= 2
    }

    /// Whether `low` sends are refused and normal messages thinned out, to [`SHED_MESSAGES_MAX`] an answer.
    #[must_use]
    pub const fn thins(self) -> bool {
        self.0 >= 3
    }

    /// Whether polls without a cursor are refused.
    #[must_use]
    pub const fn refuses_new_polls(self) -> bool {
        self.0 >= 4
    }

    /// What clients are told in `room.degraded`: a word for each thing that is done.
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

    /// The interval of a room on this step: as the policy has it below step 2; from there on at least
    /// [`STRETCHED_INTERVAL_MIN`], times the factor, which counts as 1.5 at the least.
    #[must_use]
    pub fn interval(self, policy: Duration, factor: LoadFactor) -> Duration {
        if self.stretches() { factor.max(STRETCH_MIN).of(policy.max(STRETCHED_INTERVAL_MIN)) } else { policy }
    }
}

impl fmt::Display for PressureStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_does_what_those_below_it_do() {
        for number in 0..4 {
            let (step, above) = (PressureStep(number), PressureStep(number + 1));
            assert!(above.degraded().starts_with(step.degraded()));
            assert!(above.degraded().len() > step.degraded().len());
        }
        assert_eq!(PressureStep::new(5), None);
        assert_eq!((PressureStep::MAX.up(), PressureStep::NONE.down()), (PressureStep::MAX, PressureStep::NONE));
    }

    #[test]
    fn intervals_are_stretched_from_step_two_on() {
        let ms = Duration::from_millis;
        let (calm, doubled, most) =
            (LoadFactor::default(), LoadFactor::from_quarters(8), LoadFactor::from_quarters(16));
        for (step, policy_ms, factor, expect_ms) in [
            (0, 0, most, 0),
            (1, 0, most, 0),
            (1, 1_000, most, 1_000),
            (2, 0, calm, 375),
            (2, 0, most, 1_000),
            (2, 1_000, calm, 1_500),
            (2, 1_000, doubled, 2_000),
            (4, 5_000, most, 20_000),
        ] {
            assert_eq!(
                PressureStep(step).interval(ms(policy_ms), factor),
                ms(expect_ms),
                "{step} {policy_ms} {factor:?}"
            );
        }
    }
}
