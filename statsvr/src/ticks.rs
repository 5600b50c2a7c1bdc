//! How long presence lasts, in steps that fit a byte.

use std::time::Duration;

/// The finest step (milliseconds): presence ends between one window and one window and a step after its last proof.
const TICK_MS: u64 = 500;

/// Most steps of a window. A tick is kept in 7 bits, and an expired entry may lie around for [`SWEEP_TICKS`] more.
const WINDOW_TICKS_MAX: u64 = 60;

/// A table is looked through once in as many ticks for entries that have expired.
pub(crate) const SWEEP_TICKS: u64 = 32;

/// A moment, counted in steps of a window since the Unix epoch.
pub(crate) type Tick = u64;

/// A window in steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticks {
    /// Milliseconds a step.
    pub(crate) tick_ms: u64,
    /// Steps that presence outlasts the step of its proof: at most [`WINDOW_TICKS_MAX`].
    pub(crate) window: u64,
}

impl Ticks {
    /// The steps of `window`: half a second, or a sixtieth of a window of more than 30 s.
    pub(crate) fn new(window: Duration) -> Self {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
        let tick_ms = window_ms.div_ceil(WINDOW_TICKS_MAX).max(TICK_MS);
        Self { tick_ms, window: window_ms.div_ceil(tick_ms) }
    }

    pub(crate) fn at(&self, unix_ms: u64) -> Tick {
        unix_ms / self.tick_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_never_cut_short() {
        for ms in [1, 499, 500, 501, 30_000, 30_001, 90_000, 600_000] {
            let ticks = Ticks::new(Duration::from_millis(ms));
            assert!(ticks.tick_ms * ticks.window >= ms, "{ms}");
            assert!(ticks.window <= WINDOW_TICKS_MAX && ticks.window >= 1, "{ms}");
        }
        assert_eq!(Ticks::new(Duration::from_secs(30)), Ticks { tick_ms: 500, window: 60 });
    }
}
