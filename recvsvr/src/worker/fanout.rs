//! Waking those who wait: by room when there is news, by time when a hold or a deadline ends.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::Duration,
};

use room::{List, Seq};

use super::{
    Answer, LocalRoom, Worker, now_ms, now_us,
    slots::{Parked, State},
};
use crate::{
    answer::{Terms, answer, count_gap},
    encode::Form,
    hold::Decision,
    slice::{Place, Slice},
    snapshot::Snapshot,
};

/// Polls woken before other work of the thread gets its turn: at about 10 µs each, that waits 2.5 ms at most.
const CHUNK: usize = 256;

/// How old the counts in the metrics may be.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// The wake-up of one room's polls, some of them done.
struct Fan {
    room: Rc<LocalRoom>,
    entries: Vec<(u32, u32)>,
    next: usize,
    /// When the newest message that a poll was given was accepted (Unix microseconds); 0 while none was.
    accepted_at_us: u64,
}

/// The last answer made, for the many polls in a row that are to get the same.
struct Memo {
    place: Place,
    limit: usize,
    form: Form,
    answer: Answer,
    slice: Slice,
}

impl Worker {
    /// Serves this worker's mailbox and timers for ever. Run it once, on the worker's thread.
    pub async fn run(self: Rc<Self>) {
        let mut fans: VecDeque<Fan> = VecDeque::new();
        let mut due: Vec<(u64, u32)> = Vec::new();
        let mut flush_at = tokio::time::Instant::now();
        loop {
            self.take_news(&mut fans);
            self.fire_timers(&mut due);
            if let Some(mut fan) = fans.pop_front() {
                self.wake_chunk(&mut fan);
                if fan.next < fan.entries.len() {
                    fans.push_back(fan);
                }
            }
            if !fans.is_empty() || !due.is_empty() {
                // Round robin over rooms and timers, and over everything else on this thread.
                tokio::task::yield_now().await;
                continue;
            }
            let now = tokio::time::Instant::now();
            if now >= flush_at {
                self.tally.flush();
                flush_at = now + FLUSH_INTERVAL;
            }
            let due_ms = self.wheel.borrow().next_due().unwrap_or(u64::MAX);
            self.armed_ms.set(due_ms);
            let until_due = Duration::from_millis(due_ms.saturating_sub(now_ms()).min(1_000));
            tokio::select! {
                () = self.mailbox().notify.notified() => {}
                () = self.rearm.notified() => {}
                () = tokio::time::sleep(until_due.min(flush_at - now)) => {}
            }
        }
    }

    fn take_news(&self, fans: &mut VecDeque<Fan>) {
        let news = std::mem::take(&mut *self.mailbox().news.lock());
        for room in news {
            // Before the snapshot is read: news that comes from here on is told again.
            room.listeners[self.index].is_told.store(false, Ordering::Release);
            fence(Ordering::SeqCst);
            if let Some(canary) = &*self.canary.borrow()
                && Arc::ptr_eq(&canary.room, &room)
            {
                self.show_canary(canary);
            }
            let local = self.local.borrow().get(&room.key).map(Rc::clone);
            fans.extend(local.and_then(|local| local.fan(false)));
        }
        if self.rooms.is_draining() && self.parked.get() > 0 && fans.is_empty() {
            fans.extend(self.local.borrow().values().filter_map(|local| local.fan(true)));
        }
    }

    /// Looks at the next polls of a fan: answers those that have something to get, keeps the others parked.
    fn wake_chunk(&self, fan: &mut Fan) {
        let Some(snapshot) = fan.room.room.snapshot() else { return };
        let interval_ms = self.rooms.interval(&fan.room.room).as_millis() as u64;
        let now_ms = now_ms();
        let until = fan.entries.len().min(fan.next + CHUNK);
        let mut slots = self.slots.borrow_mut();
        let mut memo = None;
        let mut answered = 0;
        for &(slot, generation) in &fan.entries[fan.next..until] {
            let Some(parked) = slots.parked(slot, generation) else { continue };
            let drain_step = self.next_drain_step();
            let decision = match parked.waiting.decide(&snapshot, now_ms) {
                Decision::Wait(until_ms) if drain_step.is_none() => {
                    fan.room.keep(&slots, (slot, generation), parked.waiting.is_held(now_ms));
                    self.set_timer(&mut slots, slot, until_ms);
                    continue;
                }
                Decision::Wait(_) => Decision::Answer,
                decision => decision,
            };
            let terms =
                Terms { limit: parked.limit, form: parked.form, interval_ms, drain_step, shed: false };
            let outcome = answer_parked(&snapshot, parked, decision, &terms, now_ms, &mut memo);
            if let State::Answered(answer) = &outcome {
                let accepted = answer.accepted_at_us;
                fan.accepted_at_us = fan.accepted_at_us.max(accepted.priority).max(accepted.normal);
            }
            slots.settle(slot, outcome);
            self.tally.outcome(if drain_step.is_some() { "drained" } else { "woken" });
            answered += 1;
        }
        drop(slots);
        fan.next = until;
        self.set_waiting(&fan.room, fan.room.waiting.get() - answered);
        if fan.next == fan.entries.len() {
            self.tally.fanned_out(fan.accepted_at_us, now_us());
        }
    }

    /// Answers polls whose hold or time is over, at most [`CHUNK`] of them; `due` keeps the rest.
    fn fire_timers(&self, due: &mut Vec<(u64, u32)>) {
        let now_ms = now_ms();
        if due.is_empty() {
            self.wheel.borrow_mut().advance(now_ms, due);
            // Taken from the end, so the first that came due goes first.
            due.reverse();
        }
        let mut memo: Option<(Rc<LocalRoom>, Option<Memo>)> = None;
        let mut slots = self.slots.borrow_mut();
        for (at_ms, slot) in due.split_off(due.len().saturating_sub(CHUNK)).into_iter().rev() {
            if slots.timer_ms(slot) != at_ms {
                continue; // An earlier timer took its place.
            }
            slots.set_timer_ms(slot, 0);
            let generation = slots.get(slot).generation;
            let Some(parked) = slots.parked(slot, generation) else { continue };
            let room = Rc::clone(&parked.room);
            let Some(snapshot) = room.room.snapshot() else { continue };
            let decision = parked.waiting.decide(&snapshot, now_ms);
            if let Decision::Wait(mut until_ms) = decision {
                if parked.waiting.is_held(now_ms) {
                    // This was the timer of an earlier poll: the end of the hold must still be seen.
                    until_ms = until_ms.min(parked.waiting.eligible_at_ms);
                } else {
                    // Its hold is over: from now on it hears of normal messages. Its entry among the held is void.
                    let generation = slots.renew(slot);
                    room.keep(&slots, (slot, generation), false);
                }
                self.set_timer(&mut slots, slot, until_ms);
                continue;
            }
            let interval_ms = self.rooms.interval(&room.room).as_millis() as u64;
            let terms =
                Terms { limit: parked.limit, form: parked.form, interval_ms, drain_step: None, shed: false };
            if memo.as_ref().is_none_or(|(of, _)| !Rc::ptr_eq(of, &room)) {
                memo = Some((Rc::clone(&room), None));
            }
            let (_, memo) = memo.as_mut().expect("set above");
            let outcome = answer_parked(&snapshot, parked, decision, &terms, now_ms, memo);
            slots.settle(slot, outcome);
            self.tally.outcome(if decision == Decision::Answer { "woken" } else { "timeout" });
            self.set_waiting(&room, room.waiting.get() - 1);
        }
    }
}

impl LocalRoom {
    /// The wake-up of those who may have something to get: all, if there is news that nobody is held from.
    fn fan(self: &Rc<Self>, all: bool) -> Option<Fan> {
        let (priority, is_closed) = self.room.with_snapshot(|snapshot| {
            snapshot.map_or((Seq(0), false), |s| (s.lists[List::Priority].last(), s.settings.is_closed()))
        });
        let is_urgent = self.priority_told.replace(priority) != priority || is_closed || all;
        let mut entries = std::mem::take(&mut *self.ready.borrow_mut());
        if is_urgent {
            entries.append(&mut self.held.borrow_mut());
        }
        (!entries.is_empty()).then(|| Fan { room: Rc::clone(self), entries, next: 0, accepted_at_us: 0 })
    }
}

/// The answer for a parked poll; the one made for an earlier poll where both are to get the same.
fn answer_parked(
    snapshot: &Snapshot,
    parked: &Parked,
    decision: Decision,
    terms: &Terms,
    now_ms: u64,
    memo: &mut Option<Memo>,
) -> State {
    let place = parked.waiting.place;
    // What a drained poll is told differs from poll to poll, and so does what is left of a hold.
    let may_share = terms.drain_step.is_none() && decision == Decision::Answer;
    if let Some(last) = memo.as_ref()
        && may_share
        && last.place.is_same_reader(&place)
        && last.limit == terms.limit
        && last.form == terms.form
    {
        count_gap(&last.slice);
        return State::Answered(Rc::clone(&last.answer));
    }
    let Some((encoded, slice)) = answer(snapshot, &parked.waiting, decision, terms, now_ms) else {
        return State::CatchUp;
    };
    count_gap(&slice);
    let answer = Rc::new(encoded);
    if may_share {
        *memo = Some(Memo { place, limit: terms.limit, form: terms.form, answer: Rc::clone(&answer), slice });
    }
    State::Answered(answer)
}
