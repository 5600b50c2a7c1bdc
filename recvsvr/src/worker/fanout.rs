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

use room::{List, Seq, pressure::may_be_woken};

use super::{Answer, LocalRoom, Worker, now_ms, now_us, slots::Slots};
use crate::hold::Decision;

/// Polls answered before other work of the thread gets its turn: at 5 to 10 µs each, that waits 1.3 ms at most.
const CHUNK: usize = 128;

/// The same where priority messages wait: first come first served would let them wait behind what may be late.
const CHUNK_URGENT: usize = 512;

/// Other polls answered, and timers looked at, between two chunks of those that are urgent.
const CHUNK_ASIDE: usize = 16;

/// Polls of a chunk between two looks at the clock, for the metrics: a delivery counts as shorter than it was by what its answer
/// and up to seven others took, mostly less than 0.1 ms.
const PER_CLOCK: usize = 8;

/// How old the counts in the metrics may be.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// How long a worker that only spreads wake-ups rests between two chunks of them.
const SPREAD_REST: Duration = Duration::from_millis(2);

/// A spread of wake-ups under way.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    /// When the turn of the first came (Unix microseconds).
    since_us: u64,
    /// Polls of the room on the whole node at that time.
    parked: usize,
    /// How many were woken since.
    woken: usize,
}

/// The rooms whose polls are being woken, each at most once in each queue.
#[derive(Default)]
struct Fans {
    /// Rooms with priority messages to give, or that were closed.
    urgent: VecDeque<Rc<LocalRoom>>,
    others: VecDeque<Rc<LocalRoom>>,
    /// Those of the others whose next wake-ups are not due yet.
    resting: Vec<Rc<LocalRoom>>,
}

impl Worker {
    /// Serves this worker's mailbox and timers for ever. Run it once, on the worker's thread.
    pub async fn run(self: Rc<Self>) {
        let mut fans = Fans::default();
        let mut due: Vec<(u64, u32)> = Vec::new();
        let mut flush_at = tokio::time::Instant::now();
        loop {
            self.take_news(&mut fans);
            let most = if fans.urgent.is_empty() { CHUNK } else { CHUNK_ASIDE };
            self.wake_urgent(&mut fans);
            self.fire_timers(&mut due, most);
            self.wake_others(&mut fans, most);
            let are_answers_due = !fans.urgent.is_empty() || !fans.others.is_empty() || !due.is_empty();
            self.precedence.next_portion(are_answers_due, now_us);
            if are_answers_due {
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
            let until_due = if fans.resting.is_empty() { until_due } else { until_due.min(SPREAD_REST) };
            tokio::select! {
                () = self.mailbox().notify.notified() => {}
                () = self.rearm.notified() => {}
                () = tokio::time::sleep(until_due.min(flush_at - now)) => {}
            }
        }
    }

    fn take_news(&self, fans: &mut Fans) {
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
            if let Some(local) = local {
                local.fan(fans, false);
            }
        }
        if self.rooms.is_draining() && self.parked.get() > 0 && fans.urgent.is_empty() {
            self.local.borrow().values().for_each(|local| local.fan(fans, true));
        }
    }

    /// Wakes polls of the urgent room in front, and puts it at the end of the queue if some are left.
    fn wake_urgent(&self, fans: &mut Fans) {
        let Some(room) = fans.urgent.pop_front() else { return };
        self.wake_chunk(&room, CHUNK_URGENT);
        if room.waking.borrow().is_empty() {
            room.is_urgent.set(false);
        } else {
            fans.urgent.push_back(room);
        }
    }

    /// The same for the others, of which the big ones rest between their turns.
    fn wake_others(&self, fans: &mut Fans, most: usize) {
        if !fans.resting.is_empty() {
            let now_us = now_us();
            let due = fans.resting.extract_if(.., |room| room.may_wake(now_us) > 0);
            fans.others.extend(due);
        }
        let Some(room) = fans.others.pop_front() else { return };
        let now_us = now_us();
        self.wake_chunk(&room, most.min(room.may_wake(now_us)));
        if room.waking.borrow().is_empty() {
            room.is_fanning.set(false);
            room.spread.set(None);
        } else if room.may_wake(now_us) == 0 {
            fans.resting.push(room);
        } else {
            fans.others.push_back(room);
        }
    }

    /// Looks at the next polls of a fan-out: answers those that have something to get, keeps the others parked.
    fn wake_chunk(&self, room: &LocalRoom, most: usize) {
        let Some(snapshot) = room.room.snapshot() else { return room.waking.borrow_mut().clear() };
        let room_terms = self.room_terms(&room.room);
        let now_ms = now_ms();
        let mut waking = room.waking.borrow_mut();
        if waking.is_empty() {
            return; // They were woken as urgent ones.
        }
        let mut slots = self.slots.borrow_mut();
        let (mut answered, mut at_us) = (0, 0);
        let count = most.min(waking.len());
        room.count_spread(count);
        for (nth, (slot, generation)) in waking.drain(..count).enumerate() {
            if nth % PER_CLOCK == 0 {
                at_us = now_us();
            }
            let Some(parked) = slots.parked(slot, generation) else { continue };
            let drain_step = self.next_drain_step();
            let decision = match parked.waiting.decide(&snapshot, now_ms) {
                Decision::Wait(until_ms) if drain_step.is_none() => {
                    room.keep(&slots, (slot, generation), parked.waiting.is_held(now_ms));
                    self.set_timer(&mut slots, slot, until_ms);
                    continue;
                }
                Decision::Wait(_) => Decision::Answer,
                decision => decision,
            };
            let terms = room_terms.of(parked.limit, parked.form, drain_step);
            let answer = room.recent.answer(&snapshot, &parked.waiting, decision, &terms, now_ms);
            if let Some(answer) = &answer {
                let accepted = answer.accepted_at_us;
                let newest = accepted.priority.max(accepted.normal);
                room.accepted_at_us.set(room.accepted_at_us.get().max(newest));
            }
            self.settle(&mut slots, slot, answer, at_us);
            self.tally.outcome(if drain_step.is_some() { "drained" } else { "woken" });
            answered += 1;
        }
        let is_last = waking.is_empty();
        drop((slots, waking));
        self.set_waiting(room, room.waiting.get() - answered);
        if is_last {
            self.tally.fanned_out(room.accepted_at_us.take(), now_us());
        }
    }

    /// Gives a parked poll its answer, or lets it read what belongs to it from the store. It is about `at_us` (Unix
    /// microseconds).
    fn settle(&self, slots: &mut Slots, slot: u32, answer: Option<Answer>, at_us: u64) {
        match answer {
            None => slots.catch_up(slot),
            Some(answer) if slots.answer(slot, &answer) => self.tally.sent(&answer, Some(at_us)),
            Some(_) => {}
        }
    }

    /// Answers polls whose hold or time is over, at most so many; `due` keeps the rest.
    fn fire_timers(&self, due: &mut Vec<(u64, u32)>, most: usize) {
        let now_ms = now_ms();
        if due.is_empty() {
            self.wheel.borrow_mut().advance(now_ms, due);
            // Taken from the end, so the first that came due goes first.
            due.reverse();
        }
        let mut slots = self.slots.borrow_mut();
        for (at_ms, slot) in due.split_off(due.len().saturating_sub(most)).into_iter().rev() {
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
            let terms = self.room_terms(&room.room).of(parked.limit, parked.form, None);
            let answer = room.recent.answer(&snapshot, &parked.waiting, decision, &terms, now_ms);
            self.settle(&mut slots, slot, answer, now_us());
            self.tally.outcome(if decision == Decision::Answer { "woken" } else { "timeout" });
            self.set_waiting(&room, room.waiting.get() - 1);
        }
    }
}

impl LocalRoom {
    /// Puts those on the list of who is woken who may have something to get: all, if there is news that nobody is held
    /// from. The room goes to where its news belongs; whoever still waited for an earlier turn goes with it.
    fn fan(self: &Rc<Self>, fans: &mut Fans, all: bool) {
        let (priority, is_closed) = self.room.with_snapshot(|snapshot| {
            snapshot.map_or((Seq(0), false), |s| (s.lists[List::Priority].last(), s.settings.is_closed()))
        });
        let is_urgent = self.priority_told.replace(priority) != priority || is_closed || all;
        let mut waking = self.waking.borrow_mut();
        waking.extend(self.ready.borrow_mut().drain(..));
        if is_urgent {
            waking.extend(self.held.borrow_mut().drain(..));
        }
        if waking.is_empty() {
            return;
        }
        let (queue, is_queued) = if is_urgent {
            (&mut fans.urgent, &self.is_urgent)
        } else {
            (&mut fans.others, &self.is_fanning)
        };
        if !is_queued.replace(true) {
            if !is_urgent {
                let parked = self.room.parked();
                self.spread.set(Some(Spread { since_us: now_us(), parked, woken: 0 }));
            }
            queue.push_back(Rc::clone(self));
        }
    }

    /// How many of those whose turn it is may be woken now; at least one where none waits, so that this is seen.
    fn may_wake(&self, now_us: u64) -> usize {
        let waking = self.waking.borrow().len();
        let Some(Spread { since_us, parked, woken }) = self.spread.get() else { return waking.max(1) };
        // A clock that was set back must not hold them.
        let elapsed = Duration::from_micros(now_us.checked_sub(since_us).unwrap_or(u64::MAX));
        may_be_woken(woken + waking, parked, elapsed).saturating_sub(woken).max(usize::from(waking == 0))
    }

    fn count_spread(&self, woken: usize) {
        if let Some(spread) = self.spread.get() {
            self.spread.set(Some(Spread { woken: spread.woken + woken, ..spread }));
        }
    }
}
