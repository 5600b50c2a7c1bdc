//! A viewer's connection to the floor.

use std::io::{self, ErrorKind, Read as _, Write as _};

use mio::{Poll, net::TcpStream};

use super::{Outcome, watch_writable};

/// What ends the head of a request, and with it a poll.
const HEAD_END: [u8; 4] = *b"\r\n\r\n";

/// One viewer; it asks only when it has been answered.
pub(super) struct Viewer {
    stream: TcpStream,
    /// Where its last answer ended in the log.
    pub(super) seen: usize,
    pub(super) is_parked: bool,
    /// The last bytes read, in case a head's end comes in pieces.
    tail: [u8; 4],
    /// The rest of an answer that did not fit into the socket.
    unsent: Vec<u8>,
}

impl Viewer {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, seen: 0, is_parked: false, tail: [0; 4], unsent: Vec::new() }
    }

    /// Reads what there is; tells whether a poll ended there.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<(Outcome, bool)> {
        let mut has_asked = false;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok((Outcome::Closed, false)),
                Ok(count) => {
                    has_asked = self.ends_head(&buffer[..count]);
                    // Fewer bytes than asked for: the socket is empty, and says so when it no longer is.
                    if count < buffer.len() {
                        return Ok((Outcome::Open, has_asked));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((Outcome::Open, has_asked)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the input so far, `bytes` at its end, ends a head.
    fn ends_head(&mut self, bytes: &[u8]) -> bool {
        if let Some(last) = bytes.last_chunk() {
            self.tail = *last;
        } else {
            self.tail.rotate_left(bytes.len());
            self.tail[4 - bytes.len()..].copy_from_slice(bytes);
        }
        let ends = self.tail == HEAD_END;
        if ends {
            self.tail = [0; 4];
        }
        ends
    }

    /// Writes an answer that brings the viewer to `end`.
    pub(super) fn answer(&mut self, answer: &[u8], end: usize, poll: &Poll, place: usize) -> io::Result<()> {
        self.seen = end;
        let written = match self.stream.write(answer) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written < answer.len() {
            self.unsent = answer[written..].to_vec();
            watch_writable(&mut self.stream, poll, place)?;
        }
        Ok(())
    }

    /// Writes more of an answer that did not fit.
    pub(super) fn flush(&mut self) -> io::Result<Outcome> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Outcome::Open)
    }
}
