//! How a priority message spreads: who had it when.

use std::collections::VecDeque;

use crate::Signal;

/// Most priority messages of a room whose spread is kept; the oldest gives way.
pub(crate) const SIGNALS_MAX: usize = 256;

/// Steps of an octave, of which there are 16: from 1 ms to 65 s, each 19 % longer than the one before.
const STEPS: u32 = 4;
const BUCKETS: usize = 64;

/// How many users had a message after how long: logarithmic buckets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spread(Box<[u32; BUCKETS]>);

impl Default for Spread {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

/// The longest time of a bucket (milliseconds).
fn limit_ms(bucket: usize) -> u64 {
    (2_f64.powf((bucket + 1) as f64 / f64::from(STEPS))).ceil() as u64
}

fn bucket(ms: u64) -> usize {
    // At most one too few, by the rounding of `limit_ms` up to whole milliseconds.
    let guess = ((ms.max(1) as f64).log2() * f64::from(STEPS)).ceil() as usize;
    let first = guess.saturating_sub(1).min(BUCKETS - 1);
    let earlier = (first.saturating_sub(STEPS as usize)..first).find(|bucket| ms <= limit_ms(*bucket));
    earlier.unwrap_or(first)
}

impl Spread {
    pub(crate) fn from_counts(counts: &[u32]) -> Option<Self> {
        counts.try_into().ok().map(|counts: [u32; BUCKETS]| Self(Box::new(counts)))
    }

    pub(crate) fn counts(&self) -> &[u32] {
        &*self.0
    }

    /// Adds those that another split has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0.iter()) {
            *count = count.saturating_add(*more);
        }
    }

    /// All who had it.
    fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// After how long `part` of them and of `behind` others, who have it not yet, had it (milliseconds, up to 19 % too long);
    /// `None` if so many don't have it yet.
    pub(crate) fn time_ms(&self, part: f64, behind: u64) -> Option<u64> {
        let total = self.total();
        let needed = ((total + behind) as f64 * part).ceil().max(1.0) as u64;
        let mut sum = 0;
        (0..BUCKETS).find_map(|bucket| {
            sum += u64::from(self.0[bucket]);
            (sum >= needed).then(|| limit_ms(bucket))
        })
    }
}

/// The spread of a room's latest priority messages over the users of one split.
#[derive(Default)]
pub(crate) struct Reach {
    /// Ascending by seq, at most [`SIGNALS_MAX`].
    spreads: VecDeque<(Signal, Option<Spread>)>,
}

impl Reach {
    /// A priority message is there. Repeats and older ones than known are passed over.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.spreads.back().is_some_and(|(last, _)| last.seq >= signal.seq) {
            return;
        }
        if self.spreads.len() >= SIGNALS_MAX {
            self.spreads.pop_front();
        }
        self.spreads.push_back((signal, None));
    }

    /// A user has come from place `had` to `has` (one more than the sequence number there; 0 is unknown), by a poll at
    /// `at_ms`.
    pub(crate) fn moved(&mut self, had: u64, has: u64, at_ms: u64) {
        if had == 0 || has <= had {
            return;
        }
        let first = self.spreads.partition_point(|(signal, _)| signal.seq < had);
        for (signal, spread) in self.spreads.range_mut(first..) {
            if signal.seq >= has {
                break;
            }
            let bucket = bucket(at_ms.saturating_sub(signal.sent_at_ms));
            spread.get_or_insert_default().0[bucket] += 1;
        }
    }

    /// The spread of one message.
    pub(crate) fn spread(&self, seq: u64) -> Option<&Spread> {
        let index = self.spreads.binary_search_by_key(&seq, |(signal, _)| signal.seq).ok()?;
        self.spreads[index].1.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_times() {
        for ms in (0..70_000).step_by(7) {
            let bucket = bucket(ms);
            assert!(ms <= limit_ms(bucket) || bucket == BUCKETS - 1, "{ms} in {bucket}");
            assert!(bucket == 0 || ms > limit_ms(bucket - 1), "{ms} in {bucket}");
        }
    }

    #[test]
    fn percentiles_count_those_who_are_behind() {
        let mut reach = Reach::default();
        reach.signal(Signal { seq: 5, sent_at_ms: 1_000 });
        for late in [10_u64, 20, 30, 4_000] {
            reach.moved(5, 6, 1_000 + late);
        }
        let spread = reach.spread(5).unwrap();
        let near = |time: Option<u64>, ms: f64| {
            time.is_some_and(|time| (ms..ms * 1.2 + 1.0).contains(&(time as f64)))
        };
        assert!(near(spread.time_ms(0.5, 0), 20.0));
        assert!(near(spread.time_ms(1.0, 0), 4_000.0));
        assert!(near(spread.time_ms(0.5, 4), 4_000.0));
        assert_eq!(spread.time_ms(0.9, 4), None);
    }

    #[test]
    fn only_those_who_were_before_it_count() {
        let mut reach = Reach::default();
        for seq in 1..=3 {
            reach.signal(Signal { seq, sent_at_ms: seq * 100 });
        }
        reach.moved(0, 4, 500); // nothing was known of where they were
        assert!((1..=3).all(|seq| reach.spread(seq).is_none()));
        reach.moved(2, 4, 500); // had the first one
        assert!(reach.spread(1).is_none());
        assert_eq!((reach.spread(2).unwrap().total(), reach.spread(3).unwrap().total()), (1, 1));
    }

    #[test]
    fn oldest_signal_gives_way() {
        let mut reach = Reach::default();
        for seq in 1..=SIGNALS_MAX as u64 + 1 {
            reach.signal(Signal { seq, sent_at_ms: 0 });
        }
        reach.moved(1, 10_000, 5);
        assert!(reach.spread(1).is_none() && reach.spread(2).is_some());
    }
}
