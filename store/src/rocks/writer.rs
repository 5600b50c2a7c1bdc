//! The one thread that writes.
//!
//! It takes what is queued, makes one batch of it, writes that with one sync, tells the sinks, answers the callers,
//! and looks what has queued up meanwhile: the sync itself is what forms the next batch, so nothing lingers.
//!
//! Records are no log, and nobody waits for them: they wait until nothing else does ([`Waiting`]), and are written without a
//! sync of their own. The next commit's sync takes them along; where none comes, one follows within two seconds.

mod waiting;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crossbeam_channel::RecvTimeoutError;
use rocksdb::WriteBatch;
use room::{List, Notice, NoticeSink, RoomKey, Seq};
use tokio::sync::watch;
use tracing::{error, info, warn};

#[cfg(test)]
pub(super) use self::waiting::PASSED_MAX as RECORDS_PASSED_MAX;
use self::waiting::Waiting;
use super::{
    Shared,
    batch::{Answer, Batch},
    columns::Log,
    directory::Directory,
    health,
    queue::Taker,
    records, recovery,
};
use crate::{Append, Appended, RecordBatch, Retraction, RoomView, SettingsChange, StoreError, metrics};

/// Most changes in one batch (count).
const BATCH_OPERATIONS_MAX: usize = 1_024;
/// A batch takes no more changes beyond this size (bytes).
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often the writer looks after the log's health (and at most how long it takes to notice that it may try again).
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Longest pause between two attempts to get the log to work again; far less than the 30 s that operators are promised.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(4);

/// A change that somebody wants.
pub(crate) enum Operation {
    Append {
        append: Append,
        answer: Answer<Appended>,
    },
    Retract {
        room: RoomKey,
        list: List,
        seq: Seq,
        answer: Answer<Retraction>,
    },
    ChangeSettings {
        room: RoomKey,
        change: SettingsChange,
        answer: Answer<RoomView>,
    },
    WriteRecords {
        batch: RecordBatch,
        answer: Answer<()>,
    },
    /// Everything before `first` was found to be expired.
    Trim {
        room: RoomKey,
        list: List,
        first: u64,
    },
    /// The last one.
    Close,
}

/// The writing thread's own.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    directory: Directory,
    operations: Taker<Operation>,
    looked_at: Instant,
    background_errors: u64,
    /// Records to be written.
    waiting: Waiting,
    /// Whether records were written that no sync followed.
    has_unsynced: bool,
    /// Since a write failed.
    retry: Option<Retry>,
    /// Told when the files are let go.
    closed: watch::Sender<bool>,
}

/// How the log is to be brought to work again.
#[derive(Clone, Copy)]
struct Retry {
    /// When to try next.
    at: Instant,
    /// How long to wait after that.
    pause: Duration,
    /// Whether the failed write may be there without being durable.
    in_doubt: bool,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        directory: Directory,
        operations: Taker<Operation>,
        closed: watch::Sender<bool>,
    ) -> Self {
        let looked_at = Instant::now();
        Self {
            shared,
            directory,
            operations,
            looked_at,
            background_errors: 0,
            waiting: Waiting::default(),
            has_unsynced: false,
            retry: None,
            closed,
        }
    }

    /// Writes until there is nobody left who could want it.
    pub(crate) fn run(mut self) {
        loop {
            let wait = if self.waiting.is_empty() { LOOK_AFTER } else { Duration::ZERO };
            match self.operations.take_timeout(wait) {
                Ok(Operation::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Operation::WriteRecords { batch, answer }) => self.waiting.push(batch, answer),
                Ok(first) => {
                    self.look_after();
                    if self.write_queued(first) {
                        break;
                    }
                    self.waiting.pass();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.look_after();
                    self.write_records();
                }
            }
            if self.waiting.is_overdue() {
                self.write_records();
            }
        }
        while !self.waiting.is_empty() {
            self.write_records();
        }
        self.finish();
    }

    /// Writes `first` and what is queued behind it, as far as it fits a batch; says whether the close was among it.
    fn write_queued(&mut self, first: Operation) -> bool {
        let shared = Arc::clone(&self.shared);
        let log = shared.log.read();
        let (Some(log), None) = (log.as_ref(), self.retry) else {
            return self.refuse_queued(first);
        };
        let mut batch = Batch::new(&shared, log);
        let mut next = Some(first);
        let mut taken = 0;
        let mut closing = false;
        while let Some(operation) = next.take() {
            let operation = match operation {
                Operation::Close => {
                    closing = true;
                    break;
                }
                Operation::WriteRecords { batch, answer } => {
                    self.waiting.push(batch, answer);
                    next = if self.waiting.is_overdue() { None } else { self.operations.try_take() };
                    continue;
                }
                operation => operation,
            };
            // These look at what is written, which must then be everything before them.
            if let Operation::Retract { room, .. } | Operation::ChangeSettings { room, .. } = &operation
                && batch.touches(room)
            {
                if !self.commit(log, batch) {
                    return self.refuse_queued(operation);
                }
                batch = Batch::new(&shared, log);
            }
            add(&mut batch, operation);
            taken += 1;
            if taken < BATCH_OPERATIONS_MAX && batch.size_bytes() < BATCH_BYTES_MAX {
                next = self.operations.try_take();
            }
        }
        self.operations.report_depth();
        self.commit(log, batch);
        closing
    }

    /// Writes a batch and lets everybody know; says whether it was written.
    fn commit(&mut self, log: &Log, batch: Batch<'_>) -> bool {
        let (writes, effects) = batch.finish();
        if !writes.is_empty() {
            let began = Instant::now();
            if let Err(error) = log.write(writes) {
                let error = self.write_failed(&error);
                effects.fail(&error);
                return false;
            }
            metrics::commit(effects.len(), began.elapsed());
            self.has_unsynced = false;
        }
        self.shared.rooms.put_all(effects.rooms.iter().cloned());
        let sinks = self.shared.sinks();
        self.shared.notices.fetch_add(effects.notices.len() as u64, Ordering::AcqRel);
        for notice in &effects.notices {
            sinks.iter().for_each(|sink| tell(sink.as_ref(), notice));
        }
        effects.answer();
        true
    }

    /// Writes the records that have waited longest, if there are any.
    fn write_records(&mut self) {
        let Some((batch, answer)) = self.waiting.pop() else { return };
        let shared = Arc::clone(&self.shared);
        let log = shared.log.read();
        let (Some(log), None) = (log.as_ref(), self.retry) else {
            return answer.send(Err(shared.health.write_failure().unwrap_or_else(health::closed)));
        };
        let mut writes = WriteBatch::default();
        records::stage(log, &mut writes, &batch);
        match log.write_unsynced(writes) {
            Ok(()) => {
                self.has_unsynced = true;
                answer.send(Ok(()));
            }
            Err(error) => {
                let error = self.write_failed(&error);
                answer.send(Err(error));
            }
        }
    }

    /// Makes durable what no commit has made so.
    fn sync_records(&mut self) {
        if !std::mem::take(&mut self.has_unsynced) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let log = shared.log.read();
        if let Some(Err(error)) = log.as_ref().map(Log::sync) {
            self.write_failed(&error);
        }
    }

    /// Answers what is queued that nothing can be written now; says whether the close was among it.
    fn refuse_queued(&mut self, first: Operation) -> bool {
        let error = self.shared.health.write_failure().unwrap_or_else(health::closed);
        let mut next = Some(first);
        while let Some(operation) = next {
            match operation {
                Operation::Append { answer, .. } => answer.send(Err(error.clone())),
                Operation::Retract { answer, .. } => answer.send(Err(error.clone())),
                Operation::ChangeSettings { answer, .. } => answer.send(Err(error.clone())),
                Operation::WriteRecords { answer, .. } => answer.send(Err(error.clone())),
                Operation::Trim { .. } => {}
                Operation::Close => return true,
            }
            next = self.operations.try_take();
        }
        self.operations.report_depth();
        false
    }

    /// Takes note that the log can't be written; gives back what the callers are told.
    fn write_failed(&mut self, error: &rocksdb::Error) -> StoreError {
        let text = error.to_string();
        error!(error = %text, "the log can't be written: sends are refused, reads go on, trying again every few seconds");
        metrics::write_failure();
        self.shared.health.set_write_failure(Some(text.clone()));
        // What the failed write left in the file decides what is there, and that shows when the log is opened again.
        self.shared.rooms.clear();
        // A record that did not fit into the file is not in it, whole: it will be cut off. After anything else, a failed
        // sync above all, it may be there or not.
        let in_doubt = !text.contains("While appending to file");
        self.retry = Some(Retry { at: Instant::now() + LOOK_AFTER, pause: LOOK_AFTER, in_doubt });
        self.has_unsynced = false;
        if in_doubt { StoreError::Unknown(text) } else { StoreError::Unavailable(text) }
    }

    /// Once a second: gets a failed log to work again, or notices that a log has failed in the background.
    fn look_after(&mut self) {
        if self.looked_at.elapsed() < LOOK_AFTER {
            return;
        }
        self.looked_at = Instant::now();
        match self.retry {
            Some(retry) if Instant::now() >= retry.at => self.try_recover(retry),
            Some(_) => {}
            None => {
                self.notice_background_errors();
                self.sync_records();
            }
        }
    }

    fn try_recover(&mut self, retry: Retry) {
        match recovery::reopen(&self.shared, &self.directory, retry.in_doubt) {
            Ok(()) => {
                self.retry = None;
                self.background_errors = 0;
                self.shared.notices.fetch_add(1, Ordering::AcqRel);
                self.shared.health.set_write_failure(None);
                info!("the log can be written again");
            }
            Err(why) => {
                warn!(%why, "the log still can't be written");
                self.shared.health.set_write_failure(Some(why));
                let at = Instant::now() + retry.pause;
                self.retry = Some(Retry { at, pause: (retry.pause * 2).min(RETRY_PAUSE_MAX), ..retry });
            }
        }
    }

    /// A flush that fails makes RocksDB refuse writes. Where no one sends, readiness has to learn of it too.
    fn notice_background_errors(&mut self) {
        let shared = Arc::clone(&self.shared);
        let log = shared.log.read();
        let Some(log) = log.as_ref() else { return };
        let errors = log.background_errors();
        if errors > self.background_errors {
            self.background_errors = errors;
            if let Err(error) = log.write_mark() {
                self.write_failed(&error);
            }
        }
    }

    /// Lets go of the files.
    ///
    /// Everything is synced in the write-ahead log, where the next start finds it as after a crash. Writing it into tables
    /// now could take longer than the process has.
    fn finish(mut self) {
        if self.retry.is_none() {
            self.sync_records();
        }
        let Self { shared, directory, operations, closed, .. } = self;
        shared.health.set_closed();
        drop(operations);
        let log = shared.log.write().take();
        if let Some(log) = log {
            log.db().cancel_all_background_work(true);
        }
        drop(directory);
        // Also to those whose change came in behind the close: without an answer by now, nothing of it was written.
        closed.send_replace(true);
    }
}

fn add(batch: &mut Batch<'_>, operation: Operation) {
    match operation {
        Operation::Append { append, answer } => batch.append(append, answer),
        Operation::Retract { room, list, seq, answer } => batch.retract(&room, list, seq, answer),
        Operation::ChangeSettings { room, change, answer } => batch.change_settings(&room, change, answer),
        Operation::Trim { room, list, first } => batch.trim(&room, list, first),
        // The caller has put these elsewhere.
        Operation::WriteRecords { .. } | Operation::Close => {}
    }
}

/// Tells a sink. One that panics must not take the log with it.
fn tell(sink: &dyn NoticeSink, notice: &Notice) {
    if catch_unwind(AssertUnwindSafe(|| sink.notice(notice))).is_err() {
        error!(room = %notice.room, "a notice sink panicked; readers pull what it missed");
    }
}
