//! Which room's history is to be told to which other node, and when.
//!
//! Each node keeps history in a store of its own, so what happened to a room while a node was away is missing from that
//! node's. The node that was there tells it: [`crate::History::share`] on the one side, [`crate::History::adopt`] on the
//! other, idempotent and in any order. A node tells
//!
//! - a room's other nodes once, when it begins to add the room up and has read what its store knows of it;
//! - a node that comes, comes back, or takes the place of another, each time [`TELL_AFTER_MS`] says.
//!
//! # Bounds
//! Of one round a node is told at most [`MESSAGES_AT_ONCE`] messages, each of [`SHARES_ROOMS_MAX`] rooms and
//! [`SHARES_BYTES_MAX`] bytes at most. What finds no place there or in the queue is told in the next round. A deployment of one node
//! keeps nothing and does nothing.

use room::RoomKey;

use crate::{Node, NodeId};

#[cfg(test)]
mod tests;

/// Most rooms in one message (count).
pub(crate) const SHARES_ROOMS_MAX: usize = 4_096;

/// A message is sent once it has so much (bytes): it has one room's share more at most.
pub(crate) const SHARES_BYTES_MAX: usize = 4 << 20;

/// Most bytes of one room's share: two sets of viewers of at most 80 KB, 64 blocks of at most 3 KB, and the summary.
pub(crate) const SHARE_BYTES_MAX: usize = 1 << 20;

/// Messages that wait for one node, and the most of one round (count).
pub(crate) const MESSAGES_AT_ONCE: usize = 4;

/// How long after it has come a node is told of a room (milliseconds). At once, as there may be much to tell; before it may speak for rooms
/// (3 s), when all nodes know of it and tell it of new users; and once more after that, for messages that were late.
const TELL_AFTER_MS: [u64; 3] = [0, 2_000, 6_000];

/// What other nodes were told of a room.
#[derive(Default)]
pub(crate) struct Told {
    to: Vec<Telling>,
    /// Whether this node has begun to tell.
    has_begun: bool,
}

struct Telling {
    node: NodeId,
    since_ms: u64,
    /// From when [`TELL_AFTER_MS`] counts.
    from_ms: u64,
    /// How many of those times are done with.
    times: usize,
}

/// A share that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    pub(crate) room: RoomKey,
    since_ms: u64,
    times: usize,
}

impl Told {
    /// What is due to `others`, the nodes beside this one that are to know the room.
    pub(crate) fn due<'a>(
        &mut self,
        room: &RoomKey,
        others: impl Iterator<Item = &'a Node>,
        now_ms: u64,
    ) -> Vec<(NodeId, Due)> {
        let mut before = std::mem::take(&mut self.to);
        let mut due = Vec::new();
        for node in others {
            let same = |telling: &Telling| telling.node == node.id && telling.since_ms == node.since_ms;
            let telling = match before.iter().position(same) {
                Some(at) => before.swap_remove(at),
                None => self.begin(node, now_ms),
            };
            let passed = |after: &&u64| telling.from_ms.saturating_add(**after) <= now_ms;
            // A node may have come later than now by this node's clock.
            let times = TELL_AFTER_MS.iter().filter(passed).count().max(1);
            if times > telling.times {
                due.push((node.id.clone(), Due { room: room.clone(), since_ms: node.since_ms, times }));
            }
            self.to.push(telling);
        }
        self.has_begun = true;
        due
    }

    fn begin(&self, node: &Node, now_ms: u64) -> Telling {
        let is_new = now_ms.saturating_sub(node.since_ms) < TELL_AFTER_MS[TELL_AFTER_MS.len() - 1];
        // One that has been there for long is told of a new room once; for one that steps in, the others have to hear that first.
        let from_ms = if is_new || !self.has_begun { node.since_ms } else { now_ms };
        Telling { node: node.id.clone(), since_ms: node.since_ms, from_ms, times: 0 }
    }

    /// The share was put in line.
    pub(crate) fn told(&mut self, node: &NodeId, due: &Due) {
        let telling = self.to.iter_mut().find(|to| to.node == *node && to.since_ms == due.since_ms);
        if let Some(telling) = telling {
            telling.times = telling.times.max(due.times);
        }
    }
}
