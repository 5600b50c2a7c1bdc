//! Leaving a node alone that fails: the circuit breaker.

use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::time::Instant;

use crate::metrics;

/// Failures in a row after which a node is left alone (count).
const FAILURES_MAX: u32 = 3;

/// How long it is left alone: doubled from the first to the last, then half to all of it at random.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Remembers how calls of one node ended, and says whether to ask it.
///
/// Closed, every call goes through. After three failures in a row it opens: nobody asks for a while. Then one call finds out;
/// it closes with its success, or opens for twice as long.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// How often it opened in a row.
    openings: u32,
    open_until: Option<Instant>,
    is_probing: bool,
}

impl Breaker {
    /// Whether the node should be asked now. Where this says so of a node that failed, only this caller is told until it
    /// reports back.
    #[must_use]
    pub fn allows(&self) -> bool {
        let mut state = self.0.lock();
        let Some(until) = state.open_until else { return true };
        if state.is_probing || Instant::now() < until {
            return false;
        }
        state.is_probing = true;
        true
    }

    /// Whether the node failed lately and is being left alone; asks for nothing.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.lock().open_until.is_some()
    }

    /// A call came through, whatever its answer.
    pub fn succeeded(&self) {
        let mut state = self.0.lock();
        if state.failures != 0 || state.open_until.is_some() {
            *state = State::default();
        }
    }

    /// A call failed by the node's fault.
    pub fn failed(&self) {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        state.is_probing = false;
        if state.failures < FAILURES_MAX {
            return;
        }
        let longest = PAUSE.0.saturating_mul(1 << state.openings.min(16)).min(PAUSE.1);
        let pause = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
        state.open_until = Some(Instant::now() + pause);
        state.openings = state.openings.saturating_add(1);
        metrics::breaker_opened();
    }

    /// A call was given up before it was known how it would end: the next one finds out.
    pub fn gave_up(&self) {
        self.0.lock().is_probing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn breaker_opens_after_failures_in_a_row_and_closes_with_a_success() {
        let breaker = Breaker::default();
        breaker.failed();
        breaker.failed();
        breaker.succeeded();
        breaker.failed();
        breaker.failed();
        assert!(breaker.allows());
        breaker.failed();
        assert!(!breaker.allows() && breaker.is_open());
        tokio::time::advance(PAUSE.0).await;
        assert!(breaker.allows(), "one finds out");
        assert!(!breaker.allows(), "the others wait for it");
        breaker.succeeded();
        assert!(breaker.allows() && !breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn pause_grows_with_every_failure_to_its_bound() {
        let breaker = Breaker::default();
        (0..FAILURES_MAX).for_each(|_| breaker.failed());
        for _ in 0..10 {
            tokio::time::advance(PAUSE.1).await;
            assert!(breaker.allows());
            breaker.failed();
        }
        tokio::time::advance(PAUSE.1 / 2 - Duration::from_millis(1)).await;
        assert!(!breaker.allows());
    }

    #[tokio::test(start_paused = true)]
    async fn probe_that_was_given_up_lets_the_next_one_find_out() {
        let breaker = Breaker::default();
        (0..FAILURES_MAX).for_each(|_| breaker.failed());
        tokio::time::advance(PAUSE.0).await;
        assert!(breaker.allows() && !breaker.allows());
        breaker.gave_up();
        assert!(breaker.allows());
    }
}
