//! Connections of clients: made, used, lost, made again.

use mio::{Interest, Token};

use super::{
    Crowd, SLOW_RECEIVE_BYTES,
    client::{Read, State},
    timers::Event,
};
use crate::{
    profile::Kind,
    run::{presence::Going, wire},
};

/// How long a client waits after its first failure (microseconds); twice as long after each further one.
const RETRY_US: u64 = 500_000;
/// The longest that it waits.
const RETRY_MAX_US: u64 = 10_000_000;
/// How often a slow reader reads (microseconds).
const READ_INTERVAL_US: u64 = 100_000;

impl Crowd<'_> {
    /// Begins to connect.
    pub(super) fn connect(&mut self, place: u32) {
        let caller = self.caller(place);
        let receive_bytes = (self.behaviour(place).kind == Kind::Slow).then_some(SLOW_RECEIVE_BYTES);
        let target = self.plan.targets[caller.target].address;
        let connected = wire::connect(target, caller.client, receive_bytes).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(place as usize), interest)?;
            Ok(stream)
        });
        let client = &mut self.clients[place as usize];
        client.connection += 1;
        client.asked_us = self.clock.now_us();
        match connected {
            Ok(stream) => {
                client.stream = Some(stream);
                client.state = State::Connecting;
            }
            Err(error) => self.fail(place, &format!("poll {}", wire::name_of(&error))),
        }
    }

    /// Serves what the network tells of a client.
    pub(super) fn serve(&mut self, place: u32, is_writable: bool, is_readable: bool) {
        let client = &mut self.clients[place as usize];
        if client.state == State::Connecting {
            let Some(stream) = &client.stream else { return };
            match stream.take_error() {
                Ok(None) if is_writable && stream.peer_addr().is_ok() => self.begin(place),
                Ok(None) => return,
                Ok(Some(error)) | Err(error) => {
                    return self.fail(place, &format!("poll {}", wire::name_of(&error)));
                }
            }
        }
        if !is_readable {
            return;
        }
        if self.behaviour(place).kind == Kind::Slow {
            if !self.clients[place as usize].is_reading {
                self.read_slowly(place, self.clock.now_us());
            }
        } else {
            self.read_all(place);
        }
    }

    /// The connection is made.
    fn begin(&mut self, place: u32) {
        let client = &mut self.clients[place as usize];
        self.tally.counters.connects += 1;
        self.tally.counters.reconnects += u64::from(client.is_known);
        client.is_known = true;
        client.crosses_goodbye = self.goodbyes.is_saying(self.share.clients.start + place);
        client.state = State::Resting;
        self.connected += 1;
        if !client.is_present {
            client.is_present = true;
            self.presence.come(self.share.clients.start + place);
        }
        self.ask(place);
    }

    /// Polls.
    pub(super) fn ask(&mut self, place: u32) {
        use std::io::Write as _;
        let caller = self.caller(place);
        let behaviour = &self.behaviours[usize::from(self.clients[place as usize].behaviour)];
        let client = &mut self.clients[place as usize];
        if client.state != State::Resting {
            return;
        }
        self.requests.poll(&mut self.scratch, caller, client.cursor.as_deref(), behaviour);
        let Some(stream) = &mut client.stream else { return };
        match stream.write(&self.scratch) {
            Ok(written) if written == self.scratch.len() => {
                client.state = State::Asked;
                client.asked_us = self.clock.now_us();
                self.parked += 1;
                self.tally.counters.polls += 1;
            }
            // A poll is far shorter than the least buffer; whoever has no room for it reads nothing.
            Ok(_) => self.fail(place, "poll not taken"),
            Err(error) => self.fail(place, &format!("poll {}", wire::name_of(&error))),
        }
    }

    fn read_all(&mut self, place: u32) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let connection = self.clients[place as usize].connection;
        // An answer may have the connection closed, and another one made.
        while self.clients[place as usize].connection == connection {
            let client = &mut self.clients[place as usize];
            match client.read(&mut buffer) {
                Ok(Read::Dry(0)) => break,
                Ok(Read::Dry(count)) => {
                    self.take_bytes(place, &buffer[..count]);
                    break;
                }
                Ok(Read::Full(count)) => self.take_bytes(place, &buffer[..count]),
                Ok(Read::Closed) => {
                    self.fail(place, "poll connection closed");
                    break;
                }
                Err(error) => {
                    self.fail(place, &format!("poll {}", wire::name_of(&error)));
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Reads no more than a slow reader may within an interval, and goes on after it.
    pub(super) fn read_slowly(&mut self, place: u32, now_us: u64) {
        let rate = u64::from(self.behaviour(place).read_bytes_per_s.unwrap_or(u32::MAX));
        let bytes = usize::try_from(rate * READ_INTERVAL_US / 1_000_000).unwrap_or(usize::MAX);
        let mut buffer = std::mem::take(&mut self.buffer);
        let bytes = bytes.clamp(1, buffer.len());
        let client = &mut self.clients[place as usize];
        client.is_reading = true;
        let connection = client.connection;
        match client.read(&mut buffer[..bytes]) {
            // Nothing waits: the next byte is an event.
            Ok(Read::Dry(0)) => client.is_reading = false,
            Ok(Read::Dry(count) | Read::Full(count)) => {
                self.timers.add(now_us + READ_INTERVAL_US, place, Event::Read(connection));
                self.take_bytes(place, &buffer[..count]);
            }
            Ok(Read::Closed) => self.fail(place, "poll connection closed"),
            Err(error) => self.fail(place, &format!("poll {}", wire::name_of(&error))),
        }
        self.buffer = buffer;
    }

    /// Counts what went wrong, and has the client try again later.
    pub(super) fn fail(&mut self, place: u32, what: &str) {
        self.tally.counters.add_error(what, 1);
        let client = &mut self.clients[place as usize];
        client.failures = client.failures.saturating_add(1);
        let failures = u32::from(client.failures.min(8)) - 1;
        self.reconnect_after(place, (RETRY_US << failures).min(RETRY_MAX_US));
    }

    /// Closes the connection, and makes another one after about so long, half of it more or less.
    pub(super) fn reconnect_after(&mut self, place: u32, after_us: u64) {
        self.close(place);
        let client = self.share.clients.start + place;
        let after_us = (after_us as f64 * (0.5 + self.draw(client))) as u64;
        let connection = self.clients[place as usize].connection;
        self.timers.add(self.clock.now_us() + after_us, place, Event::Retry(connection));
    }

    /// Closes the connection, if there is one; what was planned for it is void.
    pub(super) fn close(&mut self, place: u32) {
        let client = &mut self.clients[place as usize];
        client.connection += 1;
        client.stream = None;
        client.is_reading = false;
        client.input = Vec::new();
        match std::mem::replace(&mut client.state, State::Away) {
            State::Away | State::Connecting => {}
            State::Asked => {
                self.connected -= 1;
                self.parked -= 1;
            }
            State::Resting => self.connected -= 1,
        }
    }

    /// The client does not count as online any more, or not for long.
    pub(super) fn go_offline(&mut self, place: u32, now_us: u64, going: Going) {
        if std::mem::take(&mut self.clients[place as usize].is_present) {
            self.presence.go(self.share.clients.start + place, (now_us / 1_000_000) as u32, going);
        }
    }

    /// The client ends its connection and says nothing. If its poll was held, the server sees that.
    pub(super) fn go_silently(&mut self, place: u32, now_us: u64) {
        let client = &mut self.clients[place as usize];
        let held = if client.state == State::Asked { client.stream.take() } else { None };
        self.close(place);
        if !self.clients[place as usize].is_present {
            return;
        }
        let Some(stream) = held else { return self.go_offline(place, now_us, Going::Unknown) };
        if self.partings.begin(stream, place, self.poll.registry()) {
            self.clients[place as usize].is_present = false;
        } else {
            self.go_offline(place, now_us, Going::Known);
        }
    }

    /// Serves what the network tells of a client that ended its connection.
    pub(super) fn serve_parting(&mut self, token: usize) {
        let Some((place, going)) = self.partings.serve(token) else { return };
        // Unless it has come back meanwhile.
        if !self.clients[place as usize].is_present {
            let now_s = (self.clock.now_us() / 1_000_000) as u32;
            self.presence.go(self.share.clients.start + place, now_s, going);
        }
    }
}
