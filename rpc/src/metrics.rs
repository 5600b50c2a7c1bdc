//! What calls between nodes tell about themselves.

use metrics::{Unit, counter, describe_counter};

const CALLS: &str = "bigroom_rpc_calls_total";
const RETRIES: &str = "bigroom_rpc_retries_total";
const BREAKERS: &str = "bigroom_rpc_breakers_opened_total";

/// Describes the metrics, and counts from zero.
pub fn describe() {
    describe_counter!(CALLS, Unit::Count, "Calls of other nodes, by how they ended");
    describe_counter!(
        RETRIES,
        Unit::Count,
        "Calls of other nodes that were made again, and those that would have been if the budget had allowed it"
    );
    describe_counter!(BREAKERS, Unit::Count, "Times at which a node that failed was left alone for a while");
    for result in ["ok", "refused", "failed"] {
        counter!(CALLS, "result" => result).increment(0);
    }
    for result in ["made", "over_budget"] {
        counter!(RETRIES, "result" => result).increment(0);
    }
    counter!(BREAKERS).increment(0);
}

pub(crate) fn call(result: &'static str) {
    counter!(CALLS, "result" => result).increment(1);
}

pub(crate) fn retry(result: &'static str) {
    counter!(RETRIES, "result" => result).increment(1);
}

pub(crate) fn breaker_opened() {
    counter!(BREAKERS).increment(1);
}
