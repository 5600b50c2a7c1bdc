//! From a reader's place to an encoded answer, out of memory.

use std::{sync::Arc, time::Duration};

use room::{Cursor, PerList, PollWait, pressure::PressureStep};

use crate::{
    encode::{self, Compression, Encoded, Form, Messages, Parts},
    hold::{Decision, Waiting},
    metrics,
    slice::{Portion, Slice, cut},
    snapshot::{AnswerKey, Served, Snapshot},
};

/// Steps into which what is left of a hold is rounded up (milliseconds), so that readers share the encoding.
const HOLD_STEP_MS: u64 = 50;

/// How long a client of a closed room is told to wait at the least (milliseconds).
const CLOSED_PAUSE_MS: u64 = 1_000;

/// How many different `poll_after_ms` a drain spreads its readers over, and up to what (milliseconds).
pub(crate) const DRAIN_STEPS: u64 = 16;
const DRAIN_SPREAD_MS: u64 = 5_000;

/// How an answer is to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    pub(crate) limit: usize,
    pub(crate) form: Form,
    /// The room's interval now (milliseconds).
    pub(crate) interval_ms: u64,
    /// Who waits it out.
    pub(crate) wait: PollWait,
    /// The node is going down: which of the steps this reader gets.
    pub(crate) drain_step: Option<u64>,
    /// Move the reader forward rather than read the log for its normal messages.
    pub(crate) shed: bool,
    /// How much the node leaves out.
    pub(crate) step: PressureStep,
}

impl Terms {
    /// Whether normal messages that left memory are skipped rather than read: they would be thinned out anyway.
    fn sheds(&self, decision: Decision) -> bool {
        self.shed || self.step.normal_messages_max().is_some() || decision == Decision::AnswerHeld
    }
}

/// What holds for all answers in a room at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomTerms {
    pub(crate) interval: Duration,
    pub(crate) wait: PollWait,
    pub(crate) step: PressureStep,
    /// Whether answers are compressed for clients that take it.
    pub(crate) compresses: bool,
}

impl RoomTerms {
    /// How an answer to one of its polls is to be made.
    pub(crate) fn of(&self, limit: usize, form: Form, drain_step: Option<u64>) -> Terms {
        let compression = if self.compresses { form.compression } else { Compression::None };
        Terms {
            limit,
            form: Form { compression, ..form },
            interval_ms: self.interval.as_millis() as u64,
            wait: self.wait,
            drain_step,
            shed: false,
            step: self.step,
        }
    }
}

/// What the client is told about its next poll.
pub(crate) fn pace(
    waiting: &Waiting,
    slice: &Slice,
    decision: Decision,
    terms: &Terms,
    now_ms: u64,
) -> (u64, Served) {
    if let Some(step) = terms.drain_step {
        return (step % DRAIN_STEPS * (DRAIN_SPREAD_MS / (DRAIN_STEPS - 1)), Served::At(0));
    }
    if !slice.up_to_date {
        return (0, Served::At(0));
    }
    let held_ms = waiting.eligible_at_ms.saturating_sub(now_ms);
    if decision == Decision::AnswerHeld || (slice.is_empty() && held_ms > 0) {
        // Whose own deadline ended the poll within the hold does not wait here, so it is to wait there.
        let waits_here = terms.wait == PollWait::Server && waiting.deadline_ms > now_ms;
        let left_ms =
            if waits_here { 0 } else { held_ms.next_multiple_of(HOLD_STEP_MS).min(terms.interval_ms) };
        return (left_ms, Served::At(waiting.place.served_at_ms));
    }
    match terms.wait {
        _ if slice.is_empty() => (0, Served::At(0)),
        PollWait::Client => (terms.interval_ms, Served::Now),
        PollWait::Server => (0, Served::Now),
    }
}

/// The answer to a poll, shared with all who are to get the same; `None` if part of it must come from the store, or if its place
/// is in another log than the room is by now, so that it must begin anew.
pub(crate) fn answer(
    snapshot: &Snapshot,
    waiting: &Waiting,
    decision: Decision,
    terms: &Terms,
    now_ms: u64,
) -> Option<(Arc<Encoded>, Slice)> {
    if waiting.place.epoch != snapshot.epoch {
        return None;
    }
    let available = snapshot.available(waiting.place, now_ms, terms.sheds(decision))?;
    let portion = Portion {
        limit: terms.limit,
        withhold_normal: decision == Decision::AnswerHeld,
        normal_max: terms.step.normal_messages_max(),
    };
    let slice = cut(waiting.place, available, portion);
    let (poll_after_ms, served) = pace(waiting, &slice, decision, terms, now_ms);
    // A client that ignores what a closed room says must at least not spin.
    let poll_after_ms = if snapshot.settings.is_closed() && slice.up_to_date {
        poll_after_ms.max(CLOSED_PAUSE_MS)
    } else {
        poll_after_ms
    };
    let key = AnswerKey { slice, form: terms.form, poll_after_ms, served, step: terms.step };
    let encode = || {
        let cached: PerList<Vec<_>> = PerList::from_fn(|list| {
            let part = slice.parts[list];
            snapshot.lists[list].after(room::Seq(part.from.0 - 1), part.count).collect()
        });
        let served_at_ms = match served {
            Served::Now => now_ms,
            Served::At(at_ms) => at_ms,
        };
        let parts = Parts {
            epoch: snapshot.epoch,
            messages: PerList::from_fn(|list| Messages::Cached(&cached[list])),
            next_cursor: Cursor {
                epoch: snapshot.epoch,
                room: snapshot.room,
                seen: slice.next,
                served_at_ms,
            },
            up_to_date: slice.up_to_date,
            gap: slice.gap,
            poll_after_ms,
            settings: &snapshot.settings,
            online: snapshot.online.counts(now_ms).filter(|_| !terms.step.leaves_out_extras()),
            degraded: terms.step.degraded(),
            accepted_at_us: snapshot.accepted_at_us,
            is_drain: terms.drain_step.is_some(),
        };
        encode::encode(&parts, terms.form)
    };
    Some((snapshot.encoding(key, now_ms, encode), slice))
}

/// Counts what a reader missed and was spared.
pub(crate) fn count_gap(slice: &Slice) {
    if let Some(gap) = &slice.gap {
        ::metrics::counter!(metrics::PRIORITY_GAP).increment(gap.missing.priority);
        ::metrics::counter!(metrics::MESSAGES_SKIPPED, "reason" => gap.reason.as_str())
            .increment(gap.missing.normal);
    }
}

#[cfg(test)]
mod tests {
    use room::{Epoch, Seq};

    use super::*;
    use crate::slice::{Part, Place};

    fn terms(drain_step: Option<u64>) -> Terms {
        Terms {
            limit: 10,
            form: Form::JSON,
            interval_ms: 1_000,
            wait: PollWait::Client,
            drain_step,
            shed: false,
            step: PressureStep::NONE,
        }
    }

    /// A reader that was served at 7 ms.
    fn place() -> Place {
        Place {
            epoch: Epoch(1),
            seen: PerList::default(),
            served_at_ms: 7,
            restarted: false,
            wants_kept: false,
        }
    }

    fn slice(count: usize, up_to_date: bool) -> Slice {
        let part = Part { from: Seq(1), count };
        Slice {
            parts: PerList { priority: part, normal: part },
            gap: None,
            up_to_date,
            next: PerList::default(),
        }
    }

    #[test]
    fn pace_tells_when_to_come_back() {
        let free = Waiting { place: place(), eligible_at_ms: 0, deadline_ms: 0 };
        let held = Waiting { eligible_at_ms: 10_320, ..free };
        for (waiting, slice, decision, drain, expect) in [
            (free, slice(2, true), Decision::Answer, None, (1_000, Served::Now)),
            (free, slice(2, false), Decision::Answer, None, (0, Served::At(0))),
            (free, slice(0, true), Decision::TimedOut, None, (0, Served::At(0))),
            (held, slice(0, true), Decision::AnswerHeld, None, (350, Served::At(7))),
            (held, slice(1, true), Decision::AnswerHeld, None, (350, Served::At(7))),
            (held, slice(1, true), Decision::Answer, None, (1_000, Served::Now)),
            (free, slice(1, true), Decision::Answer, Some(15), (4_995, Served::At(0))),
            (free, slice(1, true), Decision::Answer, Some(16), (0, Served::At(0))),
        ] {
            assert_eq!(
                pace(&waiting, &slice, decision, &terms(drain), 10_000),
                expect,
                "{decision:?} {slice:?}"
            );
        }
    }

    #[test]
    fn server_that_waits_calls_back_at_once() {
        let held = Waiting { place: place(), eligible_at_ms: 10_320, deadline_ms: 40_000 };
        let free = Waiting { eligible_at_ms: 0, ..held };
        let over = Waiting { deadline_ms: 10_000, ..held };
        for (waiting, slice, decision, expect) in [
            (free, slice(2, true), Decision::Answer, (0, Served::Now)),
            (held, slice(1, true), Decision::AnswerHeld, (0, Served::At(7))),
            (over, slice(1, true), Decision::AnswerHeld, (350, Served::At(7))),
            (over, slice(0, true), Decision::AnswerHeld, (350, Served::At(7))),
        ] {
            let terms = Terms { wait: PollWait::Server, ..terms(None) };
            assert_eq!(pace(&waiting, &slice, decision, &terms, 10_000), expect, "{decision:?} {slice:?}");
        }
    }
}
