//! Whether the node should get traffic.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// How long after its last success the canary counts as dead.
pub const CANARY_STALE_AFTER: Duration = Duration::from_secs(5);

/// One thing that keeps the node from being ready.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Reason {
    /// Which: `draining`, `store` or `canary`.
    pub reason: &'static str,
    /// What is wrong, for the operator.
    pub detail: String,
}

/// What readiness depends on: the node isn't draining, its store works, its canary has lately come through.
pub struct Readiness {
    is_draining: AtomicBool,
    store: StoreHealth,
    canary: Mutex<Canary>,
}

type StoreHealth = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Default)]
struct Canary {
    last_success: Option<Instant>,
    last_failure: Option<String>,
}

impl Readiness {
    /// A node that is not ready until its canary has come through once. `store` says why the store does not work.
    #[must_use]
    pub fn new(store: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { is_draining: AtomicBool::new(false), store: Box::new(store), canary: Mutex::default() }
    }

    /// The node is going down, and will not be ready again.
    pub fn set_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// The canary has come through just now.
    pub fn canary_succeeded(&self) {
        *self.canary.lock() = Canary { last_success: Some(Instant::now()), last_failure: None };
    }

    /// The canary has not come through. Counts once its last success is [`CANARY_STALE_AFTER`] ago.
    pub fn canary_failed(&self, why: String) {
        self.canary.lock().last_failure = Some(why);
    }

    /// Everything that keeps the node from being ready; nothing if it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let draining = self
            .is_draining
            .load(Ordering::Acquire)
            .then(|| Reason { reason: "draining", detail: "the node is going down".into() });
        let store = (self.store)().err().map(|detail| Reason { reason: "store", detail });
        let canary = self.canary.lock().fault().map(|detail| Reason { reason: "canary", detail });
        draining.into_iter().chain(store).chain(canary).collect()
    }

    /// Whether the node is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }
}

impl Canary {
    fn fault(&self) -> Option<String> {
        let since = match self.last_success.map(|at| at.elapsed()) {
            Some(ago) if ago < CANARY_STALE_AFTER => return None,
            Some(ago) => format!("no message has come through for {} s", ago.as_secs()),
            None => "no message has come through yet".into(),
        };
        Some(self.last_failure.as_ref().map_or(since.clone(), |why| format!("{since}: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(readiness: &Readiness) -> Vec<&'static str> {
        readiness.reasons().iter().map(|reason| reason.reason).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn ready_once_the_canary_came_through() {
        let readiness = Readiness::new(|| Ok(()));
        assert_eq!(reasons(&readiness), ["canary"]);
        readiness.canary_succeeded();
        assert!(readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn single_failure_is_forgiven_a_dead_canary_is_not() {
        let readiness = Readiness::new(|| Ok(()));
        readiness.canary_succeeded();
        readiness.canary_failed("no answer".into());
        tokio::time::advance(CANARY_STALE_AFTER - Duration::from_millis(1)).await;
        assert!(readiness.is_ready());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(readiness.reasons()[0].detail, "no message has come through for 5 s: no answer");
        readiness.canary_succeeded();
        assert!(readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn store_and_drain_are_named() {
        let readiness = Readiness::new(|| Err("no space left".into()));
        readiness.canary_succeeded();
        readiness.set_draining();
        assert_eq!(reasons(&readiness), ["draining", "store"]);
        assert_eq!(readiness.reasons()[1].detail, "no space left");
    }
}
