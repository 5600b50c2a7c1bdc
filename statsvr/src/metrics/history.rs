//! What became of rooms' past: what was written, read, given up.

use metrics::{Counter, counter, describe_counter};

use crate::history::Flushed;

const ROOMS_WRITTEN: &str = "bigroom_history_rooms_written_total";
const WRITTEN_BYTES: &str = "bigroom_history_written_bytes_total";
const ROOMS_LOADED: &str = "bigroom_history_rooms_loaded_total";
const ROOMS_FORGOTTEN: &str = "bigroom_history_rooms_forgotten_total";
const LOOKS_REFUSED: &str = "bigroom_history_looks_refused_total";
const BLOCKS_GIVEN_UP: &str = "bigroom_history_blocks_given_up_total";
const FAILURES: &str = "bigroom_history_failures_total";

/// Handles to the metrics, counting from zero.
#[derive(Clone)]
pub(crate) struct HistoryMetrics {
    rooms_written: Counter,
    written_bytes: Counter,
    rooms_loaded: Counter,
    rooms_forgotten: Counter,
    looks_refused: Counter,
    blocks_given_up: Counter,
    failures: Counter,
}

impl HistoryMetrics {
    pub(super) fn new() -> Self {
        describe_counter!(ROOMS_WRITTEN, "Rooms whose statistics were written to the store");
        describe_counter!(WRITTEN_BYTES, "Keys and values of statistics that were written");
        describe_counter!(ROOMS_LOADED, "Rooms whose statistics were read from the store");
        describe_counter!(ROOMS_FORGOTTEN, "Rooms whose statistics left memory");
        describe_counter!(LOOKS_REFUSED, "Looks at rooms that found no place in memory");
        describe_counter!(BLOCKS_GIVEN_UP, "Parts of series that waited too long for the store");
        describe_counter!(FAILURES, "Times that statistics could not be written or read");
        let from_zero = |name: &'static str| {
            let counter = counter!(name);
            counter.increment(0);
            counter
        };
        Self {
            rooms_written: from_zero(ROOMS_WRITTEN),
            written_bytes: from_zero(WRITTEN_BYTES),
            rooms_loaded: from_zero(ROOMS_LOADED),
            rooms_forgotten: from_zero(ROOMS_FORGOTTEN),
            looks_refused: from_zero(LOOKS_REFUSED),
            blocks_given_up: from_zero(BLOCKS_GIVEN_UP),
            failures: from_zero(FAILURES),
        }
    }

    /// Rooms were read that were met for the first time.
    pub(crate) fn loaded(&self, rooms: usize) {
        self.rooms_loaded.increment(rooms as u64);
    }

    /// Reading or writing has failed.
    pub(crate) fn failed(&self) {
        self.failures.increment(1);
    }

    /// What a flush did.
    pub(crate) fn flushed(&self, flushed: &Flushed) {
        self.rooms_written.increment(flushed.rooms_written as u64);
        self.written_bytes.increment(flushed.bytes_written as u64);
        self.loaded(flushed.rooms_loaded);
        self.rooms_forgotten.increment(flushed.rooms_forgotten as u64);
        self.looks_refused.increment(flushed.rooms_refused);
        self.blocks_given_up.increment(flushed.blocks_given_up);
        if flushed.error.is_some() {
            self.failed();
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn flush_is_counted_from_zero() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = metrics::with_local_recorder(&recorder, HistoryMetrics::new);
        let shown = |line: &str| recorder.handle().render().lines().any(|shown| shown == line);
        for name in [
            ROOMS_WRITTEN,
            WRITTEN_BYTES,
            ROOMS_LOADED,
            ROOMS_FORGOTTEN,
            LOOKS_REFUSED,
            BLOCKS_GIVEN_UP,
            FAILURES,
        ] {
            assert!(shown(&format!("{name} 0")), "{name}");
        }
        let error = Some(store::StoreError::Unavailable("full".to_owned()));
        let flushed = Flushed {
            rooms_written: 2,
            bytes_written: 700,
            rooms_refused: 3,
            blocks_given_up: 4,
            error,
            ..Flushed::default()
        };
        metrics.flushed(&flushed);
        metrics.flushed(&Flushed {
            rooms_written: 1,
            rooms_forgotten: 5,
            rooms_loaded: 6,
            ..Flushed::default()
        });
        for (name, count) in [
            (ROOMS_WRITTEN, 3),
            (WRITTEN_BYTES, 700),
            (ROOMS_LOADED, 6),
            (ROOMS_FORGOTTEN, 5),
            (LOOKS_REFUSED, 3),
            (BLOCKS_GIVEN_UP, 4),
            (FAILURES, 1),
        ] {
            assert!(shown(&format!("{name} {count}")), "{name}");
        }
    }
}
