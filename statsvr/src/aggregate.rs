//! Adds up the splits of rooms: once a second, apart from beats and questions.

mod word;

use std::{collections::HashMap, sync::Arc};

use room::RoomKey;

use self::word::Word;
use crate::{
    History, Layout, NodeId, Nodes, Observation, Placement, Report, RoomReport, RoomSnapshot, SplitCounts,
    SplitId, Standing,
    level::Step,
    nodes::room_hash,
    takeover::{Due, Told},
};

/// Most keys of new users that a room keeps between two rounds; the rest comes with the next time that all online are told.
const JOINED_MAX: usize = 1 << 20;

/// A room of which nothing was reported for so long is forgotten (milliseconds).
const FORGOTTEN_AFTER_MS: u64 = 10_000;

/// For so long after a node came or went everything is said again every round (milliseconds). Until all see the same nodes as
/// settled two may speak for one room, and readers go by whom they heard last: that must be the one who stays.
const SAYS_AGAIN_MS: u64 = 8_000;

/// A room that is being added up.
#[derive(Default)]
struct Room {
    /// See [`room_hash`].
    hash: u64,
    layout: Layout,
    words: HashMap<NodeId, Word>,
    joined: Vec<u64>,
    joins: u64,
    leaves: u64,
    /// Users whom this node has seen come and go, for its history.
    seen: Traffic,
    /// Whether another node has spoken for the room.
    is_followed: bool,
    told: Told,
    /// What was said last, if this node was the one to say it.
    said: Option<Arc<RoomSnapshot>>,
}

/// Who came and went since a node began to look at a room.
///
/// Another node's totals are not among them: a point of the series would have joins that were long before it.
#[derive(Default)]
struct Traffic {
    joins: u64,
    leaves: u64,
    /// Users who were there at the first look without having been seen to come; `None` before it.
    found: Option<u64>,
}

impl Traffic {
    /// Takes note of how many came, and are there now. In a room that another node has spoken for, the first look is when
    /// all of it is known: what nodes tell until then is nobody who came now.
    fn take(&mut self, new_joins: u64, num_users: u64, is_followed: bool, is_whole: bool) {
        let looks_on = self.found.is_some() || !is_followed;
        if looks_on {
            self.joins += new_joins;
        }
        if looks_on || is_whole {
            let found = *self.found.get_or_insert(num_users.saturating_sub(self.joins));
            self.leaves = self.leaves.max((found + self.joins).saturating_sub(num_users));
        }
    }
}

/// Sums of one level.
#[derive(Default)]
struct Sum {
    num_users: u64,
    num_clients: u64,
    new_joins: u64,
    has_all_names: bool,
    exact: bool,
    /// Whether every node that has the say has told what it counts.
    is_whole: bool,
}

/// What a round of adding up has to say.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) changed: Vec<Arc<RoomSnapshot>>,
    pub(crate) gone: Vec<RoomKey>,
}

/// Adds up the rooms that this node is the first or second to speak for.
pub(crate) struct Aggregator {
    node: NodeId,
    window_ms: u64,
    /// Whether other nodes may be there, or may have been.
    is_alone: bool,
    history: Option<Arc<History>>,
    rooms: HashMap<RoomKey, Room>,
    /// How many reports were taken, and the number of each node's latest one.
    reports: (u64, HashMap<NodeId, u64>),
    /// The nodes of the latest round, and when they came to be these (Unix milliseconds).
    live: (Vec<NodeId>, u64),
}

impl Aggregator {
    pub(crate) fn new(node: NodeId, window_ms: u64, is_alone: bool, history: Option<Arc<History>>) -> Self {
        Self {
            node,
            window_ms,
            is_alone,
            history,
            rooms: HashMap::new(),
            reports: (0, HashMap::new()),
            live: (Vec::new(), 0),
        }
    }

    /// Takes what a node counts.
    pub(crate) fn take(&mut self, report: Report, now_ms: u64) {
        let Report { node, rooms } = report;
        let number = self.begin_report();
        for RoomReport { room, mut splits, mut joined } in rooms {
            splits.sort_unstable_by_key(|(id, _)| *id);
            splits.dedup_by_key(|(id, _)| *id);
            self.take_room(&node, &room, &splits, &mut joined, (number, now_ms));
        }
        self.end_report(&node, number);
    }

    /// A node begins to report; gives back the report's number.
    pub(crate) fn begin_report(&mut self) -> u64 {
        self.reports.0 += 1;
        self.reports.0
    }

    /// Takes what a node counts in one room: its splits, ascending and each once. `report` is the number of the report that this is
    /// a part of, and the time.
    pub(crate) fn take_room(
        &mut self,
        node: &NodeId,
        key: &RoomKey,
        splits: &[(SplitId, SplitCounts)],
        joined: &mut Vec<u64>,
        report: (u64, u64),
    ) {
        let room = match self.rooms.get_mut(key) {
            Some(room) => room,
            None => self.rooms.entry(key.clone()).or_insert_with_key(Room::new),
        };
        joined.truncate(JOINED_MAX.saturating_sub(room.joined.len()));
        room.joined.append(joined);
        let word = match room.words.get_mut(node) {
            Some(word) => word,
            None => room.words.entry(node.clone()).or_default(),
        };
        word.take(splits, report);
    }

    /// A node has reported all of its rooms: what it said before and has not said again counts no more.
    pub(crate) fn end_report(&mut self, node: &NodeId, number: u64) {
        self.reports.1.insert(node.clone(), number);
    }

    /// Follows the layout that the node has decided on that speaks for the room, unless that is this one.
    pub(crate) fn follow(&mut self, snapshot: &RoomSnapshot, nodes: &Nodes, now_ms: u64) {
        let speaker = nodes.owners(&snapshot.room, now_ms)[0];
        if speaker.is_none_or(|speaker| speaker.id == self.node) {
            return;
        }
        // Also before this node hears of the room otherwise: what is not its own is not to be taken for new.
        if !self.rooms.contains_key(&snapshot.room)
            && nodes.informed(&snapshot.room, now_ms).any(|node| node.id == self.node)
        {
            self.rooms.insert(snapshot.room.clone(), Room::new(&snapshot.room));
        }
        if let Some(room) = self.rooms.get_mut(&snapshot.room) {
            room.layout = snapshot.layout;
            room.is_followed = true;
            room.joins = room.joins.max(snapshot.joins);
            room.leaves = room.leaves.max(snapshot.leaves);
        }
    }

    /// One round: all rooms that this node speaks for and that have changed since the last one.
    pub(crate) fn round(&mut self, nodes: &Nodes, now_ms: u64) -> Round {
        let mut round = Round::default();
        let mut live: Vec<_> = nodes.live().iter().map(|node| node.id.clone()).collect();
        live.sort_unstable();
        if live != self.live.0 {
            self.live = (live, now_ms);
        }
        let says_again = !self.is_alone && now_ms < self.live.1 + SAYS_AGAIN_MS;
        let Self { node, window_ms, is_alone, history, rooms, reports: (_, reports), .. } = self;
        // What a node that has gone said last counts no more: its second copy does.
        reports.retain(|id, _| id == node || nodes.has(id));
        rooms.retain(|key, room| {
            room.words.retain(|id, word| reports.get(id) == Some(&word.report));
            let last_word_ms = room.words.values().map(|word| word.at_ms).max();
            let [first, second] =
                nodes.owners_of(room.hash, now_ms).map(|owner| owner.map(|owner| &owner.id));
            let speaks = first == Some(node);
            if last_word_ms.is_none() || !(speaks || second == Some(node)) {
                if room.said.take().is_some() && last_word_ms.is_none() {
                    round.gone.push(key.clone());
                }
                return last_word_ms.is_some_and(|at_ms| now_ms < at_ms + FORGOTTEN_AFTER_MS);
            }
            let view = View { nodes, key, window_ms: *window_ms, now_ms, is_alone: *is_alone };
            let snapshot = room.add_up(&view, speaks, history.as_deref());
            if !speaks {
                room.said = None;
            } else if says_again || room.said.as_ref().is_none_or(|said| said.differs(&snapshot)) {
                let snapshot = Arc::new(snapshot);
                room.said = Some(Arc::clone(&snapshot));
                round.changed.push(snapshot);
            }
            true
        });
        round
    }

    /// Rooms whose history is to be told to other nodes now, at most `max` for each node.
    pub(crate) fn due_shares(&mut self, nodes: &Nodes, now_ms: u64, max: usize) -> HashMap<NodeId, Vec<Due>> {
        let mut all: HashMap<NodeId, Vec<Due>> = HashMap::new();
        let Some(history) = &self.history else { return all };
        if nodes.live().len() < 2 {
            return all;
        }
        for (key, room) in &mut self.rooms {
            let is_own = nodes.informed_of(room.hash, now_ms).any(|node| node.id == self.node);
            if !is_own || !history.is_loaded(key) {
                continue;
            }
            let others = nodes.informed_of(room.hash, now_ms).filter(|node| node.id != self.node);
            for (node, due) in room.told.due(key, others, now_ms) {
                let due_to = all.entry(node).or_default();
                if due_to.len() < max {
                    due_to.push(due);
                }
            }
        }
        all
    }

    /// These shares were put in line for a node.
    pub(crate) fn told(&mut self, node: &NodeId, shares: &[Due]) {
        for due in shares {
            if let Some(room) = self.rooms.get_mut(&due.room) {
                room.told.told(node, due);
            }
        }
    }

    /// All rooms that this node has spoken of and that are still there.
    pub(crate) fn said(&self) -> Vec<Arc<RoomSnapshot>> {
        self.rooms.values().filter_map(|room| room.said.clone()).collect()
    }
}

/// What adding up depends on besides the room.
struct View<'a> {
    nodes: &'a Nodes,
    key: &'a RoomKey,
    window_ms: u64,
    now_ms: u64,
    is_alone: bool,
}

impl Room {
    fn new(key: &RoomKey) -> Self {
        Self { hash: room_hash(key), ..Self::default() }
    }

    fn add_up(&mut self, view: &View<'_>, decides: bool, history: Option<&History>) -> RoomSnapshot {
        let sum = self.sum(view, self.layout.level);
        let new_joins = sum.new_joins;
        let mut shown = sum;
        if decides {
            let next = self.layout.next.map(|(level, _)| self.sum(view, level));
            let next_users = next.as_ref().map_or(0, |next| next.num_users);
            if self.layout.step(shown.num_users, next_users, view.window_ms, view.now_ms) == Step::Switched {
                shown = next.unwrap_or(shown);
            }
        }
        self.words.values_mut().for_each(Word::joins_are_counted);
        // Of a room that another node speaks for, these are what that one says.
        if decides || !self.is_followed {
            self.joins += new_joins;
            self.leaves = self.leaves.max(self.joins.saturating_sub(shown.num_users));
        }
        // One that has just stepped in does not know all of the room in its first round or two.
        let observes = decides || shown.is_whole || self.seen.found.is_some();
        self.seen.take(new_joins, shown.num_users, self.is_followed, shown.is_whole);
        let standing = history.filter(|_| observes).map_or_else(Standing::default, |history| {
            let seen = Observation {
                at_ms: view.now_ms,
                num_users: shown.num_users,
                num_clients: shown.num_clients,
                joins: self.seen.joins,
                leaves: self.seen.leaves,
            };
            history.observe(view.key, seen, &std::mem::take(&mut self.joined))
        });
        if history.is_none() {
            self.joined.clear();
        }
        RoomSnapshot {
            room: view.key.clone(),
            num_users: shown.num_users,
            num_clients: shown.num_clients,
            exact: shown.exact,
            joins: self.joins,
            leaves: self.leaves,
            layout: self.layout,
            has_all_names: shown.has_all_names,
            standing,
            as_of_ms: view.now_ms,
        }
    }

    /// Adds up the splits of `level`, each as the node counts it that has the say.
    fn sum(&self, view: &View<'_>, level: u8) -> Sum {
        let mut sum = Sum { has_all_names: true, exact: true, is_whole: true, ..Sum::default() };
        for index in 0..1 << level {
            let id = SplitId { level, index };
            let key = Placement::of_hash(self.hash, id);
            let Some(speaker) = view.nodes.speaker(key, view.window_ms, view.now_ms) else {
                sum.exact = false;
                continue;
            };
            sum.exact &= speaker.is_warm(view.window_ms, view.now_ms) || view.is_alone;
            let word = self.words.get(&speaker.id);
            sum.is_whole &= word.is_some();
            let Some(split) = word.and_then(|word| word.split(id)) else { continue };
            sum.num_users += split.counts.num_users;
            sum.num_clients += split.counts.num_clients;
            sum.new_joins += split.new_joins;
            sum.has_all_names &= split.counts.has_all_names;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use room::{AppId, RoomId};

    use super::*;

    const WINDOW: u64 = 30_000;

    fn room() -> RoomKey {
        RoomKey::new(AppId::default(), RoomId::internal("r"))
    }

    fn report(node: &str, splits: &[(u8, u32, u64)]) -> Report {
        let counts = |(level, index, num_users): &(u8, u32, u64)| {
            let counts = SplitCounts {
                num_users: *num_users,
                num_clients: num_users * 2,
                joins: *num_users,
                has_all_names: true,
            };
            (SplitId { level: *level, index: *index }, counts)
        };
        let splits: Vec<_> = splits.iter().map(counts).collect();
        let rooms = if splits.is_empty() {
            vec![]
        } else {
            vec![RoomReport { room: room(), splits, joined: vec![] }]
        };
        Report { node: NodeId::new(node), rooms }
    }

    fn nodes(names: &[&str]) -> Nodes {
        Nodes::new(names.iter().map(|name| (NodeId::new(name), 0)))
    }

    #[test]
    fn only_changes_are_said() {
        let mut aggregator = Aggregator::new(NodeId::new("a"), WINDOW, true, None);
        let alone = nodes(&["a"]);
        aggregator.take(report("a", &[(0, 0, 5)]), 1_000);
        let round = aggregator.round(&alone, 1_000);
        assert_eq!(
            (round.changed[0].num_users, round.changed[0].num_clients, round.changed[0].exact),
            (5, 10, true)
        );
        aggregator.take(report("a", &[(0, 0, 5)]), 2_000);
        assert!(aggregator.round(&alone, 2_000).changed.is_empty());
        aggregator.take(report("a", &[(0, 0, 4)]), 3_000);
        assert_eq!(aggregator.round(&alone, 3_000).changed[0].num_users, 4);
        aggregator.take(report("a", &[]), 4_000);
        assert_eq!(aggregator.round(&alone, 4_000).gone, [room()]);
        assert!(aggregator.rooms.is_empty() && aggregator.said().is_empty());
    }

    #[test]
    fn second_copy_counts_as_soon_as_the_first_is_gone() {
        let both = nodes(&["a", "b"]);
        let owner = both.owners(&room(), 100_000)[0].unwrap().id.to_string();
        let other = if owner == "a" { "b" } else { "a" };
        let mut aggregator = Aggregator::new(NodeId::new(other), WINDOW, false, None);
        for now_ms in [100_000, 101_000] {
            aggregator.take(report("a", &[(0, 0, 50)]), now_ms);
            aggregator.take(report("b", &[(0, 0, 50)]), now_ms);
            assert!(aggregator.round(&both, now_ms).changed.is_empty(), "the other one speaks");
        }
        let round = aggregator.round(&nodes(&[other]), 101_500);
        assert_eq!((round.changed[0].num_users, round.changed[0].joins), (50, 50));
        assert!(round.changed[0].exact);
    }

    #[test]
    fn what_a_node_counts_no_more_is_out_with_its_next_report() {
        let both = nodes(&["a", "b"]);
        let owner = both.owners(&room(), 100_000)[0].unwrap().id.to_string();
        let mut aggregator = Aggregator::new(NodeId::new(&owner), WINDOW, false, None);
        let split = Placement::of(&room(), SplitId { level: 0, index: 0 });
        let speaker = both.speaker(split, WINDOW, 100_000).unwrap().id.to_string();
        let other = if speaker == "a" { "b" } else { "a" };
        aggregator.take(report(&speaker, &[(0, 0, 50)]), 100_000);
        aggregator.take(report(other, &[(0, 0, 49)]), 100_000);
        assert_eq!(aggregator.round(&both, 100_000).changed[0].num_users, 50);
        aggregator.take(report(&speaker, &[]), 101_000);
        assert_eq!(aggregator.round(&both, 101_000).changed[0].num_users, 0, "the other one has not the say");
        aggregator.take(report(other, &[]), 102_000);
        assert_eq!(aggregator.round(&both, 102_000).gone, [room()]);
    }

    #[test]
    fn everything_is_said_again_when_a_node_goes() {
        let both = nodes(&["a", "b"]);
        let owner = both.owners(&room(), 100_000)[0].unwrap().id.to_string();
        let mut aggregator = Aggregator::new(NodeId::new(&owner), WINDOW, false, None);
        let mut says = |nodes: &Nodes, now_ms| {
            aggregator.take(report("a", &[(0, 0, 50)]), now_ms);
            aggregator.take(report("b", &[(0, 0, 50)]), now_ms);
            aggregator.round(nodes, now_ms).changed.len()
        };
        assert_eq!((says(&both, 100_000), says(&both, 107_000)), (1, 1), "a node has just come");
        assert_eq!(says(&both, 108_000), 0);
        // The other one may have been the last to speak of the room.
        let alone = nodes(&[&owner]);
        assert_eq!((says(&alone, 109_000), says(&alone, 117_000)), (1, 0));
    }

    #[test]
    fn levels_change_without_a_jump() {
        let mut aggregator = Aggregator::new(NodeId::new("a"), WINDOW, true, None);
        let alone = nodes(&["a"]);
        aggregator.take(report("a", &[(0, 0, 70_000)]), 1_000);
        assert_eq!(aggregator.round(&alone, 1_000).changed[0].layout.next, Some((1, 1_000)));
        for s in 2..40 {
            aggregator.take(report("a", &[(0, 0, 70_000), (1, 0, 34_000), (1, 1, 36_000)]), s * 1_000);
            for snapshot in aggregator.round(&alone, s * 1_000).changed {
                assert_eq!((snapshot.num_users, snapshot.joins), (70_000, 70_000));
            }
        }
        assert_eq!(aggregator.said()[0].layout, Layout { level: 1, next: None });
        aggregator.take(report("a", &[(1, 0, 34_000), (1, 1, 36_001)]), 50_000);
        let snapshot = &aggregator.round(&alone, 50_000).changed[0];
        assert_eq!((snapshot.num_users, snapshot.joins), (70_001, 70_001));
    }
}
