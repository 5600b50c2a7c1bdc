//! What questions for a room's numbers do to those who poll: the same crowd with and without them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Figure, OURS, Outcome,
    play::{Contender, MESSAGE_BYTES, Scenario, Stage},
    storm::milliseconds,
};
use crate::{
    client::{Behaviour, Crowd, Querists, Questions, ask, num_users_in},
    mark::List,
    measure::Meter,
    peers::{Peer, Server},
};

/// Questions a second.
const RATE: f64 = 10_000.0;
/// Connections that they share.
const CONNECTIONS: u32 = 64;
/// Why another build takes no part.
const ALONE: &str = "a build is compared with itself, asked and not asked";
/// The same server that nobody asks.
pub(super) const UNASKED: &str = "bigroom unasked";
/// How long it may take until all viewers are in the room's numbers.
const COUNTED_TIMEOUT: Duration = Duration::from_secs(10);
/// How often that is looked at before anything is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// With all counted, before the measured part.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the last messages may take to the last viewer.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);
/// Users besides the viewers: whoever sends, and the connection that looked where to begin.
const OTHERS: u64 = 2;
const QUESTION: &[u8] = b"GET /v1/rooms/bench/stats?user=querist HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A crowd and what is sent to it.
#[derive(Clone, Copy)]
struct Crowded {
    name: &'static str,
    viewers: u32,
    /// What a client pauses between an answer and its next poll.
    pause: Duration,
    /// Normal messages a second.
    rate: f64,
    /// Priority messages a second.
    priority_rate: f64,
    time: Duration,
}

/// Polls that wait, and polls for which something is waiting.
pub(super) fn scenarios<'a>(stage: &'a Stage, ours: &[&'a dyn Peer]) -> Vec<Scenario<'a>> {
    let time = stage.scale(Duration::from_secs(10), Duration::from_secs(2));
    let pausing = Crowded {
        name: "queries, clients that pause",
        viewers: 2_000,
        pause: Duration::from_millis(100),
        rate: 200.0,
        priority_rate: 1.0,
        time,
    };
    let parked = Crowded {
        name: "queries, parked polls",
        viewers: 2_000,
        pause: Duration::ZERO,
        rate: 10.0,
        priority_rate: 2.0,
        time,
    };
    [pausing, parked].into_iter().map(|crowded| crowded.scenario(stage, ours)).collect()
}

impl Crowded {
    fn scenario<'a>(self, stage: &'a Stage, ours: &[&'a dyn Peer]) -> Scenario<'a> {
        let mut contenders = Vec::new();
        for &peer in ours.iter().filter(|peer| peer.name() == OURS) {
            let play =
                move |is_asked| move |peer: &'a dyn Peer, server: &Server| self.play(peer, server, is_asked);
            contenders.push(Contender::named(OURS, peer, stage.start(), play(true)));
            contenders.push(Contender::named(UNASKED, peer, stage.start(), play(false)));
        }
        let Self { viewers, pause, rate, priority_rate, time, name } = self;
        let story = format!(
            "{viewers} viewers that pause {pause:?} between an answer and their next poll; {rate} normal messages a second \
             and {priority_rate} priority messages a second, for {time:?}. `{OURS}` is asked `GET /v1/rooms/…/stats` \
             {RATE} times a second meanwhile, at set times, over {CONNECTIONS} connections from a thread of the load \
             test; each answer must have status 200 and between {viewers} and {} users. `{UNASKED}` is the same without the \
             questions, and they take turns: the ratio is what questions do to polls. Server and load test have a core each, \
             and the load test's has to carry viewers and questions, so what its own queue adds is in the ratio, too.",
            u64::from(viewers) + OTHERS
        );
        Scenario {
            name: name.to_owned(),
            story,
            contenders,
            absent: ours
                .iter()
                .filter(|peer| peer.name() != OURS)
                .map(|peer| (peer.name(), ALONE.to_owned()))
                .collect(),
            viewers: viewers + CONNECTIONS,
        }
    }

    fn play(&self, peer: &dyn Peer, server: &Server, is_asked: bool) -> Result<Outcome> {
        let mut crowd = Crowd::new(peer, server, Behaviour::Follow(self.pause), MESSAGE_BYTES)?;
        let began = Instant::now();
        for nth in 0..self.viewers {
            let due = self.pause * nth / self.viewers;
            crowd.run(due.saturating_sub(began.elapsed()), |_| false)?;
            crowd.open()?;
        }
        crowd.set_rate(List::Normal, self.rate);
        crowd.set_rate(List::Priority, self.priority_rate);
        self.await_counted(&mut crowd, server)?;
        let viewers = u64::from(self.viewers);
        let questions = Questions {
            request: QUESTION.to_vec(),
            rate: RATE,
            connections: CONNECTIONS,
            num_users: (viewers, viewers + OTHERS),
        };
        let querists = if is_asked { Some(Querists::start(&server.polls, questions)?) } else { None };
        crowd.run(WARM_UP, |_| false)?;

        crowd.take_tally();
        let late_before = crowd.late_sends();
        let meter = Meter::start(server.process.tree())?;
        crowd.run(self.time, |_| false)?;
        let spent = meter.spent()?;
        let tally = crowd.take_tally();
        let late = crowd.late_sends() - late_before;
        let asked_s = (WARM_UP + self.time).as_secs_f64();
        let answered = querists.map(Querists::stop).transpose()?;
        if let Some(answered) = &answered {
            let expect = RATE * asked_s;
            ensure!(
                answered.right as f64 >= 0.99 * expect,
                "{} questions were answered, about {expect} were due",
                answered.right
            );
        }

        crowd.set_rate(List::Normal, 0.0);
        crowd.set_rate(List::Priority, 0.0);
        crowd.run(LAST_TIMEOUT, Crowd::has_everything)?;
        let age_ms = |list: List, quantile: f64| milliseconds(&tally.ages[list.index()], quantile);
        let busy = |cpu_s: f64| 100.0 * cpu_s / spent.wall_s;
        let mut figures = vec![
            (Figure::NormalAgeP99, age_ms(List::Normal, 0.99)),
            (Figure::PriorityAgeP99, age_ms(List::Priority, 0.99)),
            (Figure::NormalAgeP50, age_ms(List::Normal, 0.5)),
            (Figure::PriorityAgeP50, age_ms(List::Priority, 0.5)),
        ];
        if !self.pause.is_zero() {
            figures.push((Figure::PollP99, milliseconds(&tally.poll_times, 0.99)));
            figures.push((Figure::PollP50, milliseconds(&tally.poll_times, 0.5)));
        }
        figures.extend([
            (Figure::ServerBusy, busy(spent.server_cpu_s)),
            (Figure::ClientBusy, busy(spent.client_cpu_s)),
            (Figure::LateSends, late as f64),
        ]);
        if let Some(answered) = answered {
            figures.extend([
                (Figure::QueriesPerSecond, answered.right as f64 / asked_s),
                (Figure::QueryP50, milliseconds(&answered.latencies, 0.5)),
                (Figure::QueryP99, milliseconds(&answered.latencies, 0.99)),
            ]);
        }
        Ok(Outcome { figures, spent: Some(spent), verdict: crowd.verdict() })
    }

    /// Waits until the server counts all viewers.
    fn await_counted(&self, crowd: &mut Crowd<'_>, server: &Server) -> Result<()> {
        let deadline = Instant::now() + COUNTED_TIMEOUT;
        loop {
            crowd.run(LOOK_INTERVAL, |_| false)?;
            let (status, answer) = ask(&server.polls, QUESTION)?;
            ensure!(status == 200, "a room's numbers were answered with status {status}");
            let num_users = num_users_in(&answer);
            if num_users.is_some_and(|users| users >= u64::from(self.viewers)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the server counts {num_users:?} users of {} within {COUNTED_TIMEOUT:?}",
                self.viewers
            );
        }
    }
}
