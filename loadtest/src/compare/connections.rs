//! New connections, each for one poll.

use std::time::Duration;

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
};

/// Connections that are open at a time.
const OPEN_MAX: u32 = 64;
const WARM_UP: u32 = 200;
/// How long all connections of a play may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Rest for the server to see the last ones go.
const REST: Duration = Duration::from_millis(100);

/// Come, get one message, go.
pub(super) fn scenario<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    let connections = stage.scale(30_000, 3_000);
    within(Chapter::Connections, connections, peers, stage.start())
        .told("new connections", story(connections))
}

/// The same over TLS, with a whole handshake each time.
pub(super) fn over_tls<'a>(stage: &'a Stage, peers: &[&'a dyn Peer]) -> Scenario<'a> {
    let connections = stage.scale(5_000, 500);
    let story = story(connections) + " Each shakes hands anew (ECDSA P-256, X25519), without resumption.";
    within(Chapter::Tls, connections, peers, stage.start_tls()).told("new connections, TLS", story)
}

fn story(connections: u32) -> String {
    format!(
        "{connections} viewers that connect, poll, get the message that is waiting, and leave; at most {OPEN_MAX} at a \
         time. The time counts accepting, the poll, its answer and the end. Fewer of them come to a dear server."
    )
}

fn within<'a>(chapter: Chapter, connections: u32, peers: &[&'a dyn Peer], start: Start<'a>) -> Scenario<'a> {
    let start = Start { newcomers: true, ..start };
    Scenario::of_servers(chapter, OPEN_MAX, peers, start, move |peer, server| {
        play(peer, server, connections / peer.dearness())
    })
}

fn play(peer: &dyn Peer, server: &Server, connections: u32) -> Result<Outcome> {
    let mut crowd = Crowd::new(peer, server, Behaviour::Leave, MESSAGE_BYTES)?;
    crowd.send_now(List::Normal)?;
    crowd.run(TIMEOUT, Crowd::is_acknowledged)?;
    come_and_go(&mut crowd, WARM_UP / peer.dearness())?;

    let meter = Meter::start(server.process.tree())?;
    come_and_go(&mut crowd, connections)?;
    crowd.run(REST, |_| false)?;
    let spent = meter.spent()?;
    Ok(Outcome {
        figures: vec![(Figure::CpuPerConnection, spent.server_cpu_s * 1e6 / f64::from(connections))],
        spent: Some(spent),
        verdict: crowd.verdict(),
    })
}

fn come_and_go(crowd: &mut Crowd<'_>, connections: u32) -> Result<()> {
    for _ in 0..connections {
        let has_place = crowd.run(TIMEOUT, |crowd| crowd.len() < OPEN_MAX as usize)?;
        ensure!(has_place, "no viewer was answered for {TIMEOUT:?}");
        crowd.open()?;
    }
    let have_left = crowd.run(TIMEOUT, |crowd| crowd.len() == 0)?;
    ensure!(have_left, "{} viewers were not answered for {TIMEOUT:?}", crowd.len());
    Ok(())
}
