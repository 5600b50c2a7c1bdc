//! Requests, as bigroom's contract has them.

use std::io::Write as _;

use super::RunPlan;
use crate::{
    mark::{List, Mark},
    profile::Behaviour,
};

/// Most members whose names a room's senders use.
const AUTHORS_MAX: u32 = 64;

/// Writes requests of one run.
pub(super) struct Requests<'p> {
    plan: &'p RunPlan,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Number among all clients of the run.
    pub(super) client: u32,
    pub(super) user: u32,
    pub(super) room: u32,
    /// Index of the server.
    pub(super) target: usize,
}

impl<'p> Requests<'p> {
    pub(super) fn new(plan: &'p RunPlan) -> Self {
        Self { plan }
    }

    /// Puts a poll into `out`: from `cursor` on, or with the last messages of the room if there is none yet.
    pub(super) fn poll(
        &self,
        out: &mut Vec<u8>,
        caller: Caller,
        cursor: Option<&[u8]>,
        behaviour: &Behaviour,
    ) {
        out.clear();
        self.start(out, "GET", caller, "messages");
        match cursor {
            Some(cursor) => {
                out.extend_from_slice(b"?cursor=");
                out.extend_from_slice(cursor);
            }
            None => put(out, format_args!("?tail={}", behaviour.tail)),
        }
        put(out, format_args!("&limit={}&timeout_ms={}", behaviour.limit, behaviour.timeout.as_millis()));
        self.end(out, caller, b'&', "");
        out.extend_from_slice(b"\r\n");
    }

    /// Puts a goodbye into `out`.
    pub(super) fn leave(&self, out: &mut Vec<u8>, caller: Caller) {
        out.clear();
        self.start(out, "POST", caller, "leave");
        self.end(out, caller, b'?', "Connection: close\r\nContent-Length: 0\r\n");
        out.extend_from_slice(b"\r\n");
    }

    /// Puts a question for the numbers of the first room into `out`. Who asks it does not count as being there.
    pub(super) fn stats(&self, out: &mut Vec<u8>) {
        out.clear();
        let caller = Caller { client: 0, user: 0, room: 0, target: 0 };
        self.start(out, "GET", caller, "stats");
        self.end_with(out, caller, b'?', "Connection: close\r\n", self.plan.token.as_deref());
        out.extend_from_slice(b"\r\n");
    }

    /// Puts the sending of a message of `bytes` into `out`.
    pub(super) fn send(&self, out: &mut Vec<u8>, caller: Caller, mark: &Mark, bytes: usize) {
        out.clear();
        let mut body = b"{\"id\":\"".to_vec();
        mark.write_id(&mut body);
        let priority = match mark.list {
            List::Priority => "high",
            List::Normal => "normal",
        };
        put(&mut body, format_args!("\",\"priority\":\"{priority}\",\"text\":\"{}\"}}", mark.text(bytes)));
        self.start(out, "POST", caller, "messages");
        let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let token = self.plan.token.as_deref();
        self.end_with(out, caller, b'?', &fields, token);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
    }

    /// Who sends the `number`-th message: one of those who come to its room first and leave last, so that senders are no
    /// additional people.
    pub(super) fn author(&self, number: u32, room: u32, authors: &[u32]) -> Caller {
        let client = authors[number as usize % authors.len()];
        let target = number as usize % self.plan.targets.len();
        Caller { client, user: self.plan.profile.clients.user_of(client), room, target }
    }

    /// For each room, the clients who come first (at least one, at most [`AUTHORS_MAX`]).
    pub(super) fn authors(plan: &RunPlan) -> Vec<Vec<u32>> {
        let mut authors = vec![Vec::new(); plan.profile.rooms as usize];
        let mut clients: Vec<u32> = (0..plan.profile.clients.count).collect();
        clients.sort_by(|one, two| {
            super::schedule::rank(plan.seed, *one).total_cmp(&super::schedule::rank(plan.seed, *two))
        });
        for client in clients {
            let room = room_of(plan, client) as usize;
            if authors[room].len() < AUTHORS_MAX as usize {
                authors[room].push(client);
            }
        }
        // More rooms than users: somebody from elsewhere has to speak.
        for room in &mut authors {
            if room.is_empty() {
                room.push(0);
            }
        }
        authors
    }

    fn start(&self, out: &mut Vec<u8>, method: &str, caller: Caller, what: &str) {
        put(out, format_args!("{method} /v1/rooms/lt-{}-{}/{what}", self.plan.run_id, caller.room));
    }

    fn end(&self, out: &mut Vec<u8>, caller: Caller, separator: u8, fields: &str) {
        let tokens = &self.plan.viewer_tokens;
        let own = tokens.get(caller.client as usize % tokens.len().max(1));
        self.end_with(out, caller, separator, fields, own.or(self.plan.token.as_ref()).map(String::as_str));
    }

    fn end_with(&self, out: &mut Vec<u8>, caller: Caller, separator: u8, fields: &str, token: Option<&str>) {
        // A token says who it is; a name beside it would contradict it.
        if token.is_none() {
            out.push(separator);
            put(out, format_args!("user=u{}&device=d{}", caller.user, caller.client));
        }
        let authority = &self.plan.targets[caller.target].authority;
        put(out, format_args!(" HTTP/1.1\r\nHost: {authority}\r\n{fields}"));
        if let Some(token) = token {
            put(out, format_args!("Authorization: Bearer {token}\r\n"));
        }
    }
}

/// The room that a client is in: all devices of a user are in the same.
pub(super) fn room_of(plan: &RunPlan, client: u32) -> u32 {
    plan.profile.clients.user_of(client) % plan.profile.rooms
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes all writes");
}
