//! What the store tells about itself.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const QUEUE_DEPTH: &str = "bigroom_queue_depth";
const COMMIT_SECONDS: &str = "bigroom_log_commit_seconds";
const COMMIT_OPERATIONS: &str = "bigroom_log_commit_operations";
const CORRUPTION: &str = "bigroom_log_corruption_total";
const WRITE_FAILURES: &str = "bigroom_log_write_failures_total";
const RECORDS_DAMAGED: &str = "bigroom_log_records_damaged_total";

/// One of the store's queues.
#[derive(Clone, Copy)]
pub(crate) enum Queue {
    Writer,
    Reader,
}

/// Describes the store's metrics and counts from zero; called when a store is opened.
pub(crate) fn describe() {
    describe_gauge!(QUEUE_DEPTH, Unit::Count, "Entries waiting in a queue.");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time to write one batch to the log and sync it.");
    describe_histogram!(
        COMMIT_OPERATIONS,
        Unit::Count,
        "Appends and other changes that shared one sync of the log."
    );
    describe_counter!(CORRUPTION, Unit::Count, "Reads of the log that met damage; must stay 0.");
    describe_counter!(WRITE_FAILURES, Unit::Count, "Batches that could not be written to the log.");
    describe_counter!(
        RECORDS_DAMAGED,
        Unit::Count,
        "Records of statistics that were damaged and passed over."
    );
    counter!(CORRUPTION).absolute(0);
    counter!(RECORDS_DAMAGED).absolute(0);
    counter!(WRITE_FAILURES).absolute(0);
    queue_depth(Queue::Writer, 0);
    queue_depth(Queue::Reader, 0);
}

pub(crate) fn queue_depth(queue: Queue, depth: usize) {
    let queue = match queue {
        Queue::Writer => "log_writer",
        Queue::Reader => "log_reader",
    };
    gauge!(QUEUE_DEPTH, "queue" => queue).set(depth as f64);
}

pub(crate) fn commit(operations: usize, took: Duration) {
    histogram!(COMMIT_SECONDS).record(took.as_secs_f64());
    histogram!(COMMIT_OPERATIONS).record(operations as f64);
}

pub(crate) fn corruption() {
    counter!(CORRUPTION).increment(1);
}

pub(crate) fn write_failure() {
    counter!(WRITE_FAILURES).increment(1);
}

pub(crate) fn record_damaged() {
    counter!(RECORDS_DAMAGED).increment(1);
}
