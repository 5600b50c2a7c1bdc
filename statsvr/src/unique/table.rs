//! The exact set: sorted keys, 8 bytes each.

use super::{EXACT_MAX, UniqueError};

const KEY_BYTES: usize = 8;

/// Keys in ascending order without repeats.
///
/// Inserting moves the keys behind it, 40 kB on average at the most: a microsecond, once a viewer, and no room for
/// longer than its first [`EXACT_MAX`] viewers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Table(Vec<u64>);

impl Table {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn keys(&self) -> &[u64] {
        &self.0
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        self.0.binary_search(&key).is_ok()
    }

    /// Adds a key; says whether it is new.
    pub(super) fn insert(&mut self, key: u64) -> bool {
        let Err(place) = self.0.binary_search(&key) else { return false };
        if self.0.len() == self.0.capacity() {
            // By a quarter instead of by all of it: most rooms stay small, and there are many of them.
            self.0.reserve_exact((self.0.len() / 4).max(4));
        }
        self.0.insert(place, key);
        true
    }

    /// The keys of both; may be longer than [`EXACT_MAX`].
    pub(super) fn union(&self, other: &Self) -> Self {
        let mut union = Vec::with_capacity(self.len().max(other.len()));
        let (mut left, mut right) = (self.0.as_slice(), other.0.as_slice());
        while let (Some(a), Some(b)) = (left.first(), right.first()) {
            union.push(*a.min(b));
            left = &left[usize::from(a <= b)..];
            right = &right[usize::from(b <= a)..];
        }
        union.extend_from_slice(left);
        union.extend_from_slice(right);
        Self(union)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, UniqueError> {
        let (keys, rest) = bytes.as_chunks::<KEY_BYTES>();
        if !rest.is_empty() || keys.len() > EXACT_MAX {
            return Err(UniqueError::Damaged);
        }
        let keys: Vec<_> = keys.iter().map(|key| u64::from_be_bytes(*key)).collect();
        if keys.is_sorted_by(|a, b| a < b) { Ok(Self(keys)) } else { Err(UniqueError::Damaged) }
    }
}
