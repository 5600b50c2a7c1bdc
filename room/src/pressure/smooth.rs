//! A smoothed measurement.

use std::time::Duration;

/// How long a change takes to be seen in full, roughly: one long turn of the event loop is no distress.
const TIME_CONSTANT: Duration = Duration::from_secs(2);

/// An exponential moving average over uneven intervals.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Smooth {
    value: f64,
    at_ms: Option<u64>,
}

impl Smooth {
    /// Takes what was measured up to `now_ms` in, and gives the average. It starts at zero: a node is born idle.
    pub(super) fn add(&mut self, now_ms: u64, measured: f64) -> f64 {
        let since_ms = self.at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms));
        self.at_ms = Some(now_ms);
        let weight = 1.0 - (-(since_ms as f64) / TIME_CONSTANT.as_millis() as f64).exp();
        self.value += (measured - self.value) * weight;
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_is_seen_in_full_after_a_while_however_often_it_is_looked_at() {
        for every_ms in [10, 100, 500] {
            let mut smooth = Smooth::default();
            let at = |smooth: &mut Smooth, from_ms: u64, to_ms: u64, measured| {
                (from_ms..=to_ms).step_by(every_ms).map(|now_ms| smooth.add(now_ms, measured)).last().unwrap()
            };
            let soon = at(&mut smooth, 0, 2_000, 1.0);
            assert!((soon - 0.632).abs() < 0.01, "{soon}");
            assert!(at(&mut smooth, 2_000, 20_000, 1.0) > 0.99);
            assert!(at(&mut smooth, 20_000, 40_000, 0.0) < 0.01);
        }
    }
}
