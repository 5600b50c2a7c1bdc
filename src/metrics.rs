//! The metrics recorder of the process, and the metrics of its front. Each crate describes its own.

use std::time::Duration;

use anyhow::Context;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use room::ErrorCode;

/// Connections that are open.
pub const CONNECTIONS: &str = "bigroom_connections";
/// Refusals, by their code.
pub const REFUSED: &str = "bigroom_refused_total";
/// Polls with a cursor on a connection that has had no poll before: somebody came back.
pub const RECONNECTS: &str = "bigroom_reconnects_total";
/// Connections of balancers that were ended because they did not begin with a good PROXY header.
pub const UNANNOUNCED: &str = "bigroom_proxy_headers_refused_total";
/// From the canary's send to the poll that got it.
pub const CANARY: &str = "bigroom_canary_seconds";
/// Canary rounds that failed.
pub const CANARY_FAILURES: &str = "bigroom_canary_failures_total";
/// Proofs of presence: polls of every form, and sends.
pub const HEARTBEATS: &str = "bigroom_heartbeats_total";
/// Users who are online, by sect: made anew whenever it is asked for.
pub const ONLINE_USERS: &str = "bigroom_online_users";
/// Which step of the pressure ladder the node is on.
pub const PRESSURE_STEP: &str = "bigroom_pressure_step";
/// What the node multiplies its intervals by.
pub const LOAD_FACTOR: &str = "bigroom_load_factor";
/// How late the latest worker was, four times a second.
pub const EVENT_LOOP_LAG: &str = "bigroom_event_loop_lag_seconds";

/// Upper ends of the buckets of all histograms of seconds.
///
/// Fine between a tenth of a millisecond and a second, where deliveries are, and on to the 30 s after which nobody
/// waits any more; the alert limits of 0.5 s and 2 s are ends of buckets, so that alerts compare exact counts.
const SECONDS_BUCKETS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
    20.0, 30.0,
];

/// How often histograms are gathered.
///
/// Until then every sample takes 16 bytes, and a fan-out makes one for each viewer, so that a busy server would hold
/// the samples of seconds otherwise. Gathering them costs the same however often it is done.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_millis(250);

/// Makes the process's recorder, with the metrics of the front at zero. To be called before other crates describe
/// or record theirs.
///
/// The handle renders what was recorded; [`crate::ops::serve`] serves it and keeps it from growing.
///
/// # Errors
/// If the process has a recorder already.
pub fn install() -> anyhow::Result<PrometheusHandle> {
    let handle = builder()?.install_recorder().context("install the metrics recorder")?;
    describe();
    Ok(handle)
}

fn builder() -> anyhow::Result<PrometheusBuilder> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)
        .context("set the histograms' buckets")
}

fn describe() {
    describe_gauge!(CONNECTIONS, "Connections that are open");
    gauge!(CONNECTIONS).set(0);
    describe_counter!(REFUSED, "Refusals by code");
    for code in ErrorCode::ALL {
        counter!(REFUSED, "code" => code.as_str()).absolute(0);
    }
    describe_counter!(RECONNECTS, "First polls of a connection that carry a cursor: readers that came back");
    counter!(RECONNECTS).absolute(0);
    describe_counter!(
        UNANNOUNCED,
        "Connections of trusted balancers that were ended for want of a good PROXY header"
    );
    counter!(UNANNOUNCED).absolute(0);
    describe_counter!(HEARTBEATS, "Proofs of presence: polls of every form, and sends");
    counter!(HEARTBEATS).absolute(0);
    describe_histogram!(CANARY, Unit::Seconds, "From the canary's send to the poll that got it");
    let _ = histogram!(CANARY);
    describe_counter!(CANARY_FAILURES, "Canary rounds that failed");
    counter!(CANARY_FAILURES).absolute(0);
    describe_gauge!(PRESSURE_STEP, "Step of the pressure ladder that the node is on, 0 for none");
    gauge!(PRESSURE_STEP).set(0);
    describe_gauge!(LOAD_FACTOR, "What intervals are multiplied by because of the node's load, 1 to 4");
    gauge!(LOAD_FACTOR).set(1);
    describe_histogram!(
        EVENT_LOOP_LAG,
        Unit::Seconds,
        "How late the event loop of the latest worker was, four times a second"
    );
    let _ = histogram!(EVENT_LOOP_LAG);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_metrics_are_there_from_the_start() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, describe);
        let text = handle.render();
        for line in [
            "bigroom_connections 0",
            "bigroom_refused_total{code=\"unauthorized\"} 0",
            "bigroom_reconnects_total 0",
            "bigroom_proxy_headers_refused_total 0",
            "bigroom_heartbeats_total 0",
            "bigroom_pressure_step 0",
            "bigroom_load_factor 1",
            "bigroom_event_loop_lag_seconds_count 0",
            "bigroom_canary_seconds_count 0",
            "bigroom_canary_failures_total 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn seconds_are_counted_in_buckets() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || histogram!(CANARY).record(0.3));
        let text = handle.render();
        assert!(text.contains("bigroom_canary_seconds_bucket{le=\"0.25\"} 0"), "{text}");
        assert!(text.contains("bigroom_canary_seconds_bucket{le=\"0.5\"} 1"), "{text}");
    }
}
