//! The verdict: whether every viewer got every message, once, in order.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::mark::{List, Mark, NUMBERINGS};

/// Messages sent, by numbering.
pub(crate) type SentCounts = [u32; NUMBERINGS];

/// What one viewer has got so far.
#[derive(Default, Debug)]
pub(crate) struct Received {
    /// The number expected next, by numbering.
    next: SentCounts,
    /// Numberings and numbers that were passed over and may still come; almost no viewer has any.
    missing: BTreeSet<(usize, u32)>,
    /// Of all normal messages in the order of receiving: viewers who saw the same order have the same.
    order: u64,
}

/// What went wrong with messages that arrived (counts over all viewers).
#[derive(Default, Debug)]
pub(crate) struct Oddities {
    /// Got before by the same viewer.
    pub(crate) repeated: u64,
    /// Came after a later one of the same sender.
    pub(crate) out_of_order: u64,
    /// Never sent.
    pub(crate) unknown: u64,
    /// Answers with a normal message ahead of a priority one, of a server that puts priority first.
    pub(crate) priority_after_normal: u64,
}

impl Oddities {
    /// Looks at the order within an answer of such a server.
    pub(crate) fn look_at_answer(&mut self, marks: &[Mark]) {
        let is_sorted = marks.is_sorted_by_key(|mark| mark.list == List::Normal);
        self.priority_after_normal += u64::from(!is_sorted);
    }
}

impl Received {
    /// Takes note of a message; `sent` are the messages sent so far.
    pub(crate) fn take(&mut self, mark: &Mark, sent: &SentCounts, oddities: &mut Oddities) {
        let numbering = mark.numbering();
        let expected = self.next[numbering];
        if mark.number >= sent[numbering] {
            oddities.unknown += 1;
        } else if mark.number >= expected {
            self.missing.extend((expected..mark.number).map(|number| (numbering, number)));
            self.next[numbering] = mark.number + 1;
        } else if self.missing.remove(&(numbering, mark.number)) {
            oddities.out_of_order += 1;
        } else {
            oddities.repeated += 1;
        }
        if mark.list == List::Normal {
            // FNV-1a, a message at a time.
            self.order = (self.order ^ (u64::from(mark.number) << 8 | numbering as u64))
                .wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Messages that this viewer got, each counted once.
    pub(crate) fn count(&self) -> u64 {
        self.next.iter().map(|next| u64::from(*next)).sum::<u64>() - self.missing.len() as u64
    }

    /// Messages that came before ones this viewer got, and did not come.
    pub(crate) fn count_passed_over(&self) -> u64 {
        self.missing.len() as u64
    }

    /// Messages that this viewer did not get, of those sent.
    pub(crate) fn lost(&self, sent: &SentCounts) -> u64 {
        let not_reached: u64 =
            sent.iter().zip(&self.next).map(|(sent, next)| u64::from(sent.saturating_sub(*next))).sum();
        self.missing.len() as u64 + not_reached
    }
}

/// Viewers who got everything, but normal messages in another order than most.
pub(crate) fn count_dissenters<'r>(viewers: impl Iterator<Item = &'r Received>, sent: &SentCounts) -> u64 {
    let mut orders = BTreeMap::<u64, u64>::new();
    for viewer in viewers.filter(|viewer| viewer.lost(sent) == 0) {
        *orders.entry(viewer.order).or_default() += 1;
    }
    orders.values().sum::<u64>() - orders.values().max().unwrap_or(&0)
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
    /// Answers with a normal message ahead of a priority one, where priority comes first.
    pub(crate) priority_after_normal: u64,
    /// Received without having been sent.
    pub(crate) unknown: u64,
    /// Requests that did not end as they should: what happened, how often.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Verdict {
    /// Whether the run counts.
    pub(crate) fn is_clean(&self) -> bool {
        let wrong = self.lost + self.repeated + self.out_of_order + self.priority_after_normal + self.unknown;
        wrong == 0 && self.errors.is_empty() && self.acknowledged > 0
    }

    /// One line for the report.
    pub(crate) fn summary(&self) -> String {
        let mut line = format!(
            "{} acknowledged, {} received, {} lost, {} repeated, {} out of order",
            self.acknowledged, self.received, self.lost, self.repeated, self.out_of_order
        );
        if self.priority_after_normal > 0 {
            line += &format!(", {} times priority behind normal", self.priority_after_normal);
        }
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
        self.priority_after_normal += other.priority_after_normal;
        self.unknown += other.unknown;
        for (what, count) in &other.errors {
            *self.errors.entry(what.clone()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent: two priority messages, ten normal ones of sender 0 and two of sender 1.
    const SENT: SentCounts = [2, 10, 2, 0, 0, 0, 0, 0, 0];
    const NORMAL: Mark = Mark { list: List::Normal, sender: 0, number: 0, due_us: 0 };
    const PRIORITY: Mark = Mark { list: List::Priority, ..NORMAL };

    fn received(marks: impl IntoIterator<Item = Mark>) -> (Received, Oddities) {
        let (mut received, mut oddities) = (Received::default(), Oddities::default());
        marks.into_iter().for_each(|mark| received.take(&mark, &SENT, &mut oddities));
        (received, oddities)
    }

    /// Lost, repeated, out of order, unknown, if everything of the others and these of sender 0 arrived.
    fn check(arrived: &[u32], expect: (u64, u64, u64, u64)) {
        let others =
            (0..2).flat_map(|number| [Mark { number, ..PRIORITY }, Mark { sender: 1, number, ..NORMAL }]);
        let (received, oddities) =
            received(others.chain(arrived.iter().map(|&number| Mark { number, ..NORMAL })));
        let found = (received.lost(&SENT), oddities.repeated, oddities.out_of_order, oddities.unknown);
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
    fn viewer_with_another_order_is_found() {
        let all = |swapped: bool| {
            let ours = (0..10).map(|number| Mark { number, ..NORMAL });
            let theirs = (0..2).map(|number| Mark { sender: 1, number, ..NORMAL });
            let priority = (0..2).map(|number| Mark { number, ..PRIORITY });
            let normal: Vec<_> =
                if swapped { theirs.chain(ours).collect() } else { ours.chain(theirs).collect() };
            // Where priority messages come in between is up to each viewer's polls.
            let (first, last): (Vec<_>, Vec<_>) =
                if swapped { (Vec::new(), priority.collect()) } else { (priority.collect(), Vec::new()) };
            received(first.into_iter().chain(normal).chain(last)).0
        };
        let same = [all(false), all(false), all(false)];
        assert_eq!(count_dissenters(same.iter(), &SENT), 0);
        assert_eq!(count_dissenters(same.iter().chain([&all(true)]), &SENT), 1);
    }

    #[test]
    fn priority_behind_normal_is_found() {
        for (marks, found) in [
            (&[PRIORITY, PRIORITY, NORMAL][..], 0),
            (&[NORMAL], 0),
            (&[], 0),
            (&[PRIORITY, NORMAL, PRIORITY], 1),
        ] {
            let mut oddities = Oddities::default();
            oddities.look_at_answer(marks);
            assert_eq!(oddities.priority_after_normal, found, "{marks:?}");
        }
    }

    #[test]
    fn one_lost_message_spoils_a_run() {
        let clean = Verdict { acknowledged: 1, received: 1, ..Verdict::default() };
        assert!(clean.is_clean());
        assert!(!Verdict::default().is_clean(), "a run that sent nothing shows nothing");
        assert!(!Verdict { lost: 1, ..clean.clone() }.is_clean());
        assert!(!Verdict { priority_after_normal: 1, ..clean.clone() }.is_clean());
        assert!(!Verdict { errors: [("status 500".to_owned(), 1)].into(), ..clean }.is_clean());
    }
}
