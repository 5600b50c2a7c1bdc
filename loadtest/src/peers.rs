//! The servers that are compared: how each is started, asked and sent to.

mod bigroom;
mod engineio;
mod floor;
mod nchan;
mod pushpin;
mod tls;

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tempfile::TempDir;

pub(crate) use self::{
    bigroom::Bigroom,
    engineio::EngineIo,
    floor::Floor,
    nchan::{Answers, Nchan},
    pushpin::{Pushpin, origin::serve as serve_grip_origin},
    tls::Identity,
};
use crate::{
    client::{Position, Target},
    compare::Chapter,
    cores::{Cores, Placement},
    mark::Mark,
    process::Process,
};

/// A server that can be compared with; one that is not installed is left out, with a word about it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum PeerName {
    /// The built-in server that does the least.
    Floor,
    /// nginx with the Nchan module, all that waits in one answer.
    Nchan,
    /// The same, one message an answer.
    NchanSingle,
    /// engine.io's polling transport on Node.
    #[value(name = "engineio")]
    EngineIo,
    /// Pushpin with a backend that answers at once.
    Pushpin,
}

/// How a server is to be started.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) cores: &'a Cores,
    pub(crate) placement: Placement,
    /// Where it may keep data.
    pub(crate) temp_dir: &'a Path,
    /// Whether the server itself holds viewers back, by its policy as shipped.
    pub(crate) holds: bool,
    /// Whether viewers ask for the same again and again; for servers that remember who has seen what.
    pub(crate) rewinds: bool,
    /// Whether viewers come after the one message was sent; for servers that otherwise keep nothing.
    pub(crate) newcomers: bool,
    /// What it proves itself with; without it, no TLS.
    pub(crate) tls: Option<&'a Identity>,
}

/// A running server. What it kept goes with it.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) polls: Target,
    pub(crate) sends: Target,
    /// A process that the server needs and that is not part of it: its time is not counted.
    _helper: Option<Process>,
    // After the processes: they are stopped before their directory goes.
    _directory: TempDir,
}

impl Server {
    /// A server that consists of one process and those that it starts.
    fn new(process: Process, polls: Target, sends: Target, directory: TempDir) -> Self {
        Self { process, polls, sends, _helper: None, _directory: directory }
    }

    fn with_helper(self, helper: Process) -> Self {
        Self { _helper: Some(helper), ..self }
    }
}

/// A kind of server.
pub(crate) trait Peer {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// Version and settings, for the report.
    fn about(&self) -> String;

    /// Why it takes no part in a chapter; `None` if it does.
    fn declines(&self, _chapter: Chapter) -> Option<&'static str> {
        None
    }

    /// Most viewers it is asked to serve, and why not more; `None` for any number.
    fn viewers_max(&self) -> Option<(u32, &'static str)> {
        None
    }

    /// How much dearer than the others it is, about: it is given so many times less to do, and fewer repeats.
    fn dearness(&self) -> u32 {
        1
    }

    /// Whether all of a crowd get everything in time. One that does not keep up is judged by what arrived; what failed
    /// or is still to come is a figure.
    fn keeps_up(&self) -> bool {
        true
    }

    /// Whether an answer has priority messages before all normal ones. With one list for both there is no such order.
    fn puts_priority_first(&self) -> bool {
        false
    }

    /// Whether it serves TLS itself.
    fn does_tls(&self) -> bool {
        false
    }

    /// Starts one, empty, and waits until it serves.
    fn start(&self, start: Start<'_>) -> Result<Server>;

    /// The place of a reader who has seen nothing yet.
    fn origin(&self, _server: &Server) -> Result<Position> {
        Ok(Position::START)
    }

    /// Whether the first answer to a viewer is a session of its own, without which it gets no message.
    fn greets(&self) -> bool {
        false
    }

    /// Appends a poll of the `viewer`-th viewer, in a room, for everything after a position. Room 0 is the one that all
    /// scenarios use; a server without rooms has no other.
    fn write_poll(&self, out: &mut Vec<u8>, room: u32, viewer: u32, position: &Position);

    /// Appends the sending of a message to a room.
    fn write_send(&self, out: &mut Vec<u8>, room: u32, mark: &Mark, text: &str);

    /// Where a reader stands after an answer; `None` if the server keeps that to itself.
    fn position_after(&self, headers: &[httparse::Header<'_>], body: &[u8]) -> Option<Position>;
}

/// An empty directory for a server.
fn directory_in(temp_dir: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("bigroom-loadtest-")
        .tempdir_in(temp_dir)
        .with_context(|| format!("make a directory in {}", temp_dir.display()))
}

/// An address that is free now, for servers that take no port 0.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("find a free port")
}
