//! What the statistics count of themselves.

mod history;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use self::history::HistoryMetrics;

/// Why proofs of presence were not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dropped {
    /// The statsvr has as many rooms as it may.
    Rooms,
    /// A collector had no room for more before its next flush.
    Collector,
    /// A statsvr did not take them in time, and too many were waiting.
    Queue,
    /// They waited for a statsvr until they were too old to matter.
    Stale,
}

impl Dropped {
    const ALL: [Self; 4] = [Self::Rooms, Self::Collector, Self::Queue, Self::Stale];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Collector => "collector",
            Self::Queue => "queue",
            Self::Stale => "stale",
        }
    }
}

/// Handles to the metrics, made once: they count into the recorder that was installed then.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Proofs of presence that a statsvr took.
    pub(crate) heartbeats: Counter,
    /// Batches that were sent anew.
    pub(crate) batches_repeated: Counter,
    /// Rooms, splits, users in this node's tables, and their bytes.
    pub(crate) rooms: Gauge,
    pub(crate) splits: Gauge,
    pub(crate) window_bytes: Gauge,
    pub(crate) names_bytes: Gauge,
    pub(crate) history: HistoryMetrics,
    dropped: [Counter; 4],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        describe_counter!("bigroom_heartbeats_total", "Proofs of presence that the statsvr took");
        describe_counter!(
            "bigroom_heartbeats_dropped_total",
            "Proofs of presence that were not counted, by why"
        );
        describe_counter!("bigroom_heartbeat_batches_repeated_total", "Batches that had to be sent again");
        describe_gauge!("bigroom_statsvr_rooms", "Rooms in the statsvr's tables");
        describe_gauge!("bigroom_statsvr_splits", "Splits in the statsvr's tables");
        describe_gauge!("bigroom_statsvr_window_bytes", "Memory of the online windows");
        describe_gauge!("bigroom_statsvr_names_bytes", "Memory of the viewers' names");
        let from_zero = |counter: Counter| {
            counter.increment(0);
            counter
        };
        Self {
            heartbeats: from_zero(counter!("bigroom_heartbeats_total")),
            batches_repeated: from_zero(counter!("bigroom_heartbeat_batches_repeated_total")),
            rooms: gauge!("bigroom_statsvr_rooms"),
            splits: gauge!("bigroom_statsvr_splits"),
            window_bytes: gauge!("bigroom_statsvr_window_bytes"),
            names_bytes: gauge!("bigroom_statsvr_names_bytes"),
            history: HistoryMetrics::new(),
            dropped: Dropped::ALL
                .map(|why| from_zero(counter!("bigroom_heartbeats_dropped_total", "reason" => why.as_str()))),
        }
    }

    /// So many were not counted.
    pub(crate) fn dropped(&self, why: Dropped, count: usize) {
        self.dropped[why as usize].increment(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn everything_counts_from_zero() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = metrics::with_local_recorder(&recorder, Metrics::new);
        let shown = || recorder.handle().render();
        for why in Dropped::ALL {
            let line = format!(r#"bigroom_heartbeats_dropped_total{{reason="{}"}} 0"#, why.as_str());
            assert!(shown().contains(&line), "{line}");
        }
        assert!(shown().contains("bigroom_heartbeats_total 0"));
        metrics.dropped(Dropped::Stale, 3);
        assert!(shown().contains(r#"bigroom_heartbeats_dropped_total{reason="stale"} 3"#));
    }
}
