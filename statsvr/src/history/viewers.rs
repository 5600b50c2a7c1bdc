//! A set of viewers with what of it is not in the store yet.
//!
//! A set is stored whole, followed by additions to it, which are sets as well. When they have grown to half of the whole
//! it is written again and they are deleted with the same write. So a room that gains a viewer costs 8 bytes, not 80,000,
//! and reading it back is merging all that is there.

use crate::unique::UniqueViewers;

/// Most additions that wait to be written (count); beyond, the set is written whole, which is about as long.
const ADDED_MAX: usize = 4_096;
/// Most additions that are stored beside a whole set (count of records): what a start has to read.
const PARTS_MAX: u32 = 32;
/// A set is written whole again when its additions have come to half of it, but not below this (bytes).
const PARTS_BYTES_MIN: usize = 2_048;

/// A set of viewers as one node writes it.
#[derive(Debug, Default)]
pub(crate) struct Viewers {
    set: UniqueViewers,
    /// In the set, and not written yet.
    added: Vec<u64>,
    /// Whether more has changed than `added` says.
    is_whole_due: bool,
    /// Additions in the store (count of records), and their size (bytes).
    parts: u32,
    parts_bytes: usize,
}

/// What is to be written of a set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// An addition with its number.
    Part(u32, Vec<u8>),
    /// All of it; so many additions are then to be deleted.
    Whole(Vec<u8>, u32),
}

impl Viewers {
    /// The set itself.
    pub(crate) fn set(&self) -> &UniqueViewers {
        &self.set
    }

    /// Adds viewers by their keys.
    pub(crate) fn insert(&mut self, unique_keys: &[u64]) {
        for key in unique_keys {
            let was_exact = self.set.exact_len().is_some();
            if self.set.insert(*key) && !self.is_whole_due {
                self.added.push(*key);
                // A sketch that has just begun has an anchor to be kept.
                if self.added.len() > ADDED_MAX || was_exact != self.set.exact_len().is_some() {
                    self.make_whole_due();
                }
            }
        }
    }

    /// Adds the viewers of a set from elsewhere.
    pub(crate) fn merge(&mut self, other: &UniqueViewers) {
        if self.set.merge(other) {
            self.make_whole_due();
        }
    }

    /// Adds what the store has of the set. `parts` and `parts_bytes` are this node's additions among it.
    pub(crate) fn resume(&mut self, stored: &UniqueViewers, parts: u32, parts_bytes: usize) {
        self.set.merge(stored);
        self.parts = parts;
        self.parts_bytes = parts_bytes;
    }

    /// Has the set written whole next time.
    pub(crate) fn make_whole_due(&mut self) {
        self.is_whole_due = true;
        self.added = Vec::new();
    }

    /// Whether there is something to write.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_whole_due || !self.added.is_empty()
    }

    /// Takes what is to be written. If it could not be, [`Self::make_whole_due`] makes up for it.
    pub(crate) fn take_unwritten(&mut self) -> Option<Unwritten> {
        if !self.is_dirty() {
            return None;
        }
        let whole_bytes = self.set.encoded_bytes();
        let part_bytes = self.added.len() * size_of::<u64>();
        let parts_bytes_max = (whole_bytes / 2).max(PARTS_BYTES_MIN);
        if self.is_whole_due || self.parts == PARTS_MAX || self.parts_bytes + part_bytes > parts_bytes_max {
            self.is_whole_due = false;
            self.added = Vec::new();
            self.parts_bytes = 0;
            return Some(Unwritten::Whole(self.set.encode(), std::mem::take(&mut self.parts)));
        }
        let mut part = UniqueViewers::new();
        self.added.drain(..).for_each(|key| {
            part.insert(key);
        });
        self.parts_bytes += part_bytes;
        self.parts += 1;
        Some(Unwritten::Part(self.parts - 1, part.encode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::mix;

    /// What a store would have after these writes.
    fn store(stored: &mut Vec<Option<Vec<u8>>>, unwritten: Unwritten) -> usize {
        match unwritten {
            Unwritten::Part(number, bytes) => {
                stored.resize(stored.len().max(number as usize + 2), None);
                let written = bytes.len();
                stored[number as usize + 1] = Some(bytes);
                written
            }
            Unwritten::Whole(bytes, parts) => {
                assert!(stored.len() <= parts as usize + 1, "all additions are deleted");
                *stored = vec![Some(bytes)];
                stored[0].as_ref().map_or(0, Vec::len)
            }
        }
    }

    #[test]
    fn stored_parts_are_the_set_and_cost_little_more() {
        for size in [10u64, 9_000, 30_000] {
            let (mut viewers, mut stored, mut written) = (Viewers::default(), vec![None], 0);
            for come in 0..size {
                viewers.insert(&[mix(come), mix(come / 2)]);
                if come % 100 == 7 || come == size - 1 {
                    written += store(&mut stored, viewers.take_unwritten().unwrap());
                    assert_eq!(viewers.take_unwritten(), None);
                }
            }
            let mut read = UniqueViewers::new();
            for record in stored.iter().flatten() {
                read.merge(&UniqueViewers::decode(record).unwrap());
            }
            assert_eq!(read.encode(), viewers.set().encode(), "{size}");
            assert!(stored.len() <= PARTS_MAX as usize + 1);
            assert!(written < 2_000 + size as usize * 60, "{written} bytes for {size}");
        }
    }

    #[test]
    fn failed_write_is_made_up_for() {
        let mut viewers = Viewers::default();
        viewers.insert(&[1, 2, 3]);
        assert!(matches!(viewers.take_unwritten(), Some(Unwritten::Part(0, _))));
        viewers.make_whole_due();
        viewers.insert(&[4]);
        assert!(
            matches!(viewers.take_unwritten(), Some(Unwritten::Whole(bytes, 1)) if bytes.len() == 3 + 32)
        );
    }
}
