//! How a scenario meets its contenders.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

use super::{Chapter, Outcome};
use crate::{
    cores::{Cores, Placement},
    peers::{Identity, Peer, Server, Start},
};

/// Bytes of a message's text.
pub(super) const MESSAGE_BYTES: usize = 200;
/// Repeats of a server that is many times dearer than the others: enough for a median.
const REPEATS_OF_DEAR: u32 = 3;
/// Open files of either side besides its viewers' connections.
const FILES_BESIDES: u64 = 500;

/// Where everything is played.
pub(super) struct Stage {
    pub(super) cores: Cores,
    pub(super) temp_dir: PathBuf,
    pub(super) is_quick: bool,
    /// Files that a process may open.
    pub(super) files: u64,
    /// What servers prove themselves with where TLS is measured.
    pub(super) identity: Identity,
    /// Length of the chapter `latency`.
    pub(super) latency_time: Duration,
}

impl Stage {
    /// A count or a time: the first in earnest, the second in a quick run.
    pub(super) fn scale<T>(&self, earnest: T, quick: T) -> T {
        if self.is_quick { quick } else { earnest }
    }

    /// How most scenarios start a server: client and server apart, nobody held back.
    pub(super) fn start(&self) -> Start<'_> {
        Start {
            cores: &self.cores,
            placement: Placement::Apart,
            temp_dir: &self.temp_dir,
            holds: false,
            rewinds: false,
            newcomers: false,
            tls: None,
        }
    }

    /// The same, over TLS.
    pub(super) fn start_tls(&self) -> Start<'_> {
        Start { tls: Some(&self.identity), ..self.start() }
    }
}

/// One thing to measure.
pub(super) struct Scenario<'a> {
    pub(super) name: String,
    /// What happens and what is counted, for the report.
    pub(super) story: String,
    pub(super) contenders: Vec<Contender<'a>>,
    /// Who takes no part, and why.
    pub(super) absent: Vec<(&'static str, String)>,
    /// Viewers connected at a time.
    pub(super) viewers: u32,
}

impl<'a> Scenario<'a> {
    /// Servers that are each started for one play; those that decline are absent.
    pub(super) fn of_servers(
        chapter: Chapter,
        viewers: u32,
        peers: &[&'a dyn Peer],
        start: Start<'a>,
        play: impl Fn(&'a dyn Peer, &Server) -> Result<Outcome> + Clone + 'a,
    ) -> Self {
        let (mut contenders, mut absent) = (Vec::new(), Vec::new());
        for &peer in peers {
            if let Some(why) = peer.declines(chapter) {
                absent.push((peer.name(), why.to_owned()));
            } else if let Some((_, why)) = peer.viewers_max().filter(|(most, _)| viewers > *most) {
                absent.push((peer.name(), why.to_owned()));
            } else if start.tls.is_some() && !peer.does_tls() {
                absent.push((peer.name(), "it has no TLS here".to_owned()));
            } else {
                contenders.push(Contender::server(peer, start, play.clone()));
            }
        }
        Self { name: String::new(), story: String::new(), contenders, absent, viewers }
    }

    /// The same with a name and a story.
    pub(super) fn told(self, name: impl Into<String>, story: impl Into<String>) -> Self {
        Self { name: name.into(), story: story.into(), ..self }
    }

    /// Files that either side opens at a time.
    pub(super) fn files(&self) -> u64 {
        u64::from(self.viewers) + FILES_BESIDES
    }
}

/// Who is measured, and how.
pub(super) struct Contender<'a> {
    pub(super) name: &'static str,
    pub(super) play: Box<dyn Fn() -> Result<Outcome> + 'a>,
    /// Most repeats it plays.
    pub(super) repeats_max: u32,
}

impl<'a> Contender<'a> {
    /// Something that is no server.
    pub(super) fn other(name: &'static str, play: impl Fn() -> Result<Outcome> + 'a) -> Self {
        Self { name, play: Box::new(play), repeats_max: u32::MAX }
    }

    /// A server that is started for one play and stopped after it; that it stops badly spoils the play.
    fn server(
        peer: &'a dyn Peer,
        start: Start<'a>,
        play: impl Fn(&'a dyn Peer, &Server) -> Result<Outcome> + 'a,
    ) -> Self {
        Self::named(peer.name(), peer, start, play)
    }

    /// The same under another name: one server that is played in two ways.
    pub(super) fn named(
        name: &'static str,
        peer: &'a dyn Peer,
        start: Start<'a>,
        play: impl Fn(&'a dyn Peer, &Server) -> Result<Outcome> + 'a,
    ) -> Self {
        let play = move || {
            let mut server = peer.start(start)?;
            let mut outcome = play(peer, &server)?;
            if let Err(error) = server.process.stop() {
                outcome.verdict.errors.insert(format!("{error:#}"), 1);
            }
            Ok(outcome)
        };
        let repeats_max = if peer.dearness() > 1 { REPEATS_OF_DEAR } else { u32::MAX };
        Self { name, play: Box::new(play), repeats_max }
    }
}
