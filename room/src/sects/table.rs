//! The sect table: which sects there are, and the rule by which rooms live in them.

use std::time::Duration;

use super::{Sect, SectKind, SectName, place::score};
use crate::{AppId, PollPolicy, RoomKey, RoomPattern};

/// Rooms that live in a certain sect, whatever their hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    /// The app that they belong to.
    pub app: AppId,
    /// The rooms: `*` stands for any run of characters.
    pub rooms: RoomPattern,
    /// Where they live.
    pub sect: SectName,
}

/// When rooms move to a VIP sect by themselves, and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Promotions {
    /// From so many users on a room moves to a VIP sect; 0 for never.
    pub promote_at: u64,
    /// Below so many it comes back; at least 1, at most `promote_at`.
    pub demote_at: u64,
    /// It comes back once it has been below for so long without a break.
    pub demote_after: Duration,
}

impl Default for Promotions {
    /// From 500,000 users on, back below 300,000 for 10 minutes.
    fn default() -> Self {
        Self { promote_at: 500_000, demote_at: 300_000, demote_after: Duration::from_secs(600) }
    }
}

/// The sects of a deployment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectTable {
    sects: Vec<Sect>,
    pins: Vec<Pin>,
    promotions: Promotions,
}

/// Why a table is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SectTableError {
    /// Nobody would know where a room lives.
    #[error("a sect table must have at least one sect of kind ordinary")]
    NoOrdinarySect,
    /// Two sects would be one.
    #[error("sect {0:?}: the name must not be that of another sect")]
    NameTwice(SectName),
    /// It would get no room at all.
    #[error("sect {0:?}: weight = 0 must be 1 or more")]
    NoWeight(SectName),
    /// Its rooms would live nowhere.
    #[error("pin of {rooms:?}: sect = {sect:?} must be a sect of the table")]
    UnknownSect {
        /// Which rooms.
        rooms: String,
        /// The sect that is not there.
        sect: SectName,
    },
    /// It would be in two sects.
    #[error("sect {sect:?}: nodes = {node:?} must not be a node of sect {other:?} too")]
    NodeTwice {
        /// Its address.
        node: Box<str>,
        /// The second sect that lists it.
        sect: SectName,
        /// The first one.
        other: SectName,
    },
    /// Rooms that were promoted would never come back.
    #[error("demote_at = 0 must be 1 or more: no room has fewer than 0 users, and none would come back")]
    NeverDemotes,
    /// Rooms would move to and fro.
    #[error("demote_at = {demote_at} must be at most promote_at = {promote_at}")]
    DemoteAbovePromote {
        /// As given.
        demote_at: u64,
        /// As given.
        promote_at: u64,
    },
}

/// Why a recvsvr does not serve the sect that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// There is no such sect.
    #[error("cluster.sect = {sect:?}: the sendsvr's sect table has {sects}")]
    UnknownSect {
        /// What it names.
        sect: String,
        /// Those that there are.
        sects: String,
    },
    /// The sect lists its nodes.
    #[error(
        "cluster.sect = {sect:?}: sect {sect:?} has its nodes listed in the sect table, and {address} is not one of them: list it there, or advertise the address that is listed"
    )]
    NotListed {
        /// What it names.
        sect: String,
        /// Where it is reached.
        address: String,
    },
    /// It is listed for another one.
    #[error(
        "cluster.sect = {sect:?}: {address} is listed in the sect table as a node of sect {other:?}: start it with that one, or take it off the list"
    )]
    ListedElsewhere {
        /// What it names.
        sect: String,
        /// Where it is reached.
        address: String,
        /// Who lists it.
        other: SectName,
    },
}

impl SectTable {
    /// A table of these sects and pins; where several pins fit a room, the first holds.
    ///
    /// # Errors
    /// [`SectTableError`], with key, value and rule.
    pub fn new(sects: Vec<Sect>, pins: Vec<Pin>, promotions: Promotions) -> Result<Self, SectTableError> {
        for (at, sect) in sects.iter().enumerate() {
            if sects[..at].iter().any(|other| other.name == sect.name) {
                return Err(SectTableError::NameTwice(sect.name.clone()));
            }
            if sect.weight == 0 {
                return Err(SectTableError::NoWeight(sect.name.clone()));
            }
            for node in &sect.nodes {
                if let Some(other) = sects[..at].iter().find(|other| other.nodes.contains(node)) {
                    let (node, sect, other) = (node.clone(), sect.name.clone(), other.name.clone());
                    return Err(SectTableError::NodeTwice { node, sect, other });
                }
            }
        }
        if !sects.iter().any(|sect| sect.kind == SectKind::Ordinary) {
            return Err(SectTableError::NoOrdinarySect);
        }
        if let Some(pin) = pins.iter().find(|pin| !sects.iter().any(|sect| sect.name == pin.sect)) {
            let (rooms, sect) = (pin.rooms.as_str().to_owned(), pin.sect.clone());
            return Err(SectTableError::UnknownSect { rooms, sect });
        }
        let Promotions { promote_at, demote_at, .. } = promotions;
        if promote_at > 0 && demote_at > promote_at {
            return Err(SectTableError::DemoteAbovePromote { demote_at, promote_at });
        }
        if promote_at > 0 && demote_at == 0 {
            return Err(SectTableError::NeverDemotes);
        }
        Ok(Self { sects, pins, promotions })
    }

    /// One sect, `default`, for all rooms.
    #[must_use]
    pub fn single() -> Self {
        let sect = Sect {
            name: SectName::internal("default"),
            kind: SectKind::Ordinary,
            weight: 1,
            policy: PollPolicy::default(),
            nodes: Vec::new(),
        };
        Self { sects: vec![sect], pins: Vec::new(), promotions: Promotions::default() }
    }

    /// All sects, in the order of the table; never none.
    #[must_use]
    pub fn sects(&self) -> &[Sect] {
        &self.sects
    }

    /// The sect of this name.
    #[must_use]
    pub fn sect(&self, name: &str) -> Option<&Sect> {
        self.sects.iter().find(|sect| sect.name.as_str() == name)
    }

    /// The pins, in the order of the table.
    #[must_use]
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Whether the recvsvr that is reached at `address` may serve the sect: one that lists nodes has no others, and a node that is
    /// listed serves no other sect.
    ///
    /// # Errors
    /// [`NotAdmitted`], with what to do.
    pub fn admit(&self, sect: &str, address: &str) -> Result<(), NotAdmitted> {
        let has = |sect: &Sect| sect.nodes.iter().any(|node| **node == *address);
        let Some(wanted) = self.sect(sect) else {
            let sects: Vec<_> = self.sects.iter().map(|sect| sect.name.as_str()).collect();
            return Err(NotAdmitted::UnknownSect { sect: sect.to_owned(), sects: sects.join(", ") });
        };
        if has(wanted) {
            return Ok(());
        }
        let (sect, address) = (sect.to_owned(), address.to_owned());
        match self.sects.iter().find(|other| has(other)) {
            Some(other) => {
                let other = other.name.clone();
                Err(NotAdmitted::ListedElsewhere { sect, address, other })
            }
            None if wanted.nodes.is_empty() => Ok(()),
            None => Err(NotAdmitted::NotListed { sect, address }),
        }
    }

    /// When rooms move by themselves.
    #[must_use]
    pub const fn promotions(&self) -> Promotions {
        self.promotions
    }

    /// The pin that holds for the room.
    #[must_use]
    pub fn pin_of(&self, room: &RoomKey) -> Option<&Pin> {
        self.pins.iter().find(|pin| pin.app == room.app && pin.rooms.matches(&room.room))
    }

    /// Where the room lives by the table: where it is pinned, or in an ordinary sect by weighted rendezvous hashing.
    #[must_use]
    pub fn home(&self, room: &RoomKey) -> &Sect {
        let pinned = self.pin_of(room).and_then(|pin| self.sect(pin.sect.as_str()));
        pinned.or_else(|| self.best(room, SectKind::Ordinary)).unwrap_or(&self.sects[0])
    }

    /// The VIP sect that the room goes to when it has grown big; `None` if the table has none.
    #[must_use]
    pub fn vip_home(&self, room: &RoomKey) -> Option<&Sect> {
        self.best(room, SectKind::Vip)
    }

    /// The sect of a kind with the highest score for the room: a sect that comes or goes moves only its own share.
    fn best(&self, room: &RoomKey, kind: SectKind) -> Option<&Sect> {
        let hash = room.hash48().0;
        let scored = |sect: &Sect| score(hash, sect.name.as_str(), f64::from(sect.weight));
        self.sects
            .iter()
            .filter(|sect| sect.kind == kind)
            .max_by(|a, b| scored(a).total_cmp(&scored(b)).then_with(|| b.name.cmp(&a.name)))
    }
}
