//! Where a test does harm: on the way of notices to the rooms, and on the way of reads to the log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use recvsvr::Rooms;
use room::{Epoch, List, MessageId, Notice, NoticeSink, RoomKey, Seq, UserId};
use store::{
    Append, Appended, Page, Range, Retraction, RocksStore, RoomLog, RoomView, SettingsChange, Store,
    StoreError,
};
use tokio::sync::watch;

/// What becomes of notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Passed,
    Dropped,
    Kept,
}

/// The way of notices from the log to the rooms: passes them on until told otherwise.
pub(crate) struct LossyNotices {
    to: Arc<Rooms>,
    fate: Mutex<Fate>,
    kept: Mutex<Vec<Notice>>,
}

impl LossyNotices {
    pub(crate) fn new(to: Arc<Rooms>) -> Arc<Self> {
        Arc::new(Self { to, fate: Mutex::new(Fate::Passed), kept: Mutex::default() })
    }

    pub(crate) fn pass(&self) {
        *self.fate.lock() = Fate::Passed;
    }

    /// From now on notices are lost.
    pub(crate) fn lose(&self) {
        *self.fate.lock() = Fate::Dropped;
    }

    /// From now on notices are kept back.
    pub(crate) fn keep(&self) {
        *self.fate.lock() = Fate::Kept;
    }

    /// Passes on what was kept back as `arrange` leaves it, and whatever comes later.
    pub(crate) fn release(&self, arrange: impl FnOnce(&mut Vec<Notice>)) {
        let mut kept = std::mem::take(&mut *self.kept.lock());
        arrange(&mut kept);
        self.pass();
        for notice in &kept {
            self.to.notice(notice);
        }
    }
}

impl NoticeSink for LossyNotices {
    fn notice(&self, notice: &Notice) {
        let fate = *self.fate.lock();
        match fate {
            Fate::Passed => self.to.notice(notice),
            Fate::Dropped => {}
            Fate::Kept => self.kept.lock().push(notice.clone()),
        }
    }
}

/// The log, with reads of its lists that can be held up or refused.
pub(crate) struct SlowStore {
    log: Arc<RocksStore>,
    is_open: watch::Sender<bool>,
    refuses: AtomicBool,
    held: AtomicUsize,
    /// Appended when a read has been done, and how many times more.
    chatter: Mutex<(Vec<Append>, usize)>,
    /// Counts on from the log's own epoch: more than 0 is another log with the same messages.
    renewed: AtomicU32,
}

impl SlowStore {
    pub(crate) fn new(log: Arc<RocksStore>) -> Arc<Self> {
        Arc::new(Self {
            log,
            is_open: watch::Sender::new(true),
            refuses: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            chatter: Mutex::default(),
            renewed: AtomicU32::new(0),
        })
    }

    /// From now on reads wait.
    pub(crate) fn hold_reads(&self) {
        self.is_open.send_replace(false);
    }

    /// Lets all reads go on.
    pub(crate) fn release_reads(&self) {
        self.is_open.send_replace(true);
    }

    /// How many reads wait now.
    pub(crate) fn held_reads(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Appends these messages after every read, before it returns, so many times: a room in which messages come faster than
    /// reads return.
    pub(crate) fn append_after_reads(&self, messages: Vec<Append>, times: usize) {
        *self.chatter.lock() = (messages, times);
    }

    /// How many times that is still to come.
    pub(crate) fn appends_left(&self) -> usize {
        self.chatter.lock().1
    }

    fn next_chatter(&self) -> Vec<Append> {
        let mut chatter = self.chatter.lock();
        if chatter.1 == 0 {
            return Vec::new();
        }
        chatter.1 -= 1;
        chatter.0.clone()
    }

    /// Whether reads fail from now on.
    pub(crate) fn refuse_reads(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// From now on it is another log, of which nothing has been noticed.
    pub(crate) fn renew(&self) {
        self.renewed.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl RoomLog for SlowStore {
    fn epoch(&self) -> Epoch {
        Epoch(self.log.epoch().0.wrapping_add(self.renewed.load(Ordering::SeqCst)))
    }

    async fn view(&self, room: &RoomKey) -> Result<RoomView, StoreError> {
        self.log.view(room).await
    }

    async fn read(&self, room: &RoomKey, list: List, range: Range, limit: usize) -> Result<Page, StoreError> {
        self.held.fetch_add(1, Ordering::SeqCst);
        self.is_open.subscribe().wait_for(|is_open| *is_open).await.unwrap();
        self.held.fetch_sub(1, Ordering::SeqCst);
        if self.refuses.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("refused by the test".to_owned()));
        }
        let epoch = self.epoch();
        let page = self.log.read(room, list, range, limit).await.map(|page| Page { epoch, ..page });
        for message in self.next_chatter() {
            self.log.append(message).await?;
        }
        page
    }

    fn subscribe(&self, sink: Arc<dyn NoticeSink>) {
        self.log.subscribe(sink);
    }

    fn notices(&self) -> Option<u64> {
        self.log.notices()
    }

    fn health(&self) -> Result<(), StoreError> {
        self.log.health()
    }
}

#[async_trait]
impl Store for SlowStore {
    async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        self.log.append(append).await
    }

    async fn find(
        &self,
        room: &RoomKey,
        sender: &UserId,
        id: &MessageId,
    ) -> Result<Option<(Appended, u64)>, StoreError> {
        self.log.find(room, sender, id).await
    }

    async fn retract(&self, room: &RoomKey, list: List, seq: Seq) -> Result<Retraction, StoreError> {
        self.log.retract(room, list, seq).await
    }

    async fn change_settings(&self, room: &RoomKey, change: SettingsChange) -> Result<RoomView, StoreError> {
        self.log.change_settings(room, change).await
    }

    async fn close(&self) {
        self.log.close().await;
    }
}
