//! The servers that are compared: how each is started, asked and sent to.

mod bigroom;
mod floor;
mod nchan;

use std::{net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tempfile::TempDir;

pub(crate) use self::{bigroom::Bigroom, floor::Floor, nchan::Nchan};
use crate::{
    client::Position,
    cores::{Cores, Placement},
    mark::Mark,
    process::Process,
};

/// A server that can be compared with.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum PeerName {
    /// The built-in server that does the least.
    Floor,
    /// nginx with the Nchan module; left out, with a word about it, where it is not installed.
    Nchan,
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
}

/// A running server. What it kept goes with it.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) polls: SocketAddr,
    pub(crate) sends: SocketAddr,
    // After `process`: it is stopped before its directory goes.
    _directory: TempDir,
}

/// A kind of server.
pub(crate) trait Peer {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// Version and settings, for the report.
    fn about(&self) -> String;

    /// Starts one, empty, and waits until it serves.
    fn start(&self, start: Start<'_>) -> Result<Server>;

    /// The place of a reader who has seen nothing yet.
    fn origin(&self, _server: &Server) -> Result<Position> {
        Ok(Position::START)
    }

    /// Appends a poll of the `viewer`-th viewer for everything after a position.
    fn write_poll(&self, out: &mut Vec<u8>, viewer: u32, position: &Position);

    /// Appends the sending of a message.
    fn write_send(&self, out: &mut Vec<u8>, mark: &Mark, text: &str);

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
