//! What a thread counts within a second.

use super::super::{
    latencies::{Latencies, LatencyRecorder},
    outcome::{Counters, Sample},
};

/// A thread's share of one second, handed over when the second is over.
#[derive(Default, Debug)]
pub(in crate::run) struct Second {
    pub(in crate::run) sample: Sample,
    pub(in crate::run) join_latencies: Latencies,
    pub(in crate::run) send_latencies: [Latencies; 2],
}

/// Counts.
pub(in crate::run) struct Tally {
    pub(in crate::run) counters: Counters,
    /// Of messages, by list.
    pub(in crate::run) ages: [LatencyRecorder; 2],
    pub(in crate::run) joins: LatencyRecorder,
    /// Of sends, by list.
    pub(in crate::run) sends: [LatencyRecorder; 2],
}

impl Tally {
    pub(in crate::run) fn new() -> Self {
        let two = || [LatencyRecorder::new(), LatencyRecorder::new()];
        Self { counters: Counters::default(), ages: two(), joins: LatencyRecorder::new(), sends: two() }
    }

    /// What was counted since the last call, as the second `at_s`.
    pub(in crate::run) fn take(&mut self, at_s: u32) -> Second {
        let sample = Sample {
            at_s,
            counters: std::mem::take(&mut self.counters),
            ages: self.ages.each_mut().map(LatencyRecorder::take),
            ..Sample::default()
        };
        Second {
            sample,
            join_latencies: self.joins.take(),
            send_latencies: self.sends.each_mut().map(LatencyRecorder::take),
        }
    }
}
