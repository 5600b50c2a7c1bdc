//! A room in memory: its snapshot, the writer that replaces it, and who listens.

mod writer;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use room::{
    Bounds, Change, Content, Epoch, ErrorCode, List, Message, Notice, PerList, Problem, RoomHash, RoomKey,
    RoomSettings,
};
use store::{Page, RoomView, StoreOptions};

use self::writer::{EARLY_MAX, Early, Writer};
use crate::{
    catch_up::LoadKey,
    encode::Encoded,
    online::Online,
    pace::Pace,
    slice::Slice,
    snapshot::Snapshot,
    tail::{Tail, TailLimits},
};

/// A worker's side of a room: written by that worker, read by whoever publishes.
#[derive(Debug, Default)]
#[repr(align(64))] // One cache line each: a worker that parks must not slow down the others.
pub(crate) struct Listener {
    /// Polls parked here; above zero, the worker wants to hear of news.
    pub(crate) parked: AtomicUsize,
    /// Connections that follow the room, parked or between two polls.
    pub(crate) followers: AtomicUsize,
    /// The room is in the worker's mailbox already.
    pub(crate) is_told: AtomicBool,
}

/// A load that several readers wait for.
pub(crate) type SharedLoad<T> = Shared<BoxFuture<'static, Result<T, Problem>>>;

/// Reads of the log under way, by what they are for.
pub(crate) type Loads = Mutex<HashMap<LoadKey, SharedLoad<(Arc<Encoded>, Slice)>>>;

/// Begins a load. It runs to its end also when all who wait for it leave, so that what it holds is given back.
pub(crate) fn begin_load<T: Clone + Send + Sync + 'static>(
    load: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> SharedLoad<T> {
    let task = tokio::spawn(load);
    let outcome = async move {
        task.await.unwrap_or_else(|_| {
            Err(Problem::new(ErrorCode::Internal, "a read of the log broke off: try again"))
        })
    };
    outcome.boxed().shared()
}

/// A room in memory.
#[derive(Debug)]
pub(crate) struct LiveRoom {
    pub(crate) key: RoomKey,
    pub(crate) hash: RoomHash,
    pub(crate) online: Arc<Online>,
    pub(crate) pace: Pace,
    /// `None` until the room was filled from the store.
    snapshot: ArcSwapOption<Snapshot>,
    writer: Mutex<Writer>,
    /// One a worker.
    pub(crate) listeners: Box<[Listener]>,
    /// Readers that are not on a worker of this process: nodes that follow the room here.
    pub(crate) holds: AtomicUsize,
    /// When somebody last polled it (seconds of the process's clock).
    pub(crate) used_at_s: AtomicU32,
    /// Bytes that its messages take, in its tails and ahead of them, as counted in the cache's total.
    pub(crate) bytes: AtomicUsize,
    /// Counts changes: lets a look at the log skip rooms that were just told of one.
    pub(crate) changes: AtomicU64,
    pub(crate) fill: Mutex<Option<SharedLoad<()>>>,
    /// Reads of the log under way, by what they are for. Bounded by the permits for loads.
    pub(crate) loads: Loads,
}

/// What a notice did to a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Applied {
    /// There is something new for readers.
    News,
    /// Nothing that the room did not have.
    Nothing,
    /// Messages before it are missing: they must be pulled.
    Behind,
}

/// What reading the log did to a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filled {
    /// The room has what was read, and all that was noticed.
    Whole,
    /// It has what was read; more was noticed than could be kept: it must be pulled.
    Behind,
    /// Nothing: the room has changed meanwhile. Read again.
    Not,
}

/// Takes a load out of its room when it has ended, in whatever way.
pub(crate) struct Loading<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for Loading<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl LiveRoom {
    pub(crate) fn new(key: RoomKey, workers: usize, online: Arc<Online>) -> Self {
        Self {
            hash: key.hash48(),
            key,
            online,
            pace: Pace::default(),
            snapshot: ArcSwapOption::empty(),
            writer: Mutex::default(),
            listeners: (0..workers).map(|_| Listener::default()).collect(),
            holds: AtomicUsize::new(0),
            used_at_s: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            fill: Mutex::default(),
            loads: Mutex::default(),
        }
    }

    /// The room as it is now; `None` if it was not filled yet.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// Looks at the room as it is now without holding on to it.
    pub(crate) fn with_snapshot<T>(&self, look: impl FnOnce(Option<&Arc<Snapshot>>) -> T) -> T {
        look(self.snapshot.load().as_ref())
    }

    /// Those whom the poll policy goes by: the people in the room, on all nodes, or the connections that follow it here
    /// until they are counted.
    pub(crate) fn audience(&self, now_ms: u64) -> u64 {
        self.online.num_users(now_ms).unwrap_or_else(|| self.followers())
    }

    /// Polls parked in the room, over all workers. A hint.
    pub(crate) fn parked(&self) -> usize {
        self.listeners.iter().map(|listener| listener.parked.load(Ordering::Relaxed)).sum()
    }

    /// Connections that follow the room, over all workers. A hint.
    fn followers(&self) -> u64 {
        let count = |l: &Listener| l.followers.load(Ordering::Relaxed).max(l.parked.load(Ordering::Relaxed));
        self.listeners.iter().map(count).sum::<usize>() as u64
    }

    /// Nobody polls it or is about to, here or by way of another node.
    pub(crate) fn is_idle(&self) -> bool {
        self.followers() == 0 && self.holds.load(Ordering::Relaxed) == 0
    }

    /// Whether all that notices told of is in memory.
    pub(crate) fn has_all_noticed(&self, snapshot: &Snapshot) -> bool {
        self.writer.lock().has_all_noticed(snapshot)
    }

    /// Changes the room, one change at a time, and counts anew what it takes.
    fn write<T>(&self, change: impl FnOnce(&mut Writer) -> T) -> T {
        let mut writer = self.writer.lock();
        let changed = change(&mut writer);
        let tails = self.with_snapshot(|snapshot| snapshot.map_or(0, |snapshot| snapshot.bytes()));
        self.bytes.store(tails + writer.bytes_ahead(), Ordering::Relaxed);
        changed
    }

    /// Takes a notice into the snapshot.
    pub(crate) fn apply(&self, notice: &Notice, limits: TailLimits, defaults: &StoreOptions) -> Applied {
        self.write(|writer| self.take_notice(writer, notice, limits, defaults))
    }

    fn take_notice(
        &self,
        writer: &mut Writer,
        notice: &Notice,
        limits: TailLimits,
        defaults: &StoreOptions,
    ) -> Applied {
        self.changes.fetch_add(1, Ordering::Relaxed);
        writer.note(notice);
        let old = self.snapshot();
        if old.as_ref().is_none_or(|old| old.epoch != notice.epoch)
            && let Change::Appended { list, messages, accepted_at_us, .. } = &notice.change
        {
            writer.ahead[*list].keep(messages, *accepted_at_us, limits);
        }
        // A room that is being filled takes what was noticed meanwhile.
        let Some(old) = old else { return Applied::Nothing };
        if old.epoch != notice.epoch {
            return Applied::Behind;
        }
        match &notice.change {
            Change::Appended { list, messages, accepted_at_us, .. } => {
                let applied = self.append(writer, &old, *list, messages, *accepted_at_us, limits);
                if applied == Applied::News && !self.take_ahead(writer, limits) {
                    return Applied::Behind;
                }
                applied
            }
            Change::Settings { settings, bounds } => {
                self.set(&old, Arc::clone(settings), *bounds, defaults);
                Applied::News
            }
            Change::Viewed { settings, bounds } => {
                let is_behind = List::ALL.into_iter().any(|list| bounds[list].last > old.lists[list].last());
                let has_changed = *settings != old.settings;
                if has_changed {
                    self.set(&old, Arc::clone(settings), *bounds, defaults);
                }
                match (is_behind, has_changed) {
                    (true, _) => Applied::Behind,
                    (false, true) => Applied::News,
                    (false, false) => Applied::Nothing,
                }
            }
        }
    }

    fn append(
        &self,
        writer: &mut Writer,
        old: &Snapshot,
        list: List,
        messages: &[Arc<Message>],
        accepted_at_us: u64,
        limits: TailLimits,
    ) -> Applied {
        if messages.last().is_none_or(|newest| newest.seq <= old.lists[list].last()) {
            return Applied::Nothing;
        }
        let mut lists = old.lists.clone();
        if lists[list].extend(messages, limits).is_err() {
            writer.ahead[list].keep(messages, accepted_at_us, limits);
            return Applied::Behind;
        }
        for message in messages {
            if let Content::Redact { list, seq, .. } = message.content {
                writer.early.push(Early { list, seq, redact_seq: message.seq });
            }
        }
        writer.early.retain(|&Early { list, seq, redact_seq }| {
            lists[list].retract(seq, redact_seq);
            seq > lists[list].last()
        });
        if writer.early.len() > EARLY_MAX {
            writer.early.truncate(EARLY_MAX);
            return Applied::Behind;
        }
        let mut accepted = old.accepted_at_us;
        accepted[list] = accepted_at_us;
        self.replace(self.snapshot_of(old.epoch, Arc::clone(&old.settings), lists, accepted));
        Applied::News
    }

    fn set(
        &self,
        old: &Snapshot,
        settings: Arc<RoomSettings>,
        bounds: PerList<Bounds>,
        defaults: &StoreOptions,
    ) {
        let mut lists = old.lists.clone();
        for list in List::ALL {
            lists[list]
                .set_retention(settings.retention[list].unwrap_or(defaults.retention[list]), bounds[list]);
        }
        self.replace(self.snapshot_of(old.epoch, settings, lists, old.accepted_at_us));
    }

    fn snapshot_of(
        &self,
        epoch: Epoch,
        settings: Arc<RoomSettings>,
        lists: PerList<Tail>,
        accepted_at_us: PerList<u64>,
    ) -> Snapshot {
        Snapshot::new(epoch, self.hash, settings, lists, accepted_at_us, Arc::clone(&self.online))
    }

    fn replace(&self, new: Snapshot) {
        self.snapshot.store(Some(Arc::new(new)));
    }

    /// How many changes of settings notices told of: taken before the settings are read.
    pub(crate) fn settings_noticed(&self) -> u64 {
        self.writer.lock().settings_noticed
    }

    /// Takes what was read from the store as the room's state; `settings_noticed` was taken before.
    ///
    /// Messages that were noticed meanwhile are taken as well.
    pub(crate) fn fill_with(
        &self,
        epoch: Epoch,
        view: &RoomView,
        pages: &PerList<Page>,
        settings_noticed: u64,
        limits: TailLimits,
        defaults: &StoreOptions,
    ) -> Filled {
        self.write(|writer| {
            if writer.settings_noticed != settings_noticed {
                return Filled::Not;
            }
            if writer.epoch.is_some_and(|noticed| noticed != epoch) {
                // Either the log was swapped after it was read, or the notice is an old one: the next one tells.
                writer.forget(epoch);
            }
            if let Some(old) = self.snapshot()
                && old.epoch == epoch
                && List::ALL.into_iter().any(|list| old.lists[list].last() > pages[list].bounds.last)
            {
                return Filled::Not; // A pull was faster than this read, and perhaps for one list only.
            }
            // The pages are younger than the view: what they say of the bounds holds.
            let mut lists = PerList::from_fn(|list| {
                let retention = view.settings.retention[list].unwrap_or(defaults.retention[list]);
                let mut tail = Tail::new(pages[list].bounds, retention);
                tail.fill(&pages[list].messages);
                tail.shrink(limits);
                tail
            });
            // What was read has the tombstones, but for those of a redaction that came between the two reads.
            writer.early.clear();
            for message in pages.priority.messages.iter().chain(&pages.normal.messages) {
                if let Content::Redact { list, seq, .. } = message.content {
                    lists[list].retract(seq, message.seq);
                }
            }
            writer.epoch = Some(epoch);
            let accepted = PerList::from_fn(|_| 0);
            self.replace(self.snapshot_of(epoch, Arc::clone(&view.settings), lists, accepted));
            self.take_ahead(writer, limits);
            let is_whole = self.with_snapshot(|s| s.is_some_and(|snapshot| writer.has_all_noticed(snapshot)));
            if is_whole { Filled::Whole } else { Filled::Behind }
        })
    }

    /// Appends what was noticed ahead of the snapshot, if it follows now. False if it had to be left out, so that the log must be
    /// read for it.
    fn take_ahead(&self, writer: &mut Writer, limits: TailLimits) -> bool {
        let mut has_taken = true;
        for list in List::ALL {
            let Some(old) = self.snapshot() else { return true };
            if writer.epoch.is_some_and(|epoch| epoch != old.epoch) {
                return true; // It is of another log, which is about to be read.
            }
            let end = old.lists[list].last().next();
            if writer.ahead[list].first().is_some_and(|first| first <= end) {
                let (messages, accepted_at_us) = writer.ahead[list].take();
                has_taken &=
                    self.append(writer, &old, list, &messages, accepted_at_us, limits) != Applied::Behind;
            }
        }
        has_taken
    }

    /// Takes messages that were pulled because a notice was missed. Those of another log are not taken: the room is behind.
    pub(crate) fn catch_up_with(&self, list: List, page: &Page, limits: TailLimits) -> Applied {
        self.write(|writer| {
            let Some(old) = self.snapshot() else { return Applied::Nothing };
            if page.epoch != old.epoch {
                return Applied::Behind;
            }
            let messages = &page.messages;
            let accepted_at_us = messages.last().map_or(0, |newest| newest.sent_at_ms * 1_000);
            let applied = self.append(writer, &old, list, messages, accepted_at_us, limits);
            if applied != Applied::Behind && !self.take_ahead(writer, limits) {
                return Applied::Behind;
            }
            applied
        })
    }

    /// Lets old messages go, those that are kept ahead among them: for when memory is short.
    pub(crate) fn shrink(&self, limits: TailLimits) {
        self.write(|writer| {
            for list in List::ALL {
                writer.ahead[list].shrink(limits);
            }
            let Some(old) = self.snapshot() else { return };
            let mut lists = old.lists.clone();
            for list in List::ALL {
                lists[list].shrink(limits);
            }
            self.replace(self.snapshot_of(old.epoch, Arc::clone(&old.settings), lists, old.accepted_at_us));
        });
    }
}

#[cfg(test)]
mod tests;
