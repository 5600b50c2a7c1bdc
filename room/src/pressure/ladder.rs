//! The pressure ladder: from what a node measures to what it does.

use super::{
    LoadFactor, PressureStep,
    factor::Following,
};

/// Longest lag that counts (milliseconds): a process that was stopped for an hour must not be taken for one that is
/// overloaded.
const LAG_MAX_MS: f64 = 1_000.0;

/// Over how long measurements are smoothed (milliseconds): the time constant of an exponential average.
const SMOOTHING_MS: f64 = 1_000.0;

/// How long the load must ask for more before the next step up (milliseconds).
const UP_DWELL_MS: u64 = 1_000;

/// How long the load must let go before the next step down (milliseconds).
const DOWN_DWELL_MS: u64 = 10_000;

/// From which load on a step is asked for, whichever comes first. Infinite where something asks for no such step: a busy
/// process whose loops are on time serves everybody, so the share of its cores refuses nobody.
const ENTER: [PressureLoad; 4] = [
    PressureLoad { lag_ms: 50.0, cpu: 0.85, parked: 0.85 },
    PressureLoad { lag_ms: 100.0, cpu: 0.95, parked: 0.90 },
    PressureLoad { lag_ms: 250.0, cpu: f64::INFINITY, parked: 0.95 },
    PressureLoad { lag_ms: 500.0, cpu: f64::INFINITY, parked: 0.98 },
];

/// By how much (a factor for the lag, differences for the shares) the load must lie below that before the step is left.
const LEAVE: PressureLoad = PressureLoad { lag_ms: 0.6, cpu: 0.10, parked: 0.05 };

/// What a node measured since the last time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct PressureLoad {
    /// How late its event loops were: the worst of all workers (milliseconds).
    pub lag_ms: f64,
    /// CPU time that the process used, of what its cores have (0 to 1).
    pub cpu: f64,
    /// Polls that are parked, of those that may be (0 to 1).
    pub parked: f64,
}

impl PressureLoad {
    /// The highest step that the load asks for.
    fn asked(&self) -> PressureStep {
        let reached = |enter: &&Self| {
            self.lag_ms >= enter.lag_ms || self.cpu >= enter.cpu || self.parked >= enter.parked
        };
        let number = ENTER.iter().take_while(reached).count();
        PressureStep::new(number as u8).expect("there are as many loads as steps")
    }

    /// Whether the load still keeps a node on `step`.
    fn keeps(&self, step: PressureStep) -> bool {
        let Some(enter) = usize::from(step.number()).checked_sub(1).and_then(|at| ENTER.get(at)) else {
            return true;
        };
        self.lag_ms >= enter.lag_ms * LEAVE.lag_ms
            || self.cpu >= enter.cpu - LEAVE.cpu
            || self.parked >= enter.parked - LEAVE.parked
    }

    /// This one after `measured` was measured over the last `since_ms`.
    fn smoothed(self, measured: &Self, since_ms: u64) -> Self {
        let weight = 1.0 - (-(since_ms as f64) / SMOOTHING_MS).exp();
        let smooth = |old: f64, new: f64| {
            // What was not measured is no number and changes nothing.
            if new.is_finite() { old + (new - old) * weight } else { old }
        };
        Self {
            lag_ms: smooth(self.lag_ms, measured.lag_ms.clamp(0.0, LAG_MAX_MS)),
            cpu: smooth(self.cpu, measured.cpu),
            // A count, not a sample: it is what it is.
            parked: if measured.parked.is_finite() { measured.parked } else { self.parked },
        }
    }
}

/// A node's pressure over time: which step holds, and by how much intervals grow.
///
/// The ladder goes up one step at a time, a second of load each, and down one step at a time, each after ten seconds
/// without. A step that was forced, in a drill, holds whatever the load until its time is over; the ladder goes on
/// behind it.
///
/// ```
/// # use room::{Pressure, PressureLoad, PressureStep};
/// let mut pressure = Pressure::new(true);
/// let heavy = PressureLoad { lag_ms: 400.0, cpu: 1.0, parked: 0.1 };
/// for tick in 0..40 {
///     pressure.observe(tick * 250, &heavy);
/// }
/// assert_eq!(pressure.step().number(), 3);
/// pressure.force(PressureStep::NONE, 20_000);
/// assert_eq!(pressure.step(), PressureStep::NONE);
/// ```
#[derive(Clone, Debug)]
pub struct Pressure {
    is_automatic: bool,
    /// Where the ladder stands by the load alone.
    by_load: PressureStep,
    /// When the load last asked for nothing more than that, and when it last kept the ladder there (Unix milliseconds).
    not_up_at_ms: u64,
    not_down_at_ms: u64,
    forced: Option<(PressureStep, u64)>,
    following: Following,
    load: PressureLoad,
    observed_at_ms: Option<u64>,
}

impl Pressure {
    /// A node without pressure. With `is_automatic` off only drills set steps.
    #[must_use]
    pub fn new(is_automatic: bool) -> Self {
        Self {
            is_automatic,
            by_load: PressureStep::NONE,
            not_up_at_ms: 0,
            not_down_at_ms: 0,
            forced: None,
            following: Following::default(),
            load: PressureLoad::default(),
            observed_at_ms: None,
        }
    }

    /// Takes what was measured since the last time, and the time (Unix milliseconds). Returns the step that holds now.
    pub fn observe(&mut self, now_ms: u64, measured: &PressureLoad) -> PressureStep {
        let since_ms = self.observed_at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms));
        if self.observed_at_ms.is_none_or(|at_ms| at_ms > now_ms) {
            // The first look, or a clock that was set back: time begins anew.
            (self.not_up_at_ms, self.not_down_at_ms) = (now_ms, now_ms);
        }
        self.observed_at_ms = Some(now_ms);
        self.load = self.load.smoothed(measured, since_ms);
        self.following.follow(now_ms, LoadFactor::asked(self.load.lag_ms, self.load.cpu));
        if self.forced.is_some_and(|(_, until_ms)| until_ms <= now_ms) {
            self.forced = None;
        }
        if self.is_automatic {
            self.climb(now_ms);
        }
        self.step()
    }

    fn climb(&mut self, now_ms: u64) {
        if self.load.asked() <= self.by_load {
            self.not_up_at_ms = now_ms;
        }
        if self.load.keeps(self.by_load) {
            self.not_down_at_ms = now_ms;
        }
        let next = if now_ms - self.not_up_at_ms >= UP_DWELL_MS {
            self.by_load.up()
        } else if now_ms - self.not_down_at_ms >= DOWN_DWELL_MS {
            self.by_load.down()
        } else {
            return;
        };
        self.by_load = next;
        (self.not_up_at_ms, self.not_down_at_ms) = (now_ms, now_ms);
    }

    /// Lets a step hold until `until_ms` (Unix milliseconds), whatever the load. Replaces what was forced before.
    pub fn force(&mut self, step: PressureStep, until_ms: u64) {
        self.forced = Some((step, until_ms));
    }

    /// Ends a forced step before its time.
    pub fn release(&mut self) {
        self.forced = None;
    }

    /// The step that holds.
    #[must_use]
    pub fn step(&self) -> PressureStep {
        self.forced.map_or(self.by_load, |(step, _)| step)
    }

    /// Until when the step is forced (Unix milliseconds); `None` if it is not.
    #[must_use]
    pub fn forced_until_ms(&self) -> Option<u64> {
        self.forced.map(|(_, until_ms)| until_ms)
    }

    /// By how much intervals grow from step 2 on.
    #[must_use]
    pub fn factor(&self) -> LoadFactor {
        self.following.factor
    }

    /// The load, smoothed.
    #[must_use]
    pub fn load(&self) -> PressureLoad {
        self.load
    }
}

#[cfg(test)]
mod tests;
