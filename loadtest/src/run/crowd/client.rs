//! One client: its connection, its place, what it is doing.

use std::{io, rc::Rc};

use mio::net::TcpStream;

use super::super::reader::Place;

/// A client. Most of a crowd's memory is this and the kernel's socket.
#[derive(Default)]
pub(super) struct Client {
    pub(super) stream: Option<TcpStream>,
    pub(super) state: State,
    /// Index of its behaviour in the profile.
    pub(super) behaviour: u8,
    /// Failures in a row.
    pub(super) failures: u8,
    /// Whether the curve has it online.
    pub(super) is_wanted: bool,
    /// Whether it counts as online: from its connection to a departure by plan, failures in between included.
    pub(super) is_present: bool,
    /// Whether it was connected before.
    pub(super) is_known: bool,
    /// Whether its first answer since it came, or came back, is still to come.
    pub(super) is_joining: bool,
    /// Whether it came back before its goodbye was answered.
    pub(super) crosses_goodbye: bool,
    /// Whether a slow reader's next read is set.
    pub(super) is_reading: bool,
    /// Counts its connections: what was planned for an earlier one is void.
    pub(super) connection: u32,
    /// Counts its visits: what was planned for an earlier one is void.
    pub(super) visit: u32,
    /// When its poll or its connecting began (microseconds).
    pub(super) asked_us: u64,
    /// When it was to be online from (microseconds): what was due before could not reach it in time.
    pub(super) since_us: u64,
    /// Shared with all readers who got the same answer; `None` before the first.
    pub(super) cursor: Option<Rc<[u8]>>,
    pub(super) place: Place,
    /// The beginning of a response that came in pieces; mostly empty.
    pub(super) input: Vec<u8>,
}

/// What a client is doing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum State {
    /// Not connected.
    #[default]
    Away,
    /// Its connection is being made.
    Connecting,
    /// Its poll was sent and is not answered.
    Asked,
    /// Connected, pausing before the next poll.
    Resting,
}

/// What reading gave.
pub(super) enum Read {
    /// Everything there was, and nothing more for now.
    Dry(usize),
    /// As much as was asked for; there may be more.
    Full(usize),
    /// The server closed the connection.
    Closed,
}

impl Client {
    /// Whether it is online by plan: connected, or about to be again.
    pub(super) fn is_online(&self) -> bool {
        self.is_present || self.state != State::Away
    }

    /// Reads once, at most as much as `buffer` holds.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        use io::Read as _;
        let Some(stream) = &mut self.stream else { return Ok(Read::Dry(0)) };
        loop {
            return match stream.read(buffer) {
                Ok(0) => Ok(Read::Closed),
                // A short read took everything, and what comes later is an event of its own.
                Ok(count) if count < buffer.len() => Ok(Read::Dry(count)),
                Ok(count) => Ok(Read::Full(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::Dry(0)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }
}
