//! Parked polls of one room, all answered by every message.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Figure, Outcome,
    play::{Contender, MESSAGE_BYTES, Scenario, Stage},
};
use crate::{
    client::{Behaviour, Crowd},
    mark::List,
    measure::Meter,
    peers::{Peer, Server},
    stats::Spread,
};

/// How long a message may take to the last viewer.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Least rest after a message, for the server to park everybody again.
const REST_MIN: Duration = Duration::from_millis(20);
/// Rest before memory is read.
const REST_BEFORE_MEMORY: Duration = Duration::from_millis(300);
/// Messages that are not counted: the first ones grow buffers.
const WARM_UP: u32 = 2;
/// Viewers that connect before those already there are looked after.
const CONNECT_BATCH: u32 = 64;

/// A small and a large room.
pub(super) fn scenarios<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Vec<Scenario<'a>> {
    [(1_000, stage.scale(200, 40)), (10_000, stage.scale(30, 6))]
        .into_iter()
        .map(|(viewers, messages)| Scenario {
            name: format!("{viewers} parked polls"),
            story: format!(
                "{viewers} viewers of one room with a parked poll each; {messages} messages one after the other, each sent \
                 when all viewers have the last one and have polled again. Microseconds a delivery are seconds a million \
                 deliveries. Memory (Pss) is read before the first viewer \
                 and after the last message."
            ),
            contenders: peers
                .iter()
                .map(|peer| Contender::server(*peer, stage.start(), move |peer, server| play(peer, server, viewers, messages)))
                .collect(),
        })
        .collect()
}

fn play(peer: &dyn Peer, server: &Server, viewers: u32, messages: u32) -> Result<Outcome> {
    let tree = server.process.tree();
    let mut crowd = Crowd::new(peer, server, Behaviour::Follow(Duration::ZERO), MESSAGE_BYTES)?;
    let empty_bytes = tree.pss_bytes()?;
    for nth in 0..viewers {
        crowd.open()?;
        if nth % CONNECT_BATCH == 0 {
            crowd.turn(Duration::ZERO)?;
        }
    }
    crowd.run(REST_BEFORE_MEMORY, |_| false)?;
    deliver(&mut crowd, WARM_UP)?;

    crowd.take_tally();
    let meter = Meter::start(tree)?;
    let times = deliver(&mut crowd, messages)?;
    let spent = meter.spent()?;
    let received = crowd.take_tally().received as f64;
    crowd.run(REST_BEFORE_MEMORY, |_| false)?;
    let grown_bytes = tree.pss_bytes()?.saturating_sub(empty_bytes) as f64;

    let last_viewer_ms = Spread::of(times.iter().map(|time| time.as_secs_f64() * 1e3))
        .map_or(f64::NAN, |spread| spread.median);
    Ok(Outcome {
        figures: vec![
            (Figure::CpuPerDelivery, spent.server_cpu_s * 1e6 / received),
            (Figure::MemoryPerPoll, grown_bytes / f64::from(viewers)),
            (Figure::LastViewer, last_viewer_ms),
            (Figure::ClientCpuPerDelivery, spent.client_cpu_s * 1e6 / received),
        ],
        spent: Some(spent),
        verdict: crowd.verdict(),
    })
}

/// Sends messages one after the other; tells how long each took to the last viewer. Stops at one that did not arrive:
/// the verdict says who misses it.
fn deliver(crowd: &mut Crowd<'_>, messages: u32) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..messages {
        let began = Instant::now();
        crowd.send_now(List::Normal)?;
        if !crowd.run(DELIVERY_TIMEOUT, Crowd::has_everything)? {
            break;
        }
        let time = began.elapsed();
        times.push(time);
        crowd.run(REST_MIN.max(time / 2), |_| false)?;
    }
    Ok(times)
}
