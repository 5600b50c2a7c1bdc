//! On which node each room is followed: decided here, by one task, without a lock that anybody waits for.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use room::RoomKey;
use rpc::Address;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{self, Instant},
};
use tracing::debug;

use super::{
    client::{Incoming, Upstreams},
    link::{Link, Told, viewed},
    metrics::{self, Moved},
};
use crate::RoomView;

/// How often rooms without a node look for one, and what is due is done.
const TICK_EVERY: Duration = Duration::from_millis(100);

/// A room that its node could not look at is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Words of links that wait to be heard; a link waits where there are more.
const TOLD_MAX: usize = 1_024;

/// The places of all rooms that are followed.
pub(super) struct Places {
    own: Arc<str>,
    upstreams: Arc<dyn Upstreams>,
    incoming: Arc<Incoming>,
    links: HashMap<Address, Node>,
    links_up: Arc<AtomicUsize>,
    rooms: HashMap<RoomKey, Place>,
    /// Rooms for which there is no node.
    homeless: HashSet<RoomKey>,
    /// What is to be done with rooms, and when.
    due: BinaryHeap<Reverse<(Instant, RoomKey)>>,
    told: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
    changes: watch::Receiver<u64>,
    ticks: time::Interval,
}

struct Node {
    link: Arc<Link>,
    state: State,
    task: AbortHandle,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not known yet: asked all the same, since it mostly is there.
    Opening,
    Up,
    Down,
    /// It goes on telling, but wants to be left.
    Draining,
}

/// Where a room is followed.
#[derive(Default)]
struct Place {
    on: Option<Address>,
    /// Where it goes: followed on both until the new one tells of it.
    next: Option<Address>,
}

impl Places {
    pub(super) fn new(
        own: Arc<str>,
        upstreams: Arc<dyn Upstreams>,
        incoming: Arc<Incoming>,
        links_up: Arc<AtomicUsize>,
    ) -> Self {
        let mut ticks = time::interval(TICK_EVERY);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        Self {
            changes: upstreams.changes(),
            own,
            upstreams,
            incoming,
            links_up,
            links: HashMap::new(),
            rooms: HashMap::new(),
            homeless: HashSet::new(),
            due: BinaryHeap::new(),
            told: mpsc::channel(TOLD_MAX),
            ticks,
        }
    }

    /// Does the next thing that is to be done, when there is one. Cancel-safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            told = self.told.1.recv() => if let Some(told) = told { self.hear(told) },
            Ok(()) = self.changes.changed() => self.changed(),
            _ = self.ticks.tick() => self.tick(),
        }
    }

    /// A room is to be followed.
    pub(super) fn add(&mut self, room: RoomKey) {
        if let Some(place) = self.rooms.get(&room) {
            // It was let go and asked for again before it came to that: who waits now has not been told of it.
            let link = place.on.as_ref().and_then(|on| self.links.get(on)).map(|node| &node.link);
            if let Some(link) = link
                && let Some(followed) = self.incoming.followed.get(&room)
            {
                followed.on.store(Some(Arc::clone(&link.peer)));
                link.want(&room, true);
            }
            return;
        }
        self.rooms.insert(room.clone(), Place::default());
        self.settle(&room);
    }

    /// A room is to be followed no more.
    pub(super) fn remove(&mut self, room: &RoomKey) {
        // It may have been asked for again since.
        if self.incoming.followed.contains_key(room) {
            return;
        }
        let Some(place) = self.rooms.remove(room) else { return };
        self.homeless.remove(room);
        for address in place.on.into_iter().chain(place.next) {
            self.unfollow(&address, room);
        }
    }

    fn unfollow(&self, address: &Address, room: &RoomKey) {
        if let Some(node) = self.links.get(address)
            && node.state != State::Down
        {
            node.link.want(room, false);
        }
    }

    /// The first of the room's nodes that may be asked.
    fn best(&mut self, room: &RoomKey) -> Option<Address> {
        let ranked = self.upstreams.ranked(room);
        let fit = |state: State, places: &Self, address: &Address| match places.links.get(address) {
            Some(node) => node.state == state,
            None => state == State::Opening,
        };
        let usable = |places: &Self, address: &Address| {
            fit(State::Up, places, address) || fit(State::Opening, places, address)
        };
        let peer = ranked
            .iter()
            .find(|peer| usable(self, peer.address()))
            // One that wants to be left is better than none.
            .or_else(|| ranked.iter().find(|peer| fit(State::Draining, self, peer.address())))?;
        let address = peer.address().clone();
        if !self.links.contains_key(&address) {
            let link = Link::new(Arc::clone(peer));
            let run =
                Arc::clone(&link).run(Arc::clone(&self.own), Arc::clone(&self.incoming), self.told.0.clone());
            let task = tokio::spawn(run).abort_handle();
            self.links.insert(address.clone(), Node { link, state: State::Opening, task });
        }
        Some(address)
    }

    /// Finds a node for a room that has none.
    fn settle(&mut self, room: &RoomKey) {
        let best = self.best(room);
        let Some(place) = self.rooms.get_mut(room) else { return };
        match best {
            Some(address) => {
                let link = &self.links[&address].link;
                link.want(room, true);
                if let Some(followed) = self.incoming.followed.get(room) {
                    followed.on.store(Some(Arc::clone(&link.peer)));
                }
                place.on = Some(address);
                self.homeless.remove(room);
            }
            None => {
                self.homeless.insert(room.clone());
            }
        }
    }

    /// Begins to move a room to its best node, unless it is there.
    fn move_room(&mut self, room: &RoomKey) {
        let Some(place) = self.rooms.get(room) else { return };
        if place.on.is_none() {
            return;
        }
        let (on, next) = (place.on.clone(), place.next.clone());
        let best = self.best(room);
        if best == next {
            return;
        }
        if let Some(next) = next
            && Some(&next) != on.as_ref()
        {
            self.unfollow(&next, room);
        }
        let goes = best.filter(|best| Some(best) != on.as_ref());
        if let Some(address) = &goes {
            self.links[address].link.want(room, true);
        }
        if let Some(place) = self.rooms.get_mut(room) {
            place.next = goes;
        }
    }

    /// What is best may have changed: every room that is not where it should be moves, each in its time.
    fn changed(&mut self) {
        self.changes.mark_unchanged();
        let now = Instant::now();
        let rooms: Vec<_> =
            self.rooms.iter().filter(|(_, place)| place.on.is_some()).map(|(r, _)| r.clone()).collect();
        for room in rooms {
            let best = self.best(&room);
            let place = &self.rooms[&room];
            if best != place.on && best != place.next {
                self.due.push(Reverse((now + self.upstreams.move_after(&room), room)));
            }
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Up(address) => {
                if self.set_state(&address, State::Up) {
                    self.changed();
                }
            }
            Told::Draining(address) => {
                if self.set_state(&address, State::Draining) {
                    self.changed();
                }
            }
            Told::Down(address) => self.down(&address),
            Told::Followed(address, room, view) => self.followed(&address, room, view),
        }
    }

    fn set_state(&mut self, address: &Address, state: State) -> bool {
        let Some(node) = self.links.get_mut(address) else { return false };
        node.state = state;
        self.count_links();
        true
    }

    fn count_links(&self) {
        let is_up = |node: &&Node| matches!(node.state, State::Up | State::Draining);
        self.links_up.store(self.links.values().filter(is_up).count(), Ordering::Relaxed);
    }

    /// A node went: its rooms are followed elsewhere, at once.
    fn down(&mut self, address: &Address) {
        self.set_state(address, State::Down);
        let mut left = Vec::new();
        for (room, place) in &mut self.rooms {
            if place.next.as_ref() == Some(address) {
                place.next = None;
            }
            if place.on.as_ref() == Some(address) {
                place.on = place.next.take();
                if let Some(followed) = self.incoming.followed.get(room) {
                    followed.is_told.store(false, Ordering::Release);
                    followed.on.store(None);
                }
                left.push((room.clone(), place.on.clone()));
            }
        }
        for (room, on) in left {
            metrics::room_moved(Moved::Failed);
            match on {
                // It was on its way already.
                Some(on) => {
                    let peer = self.links.get(&on).map(|node| Arc::clone(&node.link.peer));
                    if let Some(followed) = self.incoming.followed.get(&room) {
                        followed.on.store(peer);
                    }
                }
                None => self.settle(&room),
            }
        }
        if let Some(node) = self.links.get(address) {
            node.link.resume();
        }
    }

    /// A node tells of a room from now on.
    fn followed(&mut self, address: &Address, room: RoomKey, view: Option<RoomView>) {
        let Some(place) = self.rooms.get_mut(&room) else {
            return self.unfollow(address, &room);
        };
        let left = if place.next.as_ref() == Some(address) {
            metrics::room_moved(Moved::Placed);
            debug!(%room, node = %address, "room moved");
            place.next = None;
            place.on.replace(address.clone())
        } else if place.on.as_ref() == Some(address) {
            None
        } else {
            return self.unfollow(address, &room);
        };
        if let Some(left) = left {
            self.unfollow(&left, &room);
        }
        let Some(view) = view else {
            self.due.push(Reverse((Instant::now() + ASK_AGAIN, room)));
            return;
        };
        if let Some(followed) = self.incoming.followed.get(&room) {
            followed.on.store(self.links.get(address).map(|node| Arc::clone(&node.link.peer)));
            followed.is_told.store(true, Ordering::Release);
            followed.told.notify_waiters();
        }
        self.incoming.give(&viewed(room, self.incoming.epoch(), view));
    }

    fn tick(&mut self) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, room))) = self.due.pop() else { break };
            self.ask_again(&room);
            self.move_room(&room);
        }
        for room in self.homeless.iter().cloned().collect::<Vec<_>>() {
            self.settle(&room);
        }
        self.close_unused();
    }

    /// Asks again for a room that its node has not told of.
    fn ask_again(&self, room: &RoomKey) {
        let is_told = |followed: &super::client::Followed| followed.is_told.load(Ordering::Acquire);
        if self.incoming.followed.get(room).is_none_or(|followed| is_told(&followed)) {
            return;
        }
        if let Some(on) = self.rooms.get(room).and_then(|place| place.on.as_ref())
            && let Some(node) = self.links.get(on)
        {
            node.link.want(room, true);
        }
    }

    /// Lets go of nodes that are none any more.
    fn close_unused(&mut self) {
        let known: HashSet<Address> =
            self.upstreams.peers().iter().map(|peer| peer.address().clone()).collect();
        if self.links.keys().all(|address| known.contains(address)) {
            return;
        }
        let used: HashSet<&Address> =
            self.rooms.values().flat_map(|place| place.on.iter().chain(&place.next)).collect();
        self.links.retain(|address, node| {
            let stays = known.contains(address) || (used.contains(address) && node.state != State::Down);
            if !stays {
                node.task.abort();
            }
            stays
        });
        self.count_links();
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.links.values().for_each(|node| node.task.abort());
        self.links_up.store(0, Ordering::Relaxed);
    }
}
