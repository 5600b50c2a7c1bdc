//! What one node says of a room's splits.

use crate::{SplitCounts, SplitId};

/// The latest word of a node on a room.
#[derive(Default)]
pub(super) struct Word {
    /// When it came (Unix milliseconds).
    pub(super) at_ms: u64,
    /// Number of the report that it was in: it holds until the node's next one.
    pub(super) report: u64,
    /// Ascending by split, each once.
    splits: Vec<(SplitId, Counted)>,
}

/// What the node counts in one split.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) counts: SplitCounts,
    /// Joins that the next round adds to the room's, if this node is the one that counts.
    pub(super) new_joins: u64,
}

impl Counted {
    fn take(&mut self, counts: SplitCounts) {
        let before = self.counts.joins;
        // Fewer than before: the split began anew.
        self.new_joins += if counts.joins >= before { counts.joins - before } else { counts.joins };
        self.counts = counts;
    }
}

impl Word {
    /// Takes what the node counts now, ascending by split and each once, in place of what it counted before. `report` is the
    /// number of the report, and the time. Where the splits are the same, as a rule, nothing is made anew.
    pub(super) fn take(&mut self, splits: &[(SplitId, SplitCounts)], report: (u64, u64)) {
        let are_known = self.splits.iter().map(|(id, _)| id).eq(splits.iter().map(|(id, _)| id));
        if !are_known {
            let mut before = std::mem::take(&mut self.splits).into_iter().peekable();
            self.splits = splits
                .iter()
                .map(|(id, _)| {
                    while before.next_if(|(known, _)| known < id).is_some() {}
                    before.next_if(|(known, _)| known == id).unwrap_or((*id, Counted::default()))
                })
                .collect();
        }
        self.splits.iter_mut().zip(splits).for_each(|((_, known), (_, counts))| known.take(*counts));
        (self.report, self.at_ms) = report;
    }

    /// What the node counts in a split, if it has it.
    pub(super) fn split(&self, id: SplitId) -> Option<&Counted> {
        let at = self.splits.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.splits[at].1)
    }

    /// The room has the new joins of all splits in its own.
    pub(super) fn joins_are_counted(&mut self) {
        self.splits.iter_mut().for_each(|(_, split)| split.new_joins = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(word: &mut Word, splits: &[(u32, u64)]) {
        let counts = |joins| SplitCounts { num_users: joins, joins, ..SplitCounts::default() };
        let split = |(index, joins): &(u32, u64)| (SplitId { level: 2, index: *index }, counts(*joins));
        word.take(&splits.iter().map(split).collect::<Vec<_>>(), (0, 0));
    }

    /// Of splits 0 to 3: users and new joins.
    fn all(word: &Word) -> Vec<Option<(u64, u64)>> {
        let of = |index| word.split(SplitId { level: 2, index });
        (0..4).map(|index| of(index).map(|split| (split.counts.num_users, split.new_joins))).collect()
    }

    #[test]
    fn joins_add_up_until_they_are_counted() {
        let mut word = Word::default();
        take(&mut word, &[(0, 5), (2, 7)]);
        take(&mut word, &[(0, 6), (2, 7)]);
        assert_eq!(all(&word), [Some((6, 6)), None, Some((7, 7)), None]);
        word.joins_are_counted();
        take(&mut word, &[(0, 6), (2, 9)]);
        assert_eq!(all(&word), [Some((6, 0)), None, Some((9, 2)), None]);
        take(&mut word, &[(0, 1), (2, 9)]);
        assert_eq!(all(&word)[0], Some((1, 1)), "it began anew");
    }

    #[test]
    fn splits_come_and_go() {
        let mut word = Word::default();
        take(&mut word, &[(1, 5), (3, 7)]);
        word.joins_are_counted();
        take(&mut word, &[(0, 4), (2, 1), (3, 8)]);
        assert_eq!(all(&word), [Some((4, 4)), None, Some((1, 1)), Some((8, 1))]);
        take(&mut word, &[]);
        assert_eq!(all(&word), [None; 4]);
    }
}
