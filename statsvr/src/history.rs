//! A room's numbers over time: series, peaks, sessions, unique viewers.
//!
//! [`History`] takes note once a second of how many are in each room, answers from memory and the store, and writes what is new
//! every few seconds, all rooms in few writes ([`crate::keep`]).
//!
//! # What is lost when
//! - A stop in good order, after a last [`History::flush`]: nothing.
//! - A crash: what came since the last flush. A series then has a point with fewer looks in it, or none: a gap is no point,
//!   never zeros. Unique viewers who are still there come in again with the next merge of the online table.
//! - What happened while a node was away the second node tells it when it is back, by [`History::share`]: peaks, sets of
//!   viewers, and the newest points (5 to 10 minutes of one step, one to two hours of the other). Earlier points stay with
//!   the node that saw them; whoever asks for a series asks both.
//! - A store that can't be written: 40 minutes of 10-second points and eight hours of minutes wait in memory, and sets
//!   of viewers are kept whole. Older points are given up, and counted.
//!
//! # Bounds
//! A busy room takes about 1.5 KB of memory, and its two sets of viewers at most 160 KB; [`ROOMS_MAX`] rooms are kept. In
//! the store a room has at most 288 blocks of 10-second points and 720 of minutes, of 0.3 to 0.6 KB, for each node
//! that wrote about it.

mod answers;
mod block;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod room;
mod share;
mod summary;
mod tally;
mod track;
mod viewers;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ::room::RoomKey;
use dashmap::{DashMap, mapref::entry::Entry};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use store::{Store, StoreError};

pub use self::share::ShareError;
pub(crate) use self::{
    block::{Block, BlockError},
    keys::{
        block as block_key, block_node, own_part, room as room_key, series_from, session as session_key,
        total as total_key,
    },
    room::{KeptRoom, NodePoint, Stored, StoredViewers, Unwritten},
    summary::Summary,
    tally::Tally,
};
use crate::keep::Keep;

/// Most rooms in memory (count). One more is not taken note of, and [`Flushed::rooms_refused`] tells.
pub(crate) const ROOMS_MAX: usize = 1_000_000;
/// Most points in one answer (count): a month of minutes. Of a longer range the newest are given.
pub(crate) const SERIES_POINTS_MAX: usize = 43_200;
/// A room that was not looked at for so long is forgotten once all of it is written (milliseconds).
const FORGET_AFTER_MS: u64 = 60_000;
/// Rooms that are read from the store at once (count).
const LOADS_AT_ONCE: usize = 16;

/// How far apart the points of a series are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Kept for 24 hours.
    TenSeconds,
    /// Kept for 30 days.
    Minute,
}

impl Step {
    /// Both, in the order of their discriminants.
    pub(crate) const ALL: [Self; 2] = [Self::TenSeconds, Self::Minute];

    /// From one point to the next (seconds).
    #[must_use]
    pub const fn seconds(self) -> u8 {
        match self {
            Self::TenSeconds => 10,
            Self::Minute => 60,
        }
    }

    /// The same in milliseconds.
    pub(crate) const fn millis(self) -> u64 {
        self.seconds() as u64 * 1_000
    }

    /// How long a point is kept (milliseconds).
    #[must_use]
    pub const fn kept_ms(self) -> u64 {
        match self {
            Self::TenSeconds => 24 * 3_600_000,
            Self::Minute => 30 * 24 * 3_600_000,
        }
    }

    /// How many points share a record (count): five minutes of one step, an hour of the other. The newest record is
    /// written with every flush, so it must not be large.
    pub(crate) const fn block_intervals(self) -> u64 {
        match self {
            Self::TenSeconds => 30,
            Self::Minute => 60,
        }
    }

    /// A bit for each second of an interval.
    pub(crate) const fn all_seconds(self) -> u64 {
        (1 << self.seconds()) - 1
    }
}

/// How a node keeps history.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HistorySettings {
    /// The node's number, the same after every restart and another than any other node's
    /// ([`crate::NodeId::number`]): its own share a node does not adopt. Its records bear it, so that nodes
    /// with a store in common overwrite nothing of each other's.
    pub node: u64,
}

/// A room as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Observation {
    /// Now (Unix milliseconds).
    pub at_ms: u64,
    /// People online (count).
    pub num_users: u64,
    /// Devices online (count).
    pub num_clients: u64,
    /// People who have come since the room entered the node's tables (count). Fewer than last time: it entered them anew.
    pub joins: u64,
    /// People who have gone since then (count).
    pub leaves: u64,
}

/// What is remembered of a room besides its series.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Standing {
    /// The most people online at once since the room last opened (count).
    pub peak_num_users: u64,
    /// When there were first so many (Unix milliseconds); 0 if nobody was ever there.
    pub peak_at_ms: u64,
    /// Different people since the room last opened (count). Never falls until it opens again.
    pub unique_viewers: u64,
    /// Different people of all time (count). Never falls.
    pub unique_viewers_total: u64,
    /// How far these may be off, as a part of them; 0 if they are exact.
    pub unique_error: f64,
    /// Whether what the store knows is in these numbers. Until then, right after a start, they may be too low.
    pub is_loaded: bool,
}

/// Which part of a series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeriesRange {
    /// Points that begin at this time or later (Unix milliseconds).
    pub from_ms: u64,
    /// Points that begin before this time (Unix milliseconds).
    pub to_ms: u64,
    /// Of which series.
    pub step: Step,
}

/// How many were in a room during an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// When the interval began (Unix milliseconds).
    pub t_ms: u64,
    /// The fewest people seen online (count).
    pub min: u64,
    /// Their mean over the looks, once a second as a rule (count, rounded).
    pub avg: u64,
    /// The most people seen online (count).
    pub max: u64,
    /// People who came (count).
    pub joins: u64,
    /// People who went (count).
    pub leaves: u64,
}

/// Part of a series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Series {
    /// How far apart its points are.
    pub step: Step,
    /// Ascending in time, at most 43,200 of them, the newest of a longer range. An interval without a point was not looked at, or nobody was there in
    /// it and in the one before.
    pub points: Vec<Point>,
}

/// What a flush did.
#[derive(Clone, Default, Debug)]
pub struct Flushed {
    /// Rooms that were written (count).
    pub rooms_written: usize,
    /// Keys and values that were written (bytes).
    pub bytes_written: usize,
    /// Rooms that were read from the store for the first time (count).
    pub rooms_loaded: usize,
    /// Rooms that memory let go of (count).
    pub rooms_forgotten: usize,
    /// Observations since the last flush of rooms that found no place (count).
    pub rooms_refused: u64,
    /// Records that could not be read and were passed over (count).
    pub records_damaged: usize,
    /// Blocks of points that waited too long for the store (count).
    pub blocks_given_up: u64,
    /// Why not all was written or read: it is tried again next time.
    pub error: Option<StoreError>,
}

/// The history of all rooms that this node looks after.
pub struct History {
    keep: Keep,
    rooms: DashMap<RoomKey, KeptRoom>,
    /// Rooms that the store was not asked about yet.
    unloaded: Mutex<Vec<RoomKey>>,
    /// Records found damaged by loads since the last flush.
    damaged: AtomicU64,
    refused: AtomicU64,
    /// Held by the flush under way: two would write one room's records in either order.
    flushing: tokio::sync::Mutex<()>,
}

impl History {
    /// An empty memory over a store. Nothing is read before it is asked for.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, settings: HistorySettings) -> Self {
        Self {
            keep: Keep::new(store, settings.node),
            rooms: DashMap::new(),
            unloaded: Mutex::default(),
            damaged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            flushing: tokio::sync::Mutex::default(),
        }
    }

    /// Takes note of a room, once a second for as long as it is in the node's tables, also with nobody in it. Does no I/O.
    ///
    /// `new_users` are the unique keys of those who have come since the last call; repeats cost a look-up and change nothing.
    /// A room met for the first time is read from the store by the next [`Self::load_pending`].
    pub fn observe(&self, room: &RoomKey, seen: Observation, new_users: &[u64]) -> Standing {
        let standing = self.with(room, |kept| kept.observe(seen, new_users));
        standing.unwrap_or_else(|| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Standing::default()
        })
    }

    /// The room was opened, or opened again: a session of peaks and unique viewers begins. Told again it changes nothing.
    pub fn opened(&self, room: &RoomKey, at_ms: u64) {
        if self.with(room, |kept| kept.open(at_ms)).is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Does something with a room in memory, where it is put if it is not there; `None` if it finds no place.
    fn with<T>(&self, room: &RoomKey, act: impl FnOnce(&mut KeptRoom) -> T) -> Option<T> {
        let mut found = self.rooms.get_mut(room);
        if found.is_none() {
            if self.rooms.len() >= ROOMS_MAX {
                return None;
            }
            let kept = match self.rooms.entry(room.clone()) {
                Entry::Occupied(entry) => entry.into_ref(),
                Entry::Vacant(entry) => {
                    self.unloaded.lock().push(room.clone());
                    entry.insert(KeptRoom::new())
                }
            };
            found = Some(kept);
        }
        let mut kept = found?;
        let was_loaded = kept.is_loaded();
        let done = act(&mut kept);
        if was_loaded && !kept.is_loaded() {
            self.unloaded.lock().push(room.clone());
        }
        Some(done)
    }

    /// Whether memory has the room with all that the store knows of it.
    pub(crate) fn is_loaded(&self, room: &RoomKey) -> bool {
        self.rooms.get(room).is_some_and(|kept| kept.is_loaded())
    }

    /// What [`Self::observe`] gave last, or what the store knows of a room that memory does not have.
    ///
    /// # Errors
    /// The store's, if it had to be asked and can't be read now.
    pub async fn standing(&self, room: &RoomKey) -> Result<Standing, StoreError> {
        if let Some(standing) =
            self.rooms.get(room).filter(|kept| kept.is_loaded()).map(|kept| kept.standing())
        {
            return Ok(standing);
        }
        self.load(room).await?;
        if let Some(kept) = self.rooms.get(room) {
            return Ok(kept.standing());
        }
        // Nobody looks at it: one who asks is no reason to keep it.
        let mut kept = KeptRoom::new();
        kept.load(self.keep.load(room, kept.bases()).await?);
        Ok(kept.standing())
    }

    /// Part of a room's series, of whatever node's, from the store and from memory.
    ///
    /// # Errors
    /// The store's, if it can't be read now. Damaged records leave gaps.
    pub async fn series(&self, room: &RoomKey, range: SeriesRange) -> Result<Series, StoreError> {
        let step = range.step;
        // First what memory has: what is written meanwhile is in the store when that is read.
        let recent = self.rooms.get(room).map(|kept| kept.points(step, self.keep.node())).unwrap_or_default();
        let stored = self.keep.points(room, range).await?;
        let (from, to) = (range.from_ms.div_ceil(step.millis()), range.to_ms.div_ceil(step.millis()));
        // First what each node saw, then all of them: what a node wrote earlier is a part of what it has now, but need not be
        // one of what two of them saw together.
        let mut of_nodes: BTreeMap<(u64, u64), Tally> = BTreeMap::new();
        let all = stored.into_iter().chain(recent).filter(|point| (from..to).contains(&point.interval));
        for NodePoint { interval, node, tally } in all {
            of_nodes.entry((interval, node)).and_modify(|known| known.combine(&tally)).or_insert(tally);
        }
        let mut points: BTreeMap<u64, Tally> = BTreeMap::new();
        for ((interval, _), tally) in of_nodes {
            points.entry(interval).and_modify(|known| known.combine(&tally)).or_insert(tally);
        }
        let surplus = points.len().saturating_sub(SERIES_POINTS_MAX);
        let points = points.iter().skip(surplus);
        Ok(Series { step, points: points.map(|(at, tally)| tally.point(at * step.millis())).collect() })
    }

    /// Reads from the store what it knows of rooms that [`Self::observe`] has met since the last call. Costs nothing where
    /// there are none. Gives back how many there were.
    ///
    /// # Errors
    /// The store's, the first of them; those rooms are tried again next time.
    pub async fn load_pending(&self) -> Result<usize, StoreError> {
        let pending = std::mem::take(&mut *self.unloaded.lock());
        let load = |room: RoomKey| async move {
            let result = self.load(&room).await;
            if result.is_err() {
                self.unloaded.lock().push(room);
            }
            result
        };
        let mut loads = stream::iter(pending).map(load).buffer_unordered(LOADS_AT_ONCE);
        let (mut loaded, mut error) = (0, None);
        while let Some(result) = loads.next().await {
            match result {
                Ok(()) => loaded += 1,
                Err(failed) => error = error.or(Some(failed)),
            }
        }
        error.map_or(Ok(loaded), Err)
    }

    /// Merges what the store knows of a room in memory with that, once.
    async fn load(&self, room: &RoomKey) -> Result<(), StoreError> {
        let unloaded = self.rooms.get(room).filter(|kept| !kept.is_loaded()).map(|kept| kept.bases());
        let Some(bases) = unloaded else { return Ok(()) };
        let stored = self.keep.load(room, bases.clone()).await?;
        self.damaged.fetch_add(stored.damaged as u64, Ordering::Relaxed);
        // Somebody else may have done so meanwhile, and gone on from there.
        if let Some(mut kept) = self.rooms.get_mut(room).filter(|kept| !kept.is_loaded()) {
            if kept.bases() == bases {
                kept.load(stored);
            } else {
                // It has come to another block, which was not looked for.
                self.unloaded.lock().push(room.clone());
            }
        }
        Ok(())
    }

    /// Writes all that is new, and forgets rooms that nobody has looked at for a minute. What could not be written is tried
    /// again next time. Every few seconds, and once more before the end.
    pub async fn flush(&self, now_ms: u64) -> Flushed {
        let _turn = self.flushing.lock().await;
        let mut flushed = Flushed::default();
        match self.load_pending().await {
            Ok(loaded) => flushed.rooms_loaded = loaded,
            Err(error) => flushed.error = Some(error),
        }
        self.keep.flush(&self.rooms, &mut flushed).await;
        let before = self.rooms.len();
        self.rooms.retain(|_, kept| {
            flushed.blocks_given_up += kept.take_given_up();
            !kept.is_loaded()
                || kept.is_dirty()
                || now_ms.saturating_sub(kept.last_seen_ms()) < FORGET_AFTER_MS
        });
        flushed.rooms_forgotten = before.saturating_sub(self.rooms.len());
        flushed.rooms_refused = self.refused.swap(0, Ordering::Relaxed);
        flushed.records_damaged += usize::try_from(self.damaged.swap(0, Ordering::Relaxed)).unwrap_or(0);
        flushed
    }
}
