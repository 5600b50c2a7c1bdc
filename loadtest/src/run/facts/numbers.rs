//! Which message is behind which sequence number.

use serde::{Deserialize, Serialize};

/// Sequence numbers of one list that are told apart. What lies further from the first is not compared, only counted;
/// a profile whose rates and length go beyond it is refused before it starts.
pub(crate) const NUMBERS_MAX: usize = 1 << 24;
/// Stands for a sequence number that nothing is known of.
const HOLE: u32 = u32::MAX;

/// The numbers of messages by their sequence number: four bytes each, from the first known one on.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct Numbers {
    /// Sequence number of the first entry.
    first: u64,
    numbers: Vec<u32>,
}

impl Numbers {
    /// Notes that `seq` is the message `number`; false if another one was noted before.
    pub(crate) fn note(&mut self, seq: u64, number: u32) -> bool {
        if self.numbers.is_empty() {
            self.first = seq;
        }
        if seq < self.first {
            let missing = usize::try_from(self.first - seq).unwrap_or(usize::MAX);
            if missing > NUMBERS_MAX.saturating_sub(self.numbers.len()) {
                return true;
            }
            self.numbers.splice(0..0, std::iter::repeat_n(HOLE, missing));
            self.first = seq;
        }
        let at = usize::try_from(seq - self.first).unwrap_or(usize::MAX);
        if at >= NUMBERS_MAX {
            return true;
        }
        if at >= self.numbers.len() {
            self.numbers.resize(at + 1, HOLE);
        }
        let known = std::mem::replace(&mut self.numbers[at], number);
        if known == HOLE || known == number {
            return true;
        }
        self.numbers[at] = known;
        false
    }

    /// Adds what others noted; tells how many sequence numbers they noted another message under.
    pub(crate) fn merge(&mut self, other: &Self) -> u64 {
        other.iter().map(|(seq, number)| u64::from(!self.note(seq, number))).sum()
    }

    /// Known sequence numbers with their messages, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let known = (self.first..).zip(self.numbers.iter().copied());
        known.filter(|(_, number)| *number != HOLE)
    }

    /// How many are known.
    pub(crate) fn len(&self) -> u64 {
        self.iter().count() as u64
    }

    /// The first that is known.
    pub(crate) fn first_seq(&self) -> Option<u64> {
        self.iter().next().map(|(seq, _)| seq)
    }

    /// The last that is known.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        // Never ends with a hole: it is grown to what is noted.
        self.numbers.len().checked_sub(1).map(|last| self.first + last as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_keeps_its_sequence_number() {
        let mut numbers = Numbers::default();
        for (seq, number) in [(7, 0), (9, 2), (5, 9), (7, 0)] {
            assert!(numbers.note(seq, number));
        }
        assert!(!numbers.note(9, 3), "another message under the same sequence number");
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [(5, 9), (7, 0), (9, 2)]);
        assert_eq!((numbers.first_seq(), numbers.last_seq(), numbers.len()), (Some(5), Some(9), 3));
    }

    #[test]
    fn merging_tells_of_dissent() {
        let of = |pairs: &[(u64, u32)]| {
            let mut numbers = Numbers::default();
            pairs.iter().for_each(|(seq, number)| assert!(numbers.note(*seq, *number)));
            numbers
        };
        let mut numbers = of(&[(1, 1), (2, 2)]);
        assert_eq!(numbers.merge(&of(&[(2, 2), (3, 3)])), 0);
        assert_eq!(numbers.merge(&of(&[(1, 5), (3, 3)])), 1);
        assert_eq!(numbers, of(&[(1, 1), (2, 2), (3, 3)]));
    }

    #[test]
    fn far_sequence_numbers_take_no_memory() {
        let mut numbers = Numbers::default();
        assert!(numbers.note(1 << 60, 1) && numbers.note(1, 2) && numbers.note(u64::MAX, 3));
        assert_eq!(numbers.numbers.len(), 1);
    }
}
