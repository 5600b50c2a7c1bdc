//! Latencies as counts, so that those of many threads, processes and seconds add up.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// Longest latency told apart (microseconds): ten minutes, what a reader that is held up for a whole run may see.
const LATENCY_MAX_US: u64 = 600_000_000;

/// Counts latencies while they come in: a fixed table, one increment a latency.
pub(crate) struct LatencyRecorder(hdrhistogram::Histogram<u64>);

impl LatencyRecorder {
    /// Nothing yet. Latencies are told apart to a hundredth of their value.
    pub(crate) fn new() -> Self {
        Self(hdrhistogram::Histogram::new_with_bounds(1, LATENCY_MAX_US, 2).expect("the bounds are good"))
    }

    /// Counts one (microseconds).
    pub(crate) fn record(&mut self, latency_us: u64, count: u64) {
        self.0.saturating_record_n(latency_us.clamp(1, LATENCY_MAX_US), count);
    }

    /// What was counted since the last call.
    pub(crate) fn take(&mut self) -> Latencies {
        if self.0.is_empty() {
            return Latencies::default();
        }
        let counts =
            self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        self.0.reset();
        Latencies(counts)
    }
}

/// Latencies (microseconds) and how often each occurred; equal ones of all recorders have equal keys.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub(crate) struct Latencies(BTreeMap<u64, u64>);

impl Latencies {
    /// Adds what others counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (latency_us, count) in &other.0 {
            *self.0.entry(*latency_us).or_default() += count;
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least latency that `quantile` of all do not exceed (nearest rank, 0 to 1); `None` if there are none.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        self.0.iter().find_map(|(latency_us, count)| {
            seen += count;
            (seen >= rank).then_some(Duration::from_micros(*latency_us))
        })
    }

    /// [`Self::quantile`] in milliseconds; not a number if there are none.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.quantile(quantile).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }

    /// The longest.
    pub(crate) fn max(&self) -> Option<Duration> {
        self.0.last_key_value().map(|(latency_us, _)| Duration::from_micros(*latency_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(values: impl IntoIterator<Item = u64>) -> Latencies {
        let mut recorder = LatencyRecorder::new();
        values.into_iter().for_each(|value| recorder.record(value, 1));
        recorder.take()
    }

    #[test]
    fn quantiles_are_within_a_hundredth() {
        let latencies = recorded((1..=10_000).map(|value| value * 10));
        for (quantile, expect) in [(0.5, 50_000.0), (0.99, 99_000.0), (1.0, 100_000.0)] {
            let found = latencies.quantile(quantile).unwrap().as_micros() as f64;
            assert!((found / expect - 1.0).abs() < 0.011, "{quantile}: {found}");
        }
        assert_eq!(Latencies::default().quantile(0.5), None);
    }

    #[test]
    fn merging_is_counting_all_together() {
        let mut merged = recorded(1..500);
        merged.merge(&recorded(300..9_000));
        assert_eq!(merged, recorded((1..500).chain(300..9_000)));
        assert_eq!(merged.count(), 499 + 8_700);
    }

    #[test]
    fn recorder_starts_over_when_taken() {
        let mut recorder = LatencyRecorder::new();
        recorder.record(0, 3);
        assert_eq!(recorder.take().count(), 3);
        assert!(recorder.take().is_empty());
    }

    #[test]
    fn longest_counts_as_the_bound() {
        assert!(recorded([u64::MAX]).max().unwrap() >= Duration::from_micros(LATENCY_MAX_US));
    }
}
