//! The places of polls: a slab that is reused, so that parking allocates nothing.

use std::{rc::Rc, task::Waker};

use super::{Answer, Delivery, LocalRoom, Outlet};
use crate::{encode::Form, hold::Waiting};

/// A poll's place. It belongs to a follower for as long as that lives; polls come and go in it.
pub(super) struct Slot {
    /// Raised whenever a poll is parked here or its hold ends: tells a list entry of this poll from one of an earlier poll.
    pub(super) generation: u32,
    /// When the timer entry that counts fires (Unix milliseconds); 0 for none. Outlives polls and followers.
    timer_ms: u64,
    /// Whom to wake. Kept over polls: a follower is mostly polled by the same task.
    pub(super) waker: Option<Waker>,
    /// Where answers can be put without waking anybody.
    pub(super) outlet: Option<Rc<dyn Outlet>>,
    pub(super) state: State,
}

pub(super) enum State {
    /// No poll is parked here.
    Idle,
    /// A poll waits.
    Parked(Parked),
    /// It has its answer, and the follower was woken to take it.
    Answered(Answer),
    /// It has its answer, and the outlet wrote it: nobody was woken.
    Delivered,
    /// Part of its answer is in the store only: the follower was woken to read it.
    CatchUp,
}

/// A parked poll.
pub(super) struct Parked {
    pub(super) room: Rc<LocalRoom>,
    pub(super) waiting: Waiting,
    pub(super) limit: usize,
    pub(super) form: Form,
}

#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                timer_ms: 0,
                waker: None,
                outlet: None,
                state: State::Idle,
            });
            u32::try_from(self.slots.len() - 1).expect("fewer polls than 2^32 on a worker")
        })
    }

    pub(super) fn give_back(&mut self, at: u32) {
        let slot = self.get(at);
        slot.state = State::Idle;
        slot.waker = None;
        slot.outlet = None;
        self.renew(at);
        self.free.push(at);
    }

    /// Makes every entry for the slot so far void; gives back the generation of the next one.
    pub(super) fn renew(&mut self, at: u32) -> u32 {
        let slot = self.get(at);
        slot.generation = slot.generation.wrapping_add(1);
        slot.generation
    }

    pub(super) fn get(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    pub(super) fn timer_ms(&self, at: u32) -> u64 {
        self.slots[at as usize].timer_ms
    }

    pub(super) fn set_timer_ms(&mut self, at: u32, timer_ms: u64) {
        self.slots[at as usize].timer_ms = timer_ms;
    }

    /// The poll that was parked under this generation, if it still waits.
    pub(super) fn parked(&self, at: u32, generation: u32) -> Option<&Parked> {
        match &self.slots[at as usize] {
            Slot { generation: now, state: State::Parked(parked), .. } if *now == generation => Some(parked),
            _ => None,
        }
    }

    /// Brings the deadline of the poll that is parked here forward. Returns whether there is one.
    pub(super) fn end(&mut self, at: u32, deadline_ms: u64) -> bool {
        let State::Parked(parked) = &mut self.get(at).state else { return false };
        parked.waiting.deadline_ms = parked.waiting.deadline_ms.min(deadline_ms);
        true
    }

    /// Gives a parked poll its answer: by its outlet, or by waking whoever waits for it. Tells whether it was written.
    pub(super) fn answer(&mut self, at: u32, answer: &Answer) -> bool {
        let slot = self.get(at);
        if slot.outlet.as_ref().is_some_and(|outlet| outlet.deliver(answer) == Delivery::Written) {
            slot.state = State::Delivered;
            return true;
        }
        slot.state = State::Answered(Rc::clone(answer));
        slot.wake();
        false
    }

    /// Lets whoever waits for a parked poll read from the store what belongs to its answer.
    pub(super) fn catch_up(&mut self, at: u32) {
        let slot = self.get(at);
        slot.state = State::CatchUp;
        slot.wake();
    }
}

impl Slot {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
