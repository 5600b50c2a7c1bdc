//! What readers see: the numbers of every room at one moment, in memory, without a lock.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use room::{AppId, RoomKey, Routing, SectName};

use crate::{Layout, NodeId, SectTotals, Standing, Totals, nodes::room_hash, totals::Sums};

/// Parts of the table, so that rooms that come and go make little of it anew.
const PARTS: usize = 256;

/// A room's numbers at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct RoomSnapshot {
    /// The room.
    pub room: RoomKey,
    /// Users online.
    pub num_users: u64,
    /// Clients online: (user, device) pairs.
    pub num_clients: u64,
    /// Whether every user is counted: no part of the room is waiting for the first window of a node.
    pub exact: bool,
    /// Times that a user came, and went, since the room was first seen by who adds it up.
    pub joins: u64,
    /// See `joins`.
    pub leaves: u64,
    /// How the room is divided.
    pub layout: Layout,
    /// Whether the list of viewers has everybody.
    pub has_all_names: bool,
    /// Peaks and unique viewers.
    pub standing: Standing,
    /// When this was so (Unix milliseconds).
    pub as_of_ms: u64,
}

impl RoomSnapshot {
    /// Whether a later look at the same room has other numbers.
    pub(crate) fn differs(&self, now: &Self) -> bool {
        // All fields are named, so that a new one is not forgotten.
        let Self {
            room: _,
            num_users,
            num_clients,
            exact,
            joins,
            leaves,
            layout,
            has_all_names,
            standing,
            as_of_ms: _,
        } = self;
        (*num_users, *num_clients, *exact, *joins, *leaves, *has_all_names)
            != (now.num_users, now.num_clients, now.exact, now.joins, now.leaves, now.has_all_names)
            || (*layout, *standing) != (now.layout, now.standing)
    }
}

/// What has changed since the last update of a node; the first has all.
#[derive(Clone, PartialEq, Debug)]
pub struct Update {
    /// Who speaks.
    pub node: NodeId,
    /// For how long it has been running (milliseconds).
    pub uptime_ms: u64,
    /// All rooms that the node speaks for are as of then (Unix milliseconds).
    pub as_of_ms: u64,
    /// Whether this is everything, and what is not in it is gone.
    pub is_full: bool,
    /// Rooms that have changed.
    pub changed: Vec<Arc<RoomSnapshot>>,
    /// Rooms that nobody watches any more.
    pub gone: Vec<RoomKey>,
}

/// A room's place in the table: keep it, and a look at the room is one load.
#[derive(Debug, Default)]
pub struct RoomCell {
    snapshot: ArcSwapOption<RoomSnapshot>,
    source: ArcSwapOption<Source>,
}

/// The latest word of a node: rooms that have not changed are as fresh as this.
#[derive(Debug)]
struct Source {
    node: NodeId,
    as_of_ms: AtomicU64,
}

impl RoomCell {
    /// The room's numbers, if anybody is there, with the time as of which they are right.
    #[must_use]
    pub fn load(&self) -> Option<(Arc<RoomSnapshot>, u64)> {
        let snapshot = self.snapshot.load_full()?;
        let fresh = self.source.load().as_ref().map_or(0, |source| source.as_of_ms.load(Ordering::Relaxed));
        let as_of_ms = snapshot.as_of_ms.max(fresh);
        Some((snapshot, as_of_ms))
    }
}

type Part = HashMap<RoomKey, Arc<RoomCell>>;

/// The numbers of all rooms. Readers load, one writer at a time swaps in.
pub struct Snapshots {
    parts: Box<[ArcSwap<Part>]>,
    /// By node; also what writers take turns by.
    sources: Mutex<HashMap<NodeId, Arc<Source>>>,
    sums: ArcSwapOption<Sums>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| ArcSwap::default()).collect(),
            sources: Mutex::default(),
            sums: ArcSwapOption::empty(),
        }
    }
}

impl Snapshots {
    fn part(&self, room: &RoomKey) -> &ArcSwap<Part> {
        &self.parts[(room_hash(room) % PARTS as u64) as usize]
    }

    /// The room's place, if anybody is there or was lately.
    #[must_use]
    pub fn cell(&self, room: &RoomKey) -> Option<Arc<RoomCell>> {
        self.part(room).load().get(room).cloned()
    }

    /// The room's numbers, if anybody is there, and the time as of which they are right.
    #[must_use]
    pub fn get(&self, room: &RoomKey) -> Option<(Arc<RoomSnapshot>, u64)> {
        self.part(room).load().get(room)?.load()
    }

    /// Takes what a node says. Its word on a room holds until another node speaks of it.
    pub fn apply(&self, update: &Update) {
        let mut sources = self.sources.lock();
        let source = sources.entry(update.node.clone()).or_insert_with(|| {
            Arc::new(Source { node: update.node.clone(), as_of_ms: AtomicU64::new(update.as_of_ms) })
        });
        source.as_of_ms.store(update.as_of_ms, Ordering::Relaxed);
        let source = Arc::clone(source);
        let mut new: HashMap<usize, Part> = HashMap::new();
        for snapshot in &update.changed {
            if let Some(cell) = self.part(&snapshot.room).load().get(&snapshot.room) {
                cell.source.store(Some(Arc::clone(&source)));
                cell.snapshot.store(Some(Arc::clone(snapshot)));
                continue;
            }
            let cell = Arc::new(RoomCell::default());
            cell.source.store(Some(Arc::clone(&source)));
            cell.snapshot.store(Some(Arc::clone(snapshot)));
            let index = (room_hash(&snapshot.room) % PARTS as u64) as usize;
            new.entry(index).or_default().insert(snapshot.room.clone(), cell);
        }
        for (index, rooms) in new {
            let mut part = Part::clone(&self.parts[index].load());
            part.extend(rooms);
            self.parts[index].store(Arc::new(part));
        }
        if update.is_full {
            let said: std::collections::HashSet<&RoomKey> =
                update.changed.iter().map(|snapshot| &snapshot.room).collect();
            self.remove_if(&source.node, |room| !said.contains(room), None);
        } else if !update.gone.is_empty() {
            let gone: std::collections::HashSet<&RoomKey> = update.gone.iter().collect();
            let parts = update.gone.iter().map(|room| (room_hash(room) % PARTS as u64) as usize).collect();
            self.remove_if(&source.node, |room| gone.contains(room), Some(parts));
        }
    }

    /// Takes out rooms whose last word is `node`'s.
    fn remove_if(
        &self,
        node: &NodeId,
        is_gone: impl Fn(&RoomKey) -> bool,
        parts: Option<std::collections::HashSet<usize>>,
    ) {
        for (index, part) in self.parts.iter().enumerate() {
            if parts.as_ref().is_some_and(|parts| !parts.contains(&index)) {
                continue;
            }
            let goes = |room: &RoomKey, cell: &RoomCell| {
                is_gone(room) && cell.source.load().as_ref().is_some_and(|source| source.node == *node)
            };
            let rooms = part.load();
            if !rooms.iter().any(|(room, cell)| goes(room, cell)) {
                continue;
            }
            let mut kept = Part::clone(&rooms);
            kept.retain(|room, cell| {
                let goes = goes(room, cell);
                if goes {
                    // Whoever keeps the cell sees an empty room.
                    cell.snapshot.store(None);
                }
                !goes
            });
            part.store(Arc::new(kept));
        }
    }

    /// All rooms' numbers.
    pub fn for_each(&self, mut look: impl FnMut(&Arc<RoomSnapshot>)) {
        for part in &self.parts {
            for cell in part.load().values() {
                if let Some(snapshot) = cell.snapshot.load_full() {
                    look(&snapshot);
                }
            }
        }
    }

    /// The sums of an app, at most a second old, by where `routing` has the rooms.
    #[must_use]
    pub fn totals(&self, app: &AppId, routing: &Arc<Routing>, now_ms: u64) -> Arc<Totals> {
        self.sums(routing, now_ms).of_app(app)
    }

    /// The sums of all apps by sect, at most a second old, in the order of the table.
    #[must_use]
    pub fn sect_totals(&self, routing: &Arc<Routing>, now_ms: u64) -> Vec<(SectName, SectTotals)> {
        self.sums(routing, now_ms).by_sect()
    }

    /// Whoever asks first makes them for all.
    fn sums(&self, routing: &Arc<Routing>, now_ms: u64) -> Arc<Sums> {
        if let Some(known) = self.sums.load_full().filter(|known| known.hold(now_ms, routing)) {
            return known;
        }
        let oldest_word =
            self.sources.lock().values().map(|source| source.as_of_ms.load(Ordering::Relaxed)).min();
        let as_of_ms = oldest_word.unwrap_or(now_ms);
        let made = Arc::new(Sums::new(now_ms, as_of_ms, routing, |add| self.for_each(add)));
        self.sums.store(Some(Arc::clone(&made)));
        made
    }

    /// Forgets the time of a node that has gone for good.
    pub(crate) fn forget_source(&self, node: &NodeId) {
        self.sources.lock().remove(node);
    }
}

#[cfg(test)]
mod tests {
    use room::{Placed, PlacedBy, PollPolicy, Promotions, RoomId, Sect, SectKind, SectTable};

    use super::*;

    fn room(name: &str) -> RoomKey {
        RoomKey::new(AppId::default(), RoomId::internal(name))
    }

    fn snapshot(name: &str, num_users: u64, as_of_ms: u64) -> Arc<RoomSnapshot> {
        Arc::new(RoomSnapshot {
            room: room(name),
            num_users,
            num_clients: num_users + 1,
            exact: true,
            joins: 0,
            leaves: 0,
            layout: Layout::default(),
            has_all_names: true,
            standing: Standing::default(),
            as_of_ms,
        })
    }

    fn update(node: &str, as_of_ms: u64, changed: Vec<Arc<RoomSnapshot>>, gone: Vec<RoomKey>) -> Update {
        Update { node: NodeId::new(node), uptime_ms: 0, as_of_ms, is_full: false, changed, gone }
    }

    #[test]
    fn unchanged_room_is_as_fresh_as_its_node() {
        let snapshots = Snapshots::default();
        snapshots.apply(&update("a", 1_000, vec![snapshot("r", 5, 1_000)], vec![]));
        let cell = snapshots.cell(&room("r")).unwrap();
        snapshots.apply(&update("a", 2_000, vec![], vec![]));
        let (seen, as_of_ms) = cell.load().unwrap();
        assert_eq!((seen.num_users, as_of_ms), (5, 2_000));
        snapshots.apply(&update("a", 3_000, vec![], vec![room("r")]));
        assert!(cell.load().is_none() && snapshots.get(&room("r")).is_none());
    }

    #[test]
    fn only_who_spoke_last_takes_a_room_away() {
        let snapshots = Snapshots::default();
        snapshots.apply(&update("a", 1_000, vec![snapshot("r", 5, 1_000)], vec![]));
        snapshots.apply(&update("b", 2_000, vec![snapshot("r", 6, 2_000)], vec![]));
        snapshots.apply(&Update { is_full: true, ..update("a", 2_500, vec![], vec![room("r")]) });
        assert_eq!(snapshots.get(&room("r")).unwrap().0.num_users, 6);
        snapshots
            .apply(&Update { is_full: true, ..update("b", 3_000, vec![snapshot("s", 1, 3_000)], vec![]) });
        assert!(snapshots.get(&room("r")).is_none() && snapshots.get(&room("s")).is_some());
    }

    #[test]
    fn totals_rank_the_rooms_of_an_app() {
        let snapshots = Snapshots::default();
        let rooms = (0..1_500).map(|n| snapshot(&format!("r{n}"), n, 1_000)).collect();
        snapshots.apply(&update("a", 1_000, rooms, vec![]));
        let routing = Arc::new(Routing::single());
        let totals = snapshots.totals(&AppId::default(), &routing, 5_000);
        assert_eq!((totals.num_users, totals.num_rooms), ((0..1_500).sum(), 1_499));
        assert_eq!((totals.rooms.len(), totals.rooms[0].num_users), (Totals::ROOMS_MAX, 1_499));
        snapshots.apply(&update("a", 1_000, vec![snapshot("r7", 9_999, 1_000)], vec![]));
        assert_eq!(
            snapshots.totals(&AppId::default(), &routing, 5_900).rooms[0].num_users,
            1_499,
            "within a second"
        );
        assert_eq!(snapshots.totals(&AppId::default(), &routing, 6_000).rooms[0].num_users, 9_999);
        assert_eq!(snapshots.totals(&AppId::internal("other"), &routing, 6_000).num_users, 0);
    }

    #[test]
    fn totals_by_sect_follow_the_routing_at_once() {
        let snapshots = Snapshots::default();
        let other_app = RoomSnapshot {
            room: RoomKey::new(AppId::internal("other"), RoomId::internal("x")),
            ..RoomSnapshot::clone(&snapshot("x", 7, 1_000))
        };
        let rooms = vec![snapshot("r", 5, 1_000), snapshot("s", 2, 1_000), snapshot("left", 0, 1_000)];
        snapshots.apply(&update("a", 1_000, rooms, vec![]));
        snapshots.apply(&update("a", 1_000, vec![Arc::new(other_app)], vec![]));
        let sect = |name: &str, kind| Sect {
            name: SectName::internal(name),
            kind,
            weight: 1,
            policy: PollPolicy::default(),
            nodes: Vec::new(),
        };
        let sects = vec![sect("a", SectKind::Ordinary), sect("vip", SectKind::Vip)];
        let table = Arc::new(SectTable::new(sects, Vec::new(), Promotions::default()).unwrap());
        let all_home = Arc::new(Routing { version: 1, table, moved: HashMap::new() });
        let by_api = Placed { sect: SectName::internal("vip"), by: PlacedBy::Api, since_ms: 0 };
        let moved = [(room("r"), by_api)].into();
        let one_moved = Arc::new(Routing { version: 2, moved, ..Routing::clone(&all_home) });
        let of = |routing: &Arc<Routing>| {
            let totals = snapshots.totals(&AppId::default(), routing, 5_000);
            assert_eq!((totals.num_users, totals.num_clients, totals.num_rooms), (7, 10, 2));
            ["a", "vip"].map(|name| {
                let SectTotals { num_users, num_clients, num_rooms } = totals.sect(&SectName::internal(name));
                (num_users, num_clients, num_rooms)
            })
        };
        assert_eq!(of(&all_home), [(7, 10, 2), (0, 0, 0)]);
        assert_eq!(of(&one_moved), [(2, 4, 1), (5, 6, 1)]);
        let users = |routing: &Arc<Routing>| -> Vec<_> {
            let sects = snapshots.sect_totals(routing, 5_000).into_iter();
            sects.map(|(name, sum)| (name.as_str().to_owned(), sum.num_users)).collect()
        };
        assert_eq!(users(&one_moved), [("a".to_owned(), 9), ("vip".to_owned(), 5)], "of all apps");
        assert_eq!(users(&Arc::new(Routing::single())), [("default".to_owned(), 14)]);
    }
}
