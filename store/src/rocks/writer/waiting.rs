//! Records on their way to the log: behind everything that a sender waits for, but not for ever.

use std::collections::VecDeque;

use super::super::batch::Answer;
use crate::RecordBatch;

/// Commits that go ahead of records that wait (count): while a queue is never empty, one batch of records goes between so
/// many of them, 16 KiB or less a commit.
pub(in crate::rocks) const PASSED_MAX: u32 = 16;
/// Batches of records that wait (count), of 256 KiB each at the most. One more is written at once.
const WAITING_MAX: usize = 16;

/// Records that wait.
#[derive(Default)]
pub(super) struct Waiting {
    batches: VecDeque<(RecordBatch, Answer<()>)>,
    /// Commits that have gone ahead of the first of them.
    passed: u32,
}

impl Waiting {
    pub(super) fn push(&mut self, batch: RecordBatch, answer: Answer<()>) {
        self.batches.push_back((batch, answer));
    }

    /// The batch that has waited longest.
    pub(super) fn pop(&mut self) -> Option<(RecordBatch, Answer<()>)> {
        self.passed = 0;
        self.batches.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// A commit has gone ahead.
    pub(super) fn pass(&mut self) {
        if !self.is_empty() {
            self.passed += 1;
        }
    }

    /// Whether the first batch is to be written now, whoever waits.
    pub(super) fn is_overdue(&self) -> bool {
        !self.is_empty() && (self.passed >= PASSED_MAX || self.batches.len() > WAITING_MAX)
    }
}
