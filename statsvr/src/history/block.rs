//! Several points of a series in one record.
//!
//! ```text
//! version (1 byte)  seconds of an interval (1)  first interval of the block (varint)
//! then a point: intervals since the point before, or the block's first
//!               seconds of it that were not looked at, samples, min as a difference to the point before (zigzag)
//!               max - min, sum - min × samples, joins, leaves
//! ```
//!
//! All numbers are varints (seven bits a byte, least first), so a point of a steady room takes 8 bytes or so.

use std::collections::BTreeMap;

use super::{Step, tally::Tally};

const VERSION: u8 = 1;
/// Later than any interval that begins in this or the next ten thousand years.
const BASE_MAX: u64 = 1 << 36;

/// Why a record is no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlockError {
    /// Cut short, or with values that no block has.
    #[error("points of a history are damaged")]
    Damaged,
    /// Of a later bigroom.
    #[error("points of a history have version {0}, this bigroom knows {VERSION}")]
    Version(u8),
}

/// A block that points are added to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    /// Its first interval, counted since 1970.
    base: u64,
    bytes: Vec<u8>,
    last_interval: Option<u64>,
    last_min: u64,
}

impl Block {
    /// The block that `interval` belongs to, empty.
    pub(crate) fn new(step: Step, interval: u64) -> Self {
        let base = Self::base_of(step, interval);
        let mut bytes = vec![VERSION, step.seconds()];
        push(&mut bytes, base);
        Self { base, bytes, last_interval: None, last_min: 0 }
    }

    /// The first interval of the block that `interval` belongs to.
    pub(crate) fn base_of(step: Step, interval: u64) -> u64 {
        interval - interval % step.block_intervals()
    }

    /// Its first interval.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Its points as a record.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a point, or a part of one; it must belong to the block. Where it is not the last one, which takes a clock that was
    /// set back, the block is made anew.
    pub(crate) fn put(&mut self, step: Step, interval: u64, tally: &Tally) {
        debug_assert_eq!(Self::base_of(step, interval), self.base, "points belong to their block");
        if self.last_interval.is_none_or(|last| last < interval) {
            return self.push(step, interval, tally);
        }
        let points = Self::decode(step, &self.bytes).expect("made by this type");
        let mut points: BTreeMap<_, _> = points.into_iter().collect();
        points.entry(interval).and_modify(|known| known.combine(tally)).or_insert(*tally);
        *self = Self::new(step, self.base);
        points.iter().for_each(|(interval, tally)| self.push(step, *interval, tally));
    }

    fn push(&mut self, step: Step, interval: u64, tally: &Tally) {
        push(&mut self.bytes, interval - self.last_interval.unwrap_or(self.base));
        push(&mut self.bytes, step.all_seconds() & !tally.seconds);
        push(&mut self.bytes, tally.samples);
        push(&mut self.bytes, zigzag(tally.min, self.last_min));
        push(&mut self.bytes, tally.max - tally.min);
        push(&mut self.bytes, tally.sum - tally.min * tally.samples);
        push(&mut self.bytes, tally.joins);
        push(&mut self.bytes, tally.leaves);
        self.last_interval = Some(interval);
        self.last_min = tally.min;
    }

    /// The points of a record, by interval, ascending; at most [`Step::block_intervals`].
    ///
    /// # Errors
    /// [`BlockError`] unless it is a block of this step; nothing is taken on trust.
    pub(crate) fn decode(step: Step, bytes: &[u8]) -> Result<Vec<(u64, Tally)>, BlockError> {
        match bytes {
            [VERSION, seconds, rest @ ..] if *seconds == step.seconds() => {
                points(step, rest).ok_or(BlockError::Damaged)
            }
            [] | [VERSION, ..] => Err(BlockError::Damaged),
            [version, ..] => Err(BlockError::Version(*version)),
        }
    }
}

fn points(step: Step, mut bytes: &[u8]) -> Option<Vec<(u64, Tally)>> {
    let bytes = &mut bytes;
    let base = number(bytes)?;
    if base % step.block_intervals() != 0 || base > BASE_MAX {
        return None;
    }
    let (mut points, mut interval, mut min) = (Vec::new(), base, 0);
    while !bytes.is_empty() {
        let further = number(bytes)?;
        if further == 0 && !points.is_empty() {
            return None;
        }
        interval += further;
        let seconds = step.all_seconds() & !number(bytes)?;
        let samples = number(bytes)?;
        min = unzigzag(number(bytes)?, min)?;
        let max = min.checked_add(number(bytes)?)?;
        let sum = min.checked_mul(samples)?.checked_add(number(bytes)?)?;
        let (joins, leaves) = (number(bytes)?, number(bytes)?);
        let tally = Tally { seconds, samples, sum, min, max, joins, leaves };
        if interval - base >= step.block_intervals() || !tally.is_sound() {
            return None;
        }
        points.push((interval, tally));
    }
    Some(points)
}

/// The difference between two numbers below 2⁶³, small where they are near each other.
fn zigzag(number: u64, before: u64) -> u64 {
    let difference = number.wrapping_sub(before).cast_signed();
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

fn unzigzag(coded: u64, before: u64) -> Option<u64> {
    let difference = (coded >> 1).cast_signed() ^ -(coded & 1).cast_signed();
    before.checked_add_signed(difference)
}

/// Appends a number in seven bits a byte, least first; all but the last have the eighth set.
pub(super) fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number below 2⁶³ off the front; `None` if there is none.
pub(super) fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(step: Step) -> impl Strategy<Value = Tally> {
        (any::<u64>(), 1u64..100, 0u64..1 << 30, 0u64..1 << 30, 0u64..=100, 0u64..1 << 40, 0u64..1 << 40)
            .prop_map(move |(seconds, samples, min, more, share, joins, leaves)| Tally {
                seconds: (seconds & step.all_seconds()).max(1),
                samples,
                sum: min * samples + more * samples * share / 100,
                min,
                max: min + more,
                joins,
                leaves,
            })
    }

    proptest! {
        #[test]
        fn points_read_back(
            first in 0u64..1 << 35,
            points in proptest::collection::btree_map(0u64..60, tally(Step::Minute), 0..60),
        ) {
            let base = Block::base_of(Step::Minute, first);
            let points: Vec<_> = points.into_iter().map(|(at, tally)| (base + at, tally)).collect();
            let mut block = Block::new(Step::Minute, first);
            points.iter().for_each(|(interval, tally)| block.put(Step::Minute, *interval, tally));
            prop_assert_eq!(Block::decode(Step::Minute, block.bytes()), Ok(points));
            prop_assert!(block.bytes().len() <= 8 + 60 * 60);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Block::decode(Step::TenSeconds, &bytes);
            if let Ok(points) = Block::decode(Step::Minute, &[&[VERSION, 60, 0], &bytes[..]].concat()) {
                let mut block = Block::new(Step::Minute, 0);
                for (interval, tally) in points {
                    let _ = tally.point(interval);
                    block.put(Step::Minute, interval, &tally);
                }
            }
        }
    }

    #[test]
    fn point_before_the_last_finds_its_place() {
        let mut block = Block::new(Step::TenSeconds, 30);
        for (interval, second) in [(33, 0), (31, 1), (33, 1), (32, 0)] {
            block.put(Step::TenSeconds, interval, &Tally::new(second, 5, 1, 0));
        }
        let points = Block::decode(Step::TenSeconds, block.bytes()).unwrap();
        let found: Vec<_> = points.iter().map(|(interval, tally)| (*interval, tally.samples)).collect();
        assert_eq!(found, [(31, 1), (32, 1), (33, 2)]);
    }

    #[test]
    fn steady_room_takes_ten_bytes_a_point() {
        let mut block = Block::new(Step::TenSeconds, 178_000_000 / 30 * 30);
        for interval in 0..30 {
            let tally = Tally {
                seconds: Step::TenSeconds.all_seconds(),
                samples: 10,
                sum: 10 * (100_000 + interval * 7) + 300,
                min: 100_000 + interval * 7,
                max: 100_060 + interval * 7,
                joins: 120,
                leaves: 60,
            };
            block.put(Step::TenSeconds, block.base() + interval, &tally);
        }
        assert!(block.bytes().len() <= 30 * 10, "{} bytes", block.bytes().len());
    }

    #[test]
    fn bytes_of_no_block_are_refused() {
        let mut block = Block::new(Step::TenSeconds, 30);
        block.put(Step::TenSeconds, 31, &Tally::new(0, 5, 1, 0));
        let good = block.bytes();
        for length in 0..good.len() {
            let cut = Block::decode(Step::TenSeconds, &good[..length]);
            assert!(length == 3 && cut == Ok(vec![]) || cut == Err(BlockError::Damaged), "{length}: {cut:?}");
        }
        assert_eq!(Block::decode(Step::Minute, good), Err(BlockError::Damaged), "of another step");
        assert_eq!(Block::decode(Step::TenSeconds, &[2, 10, 0]), Err(BlockError::Version(2)));
        assert_eq!(Block::decode(Step::TenSeconds, &[1, 10, 7]), Err(BlockError::Damaged), "no beginning");
        let beyond = [&[1, 10, 30][..], &[30], &good[4..]].concat();
        assert_eq!(Block::decode(Step::TenSeconds, &beyond), Err(BlockError::Damaged), "not in the block");
    }
}
