//! Connections that clients end without a word while their poll is held.
//!
//! The server takes such a client for gone, unless its answer crossed the end: then the client has had an answer, and counts for
//! a window. Only what is read until the server ends its side, too, tells which of the two it was.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read as _},
    net::Shutdown,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use crate::run::presence::Going;

/// Tokens of partings, far above those of goodbyes.
pub(super) const FIRST_TOKEN: usize = 1 << 41;
/// Partings under way at a time; of one more it is not known how it ends.
const PARTINGS_MAX: usize = 1_000;

/// Partings under way.
#[derive(Default)]
pub(super) struct Partings {
    under_way: HashMap<usize, (TcpStream, u32)>,
    next: usize,
}

impl Partings {
    /// Ends the sending side of a client's connection; says whether it will be told how the server took it.
    pub(super) fn begin(&mut self, mut stream: TcpStream, place: u32, registry: &Registry) -> bool {
        if self.under_way.len() >= PARTINGS_MAX || stream.shutdown(Shutdown::Write).is_err() {
            return false;
        }
        let token = FIRST_TOKEN + self.next;
        self.next += 1;
        if registry.reregister(&mut stream, Token(token), Interest::READABLE).is_err() {
            return false;
        }
        self.under_way.insert(token, (stream, place));
        true
    }

    /// Serves what the network tells of one; the client's place, and how it went, once that is known.
    pub(super) fn serve(&mut self, token: usize) -> Option<(u32, Going)> {
        let (stream, place) = self.under_way.get_mut(&token)?;
        let going = match stream.read(&mut [0; 1]) {
            Ok(0) => Going::Known,
            Ok(_) => Going::Unknown,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return None;
            }
            Err(_) => Going::Known,
        };
        let place = *place;
        self.under_way.remove(&token);
        Some((place, going))
    }
}
