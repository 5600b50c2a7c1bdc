//! The service's clock.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Unix milliseconds that never fall: the time of day when the clock was made, and what has passed since.
///
/// It is read twice a delivery, so it is the kernel's coarse clock, which is behind by up to a tick of the timer: 4 ms on most
/// systems, 10 ms at most. Presence is told in steps of 500 ms.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { start: Timespec, start_ms: u64 },
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        // Both of the same tick, but for the tick that may begin between them.
        let (start, since) = (coarse_now(), clock_gettime(ClockId::RealtimeCoarse));
        let start_ms = since.tv_sec.saturating_mul(1_000).saturating_add(since.tv_nsec / 1_000_000);
        Self(Source::System { start, start_ms: u64::try_from(start_ms).unwrap_or(0) })
    }

    /// A clock that stands still until the other part is set: for tests and benchmarks.
    #[must_use]
    pub fn manual(start_ms: u64) -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(start_ms));
        (Self(Source::Manual(Arc::clone(&hand))), hand)
    }

    /// Now (Unix milliseconds).
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System { start, start_ms } => {
                let now = coarse_now();
                let elapsed_ms =
                    (now.tv_sec - start.tv_sec) * 1_000 + (now.tv_nsec - start.tv_nsec) / 1_000_000;
                start_ms.saturating_add_signed(elapsed_ms)
            }
            Source::Manual(hand) => hand.load(Ordering::Relaxed),
        }
    }
}

fn coarse_now() -> Timespec {
    clock_gettime(ClockId::MonotonicCoarse)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn system_clock_is_the_time_of_day() {
        let time_of_day_ms = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::try_from(since.as_millis()).unwrap()
        };
        // The step of the coarse clock, and one more that may have begun while it was made.
        let step_ms = 2 * 10;
        let clock = Clock::system();
        let began = time_of_day_ms();
        let mut last = 0;
        while time_of_day_ms() < began + 3 * step_ms {
            let (before, now, after) = (time_of_day_ms(), clock.now_ms(), time_of_day_ms());
            assert!((before - step_ms..=after + step_ms).contains(&now), "{before} {now} {after}");
            assert!(now >= last, "it fell from {last} to {now}");
            last = now;
        }
    }
}
