//! What the read path counts.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) const PARKED_POLLS: &str = "bigroom_parked_polls";
pub(crate) const POLLS: &str = "bigroom_polls_total";
pub(crate) const ANSWERS_ENCODED: &str = "bigroom_answers_encoded_total";
pub(crate) const ANSWERS_SENT: &str = "bigroom_answers_sent_total";
pub(crate) const PRIORITY_GAP: &str = "bigroom_priority_gap_total";
pub(crate) const MESSAGES_SKIPPED: &str = "bigroom_messages_skipped_total";
pub(crate) const DELIVERY: &str = "bigroom_delivery_seconds";
pub(crate) const FANOUT: &str = "bigroom_fanout_seconds";
pub(crate) const PULLS: &str = "bigroom_pulls_total";
pub(crate) const PASSED_ON: &str = "bigroom_passed_on_total";
pub(crate) const ROOMS_CACHED: &str = "bigroom_rooms_cached";
pub(crate) const CACHE_BYTES: &str = "bigroom_cache_bytes";
pub(crate) const REQUESTS_SAVED: &str = "bigroom_requests_saved_total";
pub(crate) const QUEUE_DEPTH: &str = "bigroom_queue_depth";

/// What became of a poll.
pub(crate) const OUTCOMES: [&str; 5] = ["ready", "woken", "timeout", "gone", "drained"];

/// Describes the metrics of this crate and sets each to zero, so that all of them show from the start.
pub fn describe() {
    describe_gauge!(PARKED_POLLS, "Polls being held now.");
    describe_counter!(POLLS, "Polls by outcome: ready, woken, timeout, gone (the client left), drained.");
    describe_counter!(ANSWERS_ENCODED, "Answers encoded; one serves all who wait at the same cursor.");
    describe_counter!(ANSWERS_SENT, "Answers handed to clients.");
    describe_counter!(PRIORITY_GAP, "Priority messages that a reader could no longer get. Must stay 0.");
    describe_counter!(MESSAGES_SKIPPED, "Normal messages that readers were moved past, by reason.");
    describe_histogram!(DELIVERY, Unit::Seconds, "From a message's acceptance to the write to a viewer.");
    describe_histogram!(
        FANOUT,
        Unit::Seconds,
        "From a message's acceptance to the last waiting viewer's wake-up."
    );
    describe_counter!(
        PULLS,
        "Reads of the log by reason: fill, gap (a notice was missed), look, catch_up, epoch (another log)."
    );
    describe_counter!(
        PASSED_ON,
        "What other nodes read of the log here, by where it came from: memory, or the log behind it."
    );
    describe_gauge!(ROOMS_CACHED, "Rooms held in memory.");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Memory of the messages held.");
    describe_counter!(
        REQUESTS_SAVED,
        "Messages that shared an answer with another one, summed over readers: requests that one answer a message would have cost."
    );
    metrics::gauge!(PARKED_POLLS).set(0.0);
    metrics::gauge!(ROOMS_CACHED).set(0.0);
    metrics::gauge!(CACHE_BYTES).set(0.0);
    metrics::gauge!(QUEUE_DEPTH, "queue" => "fanout").set(0.0);
    for outcome in OUTCOMES {
        metrics::counter!(POLLS, "outcome" => outcome).absolute(0);
    }
    for format in ["json", "protobuf"] {
        for compression in ["none", "gzip", "zstd"] {
            metrics::counter!(ANSWERS_ENCODED, "format" => format, "compression" => compression).absolute(0);
        }
    }
    metrics::counter!(ANSWERS_SENT).absolute(0);
    metrics::counter!(PRIORITY_GAP).absolute(0);
    metrics::counter!(REQUESTS_SAVED).absolute(0);
    for reason in ["shed", "retention", "epoch"] {
        metrics::counter!(MESSAGES_SKIPPED, "reason" => reason).absolute(0);
    }
    for from in ["memory", "log"] {
        metrics::counter!(PASSED_ON, "from" => from).absolute(0);
    }
    for reason in ["fill", "gap", "look", "catch_up", "epoch"] {
        metrics::counter!(PULLS, "reason" => reason).absolute(0);
    }
}
