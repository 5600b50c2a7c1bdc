//! Polls that need not wait: there is always a message that the viewer has not seen.

use std::time::Duration;

use anyhow::Result;

use super::{
    Chapter, Figure, Outcome,
    play::{MESSAGE_BYTES, Scenario, Stage},
};
use crate::{
    client::{Behaviour, Crowd},
    mark::List,
    measure::Meter,
    peers::{Peer, Server, Start},
};

/// Connections that poll without a pause: enough to keep any of the servers busy.
const VIEWERS: u32 = 64;
const WARM_UP: Duration = Duration::from_millis(300);
/// How long the one message may take to be acknowledged.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// One message waiting, polled for again and again.
pub(super) fn scenario<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    within(stage, Chapter::Backlog, peers, stage.start()).told("data waiting", story(stage))
}

/// The same over TLS.
pub(super) fn over_tls<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    within(stage, Chapter::Tls, peers, stage.start_tls()).told("data waiting, TLS", story(stage))
}

fn time(stage: &Stage) -> Duration {
    stage.scale(Duration::from_secs(4), Duration::from_secs(1))
}

fn within<'a>(stage: &Stage, chapter: Chapter, peers: &[&'a dyn Peer], start: Start<'a>) -> Scenario<'a> {
    let time = time(stage);
    let start = Start { rewinds: true, ..start };
    Scenario::of_servers(chapter, VIEWERS, peers, start, move |peer, server| play(peer, server, time))
}

fn story(stage: &Stage) -> String {
    format!(
        "{VIEWERS} connections that ask for the same message again and again, each as soon as it has its answer, for \
         {:?}.",
        time(stage)
    )
}

fn play(peer: &dyn Peer, server: &Server, time: Duration) -> Result<Outcome> {
    let mut crowd = Crowd::new(peer, server, Behaviour::Repeat, MESSAGE_BYTES)?;
    crowd.send_now(List::Normal)?;
    crowd.run(SEND_TIMEOUT, Crowd::is_acknowledged)?;
    for _ in 0..VIEWERS {
        crowd.open()?;
    }
    crowd.run(WARM_UP, |_| false)?;

    crowd.take_tally();
    let meter = Meter::start(server.process.tree())?;
    crowd.run(time, |_| false)?;
    let spent = meter.spent()?;
    let tally = crowd.take_tally();
    Ok(Outcome {
        figures: vec![
            (Figure::AnswersPerCpuSecond, tally.answers as f64 / spent.server_cpu_s),
            (Figure::ClientCpuPerDelivery, spent.client_cpu_s * 1e6 / tally.received as f64),
        ],
        spent: Some(spent),
        verdict: crowd.verdict(),
    })
}
