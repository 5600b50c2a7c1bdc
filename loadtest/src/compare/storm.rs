//! Many messages, many viewers, at a pace that every server keeps: what an equal amount of work costs.
//!
//! An overloaded server batches more and looks cheaper, so nothing here goes as fast as it can.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Chapter, Figure, Outcome,
    play::{MESSAGE_BYTES, Scenario, Stage},
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
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// What the policy as shipped holds a viewer of a room of this size back.
const HOLD: Duration = Duration::from_millis(500);
/// Before the measured part.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long it may take until every viewer has what it gets before any message.
const SEAT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the last messages may take to the last viewer.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);

/// Name of the scenario in which clients pause.
pub(super) const PAUSED: &str = "storm";
/// Name of the scenario in which the server holds.
pub(super) const HELD: &str = "storm, held by the server";

/// Messages at a rate, and viewers who follow.
#[derive(Clone, Copy)]
pub(super) struct Storm {
    pub(super) viewers: u32,
    /// Normal messages a second.
    pub(super) rate: f64,
    /// Priority messages a second.
    pub(super) priority_rate: f64,
    pub(super) message_bytes: usize,
    /// What clients pause between an answer and their next poll.
    pub(super) pause: Duration,
    /// Viewers come one after the other over so long, so that they do not poll in step.
    pub(super) arrival: Duration,
    pub(super) time: Duration,
}

/// Clients pause, the server answers at once.
pub(super) fn paused_by_clients<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    let storm = Storm { pause: PAUSE, arrival: PAUSE, ..Storm::of_stage(stage) };
    let story = format!(
        "{VIEWERS} viewers that pause {PAUSE:?} between an answer and their next poll; {RATE} normal messages a second \
         from {NORMAL_SENDERS} senders and {PRIORITY_RATE} priority message a second from another, at set times, for \
         {:?}. Ages count from when a message was due; a viewer that pauses gets a priority message no earlier than \
         another. What is undelivered at the end of the time is not lost, but late.",
        storm.time
    );
    storm.scenario(Chapter::Storm, peers, stage.start()).told(PAUSED, story)
}

/// Clients come back at once, the server holds them.
pub(super) fn held_by_server<'a>(stage: &'a Stage, ours: &[&'a dyn Peer]) -> Scenario<'a> {
    let storm = Storm { pause: Duration::ZERO, arrival: HOLD, ..Storm::of_stage(stage) };
    let story = format!(
        "The same {VIEWERS} viewers and messages, but viewers poll again at once, and the server's policy as shipped \
         holds normal messages back ({HOLD:?} for a room of this size) while priority messages go through, for {:?}.",
        storm.time
    );
    storm.scenario(Chapter::Hold, ours, Start { holds: true, ..stage.start() }).told(HELD, story)
}

impl Storm {
    fn of_stage(stage: &Stage) -> Self {
        Self {
            viewers: VIEWERS,
            rate: RATE,
            priority_rate: PRIORITY_RATE,
            message_bytes: MESSAGE_BYTES,
            pause: Duration::ZERO,
            arrival: Duration::ZERO,
            time: stage.scale(Duration::from_secs(10), Duration::from_secs(3)),
        }
    }

    /// As a scenario without a name.
    pub(super) fn scenario<'a>(
        self,
        chapter: Chapter,
        peers: &[&'a dyn Peer],
        start: Start<'a>,
    ) -> Scenario<'a> {
        Scenario::of_servers(chapter, self.viewers, peers, start, move |peer, server| self.play(peer, server))
    }

    fn play(&self, peer: &dyn Peer, server: &Server) -> Result<Outcome> {
        let mut crowd = Crowd::new(peer, server, Behaviour::Follow(self.pause), self.message_bytes)?;
        self.arrive(&mut crowd)?;
        crowd.set_rate(List::Normal, self.rate);
        crowd.set_rate(List::Priority, self.priority_rate);
        crowd.run(WARM_UP, |_| false)?;

        crowd.take_tally();
        let late_before = crowd.late_sends();
        let acknowledged_before = crowd.acknowledged();
        let meter = Meter::start(server.process.tree())?;
        crowd.run(self.time, |_| false)?;
        let spent = meter.spent()?;
        let tally = crowd.take_tally();
        let late = crowd.late_sends() - late_before;
        let owed = (crowd.acknowledged() - acknowledged_before) as f64 * f64::from(self.viewers);

        crowd.set_rate(List::Normal, 0.0);
        crowd.set_rate(List::Priority, 0.0);
        let verdict = if peer.keeps_up() {
            crowd.run(LAST_TIMEOUT, Crowd::has_everything)?;
            crowd.verdict()
        } else {
            crowd.run(LAST_TIMEOUT, Crowd::is_acknowledged)?;
            crowd.verdict_so_far()
        };
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
                (Figure::CpuPerAnswer, spent.server_cpu_s * 1e6 / tally.answers as f64),
                (Figure::DeliveriesPerCpuSecond, received / spent.server_cpu_s),
                (Figure::Undelivered, (100.0 * (1.0 - received / owed)).max(0.0)),
                (Figure::ClientCpuPerDelivery, spent.client_cpu_s * 1e6 / received),
                (Figure::LateSends, late as f64),
            ],
            spent: Some(spent),
            verdict,
        })
    }

    fn arrive(&self, crowd: &mut Crowd<'_>) -> Result<()> {
        let began = Instant::now();
        for nth in 0..self.viewers {
            let due = self.arrival * nth / self.viewers;
            crowd.run(due.saturating_sub(began.elapsed()), |_| false)?;
            crowd.open()?;
        }
        ensure!(
            crowd.run(SEAT_TIMEOUT, Crowd::is_seated)?,
            "not every viewer got a session within {SEAT_TIMEOUT:?}"
        );
        Ok(())
    }
}

/// A quantile in milliseconds; not a number if there is no value.
pub(super) fn milliseconds(histogram: &Histogram, quantile: f64) -> f64 {
    if histogram.is_empty() { f64::NAN } else { histogram.value_at_quantile(quantile) as f64 / 1e3 }
}
