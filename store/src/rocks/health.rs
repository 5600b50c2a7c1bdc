//! Whether the log can be written and read, by the latest experience.

use parking_lot::Mutex;
use tracing::error;

use crate::{StoreError, metrics};

/// What is wrong with a log, if anything.
#[derive(Default)]
pub(crate) struct Health {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why the last write failed; writes are refused until one has worked again.
    write_failure: Option<String>,
    /// The first damage met while reading. It stays: nothing but a repair and a restart makes it good.
    damage: Option<String>,
    closed: bool,
}

impl Health {
    /// Whether all is well.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let state = self.state.lock();
        if let Some(damage) = &state.damage {
            return Err(StoreError::Corrupt(damage.clone()));
        }
        if let Some(failure) = &state.write_failure {
            return Err(StoreError::Unavailable(failure.clone()));
        }
        if state.closed { Err(closed()) } else { Ok(()) }
    }

    /// Why writes are refused now.
    pub(crate) fn write_failure(&self) -> Option<StoreError> {
        self.state.lock().write_failure.clone().map(StoreError::Unavailable)
    }

    pub(crate) fn set_write_failure(&self, why: Option<String>) {
        self.state.lock().write_failure = why;
    }

    pub(crate) fn set_closed(&self) {
        self.state.lock().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Takes note of damage in what was read; passes everything on.
    pub(crate) fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Corrupt(damage)) = &result {
            metrics::corruption();
            let mut state = self.state.lock();
            if state.damage.is_none() {
                // Once: a damaged block is met again with every read of it, and the metric counts those.
                error!(%damage, "the log is damaged: restore it from a backup; this process stays unready");
                state.damage = Some(damage.clone());
            }
        }
        result
    }
}

/// The answer of a store that was closed.
pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_failure_passes_but_damage_stays() {
        let health = Health::default();
        health.set_write_failure(Some("disk full".to_owned()));
        assert!(matches!(health.check(), Err(StoreError::Unavailable(_))));
        health.set_write_failure(None);
        assert!(health.check().is_ok());
        let _ = health.note::<()>(Err(StoreError::Corrupt("block 1".to_owned())));
        let _ = health.note::<()>(Err(StoreError::Corrupt("block 2".to_owned())));
        health.set_write_failure(None);
        assert!(matches!(health.check(), Err(StoreError::Corrupt(damage)) if damage == "block 1"));
    }

    #[test]
    fn ordinary_answers_leave_health_alone() {
        let health = Health::default();
        let _ = health.note::<()>(Err(StoreError::NotFound));
        assert!(health.check().is_ok());
    }
}
