//! The message log and the room metadata: the traits [`RoomLog`], for those who read, and [`Store`], for those who write, and the
//! engines behind them.
//!
//! # Contract
//! - **Order.** Each (room, list) has a contiguous sequence from 1 that never restarts within an [`Epoch`], also
//!   after everything has expired.
//! - **Durability.** [`Store::append`] and the other writes return once the change survives the crash of the
//!   process and of the machine.
//! - **Notices.** Every change is told to the subscribed [`NoticeSink`]s in commit order, before the write returns.
//! - **Retention.** Reads never show a message that retention has taken, whether or not its bytes are gone yet.

mod error;
pub mod grpc;
mod metrics;
mod records;
mod rocks;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
pub use error::StoreError;
pub use records::{
    RECORD_BATCH_BYTES_MAX, RECORD_CHANGES_MAX, RECORD_KEY_BYTES_MAX, RECORD_PAGE_BYTES_MAX,
    RECORD_VALUE_BYTES_MAX, Record, RecordBatch, RecordChange, RecordFamily, RecordPage, RecordRange,
    RecordRefused,
};
pub use rocks::RocksStore;
#[cfg(any(test, fuzzing))]
pub mod fuzzing {
    //! Fuzz targets of the log, for `fuzz/` and for the tests that repeat its corpora.

    pub use crate::{
        grpc::fuzzing::log_wire,
        rocks::fuzzing::{key, log, record},
    };
}
#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
use room::{
    Bounds, Epoch, List, Message, MessageId, NoticeSink, PerList, Post, Retention, RoomKey, RoomSettings, Seq,
};

/// A message to be appended.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where to.
    pub room: RoomKey,
    /// To which of its lists.
    pub list: List,
    /// The client's id: with it the append is idempotent per (room, sender, id). Without, the store makes one.
    pub id: Option<MessageId>,
    /// Hash of the content as the client meant it: tells a repeat from another message under the same id.
    pub content_hash: u64,
    /// What was sent.
    pub post: Post,
    /// When the service took it (Unix microseconds). `sent_at_ms` of the message is derived from it, and raised
    /// where needed so that it never falls along the list.
    pub accepted_at_us: u64,
}

/// What became of an append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The message's id, the client's or the one made for it.
    pub id: MessageId,
    /// Its list.
    pub list: List,
    /// Its place there.
    pub seq: Seq,
    /// When it was accepted (Unix milliseconds).
    pub sent_at_ms: u64,
    /// Whether it had been appended before, by an earlier call with the same id and content.
    pub is_duplicate: bool,
}

/// What became of a retraction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retraction {
    /// Where on the priority list the redaction is.
    pub redact_seq: Seq,
    /// Whether it had been retracted before.
    pub is_duplicate: bool,
}

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The log that it is of: another than [`RoomLog::epoch`] tells, if that changed meanwhile.
    pub epoch: Epoch,
    /// Ascending and contiguous; empty if there was nothing in the range.
    pub messages: Vec<Arc<Message>>,
    /// What the list kept at the time of reading.
    pub bounds: Bounds,
}

/// Which part of a list to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// Forward: the oldest messages after this place (exclusive), as far as they are kept.
    After(Seq),
    /// Backward: the newest messages before this place (exclusive), given back ascending. `Before(Seq(u64::MAX))`
    /// is the end of the list.
    Before(Seq),
}

/// Everything about a room that does not depend on a reader: what a recvsvr fills its cache from.
#[derive(Clone, Debug)]
pub struct RoomView {
    /// The settings, the default ones for a room that was never set.
    pub settings: Arc<RoomSettings>,
    /// What each list keeps.
    pub bounds: PerList<Bounds>,
}

/// A change to a room's settings, applied to what they are at the time: again, where an engine finds that they have
/// changed meanwhile.
pub type SettingsChange = Box<dyn Fn(&RoomSettings) -> RoomSettings + Send + Sync>;

/// The message log as those who read it see it: the engine itself, or another node that passes on what the engine says.
///
/// All calls may come from any thread and any async runtime; none of them blocks the thread that polls it.
#[async_trait]
pub trait RoomLog: Send + Sync + 'static {
    /// The log's generation, made once with the log.
    fn epoch(&self) -> Epoch;

    /// The room's settings and what its lists keep. A room that was never used has the defaults; asking leaves
    /// nothing behind.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it can't be read.
    async fn view(&self, room: &RoomKey) -> Result<RoomView, StoreError>;

    /// Reads at most `limit` messages of a list.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if any of them can't be read: never a silent hole.
    async fn read(&self, room: &RoomKey, list: List, range: Range, limit: usize) -> Result<Page, StoreError>;

    /// From now on, tells `sink` of every change: of all rooms, or of those that are followed where [`RoomLog::follow`]
    /// says so.
    fn subscribe(&self, sink: Arc<dyn NoticeSink>);

    /// Somebody here reads the room from now on. A log on another node passes on notices of such rooms alone; what had
    /// happened before it heard of this is found by a read that begins later.
    fn follow(&self, room: &RoomKey) {
        let _ = room;
    }

    /// Nobody here reads the room any more.
    fn unfollow(&self, room: &RoomKey) {
        let _ = room;
    }

    /// How many notices every sink should have been given so far, where the engine can tell that cheaply. A sink
    /// that has taken as many more as this has grown has missed none, and need not look at the log for what it missed.
    fn notices(&self) -> Option<u64> {
        None
    }

    /// Whether the log can be written and read, by its latest experience.
    ///
    /// # Errors
    /// Why it can't.
    fn health(&self) -> Result<(), StoreError>;
}

/// The message log and room metadata of a deployment, for whoever writes it.
#[async_trait]
pub trait Store: RoomLog {
    /// Appends a message, or finds that it was appended before.
    ///
    /// When it returns, the message is durable and every subscribed sink has taken notice of it. Appends get in
    /// line in the order in which their futures are first polled, under `tokio::task::unconstrained` at least: a
    /// task that has used up its budget may begin them later.
    ///
    /// # Errors
    /// [`StoreError::IdReused`] if the sender used the id for another content, [`StoreError::Unavailable`] if
    /// the log can't be written now (the message is then not there, or [`StoreError::Unknown`] is returned).
    async fn append(&self, append: Append) -> Result<Appended, StoreError>;

    /// The earlier append under this id by this sender, if its window has not passed, with its content hash.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it can't be read.
    async fn find(
        &self,
        room: &RoomKey,
        sender: &room::UserId,
        id: &MessageId,
    ) -> Result<Option<(Appended, u64)>, StoreError>;

    /// Replaces a message by its tombstone and appends the redaction to the priority list, in one write.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if no such message is kept, or if it is one of the server's own.
    async fn retract(&self, room: &RoomKey, list: List, seq: Seq) -> Result<Retraction, StoreError>;

    /// Changes a room's settings. A smaller retention takes effect at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the log can't be written now.
    async fn change_settings(&self, room: &RoomKey, change: SettingsChange) -> Result<RoomView, StoreError>;

    /// Writes records, all of the batch or nothing, in the order of the calls, and nobody is told. They give way to whatever
    /// senders wait for. When it returns, readers see them and a crash of the process loses none of them; after a crash of the
    /// machine those of the last two seconds may be missing. An engine that keeps no records, as those in tests may not,
    /// refuses.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the store can't be written now, [`StoreError::Unknown`] if that is open. To write
    /// the same again is harmless.
    async fn write_records(&self, batch: RecordBatch) -> Result<(), StoreError> {
        drop(batch);
        Err(no_records())
    }

    /// Reads at most `limit` records of a range, fewer where they are large.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`] if the range can't be read at all. A record that is
    /// damaged by itself is among the page's `damaged`.
    async fn read_records(&self, range: RecordRange, limit: usize) -> Result<RecordPage, StoreError> {
        let _ = (range, limit);
        Err(no_records())
    }

    /// Finishes the writes under way and lets go of the files. Later calls get [`StoreError::Unavailable`].
    async fn close(&self);
}

fn no_records() -> StoreError {
    StoreError::Unavailable("this store keeps no records".to_owned())
}

/// What every engine has to know.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// What lists keep in rooms that don't set it.
    pub retention: PerList<Retention>,
    /// How long an id is remembered; at least two minutes.
    pub idempotency_window: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            retention: PerList::from_fn(Retention::default_of),
            idempotency_window: Duration::from_secs(300),
        }
    }
}
