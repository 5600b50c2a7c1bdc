//! What polls and sends tell the statistics: who is here, and who has left.
//!
//! Each worker has one [`Presence`], reached without a lock. A poll that is parked holds a [`Present`] for as long as it
//! lasts: given back with the answer, its user stays online for a window; dropped without one, its client is gone.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use recvsvr::{Follower, Worker};
use room::{Identity, RoomKey};
use statsvr::{Collector, CollectorSettings, Moment, Parked, Stats, TICK_EVERY, Visitor};

/// A worker's way to the statistics.
pub(crate) struct Presence {
    collector: RefCell<Collector>,
    stats: Arc<Stats>,
    worker: Rc<Worker>,
    /// Makes connections' numbers unlike those of other processes.
    salt: u64,
}

impl Presence {
    pub(crate) fn new(stats: &Arc<Stats>, worker: &Rc<Worker>, salt: u64) -> Rc<Self> {
        Rc::new(Self {
            collector: RefCell::new(Collector::new(Arc::clone(stats), CollectorSettings::default())),
            stats: Arc::clone(stats),
            worker: Rc::clone(worker),
            salt,
        })
    }

    /// Tells now and then what was gathered, and ends the polls of who has left. Run it once, on the worker's thread.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut tick = tokio::time::interval(TICK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.collector.borrow_mut().tick(self.now_ms());
            self.end_polls();
        }
    }

    fn now_ms(&self) -> u64 {
        self.stats.clock().now_ms()
    }

    /// Who asks, as the statistics know them; `connection` names who names nobody.
    pub(crate) fn visitor(&self, identity: &Identity, connection: u64) -> Visitor {
        Visitor::new(identity, self.salt ^ connection)
    }

    /// A poll was answered at once.
    pub(crate) fn seen(&self, room: &RoomKey, visitor: &Visitor, follower: &Follower) {
        self.collector.borrow_mut().seen(room, visitor, follower.seen(), self.now_ms());
    }

    /// What is begun now, for [`Presence::has_left_since`] and [`Presence::sent`].
    pub(crate) fn moment(&self) -> Moment {
        self.collector.borrow_mut().moment()
    }

    /// Whether a client has left by word since something of it was begun.
    pub(crate) fn has_left_since(&self, began: Moment, room: &RoomKey, visitor: &Visitor) -> bool {
        self.collector.borrow().has_left_since(began, room, visitor)
    }

    /// A send that was begun then was accepted.
    pub(crate) fn sent(&self, room: &RoomKey, visitor: &Visitor, began: Moment) {
        if !self.has_left_since(began, room, visitor) {
            self.collector.borrow_mut().seen(room, visitor, None, self.now_ms());
        }
    }

    /// A poll waits.
    pub(crate) fn park(self: &Rc<Self>, room: &RoomKey, visitor: Visitor, follower: &Follower) -> Present {
        let (seq, seat, now_ms) = (follower.seen(), follower.seat(), self.now_ms());
        let parked = self.collector.borrow_mut().parked(room, visitor, seq, seat, now_ms);
        Present(Some((Rc::clone(self), parked)))
    }

    /// A client leaves a room: it is offline, and its polls end, those of other workers with their next ticks.
    pub(crate) fn leave(&self, room: &RoomKey, visitor: &Visitor) {
        self.collector.borrow_mut().left(room, visitor, self.now_ms());
        self.end_polls();
    }

    /// Ends the polls of who has left. Not from within the worker, which may be giving answers.
    fn end_polls(&self) {
        let seats = self.collector.borrow_mut().take_ended();
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
