//! The last answer that a worker gave in a room: most polls are to get the same as the one before them.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Weak},
};

use super::Answer;
use crate::{
    answer::{Terms, answer, count_gap},
    hold::{Decision, Waiting},
    slice::{Place, Slice},
    snapshot::{ENCODING_AGE_MAX_MS, Snapshot},
};

/// The last answer made in a room, for as long as others are to get the same.
#[derive(Default)]
pub(super) struct Recent(RefCell<Option<Made>>);

/// An answer, and what it was made from.
struct Made {
    /// Weak: what the room has replaced is let go. While this is here, no other snapshot can have its address.
    snapshot: Weak<Snapshot>,
    place: Place,
    terms: Terms,
    made_at_ms: u64,
    answer: Answer,
    slice: Slice,
}

impl Made {
    fn is_for(&self, snapshot: &Arc<Snapshot>, place: &Place, terms: &Terms, now_ms: u64) -> bool {
        std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(snapshot))
            && self.place.is_same_reader(place)
            && self.terms == *terms
            && now_ms.saturating_sub(self.made_at_ms) <= ENCODING_AGE_MAX_MS
    }
}

impl Recent {
    /// The answer to a poll, and counts its gap: the one given last where this is to be the same, or one that is shared
    /// with whoever else gets it. `None` if part of it must come from the store.
    pub(super) fn answer(
        &self,
        snapshot: &Arc<Snapshot>,
        waiting: &Waiting,
        decision: Decision,
        terms: &Terms,
        now_ms: u64,
    ) -> Option<Answer> {
        // What a drained poll is told differs from poll to poll, and so does what is left of a hold.
        let may_share = terms.drain_step.is_none() && decision == Decision::Answer;
        let mut recent = self.0.borrow_mut();
        if let Some(made) = recent.as_ref()
            && may_share
            && made.is_for(snapshot, &waiting.place, terms, now_ms)
        {
            count_gap(&made.slice);
            return Some(Rc::clone(&made.answer));
        }
        let (encoded, slice) = answer(snapshot, waiting, decision, terms, now_ms)?;
        count_gap(&slice);
        let answer = Rc::new(encoded);
        if may_share && !slice.is_empty() {
            *recent = Some(Made {
                snapshot: Arc::downgrade(snapshot),
                place: waiting.place,
                terms: *terms,
                made_at_ms: now_ms,
                answer: Rc::clone(&answer),
                slice,
            });
        }
        Some(answer)
    }
}
