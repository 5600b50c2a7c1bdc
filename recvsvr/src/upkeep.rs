//! Looking after the rooms in memory: pulling what notices missed, comparing with the log, bounding memory.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use room::{Change, List, Notice, Problem, RoomKey};
use store::{Range, RoomView};
use tracing::warn;

use crate::{
    live_room::{Applied, LiveRoom},
    metrics,
    rooms::{Rooms, refusal, room_ref},
    snapshot::Snapshot,
    tail::TailLimits,
    worker::now_ms,
};

/// Rooms that are pulled side by side: where the log is on another node, each waits for its answers.
const PULLS_AT_ONCE: usize = 32;

/// A room that nobody polled for so long is let go (seconds).
const IDLE_S: u32 = 60;

impl Rooms {
    /// Looks after the cache until the node closes: pulls what notices missed, looks at the log of rooms with
    /// readers once a second, lets idle rooms go. Run it once, on any runtime.
    pub async fn maintain(self: Arc<Self>) {
        // Side by side: while the log is slow notices go on coming, and memory is still to be bounded.
        tokio::join!(self.keep_up(), self.keep_bounds());
    }

    async fn keep_up(&self) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = tick.tick() => self.look().await,
                () = self.pull_wanted.notified() => self.pull_behind().await,
            }
        }
    }

    async fn keep_bounds(&self) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            self.clock_s.store(self.started.elapsed().as_secs() as u32, Ordering::Relaxed);
            self.bound_memory();
        }
    }

    async fn pull_behind(&self) {
        let behind: Vec<RoomKey> = self.behind.lock().drain().collect();
        stream::iter(behind)
            .for_each_concurrent(PULLS_AT_ONCE, async |key| {
                let Some(room) = room_ref(&self.rooms, &key) else { return };
                // A pull that was under way when this was asked for may have brought it all.
                if self.lacks_something(&room) {
                    self.pull(&room, "gap").await;
                }
            })
            .await;
    }

    /// Reads what the room is missing. If that fails, the next look tries again.
    pub(crate) async fn pull(&self, room: &Arc<LiveRoom>, reason: &'static str) {
        let epoch = self.log.epoch();
        if room.with_snapshot(|snapshot| snapshot.is_some_and(|snapshot| snapshot.epoch != epoch)) {
            // Another log: nothing that is here goes on in it.
            if let Err(error) = self.read_room(room, "epoch").await {
                self.is_look_due.store(true, Ordering::Release);
                warn!(room = %room.key, %error, "read of the new log failed, the next look tries again");
            }
            return;
        }
        ::metrics::counter!(metrics::PULLS, "reason" => reason).increment(1);
        for list in List::ALL {
            if let Err(error) = self.pull_list(room, list).await {
                self.is_look_due.store(true, Ordering::Release);
                warn!(room = %room.key, %error, "pull failed, the next look tries again");
            }
        }
    }

    async fn pull_list(&self, room: &Arc<LiveRoom>, list: List) -> Result<(), Problem> {
        let most = self.options.tail_messages_max;
        while let Some(last) = room.with_snapshot(|s| s.map(|s| s.lists[list].last())) {
            let read = self.log.read(&room.key, list, Range::After(last), most).await;
            let page = read.map_err(|e| refusal(&e))?;
            match room.catch_up_with(list, &page, self.tail_limits()) {
                Applied::News => self.tell(Some(Arc::clone(room))),
                Applied::Nothing => {} // Another pull was faster, and may not be done yet.
                // Retention has taken what was missing, or the log is another one: begin again from its end.
                Applied::Behind => return self.read_room(room, "gap").await,
            }
            // With an empty page there is nothing to be had, whatever was noticed: a node that lags will tell when it has it.
            let is_whole = || room.snapshot().is_none_or(|snapshot| room.has_all_noticed(&snapshot));
            if page.messages.is_empty() || (page.messages.len() < most && is_whole()) {
                break;
            }
        }
        Ok(())
    }

    /// A lost notice costs at most a second: rooms with readers are compared with the log, and all rooms where the store can
    /// tell that a notice was lost. Where it can tell that none was, and all could be read, there is nothing to look for.
    async fn look(&self) {
        let is_due = self.is_look_due.swap(false, Ordering::AcqRel);
        let given = self.log.notices();
        let taken = self.noticed.load(Ordering::Acquire);
        let missed = given.map(|given| given.wrapping_sub(taken));
        let is_missing = missed.is_none_or(|missed| Some(missed) != *self.missed_before.lock());
        if !is_due && !is_missing {
            return;
        }
        // A room whose readers are away is looked at as well: they may come back to it.
        let lost_one = missed.is_some() && is_missing;
        let rooms: Vec<_> = self
            .rooms
            .iter()
            .filter(|room| lost_one || !room.is_idle() || self.lacks_something(room))
            .map(|room| Arc::clone(room.value()))
            .collect();
        let mut has_looked = true;
        for room in rooms {
            let changes = room.changes.load(Ordering::Relaxed);
            match self.log.view(&room.key).await {
                Ok(view) => {
                    let Some(snapshot) = room.snapshot() else { continue };
                    // A notice came meanwhile: the view may be older than what it brought.
                    let is_old = room.changes.load(Ordering::Relaxed) != changes;
                    has_looked &= !is_old;
                    self.catch_up(&room, &snapshot, view, is_old).await;
                }
                Err(error) => {
                    has_looked = false;
                    self.is_look_due.store(true, Ordering::Release);
                    warn!(room = %room.key, %error, "look at the log failed");
                }
            }
        }
        if has_looked {
            *self.missed_before.lock() = missed;
        }
    }

    /// Whether the room is known to be behind: by what was noticed, or because the log is another one.
    fn lacks_something(&self, room: &LiveRoom) -> bool {
        let epoch = self.log.epoch();
        room.snapshot().is_some_and(|snapshot| snapshot.epoch != epoch || !room.has_all_noticed(&snapshot))
    }

    /// Takes what a room's view has and its snapshot lacks. Settings only of a view that is not old.
    async fn catch_up(&self, room: &Arc<LiveRoom>, snapshot: &Snapshot, view: RoomView, is_old: bool) {
        let epoch = self.log.epoch();
        if snapshot.epoch != epoch {
            return self.pull(room, "look").await;
        }
        if !is_old && view.settings != snapshot.settings {
            let change = Change::Settings { settings: view.settings, bounds: view.bounds };
            self.take(&Notice { room: room.key.clone(), epoch, change });
        }
        if List::ALL.into_iter().any(|list| view.bounds[list].last > snapshot.lists[list].last()) {
            self.pull(room, "look").await;
        }
    }

    fn bound_memory(&self) {
        self.evict(usize::MAX, IDLE_S);
        let now_ms = now_ms();
        for room in &self.rooms {
            room.with_snapshot(|snapshot| snapshot.map(|snapshot| snapshot.drop_old_encodings(now_ms)));
        }
        let total = || self.rooms.iter().map(|room| room.bytes.load(Ordering::Relaxed)).sum::<usize>();
        let mut bytes = total();
        if bytes > self.options.cache_bytes_max {
            self.evict(usize::MAX, 0);
            bytes = total();
        }
        // Still too much: all who are read. Halve what a room may hold until it fits.
        let mut limits = self.tail_limits();
        while bytes > self.options.cache_bytes_max && limits.messages > 1 {
            limits = TailLimits { messages: limits.messages / 2, bytes: limits.bytes / 2 };
            for room in &self.rooms {
                room.shrink(limits);
            }
            bytes = total();
        }
        ::metrics::gauge!(metrics::CACHE_BYTES).set(bytes as f64);
    }

    /// Makes room for one more room, if any can go.
    ///
    /// Finding one may mean to look at all; when none could go, nobody looks again for a second.
    pub(crate) fn make_room(&self) -> bool {
        let now_s = self.clock_s.load(Ordering::Relaxed);
        if self.full_at_s.load(Ordering::Relaxed) == now_s + 1 {
            return false;
        }
        if self.evict(1, 0) > 0 {
            return true;
        }
        self.full_at_s.store(now_s + 1, Ordering::Relaxed);
        false
    }

    /// Lets go of at most `most` rooms without followers that were not used for `idle_s`. Returns how many.
    fn evict(&self, most: usize, idle_s: u32) -> usize {
        let now_s = self.clock_s.load(Ordering::Relaxed);
        let is_free = |room: &LiveRoom| {
            room.is_idle() && now_s.saturating_sub(room.used_at_s.load(Ordering::Relaxed)) >= idle_s
        };
        let free: Vec<_> = self
            .rooms
            .iter()
            .filter(|room| is_free(room))
            .take(most)
            .map(|room| room.key().clone())
            .collect();
        let mut evicted = 0;
        for key in free {
            if self.rooms.remove_if(&key, |_, room| is_free(room)).is_some() {
                self.log.unfollow(&key);
                evicted += 1;
            }
        }
        self.count.fetch_sub(evicted, Ordering::Relaxed);
        evicted
    }
}
