//! The verdict: whether every viewer got every message, once, in order.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::mark::{List, Mark};

/// What one viewer has got so far.
#[derive(Default, Debug)]
pub(crate) struct Received {
    /// The number expected next, by list.
    next: [u32; 2],
    /// Numbers that were passed over and may still come; almost no viewer has any.
    missing: [BTreeSet<u32>; 2],
}

/// What went wrong with messages that arrived (counts over all viewers).
#[derive(Default, Debug)]
pub(crate) struct Oddities {
    /// Got before by the same viewer.
    pub(crate) repeated: u64,
    /// Came after a later one of the same list.
    pub(crate) out_of_order: u64,
    /// Never sent.
    pub(crate) unknown: u64,
}

impl Received {
    /// Takes note of a message; `sent` are the messages sent so far, by list.
    pub(crate) fn take(&mut self, mark: &Mark, sent: [u32; 2], oddities: &mut Oddities) {
        let list = mark.list.index();
        let expected = self.next[list];
        if mark.number == expected && mark.number < sent[list] {
            self.next[list] += 1;
        } else if mark.number >= sent[list] {
            oddities.unknown += 1;
        } else if mark.number > expected {
            self.missing[list].extend(expected..mark.number);
            self.next[list] = mark.number + 1;
        } else if self.missing[list].remove(&mark.number) {
            oddities.out_of_order += 1;
        } else {
            oddities.repeated += 1;
        }
    }

    /// Messages that this viewer did not get, of `sent` by list.
    pub(crate) fn lost(&self, sent: [u32; 2]) -> u64 {
        List::ALL
            .into_iter()
            .map(|list| {
                let list = list.index();
                let passed_over = self.missing[list].len() as u64;
                passed_over + u64::from(sent[list].saturating_sub(self.next[list]))
            })
            .sum()
    }
}

/// The verdict over one run.
#[derive(Clone, Default, Serialize, Debug)]
pub(crate) struct Verdict {
    /// Messages that the server acknowledged.
    pub(crate) acknowledged: u64,
    /// Messages received, over all viewers.
    pub(crate) received: u64,
    /// Messages acknowledged and not received, over all viewers.
    pub(crate) lost: u64,
    /// Received more than once.
    pub(crate) repeated: u64,
    /// Received after a later one.
    pub(crate) out_of_order: u64,
    /// Received without having been sent.
    pub(crate) unknown: u64,
    /// Requests that did not end as they should: what happened, how often.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Verdict {
    /// Whether the run counts.
    pub(crate) fn is_clean(&self) -> bool {
        let wrong = self.lost + self.repeated + self.out_of_order + self.unknown;
        wrong == 0 && self.errors.is_empty() && self.acknowledged > 0
    }

    /// One line for the report.
    pub(crate) fn summary(&self) -> String {
        let mut line = format!(
            "{} acknowledged, {} received, {} lost, {} repeated, {} out of order",
            self.acknowledged, self.received, self.lost, self.repeated, self.out_of_order
        );
        if self.unknown > 0 {
            line += &format!(", {} never sent", self.unknown);
        }
        for (what, count) in &self.errors {
            line += &format!(", {count} × {what}");
        }
        line
    }

    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.received += other.received;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.unknown += other.unknown;
        for (what, count) in &other.errors {
            *self.errors.entry(what.clone()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lost, repeated, out of order, unknown, of ten normal messages of which these arrived.
    fn check(arrived: &[u32], expect: (u64, u64, u64, u64)) {
        let (mut received, mut oddities) = (Received::default(), Oddities::default());
        for &number in arrived {
            received.take(&Mark { list: List::Normal, number, due_us: 0 }, [0, 10], &mut oddities);
        }
        let found = (received.lost([0, 10]), oddities.repeated, oddities.out_of_order, oddities.unknown);
        assert_eq!(found, expect, "{arrived:?}");
    }

    #[test]
    fn every_kind_of_mistake_is_counted() {
        check(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], (0, 0, 0, 0));
        check(&[0, 1, 2, 3, 4, 5, 6, 7, 8], (1, 0, 0, 0));
        check(&[0, 1, 5, 6, 7, 8, 9], (3, 0, 0, 0));
        check(&[0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9], (0, 1, 0, 0));
        check(&[0, 1, 3, 2, 4, 5, 6, 7, 8, 9], (0, 0, 1, 0));
        check(&[0, 1, 3, 2, 2, 4, 5, 6, 7, 8, 9], (0, 1, 1, 0));
        check(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], (0, 0, 0, 1));
        check(&[], (10, 0, 0, 0));
    }

    #[test]
    fn lists_are_counted_apart() {
        let (mut received, mut oddities) = (Received::default(), Oddities::default());
        for list in List::ALL {
            received.take(&Mark { list, number: 0, due_us: 0 }, [1, 2], &mut oddities);
        }
        assert_eq!(received.lost([1, 2]), 1);
        assert_eq!(oddities.out_of_order + oddities.repeated + oddities.unknown, 0);
    }

    #[test]
    fn one_lost_message_spoils_a_run() {
        let clean = Verdict { acknowledged: 1, received: 1, ..Verdict::default() };
        assert!(clean.is_clean());
        assert!(!Verdict::default().is_clean(), "a run that sent nothing shows nothing");
        assert!(!Verdict { lost: 1, ..clean.clone() }.is_clean());
        assert!(!Verdict { errors: [("status 500".to_owned(), 1)].into(), ..clean }.is_clean());
    }
}
