//! What polls and sends tell the statistics: who is here, and who has left.
//!
//! Each worker has one [`Presence`], reached without a lock. A poll that is parked holds a [`Present`] for as long as it
//! lasts: given back with the answer, its user stays online for a window; dropped without one, its client is gone.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use parking_lot::Mutex;
use recvsvr::{Follower, Worker};
use room::{Identity, RoomKey};
use statsvr::{Collector, CollectorSettings, DeviceHash, Parked, Stats, TICK_EVERY, UserHash, Visitor};

/// Clients that have left and are still to be told to one worker (count). One more keeps its parked polls until their
/// deadlines; it is counted as gone all the same.
const LEAVERS_MAX: usize = 65_536;

/// A client who has left a room, and when (Unix milliseconds).
type Leaver = (RoomKey, UserHash, DeviceHash, u64);

/// Who has left, for each worker to end what it holds of theirs.
pub(crate) struct Leavers(Box<[Mutex<Vec<Leaver>>]>);

impl Leavers {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Mutex::default()).collect())
    }

    fn tell(&self, leaver: &Leaver) {
        for inbox in &self.0 {
            let mut inbox = inbox.lock();
            if inbox.len() < LEAVERS_MAX {
                inbox.push(leaver.clone());
            }
        }
    }

    fn take(&self, worker: usize) -> Vec<Leaver> {
        std::mem::take(&mut *self.0[worker].lock())
    }
}

/// A worker's way to the statistics.
pub(crate) struct Presence {
    collector: RefCell<Collector>,
    stats: Arc<Stats>,
    worker: Rc<Worker>,
    leavers: Arc<Leavers>,
    /// The number of the worker among [`Leavers`].
    index: usize,
    /// Makes connections' numbers unlike those of other processes.
    salt: u64,
}

impl Presence {
    pub(crate) fn new(
        stats: &Arc<Stats>,
        worker: &Rc<Worker>,
        leavers: &Arc<Leavers>,
        index: usize,
        salt: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            collector: RefCell::new(Collector::new(Arc::clone(stats), CollectorSettings::default())),
            stats: Arc::clone(stats),
            worker: Rc::clone(worker),
            leavers: Arc::clone(leavers),
            index,
            salt,
        })
    }

    /// Tells now and then what was gathered, and ends the polls of who has left. Run it once, on the worker's thread.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut tick = tokio::time::interval(TICK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for leaver in self.leavers.take(self.index) {
                self.end_polls(&leaver);
            }
            self.collector.borrow_mut().tick(self.now_ms());
        }
    }

    fn now_ms(&self) -> u64 {
        self.stats.clock().now_ms()
    }

    /// Who asks, as the statistics know them; `connection` names who names nobody.
    pub(crate) fn visitor(&self, identity: &Identity, connection: u64) -> Visitor {
        Visitor::new(identity, self.salt ^ connection)
    }

    /// A send was accepted, or a poll was answered at once.
    pub(crate) fn seen(&self, room: &RoomKey, visitor: &Visitor, follower: Option<&Follower>) {
        let seq = follower.and_then(Follower::seen);
        self.collector.borrow_mut().seen(room, visitor, seq, self.now_ms());
    }

    /// A poll waits.
    pub(crate) fn park(self: &Rc<Self>, room: &RoomKey, visitor: &Visitor, follower: &Follower) -> Present {
        let (seq, seat, now_ms) = (follower.seen(), follower.seat(), self.now_ms());
        let parked = self.collector.borrow_mut().parked(room, visitor, seq, seat, now_ms);
        Present(Some((Rc::clone(self), parked)))
    }

    /// A client leaves a room: it is offline, and its polls end.
    pub(crate) fn leave(&self, room: &RoomKey, visitor: &Visitor) {
        let now_ms = self.now_ms();
        let leaver = (room.clone(), visitor.user, visitor.device, now_ms);
        self.end_polls(&leaver);
        self.collector.borrow_mut().left(room, visitor, now_ms);
        self.leavers.tell(&leaver);
    }

    fn end_polls(&self, (room, user, device, left_at_ms): &Leaver) {
        let seats = self.collector.borrow_mut().leave_polls(room, *user, *device, *left_at_ms);
        for seat in seats {
            self.worker.end_poll(seat);
        }
    }

    /// Sends all that was gathered: before the worker ends.
    pub(crate) fn flush(&self) {
        self.collector.borrow_mut().flush(self.now_ms());
    }
}

/// The presence of a client whose poll waits.
#[derive(Default)]
pub(crate) struct Present(Option<(Rc<Presence>, Parked)>);

impl Present {
    /// The poll was answered. Gives back whether its client has left: then it asks for nothing more.
    pub(crate) fn answered(mut self) -> bool {
        let Some((presence, parked)) = self.0.take() else { return false };
        presence.collector.borrow_mut().answered(parked, presence.now_ms())
    }
}

impl Drop for Present {
    /// The client is gone.
    fn drop(&mut self) {
        if let Some((presence, parked)) = self.0.take() {
            presence.collector.borrow_mut().closed(parked, presence.now_ms());
        }
    }
}
