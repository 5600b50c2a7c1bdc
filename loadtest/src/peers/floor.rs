//! The floor server, run from this same binary as a process of its own.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::{Peer, Server, Start, directory_in};
use crate::{
    client::{Position, Target},
    mark::Mark,
    process::{Process, logged},
};

/// This binary.
#[derive(Debug)]
pub(crate) struct Floor {
    binary: PathBuf,
}

impl Floor {
    /// The floor server of this binary.
    pub(crate) fn of_this_binary() -> Result<Self> {
        Ok(Self { binary: std::env::current_exe().context("find this binary")? })
    }
}

impl Peer for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn about(&self) -> String {
        "`loadtest floor` of the same build: one thread, one epoll instance, no parsing but for the end of a head; \
         messages in memory alone; one list, so that a priority message is one among the others"
            .to_owned()
    }

    fn start(&self, start: Start<'_>) -> Result<Server> {
        let directory = directory_in(start.temp_dir)?;
        let mut command = Command::new(&self.binary);
        command.args(["floor", "--listen", "127.0.0.1:0", "--send-listen", "127.0.0.1:0"]);
        if start.rewinds {
            command.arg("--rewind");
        }
        let mut process = Process::start(command, directory.path(), start.cores, start.placement)?;
        let addresses = |log: &str| -> Option<(SocketAddr, SocketAddr)> {
            Some((logged(log, "listening", "listen")?, logged(log, "listening", "send_listen")?))
        };
        let (polls, sends) = process.await_start(addresses)?;
        Ok(Server::new(process, Target::plain(polls), Target::plain(sends), directory))
    }

    fn write_poll(&self, out: &mut Vec<u8>, _room: u32, _viewer: u32, _position: &Position) {
        out.extend_from_slice(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }

    fn write_send(&self, out: &mut Vec<u8>, _room: u32, _mark: &Mark, text: &str) {
        write!(out, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            .expect("memory takes all writes");
    }

    fn position_after(&self, _headers: &[httparse::Header<'_>], _body: &[u8]) -> Option<Position> {
        None
    }
}
