//! The service's clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Unix milliseconds that never fall: the time of day when the clock was made, and what has passed since.
///
/// It is read twice a delivery, so it is the kernel's coarse clock, which is 1 to 10 ms behind: a tick of the timer, 4 ms on
/// most systems. Presence is told in steps of 500 ms.
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
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self(Source::System { start: coarse_now(), start_ms })
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
    use super::*;

    #[test]
    fn system_clock_is_the_time_of_day() {
        let time_of_day_ms = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::try_from(since.as_millis()).unwrap()
        };
        // The steps of the coarse clock: at the beginning, and now.
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
