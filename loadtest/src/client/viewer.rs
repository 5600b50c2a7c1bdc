//! One viewer's connection.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    rc::Rc,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use mio::{Registry, Token};

use super::{
    answer::{Answer, Answers, Position},
    connect::connect,
    stream::{Stream, Target},
};
use crate::{audit::Received, peers::Peer};

/// A viewer: asks, waits, takes note of what it got.
pub(super) struct Viewer {
    stream: Stream,
    /// Its number among all viewers that were ever opened: its name, and where it connects from.
    pub(super) nth: u32,
    /// The room it watches; 0 is the one that is written to.
    pub(super) room: u32,
    pub(super) position: Position,
    pub(super) received: Received,
    /// When it sent its last poll.
    pub(super) asked: Instant,
    /// The beginning of an answer that came in pieces; mostly empty.
    partial: Vec<u8>,
}

impl Viewer {
    /// Connects, and asks for events under `token`.
    pub(super) fn open(
        server: &Target,
        nth: u32,
        room: u32,
        start: Position,
        registry: &Registry,
        token: Token,
    ) -> Result<Self> {
        let mut stream = connect(server, nth)?;
        stream.register(registry, token)?;
        Ok(Self {
            stream,
            nth,
            room,
            position: start,
            received: Received::default(),
            asked: Instant::now(),
            partial: Vec::new(),
        })
    }

    /// Sends the next poll; `scratch` is overwritten.
    pub(super) fn ask(&mut self, peer: &dyn Peer, scratch: &mut Vec<u8>) -> Result<()> {
        scratch.clear();
        self.asked = Instant::now();
        peer.write_poll(scratch, self.room, self.nth, &self.position);
        let written = self.stream.write(scratch).context("send a poll")?;
        ensure!(written == scratch.len(), "a poll of {} bytes does not fit into the socket", scratch.len());
        Ok(())
    }

    /// Reads what there is; the answer, if it is whole now.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        answers: &mut Answers,
        peer: &dyn Peer,
    ) -> Result<Option<Rc<Answer>>> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a viewer's connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read an answer"),
            };
            let is_all = count < buffer.len();
            let found = if self.partial.is_empty() {
                let found = answers.read(&buffer[..count], peer)?;
                if found.is_none() {
                    self.partial.extend_from_slice(&buffer[..count]);
                }
                found.map(|answer| (answer, count))
            } else {
                self.partial.extend_from_slice(&buffer[..count]);
                answers.read(&self.partial, peer)?.map(|answer| (answer, self.partial.len()))
            };
            if let Some((answer, length)) = found {
                ensure!(length == answer.length, "more came than one answer");
                // Not cleared but dropped: ten thousand viewers would each keep their longest answer.
                self.partial = Vec::new();
                return Ok(Some(answer));
            }
            if is_all {
                return Ok(None);
            }
        }
    }
}
