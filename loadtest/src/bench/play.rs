//! How a scenario meets its contenders.

use std::path::PathBuf;

use anyhow::Result;

use super::Outcome;
use crate::{
    cores::{Cores, Placement},
    peers::{Peer, Server, Start},
};

/// Bytes of a message's text.
pub(super) const MESSAGE_BYTES: usize = 200;

/// Where everything is played.
pub(super) struct Stage {
    pub(super) cores: Cores,
    pub(super) temp_dir: PathBuf,
    pub(super) is_quick: bool,
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
        }
    }
}

/// One thing to measure.
pub(super) struct Scenario<'a> {
    pub(super) name: String,
    /// What happens and what is counted, for the report.
    pub(super) story: String,
    pub(super) contenders: Vec<Contender<'a>>,
}

/// Who is measured, and how.
pub(super) struct Contender<'a> {
    pub(super) name: &'static str,
    pub(super) play: Box<dyn Fn() -> Result<Outcome> + 'a>,
}

impl<'a> Contender<'a> {
    /// A server that is started for one play and stopped after it; that it stops badly spoils the play.
    pub(super) fn server(
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
        Self { name: peer.name(), play: Box::new(play) }
    }
}
