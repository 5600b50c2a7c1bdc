//! Many messages, many viewers, at a pace that every server keeps: what an equal amount of work costs.
//!
//! An overloaded server batches more and looks cheaper, so nothing here goes as fast as it can.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Figure, Outcome,
    play::{Contender, MESSAGE_BYTES, Scenario, Stage},
};
use crate::{
    client::{Behaviour, Crowd, Histogram},
    mark::{List, NORMAL_SENDERS},
    measure::Meter,
    peers::{Peer, Server, Start},
};

const VIEWERS: u32 = 2_000;
/// Normal messages a second.
const RATE: f64 = 200.0;
/// Priority messages a second.
const PRIORITY_RATE: f64 = 1.0;
/// What a client pauses between an answer and its next poll.
const PAUSE: Duration = Duration::from_millis(100);
/// What the policy as shipped holds a viewer of a room of this size back.
const HOLD: Duration = Duration::from_millis(500);
/// Before the measured part.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the last messages may take to the last viewer.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
struct Storm {
    pause: Duration,
    /// Viewers come one after the other over so long, so that they do not poll in step.
    arrival: Duration,
    time: Duration,
}

/// Clients pause, the server answers at once.
pub(super) fn paused_by_clients<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    let storm = Storm {
        pause: PAUSE,
        arrival: PAUSE,
        time: stage.scale(Duration::from_secs(10), Duration::from_secs(3)),
    };
    Scenario {
        name: "storm".to_owned(),
        story: format!(
            "{VIEWERS} viewers that pause {PAUSE:?} between an answer and their next poll; {RATE} normal messages a \
             second from {NORMAL_SENDERS} senders and {PRIORITY_RATE} priority message a second from another, at set times, for \
             {:?}. Ages count from when a message was due; \
             a viewer that pauses gets a priority message no earlier than another.",
            storm.time
        ),
        contenders: contenders(peers, stage.start(), storm),
    }
}

/// Clients come back at once, the server holds them.
pub(super) fn held_by_server<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    let storm = Storm {
        pause: Duration::ZERO,
        arrival: HOLD,
        time: stage.scale(Duration::from_secs(10), Duration::from_secs(3)),
    };
    Scenario {
        name: "storm, held by the server".to_owned(),
        story: format!(
            "The same {VIEWERS} viewers and messages, but viewers poll again at once, and the server's policy as shipped \
             holds normal messages back ({HOLD:?} for a room of this size) while priority messages go through, for {:?}.",
            storm.time
        ),
        contenders: contenders(peers, Start { holds: true, ..stage.start() }, storm),
    }
}

fn contenders<'a>(peers: &[&'a dyn Peer], start: Start<'a>, storm: Storm) -> Vec<Contender<'a>> {
    peers
        .iter()
        .map(|peer| Contender::server(*peer, start, move |peer, server| play(peer, server, storm)))
        .collect()
}

fn play(peer: &dyn Peer, server: &Server, storm: Storm) -> Result<Outcome> {
    let mut crowd = Crowd::new(peer, server, Behaviour::Follow(storm.pause), MESSAGE_BYTES)?;
    crowd.set_rate(List::Normal, RATE);
    crowd.set_rate(List::Priority, PRIORITY_RATE);
    arrive(&mut crowd, storm.arrival)?;
    crowd.run(WARM_UP, |_| false)?;

    crowd.take_tally();
    let late_before = crowd.late_sends();
    let meter = Meter::start(server.process.tree())?;
    crowd.run(storm.time, |_| false)?;
    let spent = meter.spent()?;
    let tally = crowd.take_tally();
    let late = crowd.late_sends() - late_before;

    crowd.set_rate(List::Normal, 0.0);
    crowd.set_rate(List::Priority, 0.0);
    crowd.run(LAST_TIMEOUT, Crowd::has_everything)?;
    let received = tally.received as f64;
    let age_ms = |list: List, quantile: f64| milliseconds(&tally.ages[list.index()], quantile);
    Ok(Outcome {
        figures: vec![
            (Figure::CpuPerDelivery, spent.server_cpu_s * 1e6 / received),
            (Figure::NormalAgeP50, age_ms(List::Normal, 0.5)),
            (Figure::NormalAgeP99, age_ms(List::Normal, 0.99)),
            (Figure::PriorityAgeP50, age_ms(List::Priority, 0.5)),
            (Figure::PriorityAgeP99, age_ms(List::Priority, 0.99)),
            (Figure::MessagesPerAnswer, received / tally.answers as f64),
            (Figure::ClientCpuPerDelivery, spent.client_cpu_s * 1e6 / received),
            (Figure::LateSends, late as f64),
        ],
        spent: Some(spent),
        verdict: crowd.verdict(),
    })
}

fn arrive(crowd: &mut Crowd<'_>, over: Duration) -> Result<()> {
    let began = Instant::now();
    for nth in 0..VIEWERS {
        let due = over * nth / VIEWERS;
        crowd.run(due.saturating_sub(began.elapsed()), |_| false)?;
        crowd.open()?;
    }
    Ok(())
}

/// A quantile in milliseconds; not a number if there is no value.
pub(super) fn milliseconds(histogram: &Histogram, quantile: f64) -> f64 {
    if histogram.is_empty() { f64::NAN } else { histogram.value_at_quantile(quantile) as f64 / 1e3 }
}
