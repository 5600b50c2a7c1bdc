//! What the node does about its load, as its workers see it; and how late they are.
//!
//! Whoever looks after the node reads the lag, applies the rules of [`room::pressure`], and sets what holds. Workers
//! load it once a poll: one relaxed load, no lock.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use room::pressure::{PressureStep, stretched};

/// How often a worker looks at how late it is. Its one timer for that; lag below a millisecond is not seen.
const TICK: Duration = Duration::from_millis(50);

/// Parts of one in which the load factor is kept.
const FACTOR_PARTS: f64 = 4.0;

/// The load factor and the pressure step that hold now, and the lag of each worker.
pub struct Pressure {
    /// The step in the lowest byte, the load factor in parts above it: both are read at once.
    held: AtomicU32,
    clocks: Box<[LagClock]>,
    started: Instant,
}

/// How late one worker's event loop is.
#[derive(Default)]
#[repr(align(64))]
struct LagClock {
    /// When the next tick is due (microseconds since the start); 0 while the worker does not run.
    due_us: AtomicU64,
    /// The latest tick since this was last read (microseconds).
    worst_us: AtomicU64,
}

impl Pressure {
    pub(crate) fn new(workers: usize) -> Self {
        let this = Self {
            held: AtomicU32::new(0),
            clocks: (0..workers).map(|_| LagClock::default()).collect(),
            started: Instant::now(),
        };
        this.hold(1.0, PressureStep::NONE);
        this
    }

    /// Lets this load factor (1.0 to 4.0, in quarters) and step hold for every poll from now on.
    pub fn hold(&self, factor: f64, step: PressureStep) {
        let parts = (factor.clamp(1.0, 4.0) * FACTOR_PARTS) as u32;
        self.held.store(parts << 8 | u32::from(step.get()), Ordering::Relaxed);
    }

    /// The step that holds.
    #[must_use]
    pub fn step(&self) -> PressureStep {
        Self::unpack(self.held.load(Ordering::Relaxed)).1
    }

    fn unpack(held: u32) -> (f64, PressureStep) {
        let step = PressureStep::new(held as u8).expect("only steps are stored");
        (f64::from(held >> 8) / FACTOR_PARTS, step)
    }

    /// A room's interval under what holds.
    pub(crate) fn stretched(&self, interval: Duration) -> Duration {
        let (factor, step) = Self::unpack(self.held.load(Ordering::Relaxed));
        // The usual case: a room without an interval, on a node without pressure.
        if interval.is_zero() && !step.stretches_intervals() {
            return interval;
        }
        stretched(interval, factor, step)
    }

    /// How late the latest worker was since this was last asked, one that is late right now among them.
    pub fn take_lag(&self) -> Duration {
        let now_us = self.now_us();
        let worst_us = self.clocks.iter().map(|clock| {
            let due_us = clock.due_us.load(Ordering::Relaxed);
            let now_late_us = if due_us == 0 { 0 } else { now_us.saturating_sub(due_us) };
            clock.worst_us.swap(0, Ordering::Relaxed).max(now_late_us)
        });
        Duration::from_micros(worst_us.max().unwrap_or(0))
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Measures how late a worker's event loop is, for ever. Run it once, on the worker's thread.
    pub(crate) async fn measure_lag(&self, worker: usize) {
        let clock = &self.clocks[worker];
        let _stopped = Stopped(clock);
        loop {
            let due_us = self.now_us() + TICK.as_micros() as u64;
            clock.due_us.store(due_us, Ordering::Relaxed);
            tokio::time::sleep(TICK).await;
            clock.worst_us.fetch_max(self.now_us().saturating_sub(due_us), Ordering::Relaxed);
        }
    }
}

/// A worker that was stopped is not late.
struct Stopped<'a>(&'a LagClock);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.due_us.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_read_back() {
        let pressure = Pressure::new(1);
        assert_eq!(pressure.step(), PressureStep::NONE);
        let second = Duration::from_secs(1);
        assert_eq!(pressure.stretched(second), second);
        pressure.hold(3.25, PressureStep::NONE.up());
        assert_eq!((pressure.step().get(), pressure.stretched(second)), (1, Duration::from_millis(3_250)));
        pressure.hold(9.0, PressureStep::MAX);
        assert_eq!((pressure.step().get(), pressure.stretched(second)), (4, 4 * second));
        assert!(!pressure.stretched(Duration::ZERO).is_zero());
    }

    #[tokio::test]
    async fn blocked_event_loop_is_late_while_it_is_and_once_after() {
        let blocked = Duration::from_millis(300);
        let pressure = Pressure::new(2);
        let block = async {
            tokio::task::yield_now().await;
            std::thread::sleep(blocked);
            assert!(pressure.take_lag() > blocked / 2, "it is late now");
            // Another turn of the loop, in which the tick comes.
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(pressure.take_lag() > blocked / 2, "it was late");
        };
        tokio::select! {
            () = pressure.measure_lag(1) => {}
            () = block => {}
        }
        std::thread::sleep(2 * TICK);
        assert_eq!(pressure.take_lag(), Duration::ZERO, "it has stopped");
    }
}
