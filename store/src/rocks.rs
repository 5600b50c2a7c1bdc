//! The embedded engine: RocksDB, one writing thread, a few reading ones.
//!
//! A write is durable when the write-ahead log is synced, and many share one sync ([`writer`]). A read takes a snapshot
//! on one of the reading threads ([`reader`]), or is answered from memory. [`directory`] says what is on the disk.

mod answer;
mod batch;
mod columns;
mod directory;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod health;
mod ids;
mod keys;
mod manifest;
mod marker;
mod queue;
mod reader;
mod record;
mod records;
mod recovery;
mod retention;
mod rooms;
mod sweep;
mod time_slice;
mod wal;
mod writer;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};
use room::{Bounds, Epoch, List, MessageId, NoticeSink, PerList, RoomKey, Seq, UserId};
use tokio::sync::{oneshot, watch};

use self::{
    batch::Answer,
    columns::{Column, Log, unix_ms},
    directory::Directory,
    health::Health,
    queue::{Queue, Taker, queue},
    reader::{Reader, read_failed},
    rooms::RoomCache,
    writer::{Operation, Writer},
};
use crate::{
    Append, Appended, Page, Range, RecordBatch, RecordPage, RecordRange, Retraction, RoomLog, RoomView,
    SettingsChange, Store, StoreError, StoreOptions, metrics,
};

/// Most changes waiting for the writing thread (count): further callers wait for a place, which slows senders down.
const WRITES_QUEUED_MAX: usize = 4_096;
/// Most reads waiting for a reading thread (count).
const READS_QUEUED_MAX: usize = 1_024;
/// Threads for reads that may have to wait for the disk.
const READ_THREADS: usize = 4;

/// The message log and room metadata in a data directory of this machine.
///
/// One process at a time: the directory is locked. Closing leaves the newest writes, at most 64 MiB or so, in the
/// write-ahead log for the next start, so that it takes no longer than a process has for its end. Dropping the store
/// closes it like [`Store::close`], but blocks the thread meanwhile.
pub struct RocksStore {
    shared: Arc<Shared>,
    writer: Arc<Queue<Operation>>,
    reads: Queue<Read>,
    closed: watch::Receiver<bool>,
    /// Its end ends the sweep.
    _sweep: Sender<()>,
    /// Last, so that the queues are closed when this waits for the threads.
    _threads: Threads,
}

/// What the threads share.
struct Shared {
    epoch: Epoch,
    options: StoreOptions,
    /// `None` once closed, or while it can be opened in no way. Write-locked only by the writing thread, to close it
    /// and to open it again.
    log: RwLock<Option<Log>>,
    rooms: RoomCache,
    health: Health,
    sinks: Mutex<Arc<[Arc<dyn NoticeSink>]>>,
    /// Notices given, and once more for each time that the log was opened again: a write that had failed may be there.
    notices: AtomicU64,
}

impl Shared {
    fn sinks(&self) -> Arc<[Arc<dyn NoticeSink>]> {
        Arc::clone(&self.sinks.lock())
    }

    /// Reads from the log; notes any damage.
    fn read<T>(&self, read: impl FnOnce(&Log) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let log = self.log.read();
        match log.as_ref() {
            Some(log) => self.health.note(read(log)),
            None => Err(self.health.write_failure().unwrap_or_else(health::closed)),
        }
    }

    /// A room's view where memory alone can tell.
    fn view_in_memory(&self, key: &RoomKey) -> Option<RoomView> {
        let room = self.rooms.get(key)?;
        let now_ms = unix_ms();
        let first = |list| {
            let kept = retention::of(&room.settings, &self.options.retention, list);
            retention::first_known(&room.heads[list], kept, room.oldest[list], now_ms)
        };
        let firsts = PerList { priority: first(List::Priority)?, normal: first(List::Normal)? };
        let bounds =
            PerList::from_fn(|list| Bounds { first: Seq(firsts[list]), last: Seq(room.heads[list].last) });
        Some(RoomView { settings: room.settings, bounds })
    }

    fn view_in_log(&self, key: &RoomKey) -> Result<RoomView, StoreError> {
        let (view, oldest) =
            self.read(|log| Reader::new(log, self.options.retention).view(key, unix_ms()))?;
        for list in List::ALL {
            if let Some(stamp) = oldest[list] {
                self.rooms.set_oldest(key, list, stamp);
            }
        }
        Ok(view)
    }

    /// What is remembered under the key of an id, without waiting for the disk if it is `in_memory`. `None` if only the
    /// disk can tell.
    fn find(
        &self,
        log: &Log,
        id_key: &[u8],
        id: &MessageId,
        in_memory: bool,
    ) -> Result<Option<Found>, StoreError> {
        let bytes = if in_memory {
            log.get_in_memory(Column::Ids, id_key)
        } else {
            log.get(Column::Ids, id_key).map(Some)
        };
        let Some(bytes) = bytes.map_err(|error| read_failed(&error))? else {
            return Ok(None);
        };
        let Some(bytes) = bytes else { return Ok(Some(None)) };
        let Some(record) = ids::remembered(&bytes, unix_ms(), self.options.idempotency_window)? else {
            return Ok(Some(None));
        };
        Ok(Some(Some((ids::first_answer(&record, id.clone())?, record.content_hash))))
    }
}

/// An earlier append under an id and the hash of its content, if there was one.
type Found = Option<(Appended, u64)>;

/// A read, to be done on a reading thread.
type Read = Box<dyn FnOnce(&Shared) + Send>;

impl RocksStore {
    /// Opens the log in the data directory `dir`, making both where there are none. Blocks: for milliseconds as a rule,
    /// for about a second where a crash left much to be replayed.
    ///
    /// # Errors
    /// [`StoreError::Open`] with a sentence that names the directory and says what to do.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Arc<Self>, StoreError> {
        metrics::describe();
        let (directory, log) = Directory::open(dir, options.idempotency_window)?;
        let shared = Arc::new(Shared {
            epoch: directory.epoch(),
            options,
            log: RwLock::new(Some(log)),
            rooms: RoomCache::default(),
            health: Health::default(),
            sinks: Mutex::new(Arc::from([])),
            notices: AtomicU64::new(0),
        });
        let (writer, operations) = queue(WRITES_QUEUED_MAX, metrics::Queue::Writer);
        let (reads, taker) = queue(READS_QUEUED_MAX, metrics::Queue::Reader);
        let (closing, closed) = watch::channel(false);
        let (sweep, stop) = crossbeam_channel::bounded(0);
        let writer = Arc::new(writer);

        let mut threads = Threads::default();
        let writing = Writer::new(Arc::clone(&shared), directory, operations, closing);
        let failing = Arc::clone(&shared);
        threads.start("log-writer", move || {
            if let Err(error) = time_slice::shorten() {
                tracing::debug!(%error, "the log's writing thread keeps its time slice: sends may wait for other threads");
            }
            if catch_unwind(AssertUnwindSafe(|| writing.run())).is_err() {
                failing
                    .health
                    .set_write_failure(Some("the writing thread panicked: restart bigroom".to_owned()));
            }
        })?;
        for _ in 0..READ_THREADS {
            let (shared, taker) = (Arc::clone(&shared), taker.clone());
            threads.start("log-reader", move || read_queued(&shared, &taker))?;
        }
        let (sweeping, trims) = (Arc::clone(&shared), Arc::clone(&writer));
        threads.start("log-sweep", move || sweep::run(&sweeping, &trims, &stop))?;
        Ok(Arc::new(Self { shared, writer, reads, closed, _sweep: sweep, _threads: threads }))
    }

    /// Has the writing thread do something and waits for its answer.
    async fn write<T>(&self, operation: impl FnOnce(Answer<T>) -> Operation) -> Result<T, StoreError> {
        let (answer, answered) = answer::answer();
        let pushed = self.writer.push(operation(answer)).await;
        pushed.map_err(|closed| self.shared.health.write_failure().unwrap_or(closed))?;
        // What comes into the queue behind the end of the writing thread may stay there, with its answer in it.
        let answered = if self.writer.is_over() { answered.take() } else { answered.await };
        match answered {
            Some(result) => result,
            // Without an answer: either it was never looked at, or the writing thread is gone.
            None if self.shared.health.is_closed() => Err(health::closed()),
            None => Err(StoreError::Unknown("the writing thread stopped".to_owned())),
        }
    }

    /// Has a reading thread do something and waits for its answer.
    async fn read_on_thread<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        let read: Read = Box::new(move |shared| {
            if !sender.is_closed() {
                // A panic must not take the thread with it: what panics is met again, until no thread is left.
                let result = catch_unwind(AssertUnwindSafe(|| read(shared))).unwrap_or_else(|_| {
                    shared.health.note(Err(StoreError::Corrupt("a read panicked".to_owned())))
                });
                drop(sender.send(result));
            }
        });
        self.reads.push(read).await?;
        answer.await.unwrap_or_else(|_| Err(health::closed()))
    }
}

fn read_queued(shared: &Shared, reads: &Taker<Read>) {
    while let Some(read) = reads.take() {
        read(shared);
    }
}

#[async_trait]
impl RoomLog for RocksStore {
    fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    async fn view(&self, room: &RoomKey) -> Result<RoomView, StoreError> {
        if self.shared.health.is_closed() {
            return Err(health::closed());
        }
        if let Some(view) = self.shared.view_in_memory(room) {
            return Ok(view);
        }
        let room = room.clone();
        self.read_on_thread(move |shared| shared.view_in_log(&room)).await
    }

    async fn read(&self, room: &RoomKey, list: List, range: Range, limit: usize) -> Result<Page, StoreError> {
        let room = room.clone();
        self.read_on_thread(move |shared| {
            let (messages, bounds) = shared.read(|log| {
                Reader::new(log, shared.options.retention).page(&room, list, range, limit, unix_ms())
            })?;
            Ok(Page { epoch: shared.epoch, messages, bounds })
        })
        .await
    }

    fn notices(&self) -> Option<u64> {
        Some(self.shared.notices.load(Ordering::Acquire))
    }

    fn subscribe(&self, sink: Arc<dyn NoticeSink>) {
        let mut sinks = self.shared.sinks.lock();
        *sinks = sinks.iter().cloned().chain([sink]).collect();
    }

    fn health(&self) -> Result<(), StoreError> {
        self.shared.health.check()
    }
}

#[async_trait]
impl Store for RocksStore {
    async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        self.write(|answer| Operation::Append { append, answer }).await
    }

    async fn find(
        &self,
        room: &RoomKey,
        sender: &UserId,
        id: &MessageId,
    ) -> Result<Option<(Appended, u64)>, StoreError> {
        let key = keys::id(room, sender, id);
        // Filters and the newest ids are in memory; a look there takes about a microsecond.
        let known = match self.shared.log.try_read() {
            Some(log) => match log.as_ref() {
                Some(log) => self.shared.health.note(self.shared.find(log, &key, id, true))?,
                None => None,
            },
            None => None,
        };
        if let Some(found) = known {
            return Ok(found);
        }
        let id = id.clone();
        self.read_on_thread(move |shared| shared.read(|log| shared.find(log, &key, &id, false)))
            .await
            .map(Option::flatten)
    }

    async fn retract(&self, room: &RoomKey, list: List, seq: Seq) -> Result<Retraction, StoreError> {
        let room = room.clone();
        self.write(|answer| Operation::Retract { room, list, seq, answer }).await
    }

    async fn change_settings(&self, room: &RoomKey, change: SettingsChange) -> Result<RoomView, StoreError> {
        let room = room.clone();
        self.write(|answer| Operation::ChangeSettings { room, change, answer }).await
    }

    async fn write_records(&self, batch: RecordBatch) -> Result<(), StoreError> {
        self.write(|answer| Operation::WriteRecords { batch, answer }).await
    }

    async fn read_records(&self, range: RecordRange, limit: usize) -> Result<RecordPage, StoreError> {
        self.read_on_thread(move |shared| shared.read(|log| records::page(log, &range, limit, unix_ms())))
            .await
    }

    async fn close(&self) {
        self.writer.close(Operation::Close);
        // An error means that the writing thread is gone, and the files with it.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

/// The store's threads, waited for when it goes.
#[derive(Default)]
struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    fn start(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        self.0.push(
            thread.map_err(|error| StoreError::Open(format!("can't start a thread for the log: {error}")))?,
        );
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // A sink on the writing thread may have been the last to hold the store.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests;
