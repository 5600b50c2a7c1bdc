//! What the audit is judged by: facts of many readers and senders in a form that adds up, and the verdict over them.
//!
//! Every message of a run has a number, and the server gives it a sequence number in its room's list. A reader is held to
//! the sequence: whatever it passes over must have been announced as a gap. What is behind a sequence number is compared
//! between the acknowledgement and everything that readers saw, so one that got another message in its place is found too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mark::List;

mod numbers;
mod verdict;

pub(crate) use self::{
    numbers::Numbers,
    verdict::{Finding, RunVerdict},
};

/// Facts about every room and reader of a run.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct Facts {
    /// By the room's number, then by [`List::index`].
    pub(crate) rooms: BTreeMap<u32, [ListFacts; 2]>,
    /// Messages that were due and went out, by list; numbers are below it.
    pub(crate) sent: [u64; 2],
    /// Sends whose answer never came, by list: their messages may or may not be in the log.
    pub(crate) unanswered: [u64; 2],
    /// Messages received, over all readers, by list; repeated ones count.
    pub(crate) received: [u64; 2],
    /// Messages that readers were told they can't get any more (`gap`), by list.
    pub(crate) skipped: [u64; 2],
    /// Sequence numbers that readers went through, over all of them, by list: what they received, were told to miss, or lost.
    pub(crate) spanned: [u64; 2],
    /// What readers and senders found wrong.
    pub(crate) oddities: Oddities,
}

/// Facts about one list of one room.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct ListFacts {
    /// Which message the server said has which sequence number.
    pub(crate) acknowledged: Numbers,
    /// Which message readers saw under which sequence number.
    pub(crate) seen: Numbers,
    /// How many readers expected which sequence number next when the run ended: of those who were online then and are held
    /// to the end of the list. 0 stands for a reader who came when the list was empty and never got anything.
    pub(crate) ends: BTreeMap<u64, u64>,
    /// Where readers began who came when the list was empty: sequence numbers of the first messages they got.
    pub(crate) starts: BTreeMap<u64, u64>,
}

/// What readers and senders found wrong (counts over all of them).
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct Oddities {
    /// Passed over without a word, and not received later, by list.
    pub(crate) lost: [u64; 2],
    /// Received before by the same reader, by list.
    pub(crate) repeated: [u64; 2],
    /// Received after a later one, by list.
    pub(crate) out_of_order: [u64; 2],
    /// Another message than others saw under the same sequence number.
    pub(crate) dissent: u64,
    /// Received, but no message of this run.
    pub(crate) unknown: u64,
    /// Answers with a normal message ahead of a priority one.
    pub(crate) priority_after_normal: u64,
    /// Gaps whose numbers don't fit the reader's place or the messages behind them.
    pub(crate) gap_arithmetic: u64,
    /// Answers that started over in another epoch of the log.
    pub(crate) epoch_changes: u64,
    /// Answers that broke a rule of their own: more messages than asked for, no cursor, cut off but empty or with a pause.
    pub(crate) answer_rules: u64,
    /// Empty answers to a poll well before its time was over, though nothing was closed or drained.
    pub(crate) early_empty: u64,
    /// Sends acknowledged with a sequence number below that of the same sender's message before.
    pub(crate) send_order: u64,
}

impl Facts {
    /// The lists of a room.
    pub(crate) fn room(&mut self, room: u32) -> &mut [ListFacts; 2] {
        self.rooms.entry(room).or_default()
    }

    /// Adds the facts of other readers and senders.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (room, lists) in &other.rooms {
            let own = self.rooms.entry(*room).or_default();
            for (own, other) in own.iter_mut().zip(lists) {
                self.oddities.dissent += own.merge(other);
            }
        }
        for list in List::ALL.map(List::index) {
            self.sent[list] += other.sent[list];
            self.unanswered[list] += other.unanswered[list];
            self.received[list] += other.received[list];
            self.skipped[list] += other.skipped[list];
            self.spanned[list] += other.spanned[list];
        }
        self.oddities.merge(&other.oddities);
    }

    /// Messages acknowledged, over all rooms, by list.
    pub(crate) fn acknowledged(&self) -> [u64; 2] {
        let mut sums = [0; 2];
        for lists in self.rooms.values() {
            for (sum, list) in sums.iter_mut().zip(lists) {
                *sum += list.acknowledged.len();
            }
        }
        sums
    }
}

impl ListFacts {
    /// Adds others; tells how many sequence numbers they saw another message under.
    fn merge(&mut self, other: &Self) -> u64 {
        for (seq, count) in &other.ends {
            *self.ends.entry(*seq).or_default() += count;
        }
        for (seq, count) in &other.starts {
            *self.starts.entry(*seq).or_default() += count;
        }
        self.acknowledged.merge(&other.acknowledged) + self.seen.merge(&other.seen)
    }
}

impl Oddities {
    /// Adds others.
    pub(crate) fn merge(&mut self, other: &Self) {
        for list in List::ALL.map(List::index) {
            self.lost[list] += other.lost[list];
            self.repeated[list] += other.repeated[list];
            self.out_of_order[list] += other.out_of_order[list];
        }
        self.dissent += other.dissent;
        self.unknown += other.unknown;
        self.priority_after_normal += other.priority_after_normal;
        self.gap_arithmetic += other.gap_arithmetic;
        self.epoch_changes += other.epoch_changes;
        self.answer_rules += other.answer_rules;
        self.early_empty += other.early_empty;
        self.send_order += other.send_order;
    }
}
