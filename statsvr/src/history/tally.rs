//! What was seen in one interval of a series.

use super::Point;

/// More users than a room can have; more are taken for so many (count).
pub(super) const USERS_MAX: u64 = 1 << 40;
/// More looks at one interval than a clock can bring about that goes at all; further ones only count for extremes (count).
pub(super) const SAMPLES_MAX: u64 = 1 << 20;
/// More than can come or go in one interval (count).
pub(super) const FLOW_MAX: u64 = 1 << 56;

/// How many were online during an interval, as seen once a second.
///
/// It remembers in which seconds it was looked at, so that two parts of one interval, as a restart or another node's takeover
/// leaves them, can be told from two copies of the same part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    /// The seconds of the interval in which somebody looked, from the lowest bit; never none.
    pub(super) seconds: u64,
    /// How often somebody looked (count); never 0.
    pub(super) samples: u64,
    /// Users online, added up over the samples.
    pub(super) sum: u64,
    /// The fewest users seen.
    pub(super) min: u64,
    /// The most users seen.
    pub(super) max: u64,
    /// Users who came (count).
    pub(super) joins: u64,
    /// Users who went (count).
    pub(super) leaves: u64,
}

impl Tally {
    /// Of one look in this second of the interval.
    pub(crate) fn new(second: u32, users: u64, joins: u64, leaves: u64) -> Self {
        let (users, joins, leaves) = (users.min(USERS_MAX), joins.min(FLOW_MAX), leaves.min(FLOW_MAX));
        Self { seconds: 1 << second.min(63), samples: 1, sum: users, min: users, max: users, joins, leaves }
    }

    /// Adds a part of the same interval: other seconds of it, or another copy of the same ones.
    ///
    /// Different seconds add up. Of two copies the one that looked more often counts, extremes are those of both, and so nothing
    /// is counted twice. Where two parts share one second only, one ended and the other began in it.
    pub(crate) fn combine(&mut self, other: &Self) {
        let shared = self.seconds & other.seconds;
        let is_copy = shared == self.seconds || shared == other.seconds;
        if shared == 0 || (shared.count_ones() == 1 && !is_copy) {
            return self.add(other);
        }
        (self.samples, self.sum) = (self.samples, self.sum).max((other.samples, other.sum));
        self.joins = self.joins.max(other.joins);
        self.leaves = self.leaves.max(other.leaves);
        self.widen(other);
    }

    /// Adds a look, or more of them, in whatever second.
    pub(crate) fn add(&mut self, looks: &Self) {
        if self.samples + looks.samples <= SAMPLES_MAX {
            self.samples += looks.samples;
            self.sum += looks.sum;
        }
        self.joins = (self.joins + looks.joins).min(FLOW_MAX);
        self.leaves = (self.leaves + looks.leaves).min(FLOW_MAX);
        self.widen(looks);
    }

    fn widen(&mut self, other: &Self) {
        self.seconds |= other.seconds;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Whether these can be the numbers of an interval: for what comes from outside.
    pub(super) fn is_sound(&self) -> bool {
        self.seconds != 0
            && (1..=SAMPLES_MAX).contains(&self.samples)
            && self.min <= self.max
            && self.max <= USERS_MAX
            && (self.min * self.samples..=self.max * self.samples).contains(&self.sum)
            && self.joins <= FLOW_MAX
            && self.leaves <= FLOW_MAX
    }

    /// Whether nobody was there, came or went.
    pub(crate) fn is_idle(&self) -> bool {
        self.max == 0 && self.joins == 0 && self.leaves == 0
    }

    /// As the API shows it, of an interval that began at `t_ms`.
    pub(crate) fn point(&self, t_ms: u64) -> Point {
        let avg = (self.sum + self.samples / 2) / self.samples;
        Point { t_ms, min: self.min, avg, max: self.max, joins: self.joins, leaves: self.leaves }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(looks: impl IntoIterator<Item = (u32, u64)>) -> Tally {
        let mut looks = looks.into_iter().map(|(second, users)| Tally::new(second, users, 1, 2));
        let mut tally = looks.next().unwrap();
        looks.for_each(|look| tally.add(&look));
        tally
    }

    #[test]
    fn parts_of_an_interval_add_up() {
        let whole = tally((0..10).map(|second| (second, u64::from(second))));
        let mut first = tally((0..4).map(|second| (second, u64::from(second))));
        let mut second = tally((4..10).map(|second| (second, u64::from(second))));
        let (a, b) = (first, second);
        first.combine(&b);
        second.combine(&a);
        assert_eq!((first, second), (whole, whole));
        assert_eq!(whole.point(70), Point { t_ms: 70, min: 0, avg: 5, max: 9, joins: 10, leaves: 20 });
    }

    #[test]
    fn copies_of_an_interval_do_not_add_up() {
        let whole = tally((0..10).map(|second| (second, 7)));
        for copy in [tally([(3, 7)]), tally([(0, 7), (1, 7)]), whole] {
            let mut combined = whole;
            combined.combine(&copy);
            assert_eq!(combined, whole);
            let mut combined = copy;
            combined.combine(&whole);
            assert_eq!(combined, whole);
        }
        // Half seen by both: the one that saw more of it counts, and so do the extremes of the other.
        let mut left = tally([(0, 5), (1, 5), (2, 5), (3, 9)]);
        left.combine(&tally([(2, 5), (3, 9), (4, 1)]));
        assert_eq!((left.samples, left.sum, left.min, left.max, left.joins), (4, 24, 1, 9, 4));
    }

    #[test]
    fn restart_within_a_second_loses_none_of_either_part() {
        let mut stopped = tally([(0, 5), (1, 5), (2, 5)]);
        stopped.combine(&tally([(2, 5), (3, 5)]));
        assert_eq!((stopped.samples, stopped.joins, stopped.seconds), (5, 5, 0b1111));
    }
}
