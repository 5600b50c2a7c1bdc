//! Many senders share one sync.
#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod support;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use room::List;
use store::Store;
use support::{message, open, room};

const SENDERS: u64 = 128;
const EACH: u64 = 20;

/// The value of a metric without labels.
fn value(rendered: &str, name: &str) -> f64 {
    let line = rendered.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in {rendered}")).split(' ').next_back().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_senders_share_syncs() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        let store = Arc::clone(&store);
        senders.push(tokio::spawn(async move {
            for _ in 0..EACH {
                store.append(message(&room(&format!("r{}", sender % 10)), List::Normal, "x")).await.unwrap();
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let rendered = metrics.render();
    let commits = value(&rendered, "bigroom_log_commit_seconds_count");
    assert_eq!(value(&rendered, "bigroom_log_commit_operations_sum"), (SENDERS * EACH) as f64);
    assert!(commits >= EACH as f64, "one sender waits for each of its answers: {commits}");
    assert!(commits < (SENDERS * EACH / 4) as f64, "{commits} syncs for {} messages", SENDERS * EACH);
    assert_eq!(value(&rendered, "bigroom_log_corruption_total"), 0.0);
    assert!(rendered.contains(r#"bigroom_queue_depth{queue="log_writer"}"#), "{rendered}");
}
