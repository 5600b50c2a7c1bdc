//! Parked polls of one room, all answered by every message.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Chapter, Figure, Outcome,
    play::{MESSAGE_BYTES, Scenario, Stage},
};
use crate::{
    client::{Behaviour, Crowd},
    mark::List,
    measure::Meter,
    peers::{Peer, Server, Start},
    stats::Spread,
};

/// How long a message may take to the last viewer.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take until every viewer has what it gets before any message.
const SEAT_TIMEOUT: Duration = Duration::from_secs(60);
/// Least rest after a message, for the server to park everybody again.
const REST_MIN: Duration = Duration::from_millis(20);
/// Rest before memory is read.
const REST_BEFORE_MEMORY: Duration = Duration::from_millis(300);
/// Messages that are not counted: the first ones grow buffers.
const WARM_UP: u32 = 2;
/// Least messages that are counted.
const MESSAGES_MIN: u32 = 3;
/// Viewers that connect before those already there are looked after.
const CONNECT_BATCH: u32 = 64;

/// A room whose viewers all wait.
#[derive(Clone, Copy)]
pub(super) struct Parked {
    /// Viewers of the room that is written to.
    pub(super) viewers: u32,
    /// Viewers of other rooms, spread over so many: there, but never written to.
    pub(super) elsewhere: u32,
    pub(super) rooms_elsewhere: u32,
    /// How long all are there before the first message, for what a server does once for new viewers and rooms: that is a figure
    /// of its own then.
    pub(super) settle: Option<Duration>,
    pub(super) messages: u32,
    pub(super) message_bytes: usize,
}

impl Parked {
    /// One room, nobody elsewhere.
    pub(super) const fn room_of(viewers: u32, messages: u32) -> Self {
        Self {
            viewers,
            elsewhere: 0,
            rooms_elsewhere: 0,
            settle: None,
            messages,
            message_bytes: MESSAGE_BYTES,
        }
    }

    /// As a scenario without a name.
    pub(super) fn scenario<'a>(
        self,
        chapter: Chapter,
        peers: &[&'a dyn Peer],
        start: Start<'a>,
    ) -> Scenario<'a> {
        let connected = self.viewers + self.elsewhere;
        Scenario::of_servers(chapter, connected, peers, start, move |peer, server| self.play(peer, server))
    }

    fn story(&self) -> String {
        format!(
            "{} viewers of one room with a parked poll each; {} messages one after the other, each sent when all viewers \
             have the last one and have polled again; fewer to a dear server. Microseconds a delivery are seconds a \
             million deliveries. Memory (Pss) is read before the first viewer and after the last message.",
            self.viewers, self.messages
        )
    }

    fn play(&self, peer: &dyn Peer, server: &Server) -> Result<Outcome> {
        let tree = server.process.tree();
        let mut crowd = Crowd::new(peer, server, Behaviour::Follow(Duration::ZERO), self.message_bytes)?;
        let empty_bytes = tree.pss_bytes()?;
        let arrival = Meter::start(tree)?;
        for nth in 0..self.viewers + self.elsewhere {
            if nth < self.viewers {
                crowd.open()?;
            } else {
                crowd.open_elsewhere(1 + (nth - self.viewers) % self.rooms_elsewhere)?;
            }
            if nth % CONNECT_BATCH == 0 {
                crowd.turn(Duration::ZERO)?;
            }
        }
        ensure!(
            crowd.run(SEAT_TIMEOUT, Crowd::is_seated)?,
            "not every viewer got a session within {SEAT_TIMEOUT:?}"
        );
        crowd.run(self.settle.unwrap_or(REST_BEFORE_MEMORY), |_| false)?;
        let arrival = arrival.spent()?;
        deliver(&mut crowd, WARM_UP)?;

        crowd.take_tally();
        let meter = Meter::start(tree)?;
        let messages = (self.messages / peer.dearness()).max(MESSAGES_MIN);
        let times = deliver(&mut crowd, messages)?;
        let spent = meter.spent()?;
        let received = crowd.take_tally().received as f64;
        crowd.run(REST_BEFORE_MEMORY, |_| false)?;
        let grown_bytes = tree.pss_bytes()?.saturating_sub(empty_bytes) as f64;

        let last_viewer_ms = Spread::of(times.iter().map(|time| time.as_secs_f64() * 1e3))
            .map_or(f64::NAN, |spread| spread.median);
        let mut outcome = Outcome {
            figures: vec![
                (Figure::CpuPerDelivery, spent.server_cpu_s * 1e6 / received),
                (Figure::MemoryPerPoll, grown_bytes / f64::from(self.viewers + self.elsewhere)),
                (Figure::LastViewer, last_viewer_ms),
                (Figure::ClientCpuPerDelivery, spent.client_cpu_s * 1e6 / received),
            ],
            spent: Some(spent),
            verdict: crowd.verdict(),
        };
        if self.settle.is_some() {
            let viewers = f64::from(self.viewers + self.elsewhere);
            outcome.figures.push((Figure::CpuPerArrival, arrival.server_cpu_s * 1e6 / viewers));
        }
        Ok(outcome)
    }
}

/// Name of the scenario with so many viewers.
pub(super) fn name(viewers: u32) -> String {
    format!("{viewers} parked polls")
}

/// A small room.
pub(super) fn small<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    of_room(stage, peers, 1_000, stage.scale(200, 40))
}

/// Small, large, and as large as a process commonly may have.
pub(super) fn scenarios<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Vec<Scenario<'a>> {
    vec![
        small(stage, peers),
        of_room(stage, peers, 10_000, stage.scale(30, 6)),
        of_room(stage, peers, 18_000, stage.scale(12, 3)),
    ]
}

fn of_room<'a>(stage: &'a Stage, peers: &[&'a dyn Peer], viewers: u32, messages: u32) -> Scenario<'a> {
    let parked = Parked::room_of(viewers, messages);
    parked.scenario(Chapter::Parked, peers, stage.start()).told(name(viewers), parked.story())
}

/// Over TLS.
pub(super) fn over_tls<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Vec<Scenario<'a>> {
    [(1_000, stage.scale(200, 20)), (10_000, stage.scale(20, 3))]
        .map(|(viewers, messages)| {
            let parked = Parked::room_of(viewers, messages);
            let name = name(viewers) + ", TLS";
            parked.scenario(Chapter::Tls, peers, stage.start_tls()).told(name, parked.story())
        })
        .into()
}

/// Sends messages one after the other; tells how long each took to the last viewer. Stops at one that did not arrive:
/// the verdict says who misses it.
pub(super) fn deliver(crowd: &mut Crowd<'_>, messages: u32) -> Result<Vec<Duration>> {
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
