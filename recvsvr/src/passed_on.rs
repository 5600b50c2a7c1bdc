//! The log as other nodes read it here: out of memory where that has it, otherwise passed on.

use std::sync::Arc;

use async_trait::async_trait;
use dashmap::{DashMap, Entry};
use room::{Bounds, Epoch, List, NoticeSink, PerList, RoomKey, Seq};
use store::{Page, Range, RoomLog, RoomView, StoreError};
use tracing::{debug, warn};

use crate::{
    live_room::LiveRoom,
    metrics,
    rooms::{Rooms, room_ref},
    snapshot::Snapshot,
    worker::now_ms,
};

/// A recvsvr's memory in front of the log that it reads itself, for nodes that follow rooms here.
///
/// A room that is followed is kept in memory. What is asked of it is answered from there if memory has all of it, and
/// everything that this node was told of; otherwise the log behind it is asked, so that nobody is told less than there is.
pub struct PassedOn {
    rooms: Arc<Rooms>,
    /// Rooms that are followed without being kept in memory, and how many times: those for which there was no place.
    unkept: DashMap<RoomKey, usize>,
}

impl PassedOn {
    /// The memory of `rooms`. Whatever tells the followers must hear of notices after the rooms do.
    #[must_use]
    pub fn new(rooms: Arc<Rooms>) -> Self {
        Self { rooms, unkept: DashMap::new() }
    }

    /// The room as it is in memory, filled first if somebody follows it; `None` if memory may not have everything.
    async fn current(&self, key: &RoomKey) -> Option<Arc<Snapshot>> {
        let room: Arc<LiveRoom> = room_ref(&self.rooms.rooms, key)?;
        if let Err(problem) = self.rooms.fill(&room).await {
            warn!(room = %key, %problem, "room could not be filled, the log is asked instead");
            return None;
        }
        let snapshot = room.snapshot()?;
        (snapshot.epoch == self.rooms.log.epoch() && room.has_all_noticed(&snapshot)).then_some(snapshot)
    }
}

fn counted<T>(answer: Option<T>) -> Option<T> {
    let from = if answer.is_some() { "memory" } else { "log" };
    ::metrics::counter!(metrics::PASSED_ON, "from" => from).increment(1);
    answer
}

impl Snapshot {
    fn bounds(&self, now_ms: u64) -> PerList<Bounds> {
        PerList::from_fn(|list| Bounds {
            first: self.lists[list].kept_from(now_ms),
            last: self.lists[list].last(),
        })
    }

    /// A page out of memory; `None` if part of it is not there.
    fn page(&self, list: List, range: Range, limit: usize, now_ms: u64) -> Option<Page> {
        let tail = &self.lists[list];
        let bounds = self.bounds(now_ms)[list];
        let after = match range {
            Range::After(seq) => seq.max(Seq(bounds.first.0 - 1)),
            Range::Before(before) => {
                let end = before.min(bounds.last.next());
                Seq(end.0.saturating_sub(limit as u64 + 1).max(bounds.first.0 - 1))
            }
        };
        let until = match range {
            Range::After(_) => bounds.last,
            Range::Before(before) => Seq(bounds.last.0.min(before.0.saturating_sub(1))),
        };
        let is_here = after.next() >= tail.start() || after >= until;
        is_here.then(|| {
            let take = (until.since(after) as usize).min(limit);
            let messages = tail.after(after, take).map(|cached| Arc::clone(&cached.message)).collect();
            Page { epoch: self.epoch, messages, bounds }
        })
    }
}

#[async_trait]
impl RoomLog for PassedOn {
    fn epoch(&self) -> Epoch {
        self.rooms.log.epoch()
    }

    async fn view(&self, room: &RoomKey) -> Result<RoomView, StoreError> {
        let here = self.current(room).await.map(|snapshot| RoomView {
            settings: Arc::clone(&snapshot.settings),
            bounds: snapshot.bounds(now_ms()),
        });
        match counted(here) {
            Some(view) => Ok(view),
            None => self.rooms.log.view(room).await,
        }
    }

    async fn read(&self, room: &RoomKey, list: List, range: Range, limit: usize) -> Result<Page, StoreError> {
        let here = self.current(room).await.and_then(|snapshot| snapshot.page(list, range, limit, now_ms()));
        match counted(here) {
            Some(page) => Ok(page),
            None => self.rooms.log.read(room, list, range, limit).await,
        }
    }

    fn subscribe(&self, sink: Arc<dyn NoticeSink>) {
        self.rooms.log.subscribe(sink);
    }

    fn follow(&self, room: &RoomKey) {
        if let Err(problem) = self.rooms.hold(room) {
            // It is passed on without being kept: slower, but right.
            debug!(%room, %problem, "room that another node follows is not kept in memory");
            *self.unkept.entry(room.clone()).or_default() += 1;
            self.rooms.log.follow(room);
        }
    }

    fn unfollow(&self, room: &RoomKey) {
        let Entry::Occupied(mut unkept) = self.unkept.entry(room.clone()) else {
            return self.rooms.release(room);
        };
        *unkept.get_mut() -= 1;
        if *unkept.get() == 0 {
            unkept.remove();
        }
        self.rooms.log.unfollow(room);
    }

    fn notices(&self) -> Option<u64> {
        self.rooms.log.notices()
    }

    fn health(&self) -> Result<(), StoreError> {
        self.rooms.log.health()
    }
}
