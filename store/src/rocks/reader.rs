//! Reads: everything of one answer comes from one snapshot, so trimming can't make a hole in it.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DB, DBPinnableSlice, ErrorKind, ReadOptions, SnapshotWithThreadMode};
use room::{Bounds, List, Message, PerList, Retention, RoomKey, RoomSettings, Seq};

use super::{
    columns::{Column, Log},
    keys,
    record::{self, Head, RecordError},
    retention,
    rooms::{Room, Stamp},
};
use crate::{Range, RoomView, StoreError};

/// The log at one moment.
pub(crate) struct Reader<'a> {
    log: &'a Log,
    snapshot: SnapshotWithThreadMode<'a, DB>,
    defaults: PerList<Retention>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(log: &'a Log, defaults: PerList<Retention>) -> Self {
        Self { log, snapshot: log.db().snapshot(), defaults }
    }

    fn get(&self, column: Column, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, StoreError> {
        self.snapshot.get_pinned_cf(self.log.column(column), key).map_err(|error| read_failed(&error))
    }

    fn head(&self, room: &RoomKey, list: List) -> Result<Option<Head>, StoreError> {
        let found = self.get(Column::Heads, &keys::head(room, list))?;
        found.map(|bytes| Head::decode(&bytes)).transpose().map_err(|error| damaged_head(room, list, &error))
    }

    pub(crate) fn settings(&self, room: &RoomKey) -> Result<Option<RoomSettings>, StoreError> {
        let found = self.get(Column::Rooms, &keys::room(room))?;
        found
            .map(|bytes| record::decode_settings(&bytes))
            .transpose()
            .map_err(|error| StoreError::Corrupt(format!("settings of room {room}: {error}")))
    }

    /// What is written about a room; the defaults for one that was never used.
    pub(crate) fn room(&self, key: &RoomKey) -> Result<Room, StoreError> {
        let priority = self.head(key, List::Priority)?.unwrap_or(Head::EMPTY);
        let normal = self.head(key, List::Normal)?.unwrap_or(Head::EMPTY);
        Ok(Room::new(self.settings(key)?.unwrap_or_default(), PerList { priority, normal }))
    }

    fn message_bytes(&self, room: &RoomKey, list: List, seq: u64) -> Result<DBPinnableSlice<'_>, StoreError> {
        let found = self.get(Column::Messages, &keys::message(room, list, seq))?;
        found.ok_or_else(|| missing(room, list, seq))
    }

    /// A message that must be there.
    pub(crate) fn message(&self, room: &RoomKey, list: List, seq: u64) -> Result<Message, StoreError> {
        let bytes = self.message_bytes(room, list, seq)?;
        decoded(room, list, seq, &bytes)
    }

    /// What retention leaves of a list, and when its oldest message was accepted, if that was looked up.
    pub(crate) fn bounds(
        &self,
        room: &RoomKey,
        list: List,
        head: &Head,
        settings: &RoomSettings,
        now_ms: u64,
    ) -> Result<(Bounds, Option<Stamp>), StoreError> {
        let retention = retention::of(settings, &self.defaults, list);
        let (first, oldest) = retention::first_kept(head, retention, now_ms, |seq| {
            let bytes = self.message_bytes(room, list, seq)?;
            record::decode_sent_at(&bytes).map_err(|error| damaged_message(room, list, seq, &error))
        })?;
        Ok((Bounds { first: Seq(first), last: Seq(head.last) }, oldest))
    }

    /// All there is to know about a room but its messages, and the oldest message of each list where it was looked up.
    pub(crate) fn view(
        &self,
        key: &RoomKey,
        now_ms: u64,
    ) -> Result<(RoomView, PerList<Option<Stamp>>), StoreError> {
        let room = self.room(key)?;
        let mut bounds = PerList::from_fn(|_| Bounds::EMPTY);
        let mut oldest = PerList::default();
        for list in List::ALL {
            (bounds[list], oldest[list]) =
                self.bounds(key, list, &room.heads[list], &room.settings, now_ms)?;
        }
        Ok((RoomView { settings: room.settings, bounds }, oldest))
    }

    /// Part of a list, and what it keeps.
    pub(crate) fn page(
        &self,
        key: &RoomKey,
        list: List,
        range: Range,
        limit: usize,
        now_ms: u64,
    ) -> Result<(Vec<Arc<Message>>, Bounds), StoreError> {
        let head = self.head(key, list)?.unwrap_or(Head::EMPTY);
        let settings = self.settings(key)?.unwrap_or_default();
        let bounds = self.bounds(key, list, &head, &settings, now_ms)?.0;
        let messages = match places(bounds, range, limit) {
            Some((from, to)) => self.messages(key, list, from, to)?,
            None => Vec::new(),
        };
        Ok((messages, bounds))
    }

    /// The messages `from` to `to`, both included; each must be there.
    fn messages(
        &self,
        key: &RoomKey,
        list: List,
        from: u64,
        to: u64,
    ) -> Result<Vec<Arc<Message>>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::message(key, list, to + 1));
        let mut iterator = self.snapshot.raw_iterator_cf_opt(self.log.column(Column::Messages), options);
        iterator.seek(keys::message(key, list, from));
        let mut messages = Vec::with_capacity(usize::try_from(to - from + 1).unwrap_or(0));
        for seq in from..=to {
            let Some((found, bytes)) = iterator.item() else {
                iterator.status().map_err(|error| read_failed(&error))?;
                return Err(missing(key, list, seq));
            };
            if keys::seq_of(found) != Some(seq) {
                return Err(missing(key, list, seq));
            }
            messages.push(Arc::new(decoded(key, list, seq, bytes)?));
            iterator.next();
        }
        Ok(messages)
    }
}

/// The first and last place that `range` means of what is kept; `None` if that is nothing.
fn places(bounds: Bounds, range: Range, limit: usize) -> Option<(u64, u64)> {
    let limit = limit as u64;
    let (from, to) = match range {
        Range::After(Seq(after)) => {
            let from = bounds.first.0.max(after.saturating_add(1));
            (from, bounds.last.0.min(from.saturating_add(limit).saturating_sub(1)))
        }
        Range::Before(Seq(before)) => {
            let to = bounds.last.0.min(before.saturating_sub(1));
            (bounds.first.0.max((to + 1).saturating_sub(limit)), to)
        }
    };
    (limit > 0 && from <= to).then_some((from, to))
}

fn decoded(room: &RoomKey, list: List, seq: u64, bytes: &[u8]) -> Result<Message, StoreError> {
    record::decode_message(Seq(seq), Bytes::copy_from_slice(bytes))
        .map_err(|error| damaged_message(room, list, seq, &error))
}

fn missing(room: &RoomKey, list: List, seq: u64) -> StoreError {
    StoreError::Corrupt(format!("message {seq} of {room} {} is missing", list.as_str()))
}

fn damaged_message(room: &RoomKey, list: List, seq: u64, error: &RecordError) -> StoreError {
    StoreError::Corrupt(format!("message {seq} of {room} {}: {error}", list.as_str()))
}

fn damaged_head(room: &RoomKey, list: List, error: &RecordError) -> StoreError {
    StoreError::Corrupt(format!("head of {room} {}: {error}", list.as_str()))
}

/// What it means that RocksDB can't read something.
///
/// A file that can't be read is as bad as one with a wrong checksum. A process without a file descriptor to spare is
/// not: that passes.
pub(crate) fn read_failed(error: &rocksdb::Error) -> StoreError {
    let text = error.to_string();
    let passes = match error.kind() {
        ErrorKind::IOError => text.contains("Too many open files") || text.contains("Cannot allocate memory"),
        ErrorKind::Incomplete
        | ErrorKind::ShutdownInProgress
        | ErrorKind::TimedOut
        | ErrorKind::Aborted
        | ErrorKind::Busy
        | ErrorKind::TryAgain => true,
        ErrorKind::NotFound
        | ErrorKind::Corruption
        | ErrorKind::NotSupported
        | ErrorKind::InvalidArgument
        | ErrorKind::MergeInProgress
        | ErrorKind::Expired
        | ErrorKind::CompactionTooLarge
        | ErrorKind::ColumnFamilyDropped
        | ErrorKind::Unknown => false,
    };
    if passes { StoreError::Unavailable(text) } else { StoreError::Corrupt(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within_what_is_kept() {
        let kept = Bounds { first: Seq(5), last: Seq(9) };
        let gone = Bounds { first: Seq(10), last: Seq(9) };
        for (bounds, range, limit, expect) in [
            (kept, Range::After(Seq(0)), 100, Some((5, 9))),
            (kept, Range::After(Seq(6)), 2, Some((7, 8))),
            (kept, Range::After(Seq(9)), 2, None),
            (kept, Range::After(Seq(u64::MAX)), usize::MAX, None),
            (kept, Range::After(Seq(0)), 0, None),
            (kept, Range::Before(Seq(u64::MAX)), 2, Some((8, 9))),
            (kept, Range::Before(Seq(7)), 10, Some((5, 6))),
            (kept, Range::Before(Seq(5)), 10, None),
            (kept, Range::Before(Seq(0)), 10, None),
            (kept, Range::Before(Seq(7)), 0, None),
            (gone, Range::After(Seq(0)), 10, None),
            (gone, Range::Before(Seq(u64::MAX)), 10, None),
            (Bounds::EMPTY, Range::Before(Seq(u64::MAX)), usize::MAX, None),
        ] {
            assert_eq!(places(bounds, range, limit), expect, "{range:?} limit {limit}");
        }
    }
}
