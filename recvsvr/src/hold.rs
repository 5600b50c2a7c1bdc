//! When a poll is answered: at once, later, or with nothing at its deadline. No clock, no waiting: pure rules.

use room::List;

use crate::{slice::Place, snapshot::Snapshot};

/// What a waiting poll has to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) place: Place,
    /// From then on normal messages are given (Unix milliseconds).
    pub(crate) eligible_at_ms: u64,
    /// Then it is answered with what there is.
    pub(crate) deadline_ms: u64,
}

/// What to do with a poll now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// Answer with everything after its place.
    Answer,
    /// Answer with priority messages only: it is still held, and has some or is at its deadline.
    AnswerHeld,
    /// Answer with nothing: the time ran out.
    TimedOut,
    /// Nothing to say before then (Unix milliseconds), unless there is news.
    Wait(u64),
}

impl Waiting {
    /// Whether normal messages are still kept from it.
    pub(crate) fn is_held(&self, now_ms: u64) -> bool {
        self.eligible_at_ms > now_ms
    }

    /// The rule: a closed room, a reader that starts over or whose place is in another log, and priority messages answer at
    /// once; normal messages from `eligible_at_ms` on; the deadline answers with what is not held.
    ///
    /// A held reader gets its priority messages alone: a flood of normal ones that wait for the hold to end would make the answer
    /// to each of thousands of readers a hundred times larger, and the last of them late (ADR 0011).
    pub(crate) fn decide(&self, snapshot: &Snapshot, now_ms: u64) -> Decision {
        if self.place.epoch != snapshot.epoch {
            return Decision::Answer;
        }
        let is_held = self.is_held(now_ms);
        let is_over = self.deadline_ms <= now_ms;
        let has_priority = snapshot.has_news(List::Priority, self.place);
        let has_normal = snapshot.has_news(List::Normal, self.place);
        if self.place.restarted || snapshot.settings.is_closed() {
            return if is_over && is_held { Decision::AnswerHeld } else { Decision::Answer };
        }
        if is_held && (is_over || has_priority) {
            return Decision::AnswerHeld;
        }
        if has_priority || (has_normal && !is_held) {
            return Decision::Answer;
        }
        if is_over {
            return Decision::TimedOut;
        }
        Decision::Wait(if has_normal { self.eligible_at_ms.min(self.deadline_ms) } else { self.deadline_ms })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use room::{Bounds, Epoch, NobodyCounts, PerList, Retention, RoomKey, RoomSettings, RoomState, Seq};

    use super::*;
    use crate::{online::Online, tail::Tail};

    /// A room with `priority` and `normal` messages ever sent.
    fn snapshot(priority: u64, normal: u64, settings: RoomSettings) -> Snapshot {
        let last = PerList { priority, normal };
        let tail =
            |list| Tail::new(Bounds { first: Seq(1), last: Seq(last[list]) }, Retention::default_of(list));
        Snapshot::new(
            Epoch(1),
            RoomKey::canary().hash48(),
            Arc::new(settings),
            PerList::from_fn(tail),
            PerList::default(),
            Online::new(Arc::new(NobodyCounts), RoomKey::canary()),
        )
    }

    fn waiting(eligible_at_ms: u64, deadline_ms: u64) -> Waiting {
        let place = Place {
            epoch: Epoch(1),
            seen: PerList { priority: Seq(5), normal: Seq(5) },
            served_at_ms: 1,
            restarted: false,
            wants_kept: false,
        };
        Waiting { place, eligible_at_ms, deadline_ms }
    }

    #[test]
    fn answers_follow_the_hold() {
        use Decision::{Answer, AnswerHeld, TimedOut, Wait};
        for (priority, normal, eligible, deadline, expect) in [
            (5, 5, 0, 900, Wait(900)),
            (5, 6, 0, 900, Answer),
            (5, 6, 500, 900, Wait(500)),
            (5, 6, 950, 900, Wait(900)),
            (6, 6, 500, 900, AnswerHeld),
            (6, 5, 500, 900, AnswerHeld),
            (6, 6, 0, 900, Answer),
            (5, 5, 0, 100, TimedOut),
            (5, 6, 0, 100, Answer),
            (5, 6, 500, 100, AnswerHeld),
            (6, 6, 500, 100, AnswerHeld),
        ] {
            let decision =
                waiting(eligible, deadline).decide(&snapshot(priority, normal, RoomSettings::default()), 100);
            assert_eq!(decision, expect, "{priority} {normal} {eligible} {deadline}");
        }
    }

    #[test]
    fn closed_room_and_restarted_reader_are_answered_at_once() {
        let closed = RoomSettings { state: RoomState::Closed, ..RoomSettings::default() };
        assert_eq!(waiting(0, 900).decide(&snapshot(5, 5, closed), 100), Decision::Answer);
        let mut restarted = waiting(0, 900);
        restarted.place.restarted = true;
        let mut elsewhere = waiting(500, 900);
        elsewhere.place.epoch = Epoch(2);
        let renewed = elsewhere.decide(&snapshot(1, 1, RoomSettings::default()), 100);
        assert_eq!(renewed, Decision::Answer, "its numbers are of another log");
        assert_eq!(restarted.decide(&snapshot(5, 5, RoomSettings::default()), 100), Decision::Answer);
    }
}
