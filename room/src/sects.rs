//! Sects: deployment sets with recvsvrs of their own, and which room lives in which.

mod place;
mod table;

use std::{collections::HashMap, fmt, sync::Arc};

pub use place::{MOVE_SPREAD, move_after, ranked_nodes, users_per_node};
pub use table::{NotAdmitted, Pin, Promotions, SectTable, SectTableError};

use crate::{PollPolicy, RoomId, RoomKey};

/// A sect's name: 1 to 64 characters of the id alphabet, not beginning with `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectName(Box<str>);

/// Why a text is no sect's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of A-Z a-z 0-9 _ - . :, not beginning with _ and not only dots")]
pub struct SectNameError;

impl SectName {
    /// Checks and takes a text.
    ///
    /// # Errors
    /// The rule that `text` breaks: that of room ids.
    pub fn new(text: &str) -> Result<Self, SectNameError> {
        RoomId::new(text).map(|_| Self(text.into())).map_err(|_| SectNameError)
    }

    /// Takes a text that another node or the store gave back.
    #[must_use]
    pub fn internal(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// What a sect is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SectKind {
    /// Rooms live in it by their hash.
    Ordinary,
    /// Rooms live in it that are pinned there, or have grown big.
    Vip,
}

impl SectKind {
    /// The word for it in the table and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Vip => "vip",
        }
    }
}

/// A deployment set with its own recvsvrs, its own notices and its own poll policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sect {
    /// Its name; no other sect of the table has it.
    pub name: SectName,
    /// What it is for.
    pub kind: SectKind,
    /// Its share of the rooms, beside the weights of the other sects of its kind; at least 1.
    pub weight: u32,
    /// How often its viewers are answered.
    pub policy: PollPolicy,
    /// Its recvsvrs, `host:port` each, as they advertise themselves; where there are none, those that register for it.
    pub nodes: Vec<Box<str>>,
}

/// By what a room lives elsewhere than its hash says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PlacedBy {
    /// An operator has said so.
    Api,
    /// It has grown big.
    Promotion,
}

impl PlacedBy {
    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Promotion => "promotion",
        }
    }
}

/// Where a room lives that does not live where the table has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The sect.
    pub sect: SectName,
    /// By what.
    pub by: PlacedBy,
    /// Since when (Unix milliseconds).
    pub since_ms: u64,
}

/// Most rooms that live elsewhere than the table has them.
pub const MOVED_ROOMS_MAX: usize = 100_000;

/// Which room lives in which sect, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routing {
    /// Counts up with every change.
    pub version: u64,
    /// The sects, and the rule.
    pub table: Arc<SectTable>,
    /// The exceptions from it; at most [`MOVED_ROOMS_MAX`].
    pub moved: HashMap<RoomKey, Placed>,
}

impl Routing {
    /// One sect for all rooms.
    #[must_use]
    pub fn single() -> Self {
        Self { version: 0, table: Arc::new(SectTable::single()), moved: HashMap::new() }
    }

    /// The sect that the room lives in.
    ///
    /// An operator's word counts most, then the table's pins, then a promotion, then the hash. A place in a sect that the table
    /// no longer has does not count.
    #[must_use]
    pub fn sect_of(&self, room: &RoomKey) -> &Sect {
        self.place_of(room).map_or_else(|| self.table.home(room), |(sect, _)| sect)
    }

    /// The exception by which the room lives where it does; `None` if the table alone says where.
    #[must_use]
    pub fn placed(&self, room: &RoomKey) -> Option<&Placed> {
        self.place_of(room).map(|(_, placed)| placed)
    }

    /// Whether the room is marked as promoted and that does not count: its sect is gone or is none for promoted rooms any more, or
    /// the table pins the room.
    #[must_use]
    pub fn is_void_promotion(&self, room: &RoomKey) -> bool {
        self.moved
            .get(room)
            .is_some_and(|placed| placed.by == PlacedBy::Promotion && self.counting(room, placed).is_none())
    }

    fn place_of(&self, room: &RoomKey) -> Option<(&Sect, &Placed)> {
        let placed = self.moved.get(room)?;
        Some((self.counting(room, placed)?, placed))
    }

    /// The sect of an exception that counts.
    fn counting(&self, room: &RoomKey, placed: &Placed) -> Option<&Sect> {
        let sect = self.table.sect(placed.sect.as_str())?;
        let counts = match placed.by {
            PlacedBy::Api => true,
            PlacedBy::Promotion => sect.kind == SectKind::Vip && self.table.pin_of(room).is_none(),
        };
        counts.then_some(sect)
    }
}

#[cfg(test)]
mod tests;
