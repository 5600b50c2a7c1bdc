//! What a reader at some place is to get: decided here, without I/O or waiting, encoded elsewhere.

use room::{Cursor, Epoch, List, PerList, Seq};

use crate::snapshot::Snapshot;

/// Where a reader stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The log that the numbers are of.
    pub(crate) epoch: Epoch,
    /// Last message it has, per list.
    pub(crate) seen: PerList<Seq>,
    /// When it was last served (Unix milliseconds), 0 for "may be served at once".
    pub(crate) served_at_ms: u64,
    /// Its cursor was of another epoch or past the end: it starts over, and is told so.
    pub(crate) restarted: bool,
    /// It asked for what is kept, so what is not kept is no gap.
    pub(crate) wants_kept: bool,
}

impl Place {
    /// Whether an unheld reader here gets the same as one at `other`: when they were served makes no difference.
    pub(crate) fn is_same_reader(&self, other: &Self) -> bool {
        self.epoch == other.epoch
            && self.seen == other.seen
            && self.restarted == other.restarted
            && self.wants_kept == other.wants_kept
    }
}

/// Where a poll wants to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// `cursor=now`, with the last `tail` messages of each list if that is asked for.
    Now {
        /// `Some` answers at once, also when there is nothing.
        tail: Option<usize>,
    },
    /// `cursor=-1`: the oldest kept.
    Oldest,
    /// At a cursor of an earlier answer.
    At(Cursor),
}

/// Why messages are missing in front of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GapReason {
    Epoch,
    Retention,
    Shed,
}

impl GapReason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Retention => "retention",
            Self::Shed => "shed",
        }
    }
}

/// Messages that a reader can no longer get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gap {
    /// How many are missing.
    pub(crate) missing: PerList<u64>,
    /// The first missing one of each list; where none is missing, the first message that the answer could have.
    pub(crate) first: PerList<Seq>,
    pub(crate) reason: GapReason,
}

/// One list's part of an answer: the messages `from..from + count`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) from: Seq,
    pub(crate) count: usize,
}

impl Part {
    /// The last message of the part, or the one before it if it is empty.
    fn end(self) -> Seq {
        Seq(self.from.0 + self.count as u64 - 1)
    }
}

/// An answer, but for its bytes. Two readers with equal slices of one snapshot get the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slice {
    pub(crate) parts: PerList<Part>,
    pub(crate) gap: Option<Gap>,
    pub(crate) up_to_date: bool,
    /// Where the reader stands after it.
    pub(crate) next: PerList<Seq>,
}

impl Slice {
    /// Whether it delivers anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.priority.count + self.parts.normal.count == 0
    }
}

/// What of one list could be delivered to a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Available {
    /// The oldest message that can be delivered.
    pub(crate) from: Seq,
    /// The newest.
    pub(crate) last: Seq,
    /// The oldest that retention leaves.
    pub(crate) kept_from: Seq,
}

/// How much a reader is to get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Portion {
    /// Most messages, both lists together.
    pub(crate) limit: usize,
    /// Leave the normal list for the next poll.
    pub(crate) withhold_normal: bool,
    /// Under pressure: only so many of the newest normal messages. The reader is moved past older ones.
    pub(crate) normal_max: Option<usize>,
}

/// Cuts the slice for a reader: priority first and complete, then normal, both together at most the limit.
pub(crate) fn cut(place: Place, available: PerList<Available>, portion: Portion) -> Slice {
    let mut left = portion.limit;
    let mut gap_reason = place.restarted.then_some(GapReason::Epoch);
    let mut missing = PerList::default();
    let mut missing_from = PerList::from_fn(|list| place.seen[list].next());
    let mut up_to_date = true;
    let parts = PerList::from_fn(|list| {
        let seen = place.seen[list];
        let stay = Part { from: seen.next(), count: 0 };
        if list == List::Normal && portion.withhold_normal {
            return stay;
        }
        let Available { from, last, kept_from } = available[list];
        let from = from.max(seen.next());
        if left == 0 {
            up_to_date &= last.next().since(from) == 0;
            return stay;
        }
        let from = match portion.normal_max {
            // Who starts over is not told a number, so nothing is taken from it. And no more is left waiting than fits,
            // or the reader would be back at once.
            Some(most) if list == List::Normal && !place.restarted => {
                from.max(Seq(last.next().0.saturating_sub(most.min(left) as u64)))
            }
            _ => from,
        };
        let waiting = last.next().since(from);
        // Whoever asked for what is kept misses nothing that is not.
        let first = if place.wants_kept { kept_from.max(seen.next()) } else { seen.next() };
        let skipped = from.since(first);
        if skipped > 0 && !place.restarted {
            (missing[list], missing_from[list]) = (skipped, first);
            let reason = if kept_from > first { GapReason::Retention } else { GapReason::Shed };
            gap_reason = match (gap_reason, reason) {
                (Some(GapReason::Retention), _) | (_, GapReason::Retention) => Some(GapReason::Retention),
                _ => Some(GapReason::Shed),
            };
        }
        let count = waiting.min(left as u64) as usize;
        left -= count;
        up_to_date &= count as u64 == waiting;
        Part { from, count }
    });
    let gap = gap_reason.map(|reason| Gap {
        missing,
        first: PerList::from_fn(
            |list| if missing[list] == 0 { parts[list].from } else { missing_from[list] },
        ),
        reason,
    });
    Slice { parts, gap, up_to_date, next: PerList::from_fn(|list| parts[list].end()) }
}

impl Snapshot {
    /// Where a poll begins, by this state of the room.
    pub(crate) fn place(&self, start: Start, now_ms: u64) -> Place {
        let epoch = self.epoch;
        let oldest = || PerList::from_fn(|list| Seq(self.lists[list].kept_from(now_ms).0 - 1));
        match start {
            Start::Now { tail } => {
                let back = tail.unwrap_or(0) as u64;
                let seen = PerList::from_fn(|list| {
                    let kept = self.lists[list].kept_from(now_ms);
                    Seq(self.lists[list].last().0.saturating_sub(back).max(kept.0 - 1))
                });
                Place { epoch, seen, served_at_ms: 0, restarted: false, wants_kept: true }
            }
            Start::Oldest => {
                Place { epoch, seen: oldest(), served_at_ms: 0, restarted: false, wants_kept: true }
            }
            Start::At(cursor) => {
                let is_ours = cursor.epoch == self.epoch
                    && List::ALL.into_iter().all(|list| cursor.seen[list] <= self.lists[list].last());
                if is_ours {
                    Place {
                        epoch,
                        seen: cursor.seen,
                        served_at_ms: cursor.served_at_ms,
                        restarted: false,
                        wants_kept: false,
                    }
                } else {
                    Place { epoch, seen: oldest(), served_at_ms: 0, restarted: true, wants_kept: false }
                }
            }
        }
    }

    /// What memory can deliver to a reader at `place`, or `None` if part of it must come from the store.
    /// With `shed` a reader whose normal messages have left memory is moved forward instead.
    pub(crate) fn available(&self, place: Place, now_ms: u64, shed: bool) -> Option<PerList<Available>> {
        let mut is_here = true;
        let available = PerList::from_fn(|list| {
            let tail = &self.lists[list];
            let kept_from = tail.kept_from(now_ms);
            let wanted = kept_from.max(place.seen[list].next());
            let may_shed = shed && list == List::Normal;
            is_here &= wanted >= tail.start() || may_shed;
            Available { from: kept_from.max(tail.start()), last: tail.last(), kept_from }
        });
        is_here.then_some(available)
    }

    /// Whether a cursor of this log lies ahead of what memory knows of it.
    pub(crate) fn is_behind(&self, start: Start) -> bool {
        let Start::At(cursor) = start else { return false };
        cursor.epoch == self.epoch
            && List::ALL.into_iter().any(|list| cursor.seen[list] > self.lists[list].last())
    }

    /// Whether a reader at `place` has messages of `list` waiting.
    pub(crate) fn has_news(&self, list: List, place: Place) -> bool {
        self.lists[list].last() > place.seen[list]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(priority: u64, normal: u64) -> Place {
        Place {
            epoch: Epoch(1),
            seen: PerList { priority: Seq(priority), normal: Seq(normal) },
            served_at_ms: 0,
            restarted: false,
            wants_kept: false,
        }
    }

    fn portion(limit: usize) -> Portion {
        Portion { limit, withhold_normal: false, normal_max: None }
    }

    fn available(from: u64, last: u64, kept_from: u64) -> Available {
        Available { from: Seq(from), last: Seq(last), kept_from: Seq(kept_from) }
    }

    #[test]
    fn limit_counts_both_lists_priority_first() {
        let lists = PerList { priority: available(1, 3, 1), normal: available(1, 9, 1) };
        let slice = cut(place(0, 0), lists, portion(5));
        assert_eq!((slice.parts.priority.count, slice.parts.normal.count), (3, 2));
        assert!(!slice.up_to_date && slice.gap.is_none());
        assert_eq!(slice.next, PerList { priority: Seq(3), normal: Seq(2) });
        let slice = cut(place(0, 0), lists, portion(3));
        assert_eq!(slice.next, PerList { priority: Seq(3), normal: Seq(0) });
        assert!(!slice.up_to_date);
        assert!(cut(place(3, 0), lists, portion(9)).up_to_date);
    }

    #[test]
    fn gap_lies_in_front_of_the_messages() {
        for (kept_from, reason) in [(6, GapReason::Retention), (1, GapReason::Shed)] {
            let lists = PerList { priority: available(1, 0, 1), normal: available(6, 9, kept_from) };
            let slice = cut(place(0, 2), lists, portion(10));
            let gap = slice.gap.unwrap();
            assert_eq!((gap.missing.normal, gap.first.normal, gap.reason), (3, Seq(3), reason));
            assert_eq!(slice.parts.normal.from.0, gap.first.normal.0 + gap.missing.normal);
        }
    }

    #[test]
    fn asking_for_what_is_kept_makes_no_gap() {
        let lists = PerList { priority: available(4, 5, 4), normal: available(8, 9, 8) };
        let slice = cut(Place { wants_kept: true, ..place(0, 0) }, lists, portion(10));
        assert_eq!((slice.gap, slice.parts.normal.from), (None, Seq(8)));
    }

    #[test]
    fn everything_expired_moves_the_reader_to_the_end() {
        let lists = PerList { priority: available(1, 0, 1), normal: available(10, 9, 10) };
        let slice = cut(place(0, 2), lists, portion(10));
        assert_eq!((slice.parts.normal.count, slice.next.normal), (0, Seq(9)));
        assert_eq!(slice.gap.unwrap().missing.normal, 7);
    }

    #[test]
    fn withheld_normal_messages_wait_without_a_gap() {
        let lists = PerList { priority: available(1, 1, 1), normal: available(6, 9, 6) };
        let slice = cut(place(0, 2), lists, Portion { withhold_normal: true, ..portion(10) });
        assert_eq!(slice.next, PerList { priority: Seq(1), normal: Seq(2) });
        assert_eq!(slice.gap, None);
    }

    #[test]
    fn thinned_answer_has_the_newest_and_counts_the_others() {
        let thin = |limit| Portion { normal_max: Some(3), ..portion(limit) };
        let lists = PerList { priority: available(1, 9, 1), normal: available(1, 20, 1) };
        let slice = cut(place(0, 10), lists, thin(100));
        assert_eq!((slice.parts.priority.count, slice.parts.normal), (9, Part { from: Seq(18), count: 3 }));
        let gap = slice.gap.unwrap();
        assert_eq!((gap.missing.normal, gap.first.normal, gap.reason), (7, Seq(11), GapReason::Shed));
        assert_eq!((gap.missing.priority, slice.next.normal, slice.up_to_date), (0, Seq(20), true));
        assert_eq!(cut(place(0, 17), lists, thin(100)).gap, None, "nothing to thin");
        // Where the limit leaves room for two, the newest two; with nothing left, nobody is moved.
        let slice = cut(place(7, 10), lists, thin(4));
        assert_eq!((slice.parts.normal, slice.up_to_date), (Part { from: Seq(19), count: 2 }, true));
        assert_eq!(
            (cut(place(0, 10), lists, thin(9)).next.normal, cut(place(0, 10), lists, thin(9)).gap),
            (Seq(10), None)
        );
        // What is not kept is no gap for whoever asked for what is kept; what is thinned out is one.
        let lists = PerList { priority: available(1, 0, 1), normal: available(5, 20, 5) };
        let gap = cut(Place { wants_kept: true, ..place(0, 0) }, lists, thin(100)).gap.unwrap();
        assert_eq!((gap.missing.normal, gap.first.normal, gap.reason), (13, Seq(5), GapReason::Shed));
        // Who starts over is told no numbers, so it gets all there is.
        let slice = cut(Place { restarted: true, ..place(0, 0) }, lists, thin(100));
        assert_eq!(
            (slice.parts.normal, slice.gap.unwrap().missing),
            (Part { from: Seq(5), count: 16 }, PerList::default())
        );
    }

    #[test]
    fn restarted_reader_gets_epoch_and_counts_of_zero() {
        let lists = PerList { priority: available(4, 5, 4), normal: available(8, 9, 8) };
        let slice = cut(Place { restarted: true, ..place(3, 7) }, lists, portion(10));
        let gap = slice.gap.unwrap();
        assert_eq!(
            (gap.reason, gap.missing, gap.first.normal),
            (GapReason::Epoch, PerList::default(), Seq(8))
        );
    }
}
