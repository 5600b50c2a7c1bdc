//! A worker's counts: plain cells on the hot path, given to the metrics a few times a second.

use std::cell::{Cell, RefCell};

use room::List;

use crate::{encode::Encoded, metrics};

/// Buckets of a latency count: powers of the square root of two, from 1 µs to about 70 s.
const BUCKETS: usize = 52;

/// Latencies counted by size (microseconds), 41 % wide at the most.
#[derive(Debug)]
struct Latencies(RefCell<[u32; BUCKETS]>);

impl Default for Latencies {
    fn default() -> Self {
        Self(RefCell::new([0; BUCKETS]))
    }
}

impl Latencies {
    fn add(&self, micros: u64) {
        let octave = (micros | 1).ilog2();
        // The upper half of an octave begins at 1.5 times its start, near enough to the square root of two.
        let is_upper = octave > 0 && micros >> (octave - 1) & 1 == 1;
        let bucket = (2 * octave as usize + usize::from(is_upper)).min(BUCKETS - 1);
        self.0.borrow_mut()[bucket] += 1;
    }

    fn flush(&self, histogram: &::metrics::Histogram) {
        for (bucket, count) in self.0.borrow_mut().iter_mut().enumerate() {
            if *count > 0 {
                let start = (1u64 << (bucket / 2)) as f64;
                let middle = start * if bucket % 2 == 1 { 1.75 } else { 1.25 };
                histogram.record_many(middle * 1e-6, std::mem::take(count) as usize);
            }
        }
    }
}

/// A worker's counts since they were last flushed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    outcomes: [Cell<u64>; metrics::OUTCOMES.len()],
    sent: Cell<u64>,
    saved: Cell<u64>,
    delivery: room::PerList<Latencies>,
    fanout: Latencies,
}

impl Tally {
    /// Counts what became of a poll; `outcome` is one of [`metrics::OUTCOMES`].
    pub(crate) fn outcome(&self, outcome: &'static str) {
        if let Some(at) = metrics::OUTCOMES.iter().position(|known| *known == outcome) {
            self.outcomes[at].set(self.outcomes[at].get() + 1);
        }
    }

    /// Counts an answer given to a client, at `now_us` if it had been waiting for it.
    pub(crate) fn sent(&self, answer: &Encoded, now_us: Option<u64>) {
        self.sent.set(self.sent.get() + 1);
        self.saved.set(self.saved.get() + answer.messages.saturating_sub(1) as u64);
        let Some(now_us) = now_us else { return };
        for list in List::ALL {
            if answer.accepted_at_us[list] > 0 {
                self.delivery[list].add(now_us.saturating_sub(answer.accepted_at_us[list]));
            }
        }
    }

    /// Counts that the last of a room's waiting polls was woken.
    pub(crate) fn fanned_out(&self, accepted_at_us: u64, now_us: u64) {
        if accepted_at_us > 0 {
            self.fanout.add(now_us.saturating_sub(accepted_at_us));
        }
    }

    /// Gives the counts to the metrics.
    pub(crate) fn flush(&self) {
        for (count, outcome) in self.outcomes.iter().zip(metrics::OUTCOMES) {
            ::metrics::counter!(metrics::POLLS, "outcome" => outcome).increment(count.take());
        }
        ::metrics::counter!(metrics::ANSWERS_SENT).increment(self.sent.take());
        ::metrics::counter!(metrics::REQUESTS_SAVED).increment(self.saved.take());
        for list in List::ALL {
            self.delivery[list].flush(&::metrics::histogram!(metrics::DELIVERY, "list" => list.as_str()));
        }
        self.fanout.flush(&::metrics::histogram!(metrics::FANOUT));
    }
}
