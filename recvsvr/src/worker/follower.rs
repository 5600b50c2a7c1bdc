//! One reader: asks, waits, gets its answer, and is gone when dropped.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use room::{Cursor, Problem, RoomKey, Seq, eligible_at_ms};

use super::{
    Answer, LocalRoom, Outlet, Worker, now_ms, now_us,
    slots::{Parked, State},
};
use crate::{
    answer::Terms,
    catch_up,
    encode::{Encoded, Form},
    hold::{Decision, Waiting},
    slice::{Place, Start},
    snapshot::Snapshot,
};

/// A poll of one room.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Where to begin.
    pub start: Start,
    /// Most messages, both lists together.
    pub limit: usize,
    /// When it is answered at the latest, see [`Worker::deadline_ms`].
    pub deadline_ms: u64,
    /// What the client reads.
    pub form: Form,
}

/// What became of a poll at once.
pub enum Started {
    /// The answer is here.
    Answer(Answer),
    /// The poll is parked: [`Follower::poll_answer`] has the answer in time.
    Parked,
    /// The store must be read first. `None` means: it was, now [`Follower::ask_again`].
    Later(LocalBoxFuture<'static, Result<Option<Answer>, Problem>>),
}

/// A reader on this worker, with at most one poll at a time. A connection keeps one over its polls, so that a poll
/// costs no look-up; dropping it frees its place at once.
pub struct Follower {
    worker: Rc<Worker>,
    slot: u32,
    room: Option<Rc<LocalRoom>>,
    /// The poll that was parked last, from where it stood: "now" is the moment at which it was asked, not a later one.
    parked: Option<Ask>,
    /// The place in the priority list of the poll that was begun last, as the log has it.
    seen: Option<Seq>,
    /// The log was looked at because the poll's cursor is ahead of memory.
    has_looked: bool,
}

impl Follower {
    /// A reader that follows no room yet.
    #[must_use]
    pub fn new(worker: &Rc<Worker>) -> Self {
        let slot = worker.slots.borrow_mut().take();
        Self { worker: Rc::clone(worker), slot, room: None, parked: None, seen: None, has_looked: false }
    }

    fn follow(&mut self, key: &RoomKey) -> Result<Rc<LocalRoom>, Problem> {
        match &self.room {
            Some(room) if room.room.key == *key => Ok(Rc::clone(room)),
            _ => {
                let room = self.worker.join(key)?;
                if let Some(old) = self.room.replace(Rc::clone(&room)) {
                    self.worker.leave(&old);
                }
                Ok(room)
            }
        }
    }

    /// Begins a poll: answers it if there is something to say, parks it otherwise. Ends the poll before it.
    ///
    /// # Errors
    /// `node_full` if no more polls or rooms fit, or if it has no cursor and the node takes no new readers.
    pub fn ask(&mut self, key: &RoomKey, ask: &Ask) -> Result<Started, Problem> {
        (self.parked, self.seen) = (None, None);
        self.has_looked = false;
        if let Err(refusal) = self.worker.check_newcomer(ask) {
            self.cancel();
            return Err(refusal);
        }
        self.begin(key, ask)
    }

    /// Goes on with the poll that was begun last, under another deadline or because the store was read for it.
    /// An answer that it has by now is given; otherwise it goes on from where it stood.
    ///
    /// # Errors
    /// As [`Follower::ask`].
    pub fn ask_again(&mut self, key: &RoomKey, ask: &Ask) -> Result<Started, Problem> {
        let state = std::mem::replace(&mut self.worker.slots.borrow_mut().get(self.slot).state, State::Idle);
        match state {
            State::Answered(answer) => return Ok(Started::Answer(answer)),
            parked => self.worker.slots.borrow_mut().get(self.slot).state = parked,
        }
        self.begin(key, &Ask { start: self.parked.map_or(ask.start, |parked| parked.start), ..*ask })
    }

    /// Up to which priority message its client had got when the last poll began; `None` while the log is not looked at.
    #[must_use]
    pub fn seen(&self) -> Option<Seq> {
        self.seen
    }

    /// What [`Worker::end_poll`] calls it by, for as long as it lives.
    #[must_use]
    pub fn seat(&self) -> u32 {
        self.slot
    }

    /// The room that it follows.
    #[must_use]
    pub fn room(&self) -> Option<&RoomKey> {
        self.room.as_ref().map(|room| &room.room.key)
    }

    /// Gives the follower's answers a way that does not wake its task; `None` takes it away again.
    ///
    /// Whether an answer took it is told by [`Follower::take_delivered`], to a task that looks for another reason: it
    /// waits for what its client sends next.
    pub fn set_outlet(&mut self, outlet: Option<Rc<dyn Outlet>>) {
        self.worker.slots.borrow_mut().get(self.slot).outlet = outlet;
    }

    /// Whether its answers have such a way.
    #[must_use]
    pub fn has_outlet(&self) -> bool {
        self.worker.slots.borrow_mut().get(self.slot).outlet.is_some()
    }

    /// Whether the parked poll was answered by the outlet; true once for each.
    pub fn take_delivered(&mut self) -> bool {
        let mut slots = self.worker.slots.borrow_mut();
        let state = &mut slots.get(self.slot).state;
        let is_delivered = matches!(state, State::Delivered);
        if is_delivered {
            *state = State::Idle;
        }
        is_delivered
    }

    /// The poll that was parked last, from where it stood, for [`Follower::ask_again`].
    #[must_use]
    pub fn parked(&self) -> Option<Ask> {
        self.parked
    }

    fn begin(&mut self, key: &RoomKey, ask: &Ask) -> Result<Started, Problem> {
        self.cancel();
        let room = self.follow(key)?;
        loop {
            let Some(snapshot) = room.room.snapshot() else {
                let (rooms, room) = (Arc::clone(&self.worker.rooms), Arc::clone(&room.room));
                return Ok(Started::Later(
                    async move { rooms.fill(&room).await.map(|()| None) }.boxed_local(),
                ));
            };
            if !self.has_looked && snapshot.is_behind(ask.start) {
                // Of a reader that was served from the store, or by another node, before the notice came here.
                self.has_looked = true;
                let (rooms, room) = (Arc::clone(&self.worker.rooms), Arc::clone(&room.room));
                let look = async move {
                    rooms.pull(&room, "look").await;
                    Ok(None)
                };
                return Ok(Started::Later(look.boxed_local()));
            }
            let now_ms = now_ms();
            let room_terms = self.worker.room_terms(&room.room);
            let place = snapshot.place(ask.start, now_ms);
            self.seen = Some(place.seen.priority);
            let waiting = Waiting {
                place,
                eligible_at_ms: eligible_at_ms(place.served_at_ms, room_terms.interval, now_ms),
                deadline_ms: ask.deadline_ms,
            };
            let drain_step = self.worker.next_drain_step();
            let answers_at_once = matches!(ask.start, Start::Now { tail: Some(_) }) || drain_step.is_some();
            let decision = match waiting.decide(&snapshot, now_ms) {
                Decision::Wait(_) if answers_at_once => Decision::Answer,
                decision => decision,
            };
            let Decision::Wait(until_ms) = decision else {
                let terms = room_terms.of(ask.limit, ask.form, drain_step);
                return Ok(self.answer_now(&room, &snapshot, waiting, decision, terms, now_ms));
            };
            self.worker.check_room_for_poll()?;
            let (epoch, hash) = (snapshot.epoch, room.room.hash);
            let Place { seen, served_at_ms, .. } = place;
            let start = Start::At(Cursor { epoch, room: hash, seen, served_at_ms });
            self.parked = Some(Ask { start, ..*ask });
            self.park(
                &room,
                Parked { room: Rc::clone(&room), waiting, limit: ask.limit, form: ask.form },
                until_ms,
                now_ms,
            );
            // Pairs with the fence in `Rooms::tell`: either they see us parked, or we see their snapshot.
            fence(Ordering::SeqCst);
            let is_same = room.room.with_snapshot(|now| now.is_some_and(|now| Arc::ptr_eq(now, &snapshot)));
            if is_same && !self.worker.rooms.is_draining() {
                return Ok(Started::Parked);
            }
            self.cancel();
        }
    }

    fn answer_now(
        &self,
        room: &LocalRoom,
        snapshot: &Arc<Snapshot>,
        waiting: Waiting,
        decision: Decision,
        terms: Terms,
        now_ms: u64,
    ) -> Started {
        self.worker.tally.outcome(match decision {
            _ if terms.drain_step.is_some() => "drained",
            Decision::TimedOut => "timeout",
            Decision::AnswerHeld if waiting.deadline_ms <= now_ms => "timeout",
            Decision::Answer | Decision::AnswerHeld | Decision::Wait(_) => "ready",
        });
        if let Some(answer) = room.recent.answer(snapshot, &waiting, decision, &terms, now_ms) {
            return Started::Answer(answer);
        }
        let (rooms, room) = (Arc::clone(&self.worker.rooms), Arc::clone(&room.room));
        let read = async move {
            catch_up::read(rooms, room, waiting, decision, terms).await.map(|e| Some(Rc::new(e)))
        };
        Started::Later(read.boxed_local())
    }

    fn park(&self, room: &Rc<LocalRoom>, parked: Parked, until_ms: u64, now_ms: u64) {
        let mut slots = self.worker.slots.borrow_mut();
        let is_held = parked.waiting.is_held(now_ms);
        // The timer moves a held poll to those that are ready when its hold ends.
        let until_ms = if is_held { until_ms.min(parked.waiting.eligible_at_ms) } else { until_ms };
        slots.get(self.slot).state = State::Parked(parked);
        let generation = slots.renew(self.slot);
        room.keep(&slots, (self.slot, generation), is_held);
        self.worker.set_waiting(room, room.waiting.get() + 1);
        self.worker.set_timer(&mut slots, self.slot, until_ms);
    }

    /// The answer of a parked poll. Cancel-safe. Must not be called when no poll is parked: it would wait for ever.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Started> {
        let mut slots = self.worker.slots.borrow_mut();
        let slot = slots.get(self.slot);
        match std::mem::replace(&mut slot.state, State::Idle) {
            State::Answered(answer) => Poll::Ready(Started::Answer(answer)),
            State::CatchUp => Poll::Ready(Started::Later(async { Ok(None) }.boxed_local())),
            waiting @ (State::Parked(_) | State::Idle | State::Delivered) => {
                slot.state = waiting;
                if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    slot.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Ends the parked poll, if there is one, without an answer. Returns whether there was one.
    fn cancel(&mut self) -> bool {
        let state = std::mem::replace(&mut self.worker.slots.borrow_mut().get(self.slot).state, State::Idle);
        let State::Parked(parked) = state else { return false };
        self.worker.set_waiting(&parked.room, parked.room.waiting.get() - 1);
        true
    }

    /// Counts that an answer was written to the client, and how long after the acceptance of its messages.
    pub fn delivered(&self, answer: &Encoded, was_parked: bool) {
        self.worker.tally.sent(answer, was_parked.then(now_us));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.cancel() {
            self.worker.tally.outcome("gone");
        }
        if let Some(room) = self.room.take() {
            self.worker.leave(&room);
        }
        self.worker.slots.borrow_mut().give_back(self.slot);
    }
}
