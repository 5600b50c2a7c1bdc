//! A node to test on, and readers of it.

mod faults;
mod node;
mod reader;

use std::time::{Duration, Instant};

pub(crate) use faults::{LossyNotices, SlowStore};
pub(crate) use node::{Node, local_runtime, message, on_node, room};
pub(crate) use reader::{Got, Reader, ask_at, field, finish};
use recvsvr::RecvOptions;
use room::PollPolicy;

/// How long anything may take that should be quick: generous, because a debug build shares few cores with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A hold that outlasts every test (milliseconds).
pub(crate) const LONG_MS: u64 = 25_000;

/// What a node has unless a test says otherwise.
pub(crate) fn options() -> RecvOptions {
    RecvOptions { policy: std::sync::Arc::new(PollPolicy::off()), ..RecvOptions::default() }
}

/// Awaits `future`, and fails the test with `what` if that takes too long.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Waits until `is_so`; fails the test with `what` if that takes too long.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
