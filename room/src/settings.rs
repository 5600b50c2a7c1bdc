//! What moderators can set about a room.

use std::time::Duration;

use crate::{List, PerList};

/// How much of a list is kept: the newest `count`, less those older than `age`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Most messages kept; at least 1.
    pub count: u64,
    /// How long a message is kept; at least a second.
    pub age: Duration,
}

impl Retention {
    /// What a list keeps unless configured otherwise: priority 100,000 or 24 h, normal 10,000 or 1 h.
    #[must_use]
    pub const fn default_of(list: List) -> Self {
        match list {
            List::Priority => Self { count: 100_000, age: Duration::from_secs(24 * 3600) },
            List::Normal => Self { count: 10_000, age: Duration::from_secs(3600) },
        }
    }
}

/// Whether a room takes messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RoomState {
    /// It does.
    #[default]
    Live,
    /// It does not; what it has can be read until it ages out.
    Closed,
}

/// What was set for a room. `None` means "the server's default at the time of asking".
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoomSettings {
    /// Live or closed.
    pub state: RoomState,
    /// Only broadcasters and above may send.
    pub muted: bool,
    /// Slow mode: least time between two messages of one user; zero for off.
    pub cooldown: Duration,
    /// Messages a second in the room; 0 for no limit.
    pub room_rate: Option<u32>,
    /// Messages a second by one user; 0 for no limit.
    pub user_rate: Option<u32>,
    /// How much of each list is kept.
    pub retention: PerList<Option<Retention>>,
}

impl RoomSettings {
    /// The word for the room's state in poll answers: `live`, `muted` or `closed`.
    #[must_use]
    pub fn state_shown(&self) -> &'static str {
        match (self.state, self.muted) {
            (RoomState::Closed, _) => "closed",
            (RoomState::Live, true) => "muted",
            (RoomState::Live, false) => "live",
        }
    }

    /// Whether the room is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == RoomState::Closed
    }
}
