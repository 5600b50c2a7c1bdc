//! Goodbyes (`POST …/leave`): one request each, over a connection of its own, as a browser's `sendBeacon` does it.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::SocketAddr,
};

use mio::{Interest, Registry, Token, event::Event, net::TcpStream};

use crate::run::{
    http::{Head, problem_code},
    outcome::Counters,
    wire,
};

/// Tokens of goodbyes, far above those of clients.
pub(super) const FIRST_TOKEN: usize = 1 << 40;
/// Goodbyes under way at a time; who leaves beyond it says nothing.
const GOODBYES_MAX: usize = 1_000;

/// Goodbyes under way.
#[derive(Default)]
pub(super) struct Goodbyes {
    under_way: HashMap<usize, Goodbye>,
    next: usize,
}

struct Goodbye {
    client: u32,
    stream: TcpStream,
    /// What is still to be written.
    request: Vec<u8>,
    input: Vec<u8>,
}

impl Goodbyes {
    /// Begins to say one; false if there are too many, or no connection can be made.
    pub(super) fn say(
        &mut self,
        target: SocketAddr,
        nth: u32,
        request: &[u8],
        registry: &Registry,
        counters: &mut Counters,
    ) -> bool {
        if self.under_way.len() >= GOODBYES_MAX {
            return false;
        }
        let token = FIRST_TOKEN + self.next;
        self.next += 1;
        let connected = wire::connect(target, nth, None).and_then(|mut stream| {
            registry.register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => {
                self.under_way.insert(
                    token,
                    Goodbye { client: nth, stream, request: request.to_vec(), input: Vec::new() },
                );
                true
            }
            Err(error) => {
                counters.add_error(&format!("leave {}", wire::name_of(&error)), 1);
                false
            }
        }
    }

    /// Whether a client's goodbye is on its way: until it is answered, it may end a poll that came on another connection.
    pub(super) fn is_saying(&self, client: u32) -> bool {
        self.under_way.values().any(|goodbye| goodbye.client == client)
    }

    /// Serves what the network tells of one.
    pub(super) fn serve(&mut self, event: &Event, counters: &mut Counters) {
        let Token(token) = event.token();
        let Some(goodbye) = self.under_way.get_mut(&token) else { return };
        if event.is_writable() && !goodbye.request.is_empty() {
            match goodbye.stream.write(&goodbye.request) {
                Ok(written) => drop(goodbye.request.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return self.end(token, &format!("leave {}", wire::name_of(&error)), counters),
            }
        }
        if !event.is_readable() {
            return;
        }
        let mut buffer = [0; 4096];
        match goodbye.stream.read(&mut buffer) {
            Ok(0) => return self.end(token, "leave connection closed", counters),
            Ok(count) => goodbye.input.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => return self.end(token, &format!("leave {}", wire::name_of(&error)), counters),
        }
        match Head::of(&goodbye.input) {
            Ok(Some(head)) if goodbye.input.len() >= head.length() => {
                let what = format!("leave {} {}", head.status, problem_code(&goodbye.input[head.head..]));
                if head.status == 204 {
                    self.under_way.remove(&token);
                } else {
                    self.end(token, what.trim_end(), counters);
                }
            }
            Ok(_) => {}
            Err(_) => self.end(token, "leave response malformed", counters),
        }
    }

    fn end(&mut self, token: usize, what: &str, counters: &mut Counters) {
        counters.add_error(what, 1);
        self.under_way.remove(&token);
    }
}
