//! The canary: the node sends a message to itself every second and polls it back.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use metrics::{counter, histogram};
use room::{MessageType, Priority, Problem, Role, RoomKey, Seq, UserId};
use sendsvr::{Caller, CountedAs, Draft, SendService};
use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    metrics::{CANARY, CANARY_FAILURES},
    ops::{CANARY_STALE_AFTER, Readiness},
};

/// From the start of one round to that of the next.
pub const CANARY_INTERVAL: Duration = Duration::from_secs(1);

/// The way of a message through the node: sent into [`room::RoomKey::canary`] as clients' messages are, and heard of by
/// every thread that holds polls.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Sends a message, and gives back its place once the log has it.
    async fn send(&self) -> anyhow::Result<Seq>;

    /// Waits until every such thread has heard of the message at `seq`. Cancel-safe.
    async fn poll_until(&self, seq: Seq) -> anyhow::Result<()>;
}

/// Puts a message into the room of a canary, the way that clients' messages go.
///
/// # Errors
/// As any send's.
pub async fn send(sender: &dyn SendService, room: &RoomKey) -> Result<Seq, Problem> {
    let user = UserId::internal("_canary");
    let caller = Caller {
        sender: user.clone(),
        role: Role::Ops,
        rights: Role::Ops,
        counted_as: CountedAs::User(user),
    };
    let draft = Draft {
        id: None,
        kind: MessageType::internal("room.canary"),
        priority: Priority::Normal,
        text: Some("tweet".to_owned()),
        data: None,
    };
    Ok(sender.send(&caller, room, draft).await?.seq)
}

/// Probes the node until `stop`: a success goes to the metric and to `readiness`, a failure to `readiness` and,
/// when it is the first of several, to the log.
pub async fn run(probe: &dyn Probe, readiness: &Arc<Readiness>, stop: &CancellationToken) {
    let mut ticks = time::interval(CANARY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_failed = false;
    loop {
        // A round that is dropped by `stop` may leave its message unread: nobody misses it.
        let round = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            round = async { ticks.tick().await; round(probe).await } => round,
        };
        match round {
            Ok(delay) => {
                histogram!(CANARY).record(delay.as_secs_f64());
                readiness.canary_succeeded();
                if has_failed {
                    info!("canary comes through again");
                }
                has_failed = false;
            }
            Err(error) => {
                counter!(CANARY_FAILURES).increment(1);
                let why = format!("{error:#}");
                if !has_failed {
                    warn!(error = why, "canary did not come through");
                }
                readiness.canary_failed(why);
                has_failed = true;
            }
        }
    }
}

async fn round(probe: &dyn Probe) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let through = async {
        let seq = probe.send().await?;
        probe.poll_until(seq).await
    };
    // Once it would make the node unready anyway, waiting on is of no use.
    match time::timeout(CANARY_STALE_AFTER, through).await {
        Ok(through) => through.map(|()| began.elapsed()),
        Err(_) => anyhow::bail!("no answer within {} s", CANARY_STALE_AFTER.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// A node that sends only while it has permits, one a message.
    struct Node {
        permits: Semaphore,
        sent: AtomicU64,
        is_refusing: bool,
    }

    #[async_trait]
    impl Probe for Node {
        async fn send(&self) -> anyhow::Result<Seq> {
            anyhow::ensure!(!self.is_refusing, "the log can't be written");
            self.permits.acquire().await?.forget();
            Ok(Seq(self.sent.fetch_add(1, Ordering::Relaxed) + 1))
        }

        async fn poll_until(&self, seq: Seq) -> anyhow::Result<()> {
            time::sleep(Duration::from_millis(10)).await;
            anyhow::ensure!(seq.0 <= self.sent.load(Ordering::Relaxed), "not there");
            Ok(())
        }
    }

    fn node(permits: usize, is_refusing: bool) -> Arc<Node> {
        Arc::new(Node { permits: Semaphore::new(permits), sent: AtomicU64::new(0), is_refusing })
    }

    /// Runs the canary of a node for a while.
    async fn after(node: &Arc<Node>, seconds: u64) -> (Arc<Readiness>, CancellationToken) {
        let readiness = Arc::new(Readiness::new(|| Ok(())));
        let stop = CancellationToken::new();
        let (probe, ready, stopped) = (Arc::clone(node), Arc::clone(&readiness), stop.clone());
        tokio::spawn(async move { run(&*probe, &ready, &stopped).await });
        time::sleep(Duration::from_secs(seconds) + Duration::from_millis(500)).await;
        (readiness, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn working_node_is_probed_every_second() {
        let node = node(100, false);
        let (readiness, stop) = after(&node, 10).await;
        assert!(readiness.is_ready());
        assert_eq!(node.sent.load(Ordering::Relaxed), 11);
        stop.cancel();
        time::sleep(Duration::from_secs(10)).await;
        assert_eq!(node.sent.load(Ordering::Relaxed), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn stuck_node_is_not_ready_and_recovers() {
        let node = node(3, false);
        let (readiness, _stop) = after(&node, 20).await;
        assert!(readiness.reasons()[0].detail.ends_with("no answer within 5 s"), "{:?}", readiness.reasons());
        node.permits.add_permits(100);
        time::sleep(Duration::from_secs(2)).await;
        assert!(readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn refusing_node_says_why_it_is_not_ready() {
        let (readiness, _stop) = after(&node(0, true), 2).await;
        assert_eq!(
            readiness.reasons()[0].detail,
            "no message has come through yet: the log can't be written"
        );
    }
}
