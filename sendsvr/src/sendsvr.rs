//! The write path in process.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use room::{ErrorCode, List, NoticeSink, Post, Problem, RoomKey, Sender, Seq};
use store::{Append, Appended, Retraction, RoomView, Store};
use tokio::task::unconstrained;

use crate::{
    Caller, Clock, Draft, SendLimits, SendService, Sent, SettingsPatch,
    error::{id_reused, internal, problem_of},
    inflight::Turn,
    limits::Permit,
    metrics::Metrics,
    notifier::Notifier,
    rooms::{Rooms, WriteRoom},
    underway::{Underway, WRITE_BYTES, answered},
};

/// The write path over a [`Store`] of this process.
pub struct Sendsvr {
    inner: Arc<Inner>,
    underway: Underway,
}

struct Inner {
    store: Arc<dyn Store>,
    rooms: Arc<Rooms>,
    notifier: Arc<Notifier>,
    limits: SendLimits,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// What became of the first half of a send.
enum Admission {
    /// It was sent before.
    Repeat(Sent),
    /// It is new, and has its place within the limits.
    New(Box<Pending>),
}

/// A message on its way into the log. Dropping it gives back its place and its turn.
struct Pending {
    append: Append,
    permit: Permit,
    _turn: Option<Turn>,
    /// Keeps the turns and limits of the room from being forgotten and made anew meanwhile.
    _room: Arc<WriteRoom>,
}

impl Sendsvr {
    /// The write path over `store`, which tells it of every change from now on. The metrics count into the
    /// recorder that is installed now.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, limits: SendLimits) -> Arc<Self> {
        Self::with_clock(store, limits, Clock::system())
    }

    /// As [`Sendsvr::new`], by another clock.
    #[must_use]
    pub fn with_clock(store: Arc<dyn Store>, limits: SendLimits, clock: Clock) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new());
        let rooms = Arc::new(Rooms::new(limits, clock.clone()));
        let notifier = Arc::new(Notifier::new(Arc::clone(&rooms), clock.clone(), Arc::clone(&metrics)));
        store.subscribe(Arc::clone(&notifier) as Arc<dyn NoticeSink>);
        let inner = Inner { store, rooms, notifier, limits, clock, metrics };
        Arc::new(Self { inner: Arc::new(inner), underway: Underway::new() })
    }

    /// From now on, tells `recvsvr` of every change: of a message before its sender is answered.
    pub fn add_recvsvr(&self, recvsvr: &Arc<dyn NoticeSink>) {
        self.inner.notifier.add(recvsvr);
    }

    /// The limits that hold in rooms that do not set them.
    #[must_use]
    pub fn limits(&self) -> &SendLimits {
        &self.inner.limits
    }

    /// Waits until no write is under way: no send, retraction or change of settings, also of callers who left.
    /// Refusing new ones is for the edge, before.
    ///
    /// Writes run on the runtimes of their callers, so those must go on until this returns.
    pub async fn drain(&self) {
        self.underway.drain().await;
    }
}

#[async_trait]
impl SendService for Sendsvr {
    async fn send(&self, caller: &Caller, room: &RoomKey, draft: Draft) -> Result<Sent, Problem> {
        let place = match self.underway.place(WRITE_BYTES + draft.content_bytes()) {
            Ok(place) => place,
            Err(problem) => return self.inner.refuse(draft.list(), problem),
        };
        let (inner, caller, room) = (Arc::clone(&self.inner), caller.clone(), room.clone());
        answered(self.underway.begin(place, async move { inner.send(&caller, &room, draft).await })).await?
    }

    async fn send_batch(
        &self,
        caller: &Caller,
        room: &RoomKey,
        drafts: Vec<Result<Draft, Problem>>,
    ) -> Vec<Result<Sent, Problem>> {
        let bytes = drafts.iter().flatten().map(|draft| WRITE_BYTES + draft.content_bytes()).sum();
        let place = match self.underway.place(bytes) {
            Ok(place) => place,
            Err(problem) => {
                let refuse = |draft: Draft| self.inner.refuse(draft.list(), problem.clone());
                return drafts.into_iter().map(|draft| draft.and_then(refuse)).collect();
            }
        };
        let (inner, caller, room) = (Arc::clone(&self.inner), caller.clone(), room.clone());
        let refused: Vec<_> = drafts.iter().map(|draft| draft.as_ref().err().cloned()).collect();
        let work = self.underway.begin(place, async move { inner.send_batch(&caller, &room, drafts).await });
        answered(work).await.unwrap_or_else(|problem| {
            refused.into_iter().map(|refused| Err(refused.unwrap_or_else(|| problem.clone()))).collect()
        })
    }

    async fn retract(
        &self,
        caller: &Caller,
        room: &RoomKey,
        list: List,
        seq: Seq,
    ) -> Result<Retraction, Problem> {
        check_moderator(caller, "retract messages")?;
        let place = self.underway.place(WRITE_BYTES)?;
        let (store, room) = (Arc::clone(&self.inner.store), room.clone());
        let work = async move { store.retract(&room, list, seq).await.map_err(problem_of) };
        answered(self.underway.begin(place, work)).await?
    }

    async fn change_settings(
        &self,
        caller: &Caller,
        room: &RoomKey,
        patch: SettingsPatch,
    ) -> Result<RoomView, Problem> {
        check_moderator(caller, "change a room's settings")?;
        let place = self.underway.place(WRITE_BYTES)?;
        let (inner, room) = (Arc::clone(&self.inner), room.clone());
        let work = async move {
            let limits = inner.limits;
            let change = Box::new(move |now: &_| patch.apply(now, &limits));
            inner.store.change_settings(&room, change).await.map_err(problem_of)
        };
        answered(self.underway.begin(place, work)).await?
    }

    async fn view(&self, room: &RoomKey) -> Result<RoomView, Problem> {
        self.inner.store.view(room).await.map_err(problem_of)
    }
}

impl Inner {
    /// Counts a message that is refused with `problem` before anything is done for it.
    fn refuse(&self, list: List, problem: Problem) -> Result<Sent, Problem> {
        let outcome = Err(problem);
        self.metrics.sent(list, &outcome);
        outcome
    }

    async fn send(&self, caller: &Caller, room: &RoomKey, draft: Draft) -> Result<Sent, Problem> {
        let list = draft.list();
        let outcome = match self.admit(caller, room, draft, self.clock.unix_us()).await {
            Ok(Admission::New(pending)) => self.commit(*pending).await,
            Ok(Admission::Repeat(sent)) => Ok(sent),
            Err(problem) => Err(problem),
        };
        if !room.is_canary() {
            self.metrics.sent(list, &outcome);
        }
        outcome
    }

    /// The checks of a send in their order. What costs nothing to repeat comes before what counts.
    async fn admit(
        &self,
        caller: &Caller,
        key: &RoomKey,
        draft: Draft,
        accepted_at_us: u64,
    ) -> Result<Admission, Problem> {
        let list = draft.list();
        check_sender(caller, list)?;
        let content_hash = draft.content_hash();
        let room = self.rooms.enter(key);
        let mut turn = None;
        if let Some(id) = &draft.id {
            turn = Some(room.inflight.turn(caller.sender.clone(), id.clone()).await);
            if let Some((before, hash)) =
                self.store.find(key, &caller.sender, id).await.map_err(problem_of)?
            {
                return if hash == content_hash {
                    Ok(Admission::Repeat(self.sent(Appended { is_duplicate: true, ..before })))
                } else {
                    Err(id_reused())
                };
            }
        }
        let gate = self.rooms.gate(&room, key, &*self.store).await.map_err(problem_of)?;
        let permit = gate.admit(caller, list, &self.clock)?;
        let append = Append {
            room: key.clone(),
            list,
            id: draft.id,
            content_hash,
            post: Post {
                kind: draft.kind,
                sender: Sender { id: caller.sender.clone(), role: caller.role },
                text: draft.text,
                data: draft.data,
            },
            accepted_at_us,
        };
        Ok(Admission::New(Box::new(Pending { append, permit, _turn: turn, _room: room })))
    }

    /// The second half: into the log.
    async fn commit(&self, pending: Pending) -> Result<Sent, Problem> {
        // Dropped from the last to the first: a refused one gives back its place before the next has its turn.
        let Pending { _room, _turn, permit, append } = pending;
        let appended = self.store.append(append).await.map_err(problem_of)?;
        if !appended.is_duplicate {
            permit.keep();
        }
        Ok(self.sent(appended))
    }

    /// Admits one after the other, so that limits and order go by the place in the batch; the log takes those
    /// admitted meanwhile, so that they share its syncs.
    async fn send_batch(
        &self,
        caller: &Caller,
        room: &RoomKey,
        drafts: Vec<Result<Draft, Problem>>,
    ) -> Vec<Result<Sent, Problem>> {
        let accepted_at_us = self.clock.unix_us();
        let mut outcomes: Vec<Option<Result<Sent, Problem>>> = vec![None; drafts.len()];
        // Starts its futures in the order in which they are pushed.
        let mut commits = FuturesUnordered::new();
        for (place, draft) in drafts.into_iter().enumerate() {
            let draft = match draft {
                Ok(draft) => draft,
                Err(problem) => {
                    outcomes[place] = Some(Err(problem));
                    continue;
                }
            };
            let list = draft.list();
            let admission = {
                let mut admission = std::pin::pin!(self.admit(caller, room, draft, accepted_at_us));
                loop {
                    // An item may wait for its turn behind an earlier one with the same id, so those must go on.
                    tokio::select! {
                        biased;
                        admission = &mut admission => break admission,
                        Some((place, outcome)) = commits.next() => outcomes[place] = Some(outcome),
                    }
                }
            };
            match admission {
                // Unconstrained, because the log takes appends in the order of their first polls, and a task that
                // has used up its budget has those put off and woken in another order.
                Ok(Admission::New(pending)) => commits.push(unconstrained(async move {
                    let outcome = self.commit(*pending).await;
                    self.metrics.sent(list, &outcome);
                    (place, outcome)
                })),
                Ok(Admission::Repeat(sent)) => outcomes[place] = Some(Ok(sent)),
                Err(problem) => outcomes[place] = Some(Err(problem)),
            }
            if let Some(outcome) = &outcomes[place] {
                self.metrics.sent(list, outcome);
            }
        }
        while let Some((place, outcome)) = commits.next().await {
            outcomes[place] = Some(outcome);
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(internal()))).collect()
    }

    fn sent(&self, appended: Appended) -> Sent {
        Sent {
            id: appended.id,
            list: appended.list,
            seq: appended.seq,
            epoch: self.store.epoch(),
            sent_at_ms: appended.sent_at_ms,
            is_duplicate: appended.is_duplicate,
        }
    }
}

fn check_sender(caller: &Caller, list: List) -> Result<(), Problem> {
    let (may, needs) = match list {
        List::Normal => (caller.rights.may_send(), "sending needs the role speaker or above"),
        List::Priority => (
            caller.rights.may_send_priority(),
            "sending with priority high needs the role broadcaster or above",
        ),
    };
    if may { Ok(()) } else { Err(Problem::new(ErrorCode::Forbidden, needs)) }
}

fn check_moderator(caller: &Caller, what: &str) -> Result<(), Problem> {
    if caller.rights.may_moderate() {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::Forbidden, format!("to {what} needs the role moderator or above")))
}

#[cfg(test)]
mod tests;
