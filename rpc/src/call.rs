//! Asking one of several nodes.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tracing::debug;

use crate::{Peer, RetryBudget, metrics, peer::request};

/// Most times that a call is made (count), the first included.
const TRIES_MAX: u32 = 3;

/// How long one waits before the same node is asked again: up to this, at random.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Whether a call may be made again when it is not known what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idempotence {
    /// Twice is the same as once: it may be made again after any failure of a node.
    Idempotent,
    /// It must not be done twice: it is made once.
    Once,
}

/// Whether a status says that the node failed, rather than what it thinks of the call.
#[must_use]
pub fn is_of_the_node(status: &Status) -> bool {
    let is_transport =
        matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled);
    // A refusal of ours travels in the details.
    is_transport && status.details().is_empty()
}

/// Asks `peers`, in their order, until one answers or the time is over: those that are left alone come last.
///
/// `ask` makes one call of a node with the request that it is given.
///
/// # Errors
/// The answer of the node that was asked last; `unavailable` if there is no node.
pub async fn call<Message, T, F>(
    peers: &[Arc<Peer>],
    budget: &RetryBudget,
    deadline: Duration,
    idempotence: Idempotence,
    message: Message,
    ask: impl Fn(&Peer, Request<Message>) -> F,
) -> Result<T, Status>
where
    Message: Clone,
    F: Future<Output = Result<T, Status>>,
{
    budget.earn();
    let until = Instant::now() + deadline;
    let tries = if idempotence == Idempotence::Idempotent { TRIES_MAX } else { 1 };
    let mut last: Option<(usize, Status)> = None;
    for tried in 0..tries {
        let avoid = last.as_ref().map(|(at, _)| *at);
        let Some(at) = choose(peers, avoid) else { break };
        if avoid == Some(at) {
            let pause = PAUSE_MAX.mul_f64(rand::rng().random_range(0.2..=1.0));
            tokio::time::sleep(pause).await;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        // The first of several tries must leave time for the next one.
        let allotted = if tried + 1 < tries && peers.len() > 1 { left / 2 } else { left };
        let peer = &peers[at];
        match peer.ask(allotted, ask(peer, request(message.clone(), allotted))).await {
            Ok(answer) => return Ok(answer),
            Err(status) if !is_of_the_node(&status) => return Err(status),
            Err(status) => {
                debug!(node = %peer.address(), code = ?status.code(), message = status.message(), "node did not answer");
                last = Some((at, status));
            }
        }
        if tried + 1 < tries {
            if !budget.take() {
                metrics::retry("over_budget");
                break;
            }
            metrics::retry("made");
        }
    }
    Err(last.map_or_else(|| Status::unavailable("no node is there to be asked"), |(_, status)| status))
}

/// Which node to ask: the first that may be asked and is not `avoid`; else any that may; else the first.
fn choose(peers: &[Arc<Peer>], avoid: Option<usize>) -> Option<usize> {
    let others = (0..peers.len()).filter(|at| Some(*at) != avoid);
    let allowed = others.chain(avoid).find(|at| peers[*at].breaker().allows());
    // Where all are left alone, somebody has to be asked all the same: the caller has nothing better.
    allowed.or_else(|| (0..peers.len()).find(|at| Some(*at) != avoid)).or(avoid)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::{Address, Security};

    fn peers(count: u16) -> Vec<Arc<Peer>> {
        (0..count)
            .map(|at| Peer::new(&Address::new(&format!("127.0.0.1:{}", 1 + at)), &Security::none()).unwrap())
            .collect()
    }

    async fn outcome(
        peers: &[Arc<Peer>],
        budget: &RetryBudget,
        idempotence: Idempotence,
        answers: impl Fn(u32, &str) -> Result<u32, Status>,
    ) -> (Result<u32, Status>, u32) {
        let calls = AtomicU32::new(0);
        let second = Duration::from_secs(1);
        let ask = |peer: &Peer, request: Request<()>| {
            assert!(request.metadata().contains_key("grpc-timeout"));
            let answer = answers(calls.fetch_add(1, Ordering::Relaxed), peer.address().as_str());
            async move { answer }
        };
        let outcome = call(peers, budget, second, idempotence, (), ask).await;
        (outcome, calls.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn another_node_is_asked_when_one_fails() {
        let (peers, budget) = (peers(2), RetryBudget::default());
        let answers = |_, node: &str| match node {
            "127.0.0.1:1" => Err(Status::unavailable("gone")),
            _ => Ok(7),
        };
        let (answer, calls) = outcome(&peers, &budget, Idempotence::Idempotent, answers).await;
        assert_eq!((answer.unwrap(), calls), (7, 2));
        let (answer, calls) = outcome(&peers, &budget, Idempotence::Once, answers).await;
        assert_eq!((answer.unwrap_err().code(), calls), (Code::Unavailable, 1));
        // The third failure in a row opens the breaker: from then on the other one is asked first.
        outcome(&peers, &budget, Idempotence::Idempotent, answers).await.0.unwrap();
        let (answer, calls) = outcome(&peers, &budget, Idempotence::Once, answers).await;
        assert_eq!((answer.unwrap(), calls), (7, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_answers() {
        let (peers, budget) = (peers(2), RetryBudget::default());
        for status in [
            Status::not_found("no"),
            Status::with_details(Code::Unavailable, "refused", b"ours".to_vec().into()),
        ] {
            let answers = |_, _: &str| Err(status.clone());
            let (answer, calls) = outcome(&peers, &budget, Idempotence::Idempotent, answers).await;
            assert_eq!((answer.unwrap_err().code(), calls), (status.code(), 1));
        }
        assert!(!peers[0].breaker().is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn budget_bounds_what_is_tried_again() {
        let (peers, budget) = (peers(1), RetryBudget::default());
        while budget.take() {}
        let answers = |_, _: &str| Err(Status::unavailable("gone"));
        let (_, calls) = outcome(&peers, &budget, Idempotence::Idempotent, answers).await;
        assert_eq!(calls, 1);
        assert_eq!(outcome(&[], &budget, Idempotence::Once, |_, _| Ok(1)).await.1, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn node_that_does_not_answer_leaves_time_for_another() {
        let (peers, budget) = (peers(2), RetryBudget::default());
        let ask = |peer: &Peer, _: Request<()>| {
            let hangs = peer.address().as_str() == "127.0.0.1:1";
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok(3)
            }
        };
        let began = Instant::now();
        let answer = call(&peers, &budget, Duration::from_secs(1), Idempotence::Idempotent, (), ask).await;
        assert_eq!((answer.unwrap(), began.elapsed()), (3, Duration::from_millis(500)));
    }
}
