//! What things take of the server's memory: a room, a parked poll, a connection over TLS, an HTTP/2 stream.

mod streams;

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    Chapter, Figure, Outcome,
    parked::Parked,
    play::{MESSAGE_BYTES, Scenario, Stage},
};
use crate::{
    audit::Verdict,
    client::{Position, Senders, ask},
    measure::Meter,
    peers::{Peer, Server},
};

/// Polls that are parked, plain and over TLS.
const POLLS: u32 = 5_000;
const POLL_MESSAGES: u32 = 3;
/// Connections that send.
const SENDERS: u32 = 64;
/// Messages of a room that is read.
const HOT_MESSAGES: u32 = 20;
/// Rest before memory is read.
const REST: Duration = Duration::from_millis(500);

/// Everything that is weighed; peers take part where they have such a thing.
pub(super) fn scenarios<'a>(
    stage: &'a Stage,
    all: &[&'a dyn Peer],
    ours: &[&'a dyn Peer],
) -> Vec<Scenario<'a>> {
    let idle = Rooms { count: stage.scale(20_000, 2_000), messages: 1, is_read: false };
    let hot = Rooms { count: stage.scale(5_000, 500), messages: HOT_MESSAGES, is_read: true };
    let parked = Parked::room_of(POLLS, POLL_MESSAGES);
    let streams = stage.scale(5_000_u32, 1_000);
    let read_at = "Memory (Pss) is read before and after.";
    vec![
        idle.scenario(stage, ours).told(
            "memory, an idle room",
            format!(
                "{} rooms, each written to once ({MESSAGE_BYTES} bytes) and read by nobody; what the log keeps in memory of \
                 the message is in it. {read_at}",
                idle.count
            ),
        ),
        hot.scenario(stage, ours).told(
            "memory, a hot room",
            format!(
                "{} rooms, each written to {HOT_MESSAGES} times ({MESSAGE_BYTES} bytes), then read from the oldest on, so that \
                 its messages are held in memory. {read_at}",
                hot.count
            ),
        ),
        parked.scenario(Chapter::Memory, all, stage.start()).told(
            "memory, a parked poll",
            format!("{POLLS} parked polls of one room, after {POLL_MESSAGES} deliveries and more. {read_at}"),
        ),
        parked.scenario(Chapter::Memory, all, stage.start_tls()).told(
            "memory, a parked poll over TLS",
            format!("The same over TLS, the connection's state included. {read_at}"),
        ),
        Scenario::of_servers(Chapter::Memory, streams.div_ceil(streams::PER_CONNECTION), ours, stage.start(), move |peer, server| {
            weigh_streams(peer, server, streams)
        })
        .told(
            "memory, a parked poll on an HTTP/2 stream",
            format!(
                "{streams} parked polls of one room on HTTP/2 connections with {} streams each, before any message. {read_at}",
                streams::PER_CONNECTION
            ),
        ),
    ]
}

/// Rooms that are written to.
#[derive(Clone, Copy)]
struct Rooms {
    count: u32,
    messages: u32,
    /// Whether somebody reads each of them once.
    is_read: bool,
}

impl Rooms {
    fn scenario<'a>(self, stage: &'a Stage, ours: &[&'a dyn Peer]) -> Scenario<'a> {
        Scenario::of_servers(Chapter::Memory, SENDERS, ours, stage.start(), move |peer, server| {
            self.play(peer, server)
        })
    }

    fn play(self, peer: &dyn Peer, server: &Server) -> Result<Outcome> {
        let tree = server.process.tree();
        let mut senders = Senders::open(peer, server, SENDERS, MESSAGE_BYTES)?;
        // The first messages grow what is there once, whatever the number of rooms.
        senders.run_count(SENDERS * 4)?;
        senders.spread_over(self.count);
        let meter = Meter::start(tree)?;
        let empty_bytes = tree.pss_bytes()?;
        senders.run_count(self.count * self.messages)?;
        if self.is_read {
            for room in 0..self.count {
                let mut poll = Vec::new();
                peer.write_poll(&mut poll, room, 0, &Position::START);
                let (status, _) = ask(&server.polls, &poll)?;
                ensure!(status == 200, "a room was answered with status {status}");
            }
        }
        std::thread::sleep(REST);
        let grown_bytes = tree.pss_bytes()?.saturating_sub(empty_bytes) as f64;
        Ok(Outcome {
            figures: vec![(Figure::MemoryPerRoom, grown_bytes / f64::from(self.count))],
            spent: Some(meter.spent()?),
            verdict: senders.finish_in_many_rooms()?,
        })
    }
}

fn weigh_streams(peer: &dyn Peer, server: &Server, count: u32) -> Result<Outcome> {
    let tree = server.process.tree();
    let meter = Meter::start(tree)?;
    let empty_bytes = tree.pss_bytes()?;
    let held = streams::Held::open(peer, server, count)?;
    let answered = held.hold(REST);
    let grown_bytes = tree.pss_bytes()?.saturating_sub(empty_bytes) as f64;
    let spent = meter.spent()?;
    let mut verdict =
        Verdict { acknowledged: u64::from(count), received: u64::from(count), ..Verdict::default() };
    if answered > 0 {
        verdict.errors.insert("a poll was answered that had nothing to wait for".to_owned(), answered);
    }
    Ok(Outcome {
        figures: vec![(Figure::MemoryPerStream, grown_bytes / f64::from(count))],
        spent: Some(spent),
        verdict,
    })
}
