//! What collectors send: proofs of presence, many to a batch.

use room::{Role, RoomKey, UserId};

use crate::{DeviceHash, UserHash};

/// Milliseconds of a step in which a beat's age is kept.
const AGE_STEP_MS: u64 = 10;

/// The bit of the age that says that the client has left.
const LEAVE: u16 = 1 << 15;

/// One client's proof of presence, or its word that it has left: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beat {
    /// Who.
    pub user: UserHash,
    /// On which device.
    pub device: DeviceHash,
    /// How long before the batch, in steps of 10 ms; the top bit says that it is a leave.
    age: u16,
    /// How many places past the run's `base` the client is in the priority list; 0: nothing is known.
    pub(crate) position: u16,
}

impl Beat {
    /// A proof of presence from `age_ms` before the batch is sent (steps of 10 ms, 327 s at most).
    #[must_use]
    pub fn presence(user: UserHash, device: DeviceHash, age_ms: u64) -> Self {
        let age = (age_ms / AGE_STEP_MS).min(u64::from(LEAVE - 1));
        Self { user, device, age: age as u16, position: 0 }
    }

    /// The client has left, `age_ms` before the batch is sent.
    #[must_use]
    pub fn leave(user: UserHash, device: DeviceHash, age_ms: u64) -> Self {
        let presence = Self::presence(user, device, age_ms);
        Self { age: presence.age | LEAVE, ..presence }
    }

    /// With the place in the priority list, `base` places of which go without saying.
    #[must_use]
    pub fn at(self, place: u64, base: u64) -> Self {
        let position = place.saturating_sub(base).min(u64::from(u16::MAX));
        Self { position: position as u16, ..self }
    }

    /// How long before the batch (milliseconds).
    #[must_use]
    pub fn age_ms(&self) -> u64 {
        u64::from(self.age & !LEAVE) * AGE_STEP_MS
    }

    /// Whether the client has left.
    #[must_use]
    pub fn is_leave(&self) -> bool {
        self.age & LEAVE != 0
    }

    /// Bytes of a beat on the wire.
    pub const WIRE_BYTES: usize = 16;

    /// The beat as it travels: user, device, age, position, each little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::WIRE_BYTES] {
        let mut bytes = [0; Self::WIRE_BYTES];
        bytes[..8].copy_from_slice(&self.user.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.device.0.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.age.to_le_bytes());
        bytes[14..].copy_from_slice(&self.position.to_le_bytes());
        bytes
    }

    /// The beat that travelled as `bytes`; every bytes are some beat.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::WIRE_BYTES]) -> Self {
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        Self {
            user: UserHash(number(0..8)),
            device: DeviceHash(number(8..12) as u32),
            age: number(12..14) as u16,
            position: number(14..16) as u16,
        }
    }
}

/// A part of a room's users: those whose hash begins with the `level` bits of `index`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SplitId {
    /// Base-2 logarithm of the number of splits, at most [`SplitId::LEVEL_MAX`].
    pub level: u8,
    /// Which of them, below 2 to the power of `level`.
    pub index: u32,
}

impl SplitId {
    /// The highest level: 65,536 splits, for 4 billion users of a room.
    pub const LEVEL_MAX: u8 = 16;

    /// The split of `level` that `user` is in.
    #[must_use]
    pub fn of(level: u8, user: UserHash) -> Self {
        // Two shifts, since one by 64 is none.
        let index = user.0 >> 1 >> (63 - level);
        Self { level, index: index as u32 }
    }

    /// Whether there is such a split.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.level <= Self::LEVEL_MAX && self.index < 1 << self.level
    }
}

/// The name behind a hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The hash.
    pub user: UserHash,
    /// The user id; `None` for a caller who names nobody, and who shows in counts but not in lists.
    pub id: Option<UserId>,
    /// What lists show.
    pub role: Role,
}

/// Beats for one split of one room.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// The room.
    pub room: RoomKey,
    /// The split, which all beats belong to.
    pub split: SplitId,
    /// The place in the priority list from which positions count.
    pub base: u64,
    /// In the order in which they happened, as far as one collector can tell.
    pub beats: Vec<Beat>,
    /// Names of users of this split.
    pub names: Vec<Name>,
}

/// A priority message: what reach is measured from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal {
    /// Its sequence number in the priority list.
    pub seq: u64,
    /// When it was accepted (Unix milliseconds).
    pub sent_at_ms: u64,
}

/// What a collector sends to a statsvr at a time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    /// How long ago it was made (milliseconds): ages count from then.
    pub age_ms: u64,
    /// Beats by split.
    pub runs: Vec<Run>,
    /// Priority messages that the statsvr may not have heard of, ascending for each room.
    pub signals: Vec<(RoomKey, Signal)>,
}

impl Batch {
    /// Beats in all runs.
    #[must_use]
    pub fn num_beats(&self) -> usize {
        self.runs.iter().map(|run| run.beats.len()).sum()
    }
}

/// What a statsvr says to a batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Users whose names it wants to know, at most [`Taken::WANTED_MAX`].
    pub wanted: Vec<(RoomKey, UserHash)>,
}

impl Taken {
    /// Most names that are asked for at a time.
    pub const WANTED_MAX: usize = 4_096;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_travel_unchanged() {
        let beat = Beat::leave(UserHash(0x0123_4567_89ab_cdef), DeviceHash(7), 1_234).at(500, 100);
        assert_eq!(Beat::from_bytes(&beat.to_bytes()), beat);
        assert_eq!((beat.age_ms(), beat.is_leave(), beat.position), (1_230, true, 400));
        assert_eq!(size_of::<Beat>(), Beat::WIRE_BYTES);
        assert_eq!(Beat::presence(UserHash(1), DeviceHash(1), u64::MAX).age_ms(), 327_670);
        assert_eq!(beat.at(90, 100).position, 0);
    }

    #[test]
    fn splits_go_by_leading_bits() {
        let user = UserHash(0b101 << 61);
        let indexes: Vec<u32> = (0..4).map(|level| SplitId::of(level, user).index).collect();
        assert_eq!(indexes, [0, 1, 0b10, 0b101]);
        assert!(SplitId { level: 2, index: 3 }.is_valid() && !SplitId { level: 2, index: 4 }.is_valid());
        assert!(!SplitId { level: 17, index: 0 }.is_valid());
    }
}
