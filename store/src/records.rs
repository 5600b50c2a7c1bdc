//! Records: small values under keys, for what is neither a message nor a setting, such as statistics.
//!
//! They are kept beside the log, but promise less: nobody is told of a change, a record may expire, and a damaged one is
//! reported and passed over instead of taking the log out of service. An engine needs no more for them than a
//! key-value bucket that can list keys with a common beginning.

use bytes::Bytes;

/// Most changes in one [`RecordBatch`] (count): as many as NATS JetStream takes in one atomic batch.
pub const RECORD_CHANGES_MAX: usize = 1_000;
/// Most bytes in one [`RecordBatch`], keys and values together: a send that comes in behind it waits for it, which at
/// this size is about a millisecond.
pub const RECORD_BATCH_BYTES_MAX: usize = 256 << 10;
/// Longest key of a record (bytes).
pub const RECORD_KEY_BYTES_MAX: usize = 256;
/// Longest value of a record (bytes).
pub const RECORD_VALUE_BYTES_MAX: usize = 128 << 10;
/// A page of records takes no more of them beyond this size (bytes).
pub const RECORD_PAGE_BYTES_MAX: usize = 4 << 20;

/// What records are about; each family has its own keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RecordFamily {
    /// How many were online, over time.
    History,
    /// Who was ever there: tables and sketches.
    Unique,
    /// One of each room: peaks and the like.
    RoomStats,
    /// Rooms that live in another sect than the table says.
    Placement,
}

/// A change to records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordChange {
    /// Writes a record, in place of an earlier one under its key.
    Put {
        /// Of what.
        family: RecordFamily,
        /// Under what.
        key: Bytes,
        /// What.
        value: Bytes,
        /// From when on nobody sees it any more (Unix milliseconds); never, if `None`.
        expires_at_ms: Option<u64>,
    },
    /// Deletes all records of a range.
    Delete(RecordRange),
}

/// Records of a family, in the order of their keys as bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordRange {
    /// Of what.
    pub family: RecordFamily,
    /// The first key, included.
    pub from: Bytes,
    /// The end, not included.
    pub to: Bytes,
}

impl RecordRange {
    /// All records whose keys begin with `prefix`.
    #[must_use]
    pub fn beginning_with(family: RecordFamily, prefix: &[u8]) -> Self {
        Self { family, from: Bytes::copy_from_slice(prefix), to: end_of(prefix) }
    }

    /// The record under `key` alone.
    #[must_use]
    pub fn only(family: RecordFamily, key: &[u8]) -> Self {
        Self { family, from: Bytes::copy_from_slice(key), to: Bytes::from([key, &[0]].concat()) }
    }
}

/// The least key that comes behind all that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte != u8::MAX) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        // Nothing but 0xff: no key is longer than this.
        None => vec![u8::MAX; RECORD_KEY_BYTES_MAX + 1].into(),
    }
}

/// Why a change does not go into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefused {
    /// There is no place left.
    #[error("the batch is full: write it and begin another")]
    BatchFull,
    /// The key is empty or too long.
    #[error("a record's key has 1 to {RECORD_KEY_BYTES_MAX} bytes, this one has {0}")]
    Key(usize),
    /// The value is too long.
    #[error("a record's value has at most {RECORD_VALUE_BYTES_MAX} bytes, this one has {0}: split it")]
    Value(usize),
}

/// Changes that are written together: all of them in their order, or none.
#[derive(Clone, Default, Debug)]
pub struct RecordBatch {
    changes: Vec<RecordChange>,
    bytes: usize,
}

impl RecordBatch {
    /// Adds a change behind those that are there.
    ///
    /// # Errors
    /// [`RecordRefused`]; the batch is then as it was.
    pub fn push(&mut self, change: RecordChange) -> Result<(), RecordRefused> {
        let bytes = checked_bytes(&change)?;
        if self.changes.len() == RECORD_CHANGES_MAX || self.bytes + bytes > RECORD_BATCH_BYTES_MAX {
            return Err(RecordRefused::BatchFull);
        }
        self.bytes += bytes;
        self.changes.push(change);
        Ok(())
    }

    /// Whether so many changes of so many bytes in all, keys included, would still find a place.
    #[must_use]
    pub fn has_place_for(&self, changes: usize, bytes: usize) -> bool {
        self.changes.len() + changes <= RECORD_CHANGES_MAX && self.bytes + bytes <= RECORD_BATCH_BYTES_MAX
    }

    /// The changes in their order; at most [`RECORD_CHANGES_MAX`].
    #[must_use]
    pub fn changes(&self) -> &[RecordChange] {
        &self.changes
    }

    /// How much its keys and values take (bytes); at most [`RECORD_BATCH_BYTES_MAX`].
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

fn checked_bytes(change: &RecordChange) -> Result<usize, RecordRefused> {
    match change {
        RecordChange::Put { key, value, .. } => {
            if key.is_empty() || key.len() > RECORD_KEY_BYTES_MAX {
                return Err(RecordRefused::Key(key.len()));
            }
            if value.len() > RECORD_VALUE_BYTES_MAX {
                return Err(RecordRefused::Value(value.len()));
            }
            Ok(key.len() + value.len())
        }
        RecordChange::Delete(range) => {
            for key in [&range.from, &range.to] {
                // The end of a range may be one byte longer than any key.
                if key.len() > RECORD_KEY_BYTES_MAX + 1 {
                    return Err(RecordRefused::Key(key.len()));
                }
            }
            Ok(range.from.len() + range.to.len())
        }
    }
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its key within its family.
    pub key: Bytes,
    /// What was written.
    pub value: Bytes,
}

/// Part of a range of records.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RecordPage {
    /// Ascending by key; those that have expired or are damaged are not among them.
    pub records: Vec<Record>,
    /// Keys of records that are not what was written; they are reported in the store's metrics as well.
    pub damaged: Vec<Bytes>,
    /// Where to read on; `None` if this was all.
    pub next: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: usize, value: usize) -> RecordChange {
        RecordChange::Put {
            family: RecordFamily::Unique,
            key: vec![1; key].into(),
            value: vec![2; value].into(),
            expires_at_ms: None,
        }
    }

    #[test]
    fn batch_refuses_what_is_too_much() {
        let mut batch = RecordBatch::default();
        assert_eq!(batch.push(put(0, 1)), Err(RecordRefused::Key(0)));
        assert_eq!(batch.push(put(257, 1)), Err(RecordRefused::Key(257)));
        let long = RECORD_VALUE_BYTES_MAX + 1;
        assert_eq!(batch.push(put(1, long)), Err(RecordRefused::Value(long)));
        assert!(batch.is_empty());
        batch.push(put(256, RECORD_VALUE_BYTES_MAX)).unwrap();
        assert_eq!(batch.push(put(256, RECORD_VALUE_BYTES_MAX)), Err(RecordRefused::BatchFull));
        assert_eq!(batch.size_bytes(), RECORD_VALUE_BYTES_MAX + 256);
        assert!(batch.has_place_for(1, 1_000) && !batch.has_place_for(1, RECORD_VALUE_BYTES_MAX));
        let mut batch = RecordBatch::default();
        for _ in 0..RECORD_CHANGES_MAX {
            batch.push(put(1, 1)).unwrap();
        }
        assert_eq!(batch.push(put(1, 1)), Err(RecordRefused::BatchFull));
        assert_eq!(batch.changes().len(), RECORD_CHANGES_MAX);
    }

    #[test]
    fn range_of_a_prefix_holds_all_that_begin_with_it() {
        for (prefix, inside, outside) in [
            (&b"ab"[..], &[&b"ab"[..], b"ab\0", b"ab\xff\xff"][..], &[&b"aa"[..], b"ac", b"b"][..]),
            (b"a\xff", &[b"a\xff", b"a\xff\xff"], &[b"a", b"b"]),
            (b"\xff", &[b"\xff", b"\xff\xff"], &[b"\xfe"]),
            (b"", &[b"", b"a", b"\xff\xff"], &[]),
        ] {
            let range = RecordRange::beginning_with(RecordFamily::History, prefix);
            let holds = |key: &[u8]| range.from <= *key && *key < *range.to;
            assert!(inside.iter().all(|key| holds(key)), "{prefix:?}");
            assert!(!outside.iter().any(|key| holds(key)), "{prefix:?}");
        }
        let only = RecordRange::only(RecordFamily::History, b"ab");
        assert_eq!((&only.from[..], &only.to[..]), (&b"ab"[..], &b"ab\0"[..]));
    }
}
