//! A reader's place in the lists of its room, and what it makes of an answer: a few dozen bytes a reader.

use super::{
    answer::{Answer, Stretch},
    facts::{Facts, Oddities},
};
use crate::mark::List;

/// Stretches that a reader remembers to have missed; what comes after them counts as repeated when it arrives.
const MISSED_MAX: usize = 256;

/// Where a reader stands.
#[derive(Clone, Default, Debug)]
pub(super) struct Place {
    /// Sequence number expected next, by list; 0 if the list was empty when the reader came and nothing has come since.
    pub(super) next: [u64; 2],
    /// Whether there was an answer yet.
    pub(super) is_known: bool,
    /// What was passed over without a word and may still come; almost no reader has any.
    missed: Option<Box<Missed>>,
}

/// Stretches by list; behind one pointer, because almost every reader has none.
#[derive(Clone, Default, Debug)]
struct Missed(Vec<(usize, Stretch)>);

impl Place {
    /// Takes note of an answer; what is wrong with it goes into `facts`, and where a reader of an empty list of `room` began.
    pub(super) fn take(&mut self, answer: &Answer, room: u32, facts: &mut Facts) {
        if answer.is_disordered {
            facts.oddities.priority_after_normal += 1;
        }
        let starts_over = answer.gap.as_ref().is_some_and(|gap| gap.reason == "epoch");
        if starts_over {
            facts.oddities.epoch_changes += 1;
            *self = Self { is_known: true, ..Self::default() };
        }
        let is_first = !self.is_known || starts_over;
        for list in List::ALL {
            let at = list.index();
            self.take_gap(answer, list, is_first, room, facts);
            for stretch in &answer.stretches[at] {
                if self.next[at] == 0 {
                    // The first answer shows where the list stood; a later one, where it began.
                    if !is_first {
                        *facts.room(room)[at].starts.entry(stretch.first).or_default() += 1;
                    }
                    self.next[at] = stretch.first;
                }
                facts.received[at] += stretch.count();
                self.take_stretch(at, *stretch, facts);
            }
        }
        self.is_known = true;
    }

    fn take_gap(&mut self, answer: &Answer, list: List, is_first: bool, room: u32, facts: &mut Facts) {
        let Some(gap) = &answer.gap else { return };
        let (first, missed) = gap.of(list);
        if missed == 0 {
            return;
        }
        let at = list.index();
        let begins_at = if self.next[at] == 0 { first } else { self.next[at] };
        let Some(ends_at) = first.checked_add(missed) else {
            facts.oddities.gap_arithmetic += 1;
            return;
        };
        let follows = answer.stretches[at].first().is_none_or(|stretch| stretch.first == ends_at);
        if first == 0 || first != begins_at || !follows || is_first {
            facts.oddities.gap_arithmetic += 1;
            return;
        }
        if self.next[at] == 0 {
            // It began with messages that it missed: nothing but what others saw tells whether those were the first.
            *facts.room(room)[at].starts.entry(first).or_default() += 1;
        }
        facts.skipped[at] += missed;
        facts.spanned[at] += missed;
        self.next[at] = ends_at;
    }

    fn take_stretch(&mut self, at: usize, stretch: Stretch, facts: &mut Facts) {
        let next = self.next[at];
        if stretch.first > next {
            facts.oddities.lost[at] += stretch.first - next;
            self.miss(at, Stretch { first: next, last: stretch.first - 1 });
        }
        if stretch.first < next {
            let last = stretch.last.min(next - 1);
            (stretch.first..=last).for_each(|seq| self.take_again(at, seq, &mut facts.oddities));
        }
        if stretch.last >= next {
            facts.spanned[at] += stretch.last + 1 - next;
            self.next[at] = stretch.last + 1;
        }
    }

    /// Takes note of a message before the place.
    fn take_again(&mut self, at: usize, seq: u64, oddities: &mut Oddities) {
        let missed = self.missed.iter().flat_map(|missed| missed.0.iter().enumerate());
        let found = missed
            .filter(|(_, (list, _))| *list == at)
            .find(|(_, (_, stretch))| (stretch.first..=stretch.last).contains(&seq))
            .map(|(nth, (_, stretch))| (nth, *stretch));
        let Some((nth, stretch)) = found else {
            oddities.repeated[at] += 1;
            return;
        };
        oddities.out_of_order[at] += 1;
        oddities.lost[at] -= 1;
        self.missed.as_mut().expect("something was found in it").0.swap_remove(nth);
        if stretch.first < seq {
            self.miss(at, Stretch { first: stretch.first, last: seq - 1 });
        }
        if seq < stretch.last {
            self.miss(at, Stretch { first: seq + 1, last: stretch.last });
        }
    }

    fn miss(&mut self, at: usize, stretch: Stretch) {
        let Missed(missed) = &mut **self.missed.get_or_insert_default();
        if missed.len() < MISSED_MAX {
            missed.push((at, stretch));
        }
    }
}

#[cfg(test)]
mod tests;
