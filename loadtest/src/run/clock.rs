//! The clock of a run: microseconds since its start, the same in all of its processes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time since the start of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    /// The clock of a run that starts at a time of day, which may still be to come.
    ///
    /// Where processes run on several machines, ages are as right as their clocks agree.
    pub(super) fn starting_at(unix_ms: u64) -> Self {
        let (now, now_unix) =
            (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let start_unix = Duration::from_millis(unix_ms);
        let start = match start_unix.checked_sub(now_unix) {
            Some(to_come) => now + to_come,
            None => now.checked_sub(now_unix - start_unix).unwrap_or(now),
        };
        Self { start }
    }

    /// Microseconds since the start; 0 before it.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How long it is until a time of the run.
    pub(super) fn until(&self, at_us: u64) -> Duration {
        (self.start + Duration::from_micros(at_us)).saturating_duration_since(Instant::now())
    }

    /// Waits for the start.
    pub(super) fn await_start(&self) {
        std::thread::sleep(self.until(0));
    }
}

/// Microseconds of a duration.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds of a number of seconds.
pub(super) fn micros_of(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}
