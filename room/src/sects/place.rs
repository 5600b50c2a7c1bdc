//! Rendezvous hashing: which of several nodes or sects a room belongs to, the same on every machine.
//!
//! Highest random weight: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998; weights by the
//! logarithm method of Schindelhauer and Schomaker, 2005.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::RoomKey;

const SCORE_SEED: u64 = 0x7365_6374_0000_0001; // "sect", 1
const MOVE_SEED: u64 = 0x6d6f_7665_0000_0001; // "move", 1

/// Users of a room for each node that it is spread over, beyond the first: a node follows and passes on, which costs it little for
/// each proxy, so only crowds need several.
const USERS_PER_NODE: u64 = 50_000;

/// Over how long the moves of a change are spread.
pub const MOVE_SPREAD: Duration = Duration::from_secs(5);

/// For how many users a room gets one more of its sect's nodes.
#[must_use]
pub const fn users_per_node() -> u64 {
    USERS_PER_NODE
}

fn hash(seed: u64, room: u64, name: &str) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), seed ^ room)
}

/// How much `name` wants the room: the one that wants it most gets it, in proportion to its weight.
pub(super) fn score(room: u64, name: &str, weight: f64) -> f64 {
    // In (0, 1): 53 bits and a half.
    let uniform = ((hash(SCORE_SEED, room, name) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -weight / uniform.ln()
}

/// In which order `asking` takes the nodes for a room: indexes into `nodes`, each once, the best first.
///
/// The first few by the room's rendezvous hash are the room's: one for a small room, one more for each 50,000 users, all for a big
/// one. Each who asks takes one of those, by a hash of both; the others of them come next, then the nodes that are not the
/// room's. A node that comes or goes moves only what it gets or had.
#[must_use]
pub fn ranked_nodes<N: AsRef<str>>(room: &RoomKey, asking: &str, nodes: &[N], users: u64) -> Vec<usize> {
    let hashed = room.hash48().0;
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_cached_key(|at| std::cmp::Reverse(hash(SCORE_SEED, hashed, nodes[*at].as_ref())));
    let own = usize::try_from(users / USERS_PER_NODE + 1).unwrap_or(usize::MAX).min(order.len());
    let pair = xxh3_64_with_seed(asking.as_bytes(), hashed);
    order[..own].sort_by_cached_key(|at| std::cmp::Reverse(hash(SCORE_SEED, pair, nodes[*at].as_ref())));
    order
}

/// How long after the change that made `version` a node moves a room: less than [`MOVE_SPREAD`], different for each of both, so
/// that a room's crowd moves bit by bit.
#[must_use]
pub fn move_after(room: &RoomKey, node: &str, version: u64) -> Duration {
    let share = hash(MOVE_SEED ^ version, room.hash48().0, node);
    Duration::from_micros(share % MOVE_SPREAD.as_micros() as u64)
}
