//! The floor server: about the least that answering parked polls can cost.
//!
//! One thread, one epoll instance, no HTTP beyond the end of a request's head: a viewer's connection remembers where
//! its last answer ended, so nothing of a poll is read. A message is written to every parked connection as one
//! prepared answer. What a real server costs beyond this is its own; what the floor costs is the kernel's.
//!
//! Messages live in memory alone, and for no longer than the process.

mod log;
mod sender;
mod viewer;

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use anyhow::{Context as _, Result};
use mio::{
    Events, Interest, Poll, Token,
    event::{Event, Source},
    net::{TcpListener, TcpStream},
};

use self::{log::Log, sender::Sender, viewer::Viewer};
use crate::cli::FloorArgs;

/// Connections, viewers' and senders' together; the next one is closed at once.
const CONNECTIONS_MAX: usize = 1 << 20;
const EVENTS_MAX: usize = 1024;
/// A poll or a piece of a send.
const READ_BYTES: usize = 64 * 1024;

const POLLS: Token = Token(0);
const SENDS: Token = Token(1);
const FIRST_CONNECTION: usize = 2;

/// Runs a floor server until the process is killed.
pub(crate) fn serve(args: &FloorArgs) -> Result<()> {
    let mut floor = Floor::bind(args)?;
    let (listen, send_listen) = (floor.polls.local_addr()?, floor.sends.local_addr()?);
    eprintln!(
        "{}",
        serde_json::json!({ "message": "listening", "listen": listen.to_string(), "send_listen": send_listen.to_string() })
    );
    loop {
        floor.turn()?;
    }
}

struct Floor {
    poll: Poll,
    events: Events,
    polls: TcpListener,
    sends: TcpListener,
    /// By token, less [`FIRST_CONNECTION`].
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Places of viewers in the order of parking; some may have left since.
    parked: Vec<usize>,
    log: Log,
    buffer: Box<[u8]>,
    rewind: bool,
}

enum Connection {
    Viewer(Viewer),
    Sender(Sender),
}

/// What became of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Open,
    Closed,
}

impl Floor {
    fn bind(args: &FloorArgs) -> Result<Self> {
        let poll = Poll::new().context("open an epoll instance")?;
        let mut polls =
            TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
        let mut sends =
            TcpListener::bind(args.send_listen).with_context(|| format!("listen on {}", args.send_listen))?;
        poll.registry().register(&mut polls, POLLS, Interest::READABLE)?;
        poll.registry().register(&mut sends, SENDS, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            polls,
            sends,
            connections: Vec::new(),
            free: Vec::new(),
            parked: Vec::new(),
            log: Log::default(),
            buffer: vec![0; READ_BYTES].into(),
            rewind: args.rewind,
        })
    }

    /// Waits for events, and serves them.
    fn turn(&mut self) -> Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(error).context("wait for events");
            }
            _ => {}
        }
        for event in &events {
            match event.token() {
                POLLS => self.accept_all(POLLS),
                SENDS => self.accept_all(SENDS),
                Token(token) => self.serve_connection(token - FIRST_CONNECTION, event),
            }
        }
        self.events = events;
        Ok(())
    }

    fn accept_all(&mut self, listener: Token) {
        loop {
            let accepted = if listener == POLLS { self.polls.accept() } else { self.sends.accept() };
            match accepted {
                Ok((stream, peer)) => self.admit(listener, stream, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A client that is gone again, or no descriptor left: the next event tries anew.
                Err(error) => return eprintln!("accept: {error}"),
            }
        }
    }

    fn admit(&mut self, listener: Token, mut stream: TcpStream, peer: SocketAddr) {
        let place = self.free.pop().unwrap_or(self.connections.len());
        if place >= CONNECTIONS_MAX {
            return eprintln!("{peer} was turned away: {CONNECTIONS_MAX} connections are open");
        }
        let ready = stream.set_nodelay(true).and_then(|()| {
            self.poll.registry().register(&mut stream, Token(place + FIRST_CONNECTION), Interest::READABLE)
        });
        if place == self.connections.len() {
            self.connections.push(None);
        }
        if let Err(error) = ready {
            self.free.push(place);
            return eprintln!("{peer} was turned away: {error}");
        }
        self.connections[place] = Some(if listener == POLLS {
            Connection::Viewer(Viewer::new(stream))
        } else {
            Connection::Sender(Sender::new(stream))
        });
    }

    fn serve_connection(&mut self, place: usize, event: &Event) {
        let outcome = match self.connections.get_mut(place) {
            Some(Some(Connection::Viewer(viewer))) => {
                let outcome = if event.is_writable() { viewer.flush() } else { Ok(Outcome::Open) };
                let asked = outcome.and_then(|outcome| match outcome {
                    Outcome::Open if event.is_readable() => viewer.read(&mut self.buffer),
                    _ => Ok((outcome, false)),
                });
                asked.and_then(|(outcome, has_asked)| {
                    if has_asked {
                        let after = if self.rewind { 0 } else { viewer.seen };
                        let end = self.log.end();
                        match self.log.answer_after(after) {
                            Some(answer) => viewer.answer(answer, end, &self.poll, place)?,
                            None => {
                                viewer.is_parked = true;
                                self.parked.push(place);
                            }
                        }
                    }
                    Ok(outcome)
                })
            }
            Some(Some(Connection::Sender(sender))) => {
                let outcome = sender.read(&mut self.buffer, &mut self.log);
                if matches!(outcome, Ok((_, true))) {
                    self.wake();
                }
                outcome.map(|(outcome, _)| outcome)
            }
            // Closed by an earlier event of the same turn.
            Some(None) | None => return,
        };
        if !matches!(outcome, Ok(Outcome::Open)) {
            self.close(place);
        }
    }

    /// Answers everybody who is parked.
    fn wake(&mut self) {
        let mut parked = std::mem::take(&mut self.parked);
        let end = self.log.end();
        for place in parked.drain(..) {
            let Some(Some(Connection::Viewer(viewer))) = self.connections.get_mut(place) else { continue };
            // The place may have gone to somebody else, who is then in the list twice.
            if !std::mem::take(&mut viewer.is_parked) {
                continue;
            }
            let after = if self.rewind { 0 } else { viewer.seen };
            let Some(answer) = self.log.answer_after(after) else { continue };
            if viewer.answer(answer, end, &self.poll, place).is_err() {
                self.close(place);
            }
        }
        // Its memory serves for the next round.
        self.parked = parked;
    }

    fn close(&mut self, place: usize) {
        self.connections[place] = None;
        self.free.push(place);
    }
}

/// Asks to be told when `source` can be written, too.
fn watch_writable(source: &mut impl Source, poll: &Poll, place: usize) -> io::Result<()> {
    poll.registry().reregister(
        source,
        Token(place + FIRST_CONNECTION),
        Interest::READABLE | Interest::WRITABLE,
    )
}
