//! One thread's share of the parked polls: found by room when there is news, by time when a hold or a deadline ends.
//!
//! Everything here belongs to one thread and is reached without a lock. Other threads put rooms with news into the
//! worker's [`Mailbox`]; nothing else crosses.

mod canary;
mod fanout;
mod follower;
mod outlet;
mod precedence;
mod recent;
mod slots;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

pub use follower::{Ask, Follower, Started};
pub use outlet::{Delivery, Outlet};
use parking_lot::Mutex;
use rand::RngExt as _;
use room::{ErrorCode, Problem, RoomKey, Seq, pressure::RETRY_AFTER_MS};
use tokio::sync::Notify;

use self::{precedence::Precedence, recent::Recent, slots::Slots};
use crate::{
    answer::{DRAIN_STEPS, RoomTerms},
    encode::Encoded,
    live_room::LiveRoom,
    rooms::Rooms,
    slice::Start,
    tally::Tally,
    timer::Wheel,
};

/// An answer shared by all polls of a worker that get it: cloning touches no cache line of another core.
pub type Answer = Rc<Arc<Encoded>>;

/// Where other threads tell a worker of rooms with news. Bounded: a room is in it at most once.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Mailbox {
    news: Mutex<Vec<Arc<LiveRoom>>>,
    notify: Notify,
    /// Polls parked on the worker.
    pub(crate) parked: AtomicUsize,
}

impl Mailbox {
    pub(crate) fn put(&self, room: Arc<LiveRoom>) {
        self.news.lock().push(room);
        self.notify.notify_one();
    }

    /// Rooms whose news the worker has not taken yet.
    pub(crate) fn len(&self) -> usize {
        self.news.lock().len()
    }

    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }
}

/// A room as one worker sees it.
struct LocalRoom {
    room: Arc<LiveRoom>,
    /// Slot and generation of each parked poll that any message wakes. Entries of polls that are gone stay until they
    /// are many.
    ready: RefCell<Vec<(u32, u32)>>,
    /// The same of those that are held: only priority messages wake them, or the end of their hold.
    held: RefCell<Vec<(u32, u32)>>,
    /// Those whose turn it is: a fan-out takes them from the front.
    waking: RefCell<VecDeque<(u32, u32)>>,
    /// Among the rooms that are being fanned out, and among those that go first.
    is_fanning: Cell<bool>,
    is_urgent: Cell<bool>,
    /// When the newest message that a poll was given in this fan-out was accepted (Unix microseconds); 0 while none was.
    accepted_at_us: Cell<u64>,
    recent: Recent,
    /// Since when those whose turn it is are being woken, where they are many enough to be spread.
    spread: Cell<Option<fanout::Spread>>,
    /// How many polls still wait, ready, held or about to be woken.
    waiting: Cell<usize>,
    /// The newest priority message that waiting polls were woken for.
    priority_told: Cell<Seq>,
    followers: Cell<usize>,
}

/// One thread's share of the parked polls.
pub struct Worker {
    index: usize,
    rooms: Arc<Rooms>,
    local: RefCell<HashMap<RoomKey, Rc<LocalRoom>>>,
    slots: RefCell<Slots>,
    wheel: RefCell<Wheel>,
    /// What the timer of [`Worker::run`] is set for.
    armed_ms: Cell<u64>,
    rearm: Notify,
    parked: Cell<usize>,
    drain_step: Cell<u64>,
    canary: RefCell<Option<Rc<LocalRoom>>>,
    precedence: Precedence,
    pub(crate) tally: Tally,
}

/// The time (Unix milliseconds).
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

impl Worker {
    /// The worker with this number; there is one of each number below the options' `workers`.
    #[must_use]
    pub fn new(rooms: Arc<Rooms>, index: usize) -> Rc<Self> {
        assert!(index < rooms.mailboxes.len(), "a worker's number is below the number of workers");
        Rc::new(Self {
            index,
            rooms,
            local: RefCell::default(),
            slots: RefCell::default(),
            wheel: RefCell::new(Wheel::new(now_ms())),
            armed_ms: Cell::new(u64::MAX),
            rearm: Notify::new(),
            parked: Cell::new(0),
            drain_step: Cell::new(index as u64 % DRAIN_STEPS),
            canary: RefCell::default(),
            precedence: Precedence::default(),
            tally: Tally::default(),
        })
    }

    /// The cache that this worker reads.
    #[must_use]
    pub fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// When a poll that was begun at `now_ms` and may be held for `timeout_ms` is answered at the latest (Unix
    /// milliseconds): between 0.9 and 1.0 of it, so that polls which began together don't end together.
    #[must_use]
    pub fn deadline_ms(&self, timeout_ms: u64, now_ms: u64) -> u64 {
        /// What the timer, the encoding and the write may take of the tenth that is ours (milliseconds).
        const SLACK_MS: u64 = 10;
        let earliest = timeout_ms - timeout_ms / 10;
        let spread = (timeout_ms / 10).saturating_sub(SLACK_MS);
        now_ms + earliest + rand::rng().random_range(0..=spread)
    }

    fn mailbox(&self) -> &Mailbox {
        &self.rooms.mailboxes[self.index]
    }

    /// Refuses a poll when the node holds as many as it may.
    fn check_room_for_poll(&self) -> Result<(), Problem> {
        if self.rooms.parked_polls() < self.rooms.options.parked_polls_max {
            return Ok(());
        }
        Err(node_full("this node holds as many polls as it may: try again, or try another node"))
    }

    /// Refuses a reader that begins, while the node can only just serve those who are there.
    fn check_newcomer(&self, ask: &Ask) -> Result<(), Problem> {
        if matches!(ask.start, Start::At(_)) || !self.rooms.pressure().step().refuses_new_pollers() {
            return Ok(());
        }
        Err(node_full("this node is overloaded and takes no new readers: try again, or try another node"))
    }

    /// What holds for all answers in a room now.
    fn room_terms(&self, room: &LiveRoom) -> RoomTerms {
        let step = self.rooms.pressure().step();
        RoomTerms {
            interval: self.rooms.interval(room),
            wait: self.rooms.options.wait,
            step,
            // The viewers are asked for only where they matter.
            compresses: !step.leaves_out_extras() || step.compresses(room.audience(now_ms())),
        }
    }

    /// Measures how late this thread is, for [`Pressure::take_lag`](crate::Pressure::take_lag), for ever. Run it once,
    /// on the worker's thread.
    pub async fn measure_lag(&self) {
        self.rooms.pressure().measure_lag(self.index).await;
    }

    /// This worker's side of a room, found or made, with one more follower.
    fn join(&self, key: &RoomKey) -> Result<Rc<LocalRoom>, Problem> {
        let mut local = self.local.borrow_mut();
        if let Some(found) = local.get(key) {
            found.followers.set(found.followers.get() + 1);
            found.listener(self.index).followers.store(found.followers.get(), Ordering::Relaxed);
            return Ok(Rc::clone(found));
        }
        let room = self.rooms.follow(key, self.index)?;
        let made = Rc::new(LocalRoom {
            room,
            ready: RefCell::default(),
            held: RefCell::default(),
            waking: RefCell::default(),
            is_fanning: Cell::new(false),
            is_urgent: Cell::new(false),
            accepted_at_us: Cell::new(0),
            recent: Recent::default(),
            priority_told: Cell::new(Seq(0)),
            spread: Cell::new(None),
            waiting: Cell::new(0),
            followers: Cell::new(1),
        });
        local.insert(key.clone(), Rc::clone(&made));
        Ok(made)
    }

    fn leave(&self, room: &LocalRoom) {
        self.rooms.touch(&room.room);
        room.followers.set(room.followers.get() - 1);
        if room.followers.get() == 0 {
            self.local.borrow_mut().remove(&room.room.key);
        }
        // Last: from zero on the room may be evicted.
        room.listener(self.index).followers.store(room.followers.get(), Ordering::Release);
    }

    fn set_waiting(&self, room: &LocalRoom, waiting: usize) {
        self.parked.set(self.parked.get() + waiting - room.waiting.get());
        room.waiting.set(waiting);
        room.listener(self.index).parked.store(waiting, Ordering::Relaxed);
        self.mailbox().parked.store(self.parked.get(), Ordering::Relaxed);
    }

    /// Ends the poll that is parked at a follower's seat, if there is one, as if its time were over.
    pub fn end_poll(&self, seat: u32) {
        let now_ms = now_ms();
        let mut slots = self.slots.borrow_mut();
        if slots.end(seat, now_ms) {
            self.set_timer(&mut slots, seat, now_ms);
        }
    }

    /// Sets the slot's timer unless one is set that fires earlier: that one will look and set the next.
    fn set_timer(&self, slots: &mut Slots, slot: u32, at_ms: u64) {
        let set_for = slots.timer_ms(slot);
        if set_for != 0 && set_for <= at_ms {
            return;
        }
        let at_ms = self.wheel.borrow_mut().set(at_ms, slot);
        slots.set_timer_ms(slot, at_ms);
        if at_ms < self.armed_ms.get() {
            self.armed_ms.set(at_ms);
            self.rearm.notify_one();
        }
    }

    fn next_drain_step(&self) -> Option<u64> {
        self.rooms.is_draining().then(|| {
            let step = self.drain_step.get();
            self.drain_step.set((step + 1) % DRAIN_STEPS);
            step
        })
    }
}

/// A refusal whose next tries are spread: a full node must not be asked again by all at once.
fn node_full(detail: &'static str) -> Problem {
    let wait = std::time::Duration::from_millis(rand::rng().random_range(RETRY_AFTER_MS));
    Problem { retry_after: Some(wait), ..Problem::new(ErrorCode::NodeFull, detail) }
}

impl LocalRoom {
    /// Puts a waiting poll where news finds it.
    fn keep(&self, slots: &Slots, entry: (u32, u32), is_held: bool) {
        let mut list = if is_held { self.held.borrow_mut() } else { self.ready.borrow_mut() };
        if list.len() > 2 * self.waiting.get() + 64 {
            list.retain(|(slot, generation)| slots.parked(*slot, *generation).is_some());
        }
        list.push(entry);
    }

    fn listener(&self, worker: usize) -> &crate::live_room::Listener {
        &self.room.listeners[worker]
    }
}
