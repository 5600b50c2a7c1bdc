//! Senders that each send their next message when the last one is acknowledged.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mio::{Events, Poll, Token};

use super::{AGE_MAX_US, Histogram, READ_BYTES, histogram, line::Line};
use crate::{
    audit::Verdict,
    mark::{List, Mark},
    peers::{Peer, Server},
};

const EVENTS_MAX: usize = 512;
const SEQ_BEFORE: &[u8] = b"\"seq\":";
/// Longest wait for events (see [`Senders::run`]).
const TURN_MAX: Duration = Duration::from_millis(20);
/// How long the last acknowledgements may take.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long sending a count may take.
const COUNT_TIMEOUT: Duration = Duration::from_secs(60);

/// What a measured time of sending gave.
pub(crate) struct Sent {
    pub(crate) acknowledged: u64,
    pub(crate) wall: Duration,
    /// From a request to its acknowledgement (microseconds).
    pub(crate) latency: Histogram,
}

/// Connections that send as fast as they are acknowledged.
pub(crate) struct Senders<'p> {
    peer: &'p dyn Peer,
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    scratch: Vec<u8>,
    lines: Vec<(Line, Instant)>,
    next: u32,
    message_bytes: usize,
    /// Rooms that are written to in turn.
    rooms: u32,
    /// Sequence numbers that were acknowledged, in the order of acknowledgement.
    seqs: Vec<u64>,
    errors: BTreeMap<String, u64>,
    latency: Histogram,
    has_ended: bool,
}

impl<'p> Senders<'p> {
    /// Connects `count` senders.
    pub(crate) fn open(
        peer: &'p dyn Peer,
        server: &Server,
        count: u32,
        message_bytes: usize,
    ) -> Result<Self> {
        let poll = Poll::new().context("open an epoll instance")?;
        let lines = (0..count)
            .map(|nth| {
                Ok((Line::open(&server.sends, nth, poll.registry(), Token(nth as usize))?, Instant::now()))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            peer,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BYTES].into(),
            scratch: Vec::new(),
            lines,
            next: 0,
            message_bytes,
            rooms: 1,
            seqs: Vec::new(),
            errors: BTreeMap::new(),
            latency: histogram(),
            has_ended: false,
        })
    }

    /// Sends for a while; what is under way at its end stays so.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Sent> {
        let began = Instant::now();
        let before = self.seqs.len();
        self.latency.reset();
        for at in 0..self.lines.len() {
            self.send(at)?;
        }
        while began.elapsed() < time {
            self.turn()?;
        }
        let acknowledged = (self.seqs.len() - before) as u64;
        Ok(Sent { acknowledged, wall: began.elapsed(), latency: self.latency.clone() })
    }

    /// From now on, writes to so many rooms in turn.
    pub(crate) fn spread_over(&mut self, rooms: u32) {
        self.rooms = rooms.max(1);
    }

    /// Sends so many messages; what is under way at the end stays so.
    pub(crate) fn run_count(&mut self, count: u32) -> Result<()> {
        let end = self.seqs.len() + count as usize;
        for at in 0..self.lines.len() {
            self.send(at)?;
        }
        let deadline = Instant::now() + COUNT_TIMEOUT;
        while self.seqs.len() < end {
            ensure!(
                Instant::now() < deadline,
                "{count} sends were not acknowledged within {COUNT_TIMEOUT:?}"
            );
            self.turn()?;
        }
        Ok(())
    }

    /// Waits for the last acknowledgements; tells whether all came without an error. For senders to many rooms, whose
    /// sequences say nothing together.
    pub(crate) fn finish_in_many_rooms(mut self) -> Result<Verdict> {
        self.await_last()?;
        let acknowledged = self.seqs.len() as u64;
        Ok(Verdict { acknowledged, received: acknowledged, errors: self.errors, ..Verdict::default() })
    }

    /// Waits for the last acknowledgements, and judges them all: every message has a place of its own in the log,
    /// and no place is left out.
    pub(crate) fn finish(mut self) -> Result<Verdict> {
        self.await_last()?;
        let acknowledged = self.seqs.len() as u64;
        self.seqs.sort_unstable();
        let repeated = self.seqs.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        self.seqs.dedup();
        let span = self.seqs.first().zip(self.seqs.last()).map_or(0, |(first, last)| last - first + 1);
        let lost = span - self.seqs.len() as u64;
        Ok(Verdict {
            acknowledged,
            received: acknowledged,
            lost,
            repeated,
            errors: self.errors,
            ..Verdict::default()
        })
    }

    fn await_last(&mut self) -> Result<()> {
        self.has_ended = true;
        let deadline = Instant::now() + LAST_TIMEOUT;
        while self.lines.iter().any(|(line, _)| line.is_waiting()) && Instant::now() < deadline {
            self.turn()?;
        }
        let unanswered = self.lines.iter().filter(|(line, _)| line.is_waiting()).count();
        if unanswered > 0 {
            self.errors.insert("a send was never acknowledged".to_owned(), unanswered as u64);
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(TURN_MAX)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(error).context("wait for events");
            }
            _ => {}
        }
        for event in &events {
            self.serve(event.token().0)?;
        }
        self.events = events;
        Ok(())
    }

    fn serve(&mut self, at: usize) -> Result<()> {
        let (line, asked) = &mut self.lines[at];
        let Some(acknowledged) = line.read(&mut self.buffer, acknowledged_seq)? else { return Ok(()) };
        let latency_us =
            u64::try_from(asked.elapsed().as_micros()).unwrap_or(AGE_MAX_US).clamp(1, AGE_MAX_US);
        match acknowledged {
            Ok(seq) => {
                self.seqs.push(seq);
                self.latency.saturating_record(latency_us);
            }
            Err(what) => *self.errors.entry(what).or_default() += 1,
        }
        self.send(at)
    }

    fn send(&mut self, at: usize) -> Result<()> {
        let (line, asked) = &mut self.lines[at];
        if self.has_ended || line.is_waiting() {
            return Ok(());
        }
        let mark = Mark { list: List::Normal, sender: 0, number: self.next, due_us: 0 };
        self.next += 1;
        self.scratch.clear();
        self.peer.write_send(
            &mut self.scratch,
            mark.number % self.rooms,
            &mark,
            &mark.text(self.message_bytes),
        );
        *asked = Instant::now();
        line.send(&self.scratch)
    }
}

/// The sequence number in an acknowledgement, or what is wrong with it.
fn acknowledged_seq(status: u16, body: &[u8]) -> Result<u64, String> {
    if status != 201 {
        return Err(format!("a send was refused with status {status}"));
    }
    // By hand: with a parser's tree for each acknowledgement the client would take more of the machine than the server.
    let seq = memchr::memmem::find(body, SEQ_BEFORE).and_then(|at| {
        let digits = &body[at + SEQ_BEFORE.len()..];
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    });
    seq.ok_or_else(|| "a send was acknowledged without a sequence number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgement_needs_status_and_seq() {
        assert_eq!(acknowledged_seq(201, b"{\"seq\":7}"), Ok(7));
        assert!(acknowledged_seq(201, b"{}").is_err());
        assert!(acknowledged_seq(201, b"{\"seq\":}").is_err());
        assert!(acknowledged_seq(429, b"{\"seq\":7}").is_err());
    }
}
