//! All rooms in memory: found, filled, told of news, and let go.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use room::{
    ErrorCode, List, Notice, NoticeSink, OnlineSource, PerList, PolicySource, PollPolicy, PollWait, Problem,
    RoomKey, Seq,
};
use store::{Range, RoomLog, StoreError, StoreOptions};
use tokio::sync::{Notify, Semaphore, watch};
use tracing::{error, warn};

use crate::{
    live_room::{Applied, Filled, LiveRoom, Loading, begin_load},
    metrics,
    online::Online,
    pressure::Pressure,
    tail::TailLimits,
    worker::{Mailbox, now_ms},
};

/// Messages of each list that a cold room reads from the store: an answer of the default limit and some.
const FILL_MESSAGES: usize = 256;

/// Most reads of the log for readers that are behind, at a time. Beyond it normal messages are shed.
pub(crate) const LOADS_MAX: usize = 64;

/// How many rooms wait for a pull at the most; a room beyond it is found by the next look at the log.
const PULLS_QUEUED_MAX: usize = 100_000;

/// How the rooms in memory are bounded and polled.
#[derive(Clone)]
pub struct RecvOptions {
    /// Threads that hold polls; each has a number below this.
    pub workers: usize,
    /// Most rooms in memory.
    pub rooms_max: usize,
    /// Most polls parked at a time, over all workers and rooms.
    pub parked_polls_max: usize,
    /// Memory for messages, over all rooms (bytes). A bound in the long run: looked after once a second.
    pub cache_bytes_max: usize,
    /// Most messages of a list in memory; older ones are read from the store by whoever needs them.
    pub tail_messages_max: usize,
    /// Most bytes of a list in memory.
    pub tail_bytes_max: usize,
    /// From a room's audience to the least time between two answers.
    pub policy: Arc<dyn PolicySource>,
    /// Who waits out an interval.
    pub wait: PollWait,
    /// The room of this node's canary.
    pub canary: RoomKey,
    /// The retention of rooms that don't set it.
    pub store: StoreOptions,
}

impl Default for RecvOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            rooms_max: 1_000_000,
            parked_polls_max: 200_000,
            cache_bytes_max: 1 << 30,
            tail_messages_max: 2_048,
            tail_bytes_max: 4 << 20,
            policy: Arc::new(PollPolicy::default()),
            wait: PollWait::default(),
            canary: RoomKey::canary(),
            store: StoreOptions::default(),
        }
    }
}

/// The recvsvr's cache: every room that is polled here, or was a moment ago.
///
/// It is a [`NoticeSink`]: subscribed to a store or fed by a sendsvr, it wakes the polls of the rooms it holds.
/// Nothing in it matters: a new one fills itself from the store.
pub struct Rooms {
    pub(crate) log: Arc<dyn RoomLog>,
    pub(crate) options: RecvOptions,
    online: Arc<dyn OnlineSource>,
    pub(crate) rooms: DashMap<RoomKey, Arc<LiveRoom>>,
    pub(crate) count: AtomicUsize,
    pub(crate) mailboxes: Box<[Mailbox]>,
    /// How far each worker has heard of the canary.
    pub(crate) canaries: Box<[watch::Sender<Seq>]>,
    pub(crate) loads: Arc<Semaphore>,
    /// Notices taken so far.
    pub(crate) noticed: AtomicU64,
    /// By how many the store's count was ahead of ours when the log was last compared.
    pub(crate) missed_before: Mutex<Option<u64>>,
    /// Something could not be read, so the next look must compare whatever the counts say.
    pub(crate) is_look_due: AtomicBool,
    pub(crate) behind: Mutex<HashSet<RoomKey>>,
    pub(crate) pull_wanted: Notify,
    pub(crate) started: Instant,
    /// Seconds since the start, moved on by [`Rooms::maintain`].
    pub(crate) clock_s: AtomicU32,
    /// One more than the second (of `clock_s`) at which no room could go; 0 for never.
    pub(crate) full_at_s: AtomicU32,
    pressure: Pressure,
    is_draining: AtomicBool,
}

impl Rooms {
    /// An empty cache in front of `log`; `online` knows how many are in a room.
    #[must_use]
    pub fn new(log: Arc<dyn RoomLog>, options: RecvOptions, online: Arc<dyn OnlineSource>) -> Arc<Self> {
        Arc::new(Self {
            log,
            online,
            rooms: DashMap::new(),
            count: AtomicUsize::new(0),
            mailboxes: (0..options.workers).map(|_| Mailbox::default()).collect(),
            canaries: (0..options.workers).map(|_| watch::Sender::new(Seq(0))).collect(),
            loads: Arc::new(Semaphore::new(LOADS_MAX)),
            noticed: AtomicU64::new(0),
            missed_before: Mutex::default(),
            is_look_due: AtomicBool::new(false),
            behind: Mutex::default(),
            pull_wanted: Notify::new(),
            started: Instant::now(),
            clock_s: AtomicU32::new(0),
            full_at_s: AtomicU32::new(0),
            pressure: Pressure::new(options.workers),
            is_draining: AtomicBool::new(false),
            options,
        })
    }

    pub(crate) fn tail_limits(&self) -> TailLimits {
        TailLimits { messages: self.options.tail_messages_max, bytes: self.options.tail_bytes_max }
    }

    pub(crate) fn interval(&self, room: &LiveRoom) -> Duration {
        let now_ms = now_ms();
        let users = room.audience(now_ms);
        let interval = room.pace.interval(now_ms, users, || self.options.policy.interval(&room.key, users));
        self.pressure.stretched(interval)
    }

    /// What the node does about its load, and where its workers' lag is read.
    #[must_use]
    pub fn pressure(&self) -> &Pressure {
        &self.pressure
    }

    /// Whether the node is going down.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Answers all parked polls now and every later one at once, telling clients to come back spread over 5 s.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        for mailbox in &self.mailboxes {
            mailbox.wake();
        }
    }

    /// Waits until every worker has heard of the canary's message at `seq`. Cancel-safe.
    pub async fn canary_reached(&self, seq: Seq) {
        for canary in &self.canaries {
            let heard = canary.subscribe().wait_for(|heard| *heard >= seq).await.map(drop);
            heard.expect("the sender lives as long as this borrow of it");
        }
    }

    /// Polls parked now, over all rooms.
    #[must_use]
    pub fn parked_polls(&self) -> usize {
        self.mailboxes.iter().map(|mailbox| mailbox.parked.load(Ordering::Relaxed)).sum()
    }

    /// Brings the gauges of the cache up to date: call it before they are read.
    pub fn refresh_metrics(&self) {
        ::metrics::gauge!(metrics::PARKED_POLLS).set(self.parked_polls() as f64);
        ::metrics::gauge!(metrics::ROOMS_CACHED).set(self.count.load(Ordering::Relaxed) as f64);
        let waiting: usize = self.mailboxes.iter().map(Mailbox::len).sum();
        ::metrics::gauge!(metrics::QUEUE_DEPTH, "queue" => "fanout").set(waiting as f64);
    }

    /// Notes that the room is in use now.
    pub(crate) fn touch(&self, room: &LiveRoom) {
        room.used_at_s.store(self.clock_s.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Finds or makes the room, and counts one more follower of it on `worker`.
    ///
    /// # Errors
    /// `node_full` if no more rooms fit and none is idle.
    pub(crate) fn follow(&self, key: &RoomKey, worker: usize) -> Result<Arc<LiveRoom>, Problem> {
        self.find_or_make(key, |room| {
            room.listeners[worker].followers.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Finds or makes a room, and counts one more reader of it.
    fn find_or_make(&self, key: &RoomKey, count: impl Fn(&LiveRoom)) -> Result<Arc<LiveRoom>, Problem> {
        // Counted while the map's shard is locked: an eviction sees the reader or comes before it.
        let join = |room: &Arc<LiveRoom>| {
            count(room);
            self.touch(room);
            Arc::clone(room)
        };
        if let Some(room) = self.rooms.get(key) {
            return Ok(join(&room));
        }
        if self.count.load(Ordering::Relaxed) >= self.options.rooms_max && !self.make_room() {
            return Err(Problem::new(
                ErrorCode::NodeFull,
                "this node holds as many rooms as it may: try another one",
            ));
        }
        match self.rooms.entry(key.clone()) {
            Entry::Occupied(entry) => Ok(join(entry.get())),
            Entry::Vacant(entry) => {
                self.count.fetch_add(1, Ordering::Relaxed);
                Ok(join(&entry.insert(self.new_room(key))))
            }
        }
    }

    /// Keeps the room in memory for a reader that is not on one of the workers, until [`Rooms::release`].
    ///
    /// # Errors
    /// `node_full` if no more rooms fit and none is idle.
    pub fn hold(&self, key: &RoomKey) -> Result<(), Problem> {
        self.find_or_make(key, |room| {
            room.holds.fetch_add(1, Ordering::Relaxed);
        })
        .map(drop)
    }

    /// Ends one [`Rooms::hold`].
    pub fn release(&self, key: &RoomKey) {
        if let Some(room) = room_ref(&self.rooms, key) {
            self.touch(&room);
            // Last: from zero on the room may be evicted.
            room.holds.fetch_sub(1, Ordering::Release);
        }
    }

    fn new_room(&self, key: &RoomKey) -> Arc<LiveRoom> {
        self.log.follow(key);
        let online = Online::new(Arc::clone(&self.online), key.clone());
        Arc::new(LiveRoom::new(key.clone(), self.options.workers, online))
    }

    /// Fills a cold room from the store; all who ask meanwhile share one read.
    ///
    /// # Errors
    /// `internal` or `log_unavailable` if the store can't be read.
    pub(crate) async fn fill(self: &Arc<Self>, room: &Arc<LiveRoom>) -> Result<(), Problem> {
        let fill = {
            let mut slot = room.fill.lock();
            if room.with_snapshot(|snapshot| snapshot.is_some()) {
                return Ok(());
            }
            let (rooms, filled) = (Arc::clone(self), Arc::clone(room));
            slot.get_or_insert_with(|| {
                begin_load(async move {
                    let _ended = Loading(|| *filled.fill.lock() = None);
                    rooms.read_room(&filled, "fill").await
                })
            })
            .clone()
        };
        fill.await
    }

    /// Reads the end of both lists into the room.
    pub(crate) async fn read_room(&self, room: &LiveRoom, reason: &'static str) -> Result<(), Problem> {
        ::metrics::counter!(metrics::PULLS, "reason" => reason).increment(1);
        loop {
            let settings_noticed = room.settings_noticed();
            let view = self.log.view(&room.key).await.map_err(|e| refusal(&e))?;
            let end = Range::Before(Seq(u64::MAX));
            let read = |list| self.log.read(&room.key, list, end, FILL_MESSAGES);
            let pages = PerList {
                priority: read(List::Priority).await.map_err(|e| refusal(&e))?,
                normal: read(List::Normal).await.map_err(|e| refusal(&e))?,
            };
            let epoch = pages.priority.epoch;
            if pages.normal.epoch != epoch {
                return Err(is_replaced());
            }
            let filled = room.fill_with(
                epoch,
                &view,
                &pages,
                settings_noticed,
                self.tail_limits(),
                &self.options.store,
            );
            match filled {
                Filled::Not => continue,
                Filled::Behind => self.want_pull(&room.key),
                Filled::Whole => {}
            }
            self.tell(room_ref(&self.rooms, &room.key));
            return Ok(());
        }
    }

    /// Tells the workers that hold polls of the room.
    pub(crate) fn tell(&self, room: Option<Arc<LiveRoom>>) {
        let Some(room) = room else { return };
        // Pairs with the fence in `Follower::begin`: either the parking poll sees the new snapshot, or we see it parked.
        std::sync::atomic::fence(Ordering::SeqCst);
        for (listener, mailbox) in room.listeners.iter().zip(&self.mailboxes) {
            if listener.parked.load(Ordering::Relaxed) > 0 && !listener.is_told.swap(true, Ordering::AcqRel) {
                mailbox.put(Arc::clone(&room));
            }
        }
    }
}

pub(crate) fn room_ref(rooms: &DashMap<RoomKey, Arc<LiveRoom>>, key: &RoomKey) -> Option<Arc<LiveRoom>> {
    rooms.get(key).map(|room| Arc::clone(&room))
}

impl NoticeSink for Rooms {
    fn notice(&self, notice: &Notice) {
        self.take(notice);
        // Afterwards: whoever reads the count finds what it counts.
        self.noticed.fetch_add(1, Ordering::AcqRel);
    }
}

impl Rooms {
    pub(crate) fn take(&self, notice: &Notice) {
        let Some(room) = room_ref(&self.rooms, &notice.room) else { return };
        match room.apply(notice, self.tail_limits(), &self.options.store) {
            Applied::News => self.tell(Some(room)),
            Applied::Nothing => {}
            Applied::Behind => {
                // The settings may be news already.
                self.tell(Some(Arc::clone(&room)));
                self.want_pull(&room.key);
            }
        }
    }

    /// Has what the room lacks read, soon.
    pub(crate) fn want_pull(&self, key: &RoomKey) {
        let mut behind = self.behind.lock();
        if behind.len() < PULLS_QUEUED_MAX {
            behind.insert(key.clone());
        } else {
            self.is_look_due.store(true, Ordering::Release);
        }
        drop(behind);
        self.pull_wanted.notify_one();
    }
}

/// The log became another one while it was read.
pub(crate) fn is_replaced() -> Problem {
    Problem::new(ErrorCode::LogUnavailable, "the message log was replaced while it was read: try again")
}

/// A store's failure as a reader sees it. The cause goes to the log, once, here.
#[must_use]
pub fn refusal(failure: &StoreError) -> Problem {
    match failure {
        StoreError::Unavailable(_) | StoreError::Unknown(_) => {
            warn!(error = %failure, "log unavailable");
            Problem::new(ErrorCode::LogUnavailable, "the message log can't be read now: try again")
        }
        StoreError::IdReused | StoreError::NotFound | StoreError::Corrupt(_) | StoreError::Open(_) => {
            error!(error = %failure, "log can't be read");
            Problem::new(ErrorCode::Internal, "the message log can't be read: the operator has to look at it")
        }
    }
}
