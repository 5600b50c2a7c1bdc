//! How many are in a room, for those who tell it and those who go by it.

use crate::RoomKey;

/// How many were in a room at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnlineCounts {
    /// People: one with three devices is one (count).
    pub num_users: u64,
    /// Devices (count).
    pub num_clients: u64,
    /// When this was so (Unix milliseconds).
    pub as_of_ms: u64,
}

/// Where a recvsvr looks up how many are in a room.
pub trait OnlineSource: Send + Sync + 'static {
    /// The latest counts; `None` while there are none. A look into memory: it must not wait.
    fn online(&self, room: &RoomKey) -> Option<OnlineCounts>;
}

/// The source of a recvsvr whose viewers nobody counts.
#[derive(Clone, Copy, Debug)]
pub struct NobodyCounts;

impl OnlineSource for NobodyCounts {
    fn online(&self, _room: &RoomKey) -> Option<OnlineCounts> {
        None
    }
}
