//! A sender's connection: one message under way at a time, so the order of its sending is its order in the log.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use super::Due;
use crate::run::{
    http::{Head, problem_code},
    wire,
};

/// What a connection that the server has closed is called.
pub(super) const CLOSED: &str = "connection closed";

/// How long a broken connection waits until it is made again (microseconds).
const RETRY_US: u64 = 200_000;
/// The code by which a node says that it is going down, and a balancer that no node has answered.
const DRAINING: &str = "draining";
/// Bytes of a response to a send.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// One connection.
#[derive(Default)]
pub(super) struct Line {
    stream: Option<TcpStream>,
    /// The request under way, and how much of it is written.
    pub(super) request: Vec<u8>,
    written: usize,
    under_way: Option<Due>,
    input: Vec<u8>,
    /// When it is to be made again.
    again_us: Option<u64>,
    is_closing: bool,
    /// Connections that were given up.
    failures: usize,
}

/// What a send came to.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The log has it, under that sequence number.
    Acknowledged { seq: u64 },
    /// It was refused: status and code.
    Refused { what: String },
}

impl Line {
    /// Which of so many servers the `nth` line is to use: its own, and after each failure the next one.
    pub(super) fn server(&self, nth: usize, servers: usize) -> usize {
        (nth + self.failures) % servers
    }

    /// Begins to connect; what was under way is written again as soon as it can be.
    pub(super) fn connect(
        &mut self,
        target: SocketAddr,
        source: u32,
        registry: &Registry,
        token: Token,
    ) -> Result<(), &'static str> {
        self.again_us = None;
        let connected = wire::connect(target, source, None).and_then(|mut stream| {
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        self.stream = Some(connected.map_err(|error| wire::name_of(&error))?);
        Ok(())
    }

    /// A message is under way from here on; its request is in `request`.
    pub(super) fn begin(&mut self, due: Due) {
        self.under_way = Some(due);
        self.written = 0;
    }

    /// Writes what there is to write and the socket takes.
    pub(super) fn write(&mut self) -> Result<(), &'static str> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.under_way.is_some() && self.written < self.request.len() {
            match stream.write(&self.request[self.written..]) {
                Ok(count) => self.written += count,
                // Not connected: it tells once it is.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(wire::name_of(&error)),
            }
        }
        Ok(())
    }

    /// Reads what there is; what the send came to, once its response is whole.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Outcome>, &'static str> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        loop {
            match stream.read(buffer) {
                Ok(0) => return Err(CLOSED),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(wire::name_of(&error)),
            }
            if self.input.len() > RESPONSE_BYTES_MAX {
                return Err("response never ends");
            }
        }
        let head = match Head::of(&self.input) {
            Ok(Some(head)) if self.input.len() >= head.length() => head,
            Ok(_) => return Ok(None),
            Err(_) => return Err("response malformed"),
        };
        if self.under_way.is_none() || self.input.len() > head.length() {
            return Err("response unasked");
        }
        self.is_closing = head.closes;
        let outcome = outcome_of(head.status, &self.input[head.head..])?;
        self.input.clear();
        Ok(Some(outcome))
    }

    /// The message under way is answered; which one it was.
    pub(super) fn end(&mut self) -> Option<Due> {
        self.under_way.take()
    }

    /// The server has closed a connection on which nothing was asked for long: it is made again.
    pub(super) fn expire(&mut self, now_us: u64) {
        self.fail(now_us);
        self.failures -= 1;
        self.again_us = Some(now_us);
    }

    /// Gives the connection up, to be made again.
    pub(super) fn fail(&mut self, now_us: u64) {
        self.stream = None;
        self.input.clear();
        self.written = 0;
        self.is_closing = false;
        self.failures += 1;
        self.again_us = Some(now_us + RETRY_US);
    }

    /// Whether it is time to connect again.
    pub(super) fn is_due_again(&self, now_us: u64) -> bool {
        self.again_us.is_some_and(|again_us| again_us <= now_us)
    }

    /// Whether nothing is under way.
    pub(super) fn is_free(&self) -> bool {
        self.under_way.is_none()
    }

    /// Whether the server closes it after the last response.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }
}

/// What a response says of a send; an error if the node is going down, so that another one must be asked.
fn outcome_of(status: u16, body: &[u8]) -> Result<Outcome, &'static str> {
    #[derive(serde::Deserialize)]
    struct Acknowledgement {
        seq: u64,
    }
    // 200: a repeat, under the sequence number of the first.
    if matches!(status, 200 | 201) {
        return Ok(match serde_json::from_slice::<Acknowledgement>(body) {
            Ok(Acknowledgement { seq }) => Outcome::Acknowledged { seq },
            Err(_) => Outcome::Refused { what: format!("{status} without a sequence number") },
        });
    }
    let code = problem_code(body);
    if code == DRAINING {
        return Err("503 draining");
    }
    Ok(Outcome::Refused { what: format!("{status} {code}").trim_end().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgement_needs_status_and_seq() {
        let acknowledged = Ok(Outcome::Acknowledged { seq: 7 });
        assert_eq!(outcome_of(201, br#"{"id":"x","seq":7}"#), acknowledged);
        assert_eq!(outcome_of(200, br#"{"seq":7,"duplicate":true}"#), acknowledged);
        for (status, body) in [(201, "{}"), (429, r#"{"seq":7,"code":"rate_limited"}"#), (503, "")] {
            assert!(
                matches!(outcome_of(status, body.as_bytes()), Ok(Outcome::Refused { .. })),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn node_that_drains_has_not_refused() {
        assert_eq!(outcome_of(503, br#"{"code":"draining"}"#), Err("503 draining"));
    }

    #[test]
    fn next_server_is_tried_after_a_failure() {
        let mut line = Line::default();
        assert_eq!([line.server(0, 2), line.server(1, 2), line.server(2, 2)], [0, 1, 0]);
        line.fail(0);
        assert_eq!([line.server(0, 2), line.server(1, 2), line.server(0, 1)], [1, 0, 0]);
    }

    #[test]
    fn connection_that_was_idle_is_no_failure_of_its_server() {
        let mut line = Line::default();
        line.expire(1_000);
        assert_eq!((line.server(0, 2), line.is_free()), (0, true));
        assert!(line.is_due_again(1_000));
    }

    #[test]
    fn message_stays_under_way_over_a_broken_connection() {
        let mark = crate::mark::Mark { list: crate::mark::List::Normal, sender: 0, number: 0, due_us: 0 };
        let mut line = Line::default();
        line.begin(Due { mark, room: 3 });
        line.fail(1_000);
        assert!(!line.is_free() && !line.is_due_again(1_000) && line.is_due_again(1_000 + RETRY_US));
        assert_eq!(line.end().map(|due| due.room), Some(3));
        assert!(line.is_free());
    }
}
