//! What the threads of a process tell each other of clients that have closed a connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use room::Role;

use super::{Collector, Visitor, told::Told};
use crate::{DeviceHash, UserHash};

/// How long a close waits for another thread of the process to say that the client is parked there, too (milliseconds).
const CLOSE_WAITS_MS: u64 = 60;

/// Most closings that are remembered for threads that have not looked yet; the oldest gives way, and its client counts as
/// gone until a poll that is parked elsewhere is told of again.
const CLOSINGS_MAX: usize = 65_536;

/// A client that has closed a connection on one thread, and may have others.
#[derive(Debug)]
pub(crate) struct Closing {
    /// The collector that saw it.
    pub(super) collector: u64,
    /// The room's hash.
    pub(super) room: u64,
    pub(super) user: UserHash,
    pub(super) device: DeviceHash,
    pub(super) at_ms: u64,
    is_objected_to: AtomicBool,
}

impl Closing {
    pub(super) fn new(collector: u64, room: u64, visitor: &Visitor, at_ms: u64) -> Self {
        let is_objected_to = AtomicBool::new(false);
        Self { collector, room, user: visitor.user, device: visitor.device, at_ms, is_objected_to }
    }

    /// The client is still here.
    pub(super) fn object(&self) {
        self.is_objected_to.store(true, Ordering::Release);
    }

    pub(super) fn is_objected_to(&self) -> bool {
        self.is_objected_to.load(Ordering::Acquire)
    }

    /// The client, without a name.
    pub(super) fn visitor(&self) -> Visitor {
        Visitor { user: self.user, device: self.device, id: None, role: Role::default() }
    }
}

/// The latest closings of all threads. The lock is taken at closes, and at ticks after which there are new ones.
pub(crate) struct Closings {
    told: Told<Closing>,
    collectors: AtomicUsize,
    numbers: AtomicU64,
}

impl Default for Closings {
    fn default() -> Self {
        Self {
            told: Told::new(CLOSINGS_MAX),
            collectors: AtomicUsize::default(),
            numbers: AtomicU64::default(),
        }
    }
}

impl Closings {
    /// Gives a new collector its number, and from which closing on it is to look.
    pub(super) fn enter(&self) -> (u64, u64) {
        self.collectors.fetch_add(1, Ordering::Relaxed);
        (self.numbers.fetch_add(1, Ordering::Relaxed), self.told.next())
    }

    pub(super) fn exit(&self) {
        self.collectors.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is no thread to ask.
    pub(super) fn is_alone(&self) -> bool {
        self.collectors.load(Ordering::Relaxed) <= 1
    }

    pub(super) fn publish(&self, closing: Arc<Closing>) {
        if !self.is_alone() {
            self.told.publish(closing);
        }
    }
}

impl Collector {
    /// Says of clients that other threads have seen close whether they are parked here.
    pub(super) fn answer_closings(&mut self) {
        let Self { stats, number, closings_read, clients, index, .. } = self;
        for closing in stats.closings.told.unread(closings_read) {
            if closing.collector != *number && !clients.is_empty() && clients.has(index, &closing) {
                closing.object();
            }
        }
    }

    pub(super) fn finish_closings(&mut self, now_ms: u64) {
        let waits_ms = if self.stats.closings.is_alone() { 0 } else { CLOSE_WAITS_MS };
        for at in (0..self.closings.len()).rev() {
            let (closing, room) = &self.closings[at];
            if now_ms < closing.at_ms + waits_ms {
                continue;
            }
            let (closing, room) = (Arc::clone(closing), *room);
            self.closings.swap_remove(at);
            self.queue(room).users -= 1;
            if !closing.is_objected_to() && !self.clients.has_client(room, closing.user, closing.device) {
                self.push(room, &closing.visitor(), 0, closing.at_ms, true);
                self.due_at_ms = self.due_at_ms.min(now_ms);
            }
        }
    }
}
