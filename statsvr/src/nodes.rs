//! Which statsvrs there are, and which of them has which split.

use std::{fmt, sync::Arc};

use room::RoomKey;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{SplitId, identity::mix};

/// How long a node must be there before it may speak for a room (milliseconds): the time in which the others have told it
/// what they count.
const SETTLED_MS: u64 = 3_000;

/// How long it may take until all who send beats have found a node that came back (milliseconds): the longest wait between two
/// attempts to reach it, its first word, and the next flush.
const FOUND_BY_ALL_MS: u64 = 4_000;

/// A statsvr's name: the same for as long as it is the same process in the eyes of the others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A node's name, in practice its address.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in 64 bits: what [`crate::HistorySettings::node`] is to be.
    #[must_use]
    pub fn number(&self) -> u64 {
        xxh3_64_with_seed(self.0.as_bytes(), 0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A statsvr that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// Since when it has been given all that it should have (Unix milliseconds).
    pub since_ms: u64,
    hash: u64,
}

impl Node {
    /// Whether the node has been told of everybody: all who send beats have known it for a whole window.
    #[must_use]
    pub fn is_warm(&self, window_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= window_ms + FOUND_BY_ALL_MS
    }
}

/// The statsvrs that answer, as one observer sees them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nodes {
    live: Vec<Node>,
}

/// What is placed on nodes: a split of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement(u64);

impl Placement {
    /// The place of a split among the nodes.
    #[must_use]
    pub fn of(room: &RoomKey, split: SplitId) -> Self {
        Self::of_hash(room_hash(room), split)
    }

    pub(crate) fn of_hash(room: u64, split: SplitId) -> Self {
        Self(mix(room ^ u64::from(split.level) << 32 ^ u64::from(split.index)))
    }

    /// The place of a room as a whole: who adds it up.
    fn of_room(room: u64) -> Self {
        Self::of_hash(room, SplitId { level: 0, index: 0 })
    }
}

/// A room in 64 bits.
pub(crate) fn room_hash(room: &RoomKey) -> u64 {
    xxh3_64_with_seed(room.room.as_str().as_bytes(), xxh3_64_with_seed(room.app.as_str().as_bytes(), 0))
}

impl Nodes {
    /// The nodes that answer, and since when.
    #[must_use]
    pub fn new(live: impl IntoIterator<Item = (NodeId, u64)>) -> Self {
        let node = |(id, since_ms): (NodeId, u64)| {
            let hash = id.number();
            Node { id, since_ms, hash }
        };
        Self { live: live.into_iter().map(node).collect() }
    }

    /// All of them.
    #[must_use]
    pub fn live(&self) -> &[Node] {
        &self.live
    }

    /// The two nodes that keep a split, the first one first; fewer if there are fewer.
    ///
    /// Rendezvous hashing (D. G. Thaler and C. V. Ravishankar, 1998): each node has a score for each key, the best two have
    /// it. A node that comes takes only what it is best at, one that goes leaves only what it had.
    #[must_use]
    pub fn keepers(&self, key: Placement) -> [Option<&Node>; 2] {
        self.best_two(key, |_| true)
    }

    fn best_two(&self, key: Placement, may: impl Fn(&Node) -> bool) -> [Option<&Node>; 2] {
        let mut best: [Option<(u64, &Node)>; 2] = [None, None];
        for node in self.live.iter().filter(|node| may(node)) {
            let score = (mix(node.hash ^ key.0), node);
            let beats = |other: Option<(u64, &Node)>| other.is_none_or(|(other, _)| score.0 > other);
            if beats(best[0]) {
                best = [Some(score), best[0]];
            } else if beats(best[1]) {
                best[1] = Some(score);
            }
        }
        best.map(|scored| scored.map(|(_, node)| node))
    }

    /// The node whose count of a split is the one that counts: the first of its keepers that is warm ([`Node::is_warm`]).
    /// With none, the first keeper.
    #[must_use]
    pub fn speaker(&self, key: Placement, window_ms: u64, now_ms: u64) -> Option<&Node> {
        self.best_two(key, |node| node.is_warm(window_ms, now_ms))[0].or(self.keepers(key)[0])
    }

    /// The nodes that add up a room: the one that speaks for it, and the one that would be next.
    #[must_use]
    pub fn owners(&self, room: &RoomKey, now_ms: u64) -> [Option<&Node>; 2] {
        self.owners_of(room_hash(room), now_ms)
    }

    /// The same for a room's [`room_hash`].
    pub(crate) fn owners_of(&self, room: u64, now_ms: u64) -> [Option<&Node>; 2] {
        let key = Placement::of_room(room);
        let settled = self.best_two(key, |node| now_ms.saturating_sub(node.since_ms) >= SETTLED_MS);
        if settled[0].is_some() { settled } else { self.keepers(key) }
    }

    /// The nodes that are told of a room: those that add it up, and those that will once they are settled. At most four.
    pub(crate) fn informed(&self, room: &RoomKey, now_ms: u64) -> impl Iterator<Item = &Node> {
        self.informed_of(room_hash(room), now_ms)
    }

    /// The same for a room's [`room_hash`].
    pub(crate) fn informed_of(&self, room: u64, now_ms: u64) -> impl Iterator<Item = &Node> {
        let owners = self.owners_of(room, now_ms);
        let next = self.keepers(Placement::of_room(room));
        let is_new = move |node: &&Node| !owners.into_iter().flatten().any(|owner| owner.id == node.id);
        owners.into_iter().flatten().chain(next.into_iter().flatten().filter(is_new))
    }

    /// Whether a node of this name answers.
    #[must_use]
    pub fn has(&self, id: &NodeId) -> bool {
        self.live.iter().any(|node| node.id == *id)
    }
}

#[cfg(test)]
mod tests {
    use room::{AppId, RoomId};

    use super::*;

    fn nodes(names: &[(&str, u64)]) -> Nodes {
        Nodes::new(names.iter().map(|(name, since_ms)| (NodeId::new(name), *since_ms)))
    }

    fn keys() -> impl Iterator<Item = Placement> {
        let room = RoomKey::new(AppId::default(), RoomId::internal("r"));
        (0..4_096).map(move |index| Placement::of(&room, SplitId { level: 12, index }))
    }

    fn names(nodes: &Nodes, key: Placement) -> Vec<String> {
        nodes.keepers(key).into_iter().flatten().map(|node| node.id.to_string()).collect()
    }

    #[test]
    fn keys_are_spread_evenly() {
        let nodes = nodes(&[("a", 0), ("b", 0), ("c", 0), ("d", 0)]);
        for node in nodes.live() {
            let count = keys().filter(|key| nodes.keepers(*key)[0] == Some(node)).count();
            assert!((900..1_150).contains(&count), "{} has {count}", node.id);
        }
    }

    #[test]
    fn node_that_comes_or_goes_moves_only_its_share() {
        let three = nodes(&[("a", 0), ("b", 0), ("c", 0)]);
        let four = nodes(&[("a", 0), ("b", 0), ("c", 0), ("d", 0)]);
        let mut moved = 0;
        for key in keys() {
            let (before, after) = (names(&three, key), names(&four, key));
            let kept: Vec<_> = after.iter().filter(|name| *name != "d").cloned().collect();
            assert!(before.starts_with(&kept) || before[0] == kept[0], "order among the others stays");
            moved += usize::from(before != after);
        }
        assert!((1_850..2_250).contains(&moved), "half of the keys have it among two of four, {moved}");
    }

    #[test]
    fn second_copy_answers_until_the_first_is_warm() {
        let room = RoomKey::new(AppId::default(), RoomId::internal("r"));
        let key = Placement::of(&room, SplitId { level: 0, index: 0 });
        let both = nodes(&[("a", 0), ("b", 0)]);
        let [first, second] = both.keepers(key).map(|node| node.unwrap().id.clone());
        let restarted = Nodes::new([(first.clone(), 100_000), (second.clone(), 0)]);
        assert_eq!(restarted.speaker(key, 30_000, 133_999).unwrap().id, second);
        assert_eq!(restarted.speaker(key, 30_000, 134_000).unwrap().id, first);
        let alone = Nodes::new([(first.clone(), 100_000)]);
        assert_eq!(alone.speaker(key, 30_000, 100_000).unwrap().id, first);
        assert_eq!(restarted.owners(&room, 101_000)[0].unwrap().id, second);
        assert_eq!(restarted.owners(&room, 103_000)[0].unwrap().id, first);
        assert!(Nodes::default().speaker(key, 1, 1).is_none());
    }
}
