//! Between memory and the store: what is written when, and what a start reads.
//!
//! - **Written** by a flush: of each room that has changed, the newest block of each series with the point that is not over
//!   yet, additions to its sets of viewers (or a whole set), and its summary if a peak or the session is new, or nothing was
//!   written of the room before. A room's changes are in one write, and a write has as many rooms as find place.
//! - **Read** when a room is met for the first time: its summaries and sets of viewers, of all nodes, and those blocks that its
//!   newest points continue. Where there is no summary there is nothing else, and nothing else is looked for. Older blocks are
//!   read by those who ask for them, and expire by themselves.

use std::sync::Arc;

use dashmap::DashMap;
use room::RoomKey;
use store::{Record, RecordBatch, RecordFamily, RecordRange, Store, StoreError};
use tracing::{error, warn};

use crate::{
    history::{
        self, Block, BlockError, Flushed, KeptRoom, NodePoint, SeriesRange, Step, Stored, StoredViewers,
        Summary, Tally, Unwritten,
    },
    unique::UniqueViewers,
};

/// Most records in one read (count).
const READ_MAX: usize = 256;

/// A node's place in the store.
pub(crate) struct Keep {
    store: Arc<dyn Store>,
    node: u64,
}

/// What was read of a range.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    damaged: usize,
}

impl Keep {
    pub(crate) fn new(store: Arc<dyn Store>, node: u64) -> Self {
        Self { store, node }
    }

    /// The node's number.
    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    /// Writes what is new of all rooms; what could not be written is given back to them.
    pub(crate) async fn flush(&self, rooms: &DashMap<RoomKey, KeptRoom>, flushed: &mut Flushed) {
        let dirty: Vec<RoomKey> =
            rooms.iter().filter(|room| room.is_dirty()).map(|room| room.key().clone()).collect();
        let mut batch = RecordBatch::default();
        let mut taken: Vec<(RoomKey, Unwritten)> = Vec::new();
        for key in dirty {
            let Some(mut unwritten) =
                rooms.get_mut(&key).map(|mut room| room.take_unwritten(&key, self.node))
            else {
                continue;
            };
            if !batch.has_place_for(unwritten.changes.len(), unwritten.size_bytes()) {
                self.write(rooms, &mut batch, &mut taken, flushed).await;
            }
            let refused = std::mem::take(&mut unwritten.changes)
                .into_iter()
                .find_map(|change| batch.push(change).err());
            if let Some(why) = refused {
                error!(room = %key, %why, "a room's statistics don't fit into one write and are left out");
            }
            taken.push((key, unwritten));
            if flushed.error.is_some() {
                break; // the others wait for the next flush
            }
        }
        self.write(rooms, &mut batch, &mut taken, flushed).await;
    }

    async fn write(
        &self,
        rooms: &DashMap<RoomKey, KeptRoom>,
        batch: &mut RecordBatch,
        taken: &mut Vec<(RoomKey, Unwritten)>,
        flushed: &mut Flushed,
    ) {
        let batch = std::mem::take(batch);
        let bytes = batch.size_bytes();
        if batch.is_empty() {
            return;
        }
        match self.store.write_records(batch).await {
            Ok(()) => {
                flushed.rooms_written += taken.len();
                flushed.bytes_written += bytes;
                taken.clear();
            }
            Err(failed) => {
                // Written or not: to write it again is harmless.
                for (key, unwritten) in taken.drain(..) {
                    if let Some(mut room) = rooms.get_mut(&key) {
                        room.give_back(unwritten);
                    }
                }
                flushed.error.get_or_insert(failed);
            }
        }
    }

    /// What the store knows of a room, with this node's points of the blocks that begin with `bases`.
    ///
    /// # Errors
    /// The store's, if it can't be read now. What is damaged is left out and counted.
    pub(crate) async fn load(
        &self,
        room: &RoomKey,
        bases: Vec<(Step, Vec<u64>)>,
    ) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        let all = RecordRange::beginning_with(RecordFamily::RoomStats, &history::room_key(room));
        let found = self.read(all).await?;
        stored.damaged += found.damaged;
        stored.has_summary = !found.records.is_empty() || found.damaged > 0;
        for record in found.records {
            match Summary::decode(&record.value) {
                Some(summary) => stored.summary.merge(&summary),
                None => stored.damaged += passed_over(room, &"the summary is damaged"),
            }
        }
        if !stored.has_summary {
            stored.points = bases.into_iter().map(|(step, _)| (step, Vec::new())).collect();
            return Ok(stored);
        }
        let session = history::session_key(room, stored.summary.session_ms);
        (stored.session, stored.damaged) = self.viewers(room, &session, stored.damaged).await?;
        let total = history::total_key(room);
        (stored.total, stored.damaged) = self.viewers(room, &total, stored.damaged).await?;
        for (step, bases) in bases {
            let mut points = Vec::new();
            for base in bases {
                let key = history::block_key(room, step, base, self.node);
                let found = self.read(RecordRange::only(RecordFamily::History, &key)).await?;
                stored.damaged += found.damaged + decode_blocks(room, step, &found.records, &mut points);
            }
            stored.points.push((step, points));
        }
        Ok(stored)
    }

    async fn viewers(
        &self,
        room: &RoomKey,
        set: &[u8],
        mut damaged: usize,
    ) -> Result<(StoredViewers, usize), StoreError> {
        let found = self.read(RecordRange::beginning_with(RecordFamily::Unique, set)).await?;
        damaged += found.damaged;
        let mut stored = StoredViewers::default();
        for Record { key, value } in found.records {
            if let Some(number) = history::own_part(set, self.node, &key) {
                stored.parts = stored.parts.max(number.saturating_add(1));
                stored.parts_bytes += value.len();
            }
            match UniqueViewers::decode(&value) {
                Ok(viewers) => {
                    stored.set.merge(&viewers);
                }
                Err(error) => damaged += passed_over(room, &error),
            }
        }
        Ok((stored, damaged))
    }

    /// All points that the store has of a range, of all nodes, with some before and after the range.
    ///
    /// # Errors
    /// The store's, if it can't be read now.
    pub(crate) async fn points(
        &self,
        room: &RoomKey,
        range: SeriesRange,
    ) -> Result<Vec<NodePoint>, StoreError> {
        let step = range.step;
        let base = Block::base_of(step, range.from_ms / step.millis());
        let records = RecordRange {
            family: RecordFamily::History,
            from: history::series_from(room, step, base).into(),
            to: history::series_from(room, step, range.to_ms.div_ceil(step.millis())).into(),
        };
        let mut points = Vec::new();
        for record in self.read(records).await?.records {
            let node = history::block_node(&record.key).unwrap_or_default();
            let mut block = Vec::new();
            decode_blocks(room, step, std::slice::from_ref(&record), &mut block);
            points.extend(block.into_iter().map(|(interval, tally)| NodePoint { interval, node, tally }));
        }
        Ok(points)
    }

    /// All records of a range.
    async fn read(&self, mut range: RecordRange) -> Result<Found, StoreError> {
        let mut found = Found::default();
        loop {
            let page = match self.store.read_records(range.clone(), READ_MAX).await {
                Ok(page) => page,
                // It will be no better next time; the rest of the room's statistics is worth having.
                Err(StoreError::Corrupt(why)) => {
                    warn!(%why, "statistics can't be read and are passed over");
                    found.damaged += 1;
                    return Ok(found);
                }
                Err(error) => return Err(error),
            };
            found.damaged += page.damaged.len();
            found.records.extend(page.records);
            match page.next {
                Some(next) => range.from = next,
                None => return Ok(found),
            }
        }
    }
}

/// Adds the points of these records; gives back how many of the records are damaged.
fn decode_blocks(room: &RoomKey, step: Step, records: &[Record], points: &mut Vec<(u64, Tally)>) -> usize {
    let mut damaged = 0;
    for record in records {
        match Block::decode(step, &record.value) {
            Ok(block) => points.extend(block),
            Err(error @ (BlockError::Damaged | BlockError::Version(_))) => {
                damaged += passed_over(room, &error)
            }
        }
    }
    damaged
}

/// One record less.
fn passed_over(room: &RoomKey, why: &dyn std::fmt::Display) -> usize {
    warn!(%room, %why, "a record of statistics is passed over");
    1
}
