//! What the threads of a process tell each other of clients that have closed a connection.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use room::Role;

use super::Visitor;
use crate::{DeviceHash, UserHash};

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
#[derive(Default)]
pub(crate) struct Closings {
    /// Number of the next closing.
    next: AtomicU64,
    latest: Mutex<VecDeque<Arc<Closing>>>,
    collectors: AtomicUsize,
    numbers: AtomicU64,
}

impl Closings {
    /// Gives a new collector its number, and from which closing on it is to look.
    pub(super) fn enter(&self) -> (u64, u64) {
        self.collectors.fetch_add(1, Ordering::Relaxed);
        (self.numbers.fetch_add(1, Ordering::Relaxed), self.next.load(Ordering::Acquire))
    }

    pub(super) fn exit(&self) {
        self.collectors.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is no thread to ask.
    pub(super) fn is_alone(&self) -> bool {
        self.collectors.load(Ordering::Relaxed) <= 1
    }

    pub(super) fn publish(&self, closing: Arc<Closing>) {
        if self.is_alone() {
            return;
        }
        let mut latest = self.latest.lock();
        if latest.len() >= CLOSINGS_MAX {
            latest.pop_front();
        }
        latest.push_back(closing);
        self.next.fetch_add(1, Ordering::Release);
    }

    /// Shows all since number `read`, and moves it on.
    pub(super) fn read(&self, read: &mut u64, mut look: impl FnMut(&Closing)) {
        if self.next.load(Ordering::Acquire) == *read {
            return;
        }
        let unread: Vec<Arc<Closing>> = {
            let latest = self.latest.lock();
            let next = self.next.load(Ordering::Acquire);
            let count = usize::try_from(next - *read).unwrap_or(usize::MAX).min(latest.len());
            *read = next;
            latest.range(latest.len() - count..).cloned().collect()
        };
        unread.iter().for_each(|closing| look(closing));
    }
}
