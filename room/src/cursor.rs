//! A reader's place in a room, and its opaque text.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{PerList, RoomHash};

/// Place of a message in its list: 1 for the first ever, 0 for "before the first". Contiguous within an [`Epoch`].
///
/// A cursor has room for 56 bits: at a million messages a second they last 2,000 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// How many places `self` lies after `earlier`; 0 if it does not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A generation of the message log: sequences of two epochs do not compare. Shown in base 36.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0u8; 7];
        let mut rest = self.0;
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        f.write_str(std::str::from_utf8(&digits[start..]).expect("base 36 digits are ASCII"))
    }
}

impl std::str::FromStr for Epoch {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u32::from_str_radix(text, 36).map(Self)
    }
}

/// A reader's place: the last message it has of each list, and when it was last given normal ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// The log that the two sequences belong to.
    pub epoch: Epoch,
    /// The room that they belong to.
    pub room: RoomHash,
    /// Last message already delivered, per list.
    pub seen: PerList<Seq>,
    /// When the reader was last served (Unix milliseconds); 0 if the next poll may be answered at once.
    pub served_at_ms: u64,
}

/// Why a text is no cursor of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Not made by this service, or damaged on the way.
    #[error("the cursor is malformed: send back next_cursor of an earlier answer as it was, or leave it out")]
    Malformed,
    /// Made for another room.
    #[error("the cursor belongs to another room: a cursor is good only in the room whose poll returned it")]
    OtherRoom,
}

const VERSION: u8 = 1;
const BYTES: usize = 36;
const CHECKED: usize = 31;
const CHECK_SEED: u64 = 0x6375_7273_6f72_0001; // "cursor", 1

/// The text of a cursor: always this many characters of the URL-safe base64 alphabet.
pub type CursorText = [u8; 48];

impl Cursor {
    /// Length of the text (characters).
    pub const TEXT_CHARS: usize = 48;

    /// The opaque text that clients carry.
    ///
    /// Version (1 byte), epoch (4), room hash (6), priority and normal sequence (7 each), served at (6), and 40
    /// bits of xxh3 over all that (5), big-endian, in base64url. The check is against damage and mix-ups, not
    /// against forgery: a cursor gives no right, and a forged one misleads only who forged it.
    #[must_use]
    pub fn encode(&self) -> CursorText {
        let mut raw = [0u8; BYTES];
        raw[0] = VERSION;
        raw[1..5].copy_from_slice(&self.epoch.0.to_be_bytes());
        raw[5..11].copy_from_slice(&self.room.0.to_be_bytes()[2..]);
        raw[11..18].copy_from_slice(&self.seen.priority.0.to_be_bytes()[1..]);
        raw[18..25].copy_from_slice(&self.seen.normal.0.to_be_bytes()[1..]);
        raw[25..31].copy_from_slice(&self.served_at_ms.to_be_bytes()[2..]);
        let check = xxh3_64_with_seed(&raw[..CHECKED], CHECK_SEED).to_be_bytes();
        raw[CHECKED..].copy_from_slice(&check[3..]);
        let mut text = [0u8; Self::TEXT_CHARS];
        URL_SAFE_NO_PAD.encode_slice(raw, &mut text).expect("36 bytes make 48 characters");
        text
    }

    /// Reads a text that a client sent back for `room`.
    ///
    /// # Errors
    /// [`CursorError::Malformed`] for anything that [`Cursor::encode`] did not make, [`CursorError::OtherRoom`]
    /// for a good cursor of a room other than `room`.
    pub fn decode(text: &[u8], room: RoomHash) -> Result<Self, CursorError> {
        let mut raw = [0u8; BYTES];
        if text.len() != Self::TEXT_CHARS || URL_SAFE_NO_PAD.decode_slice(text, &mut raw) != Ok(BYTES) {
            return Err(CursorError::Malformed);
        }
        let check = xxh3_64_with_seed(&raw[..CHECKED], CHECK_SEED).to_be_bytes();
        if raw[0] != VERSION || raw[CHECKED..] != check[3..] {
            return Err(CursorError::Malformed);
        }
        let cursor = Self {
            epoch: Epoch(uint(&raw[1..5]) as u32),
            room: RoomHash(uint(&raw[5..11])),
            seen: PerList { priority: Seq(uint(&raw[11..18])), normal: Seq(uint(&raw[18..25])) },
            served_at_ms: uint(&raw[25..31]),
        };
        if cursor.room == room { Ok(cursor) } else { Err(CursorError::OtherRoom) }
    }
}

fn uint(big_endian: &[u8]) -> u64 {
    big_endian.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor() -> impl Strategy<Value = Cursor> {
        (any::<u32>(), 0u64..1 << 48, 0u64..1 << 56, 0u64..1 << 56, 0u64..1 << 48).prop_map(
            |(e, r, p, n, s)| Cursor {
                epoch: Epoch(e),
                room: RoomHash(r),
                seen: PerList { priority: Seq(p), normal: Seq(n) },
                served_at_ms: s,
            },
        )
    }

    proptest! {
        #[test]
        fn text_round_trips(cursor in cursor()) {
            prop_assert_eq!(Cursor::decode(&cursor.encode(), cursor.room), Ok(cursor));
        }

        #[test]
        fn one_changed_character_is_malformed(cursor in cursor(), at in 0usize..48, to in "[A-Za-z0-9_-]") {
            let mut text = cursor.encode();
            prop_assume!(text[at] != to.as_bytes()[0]);
            text[at] = to.as_bytes()[0];
            prop_assert_eq!(Cursor::decode(&text, cursor.room), Err(CursorError::Malformed));
        }

        #[test]
        fn any_bytes_are_refused_without_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Cursor::decode(&text, RoomHash(1)), Err(CursorError::Malformed));
        }

        #[test]
        fn epoch_round_trips(epoch in any::<u32>()) {
            prop_assert_eq!(Epoch(epoch).to_string().parse::<Epoch>().unwrap(), Epoch(epoch));
        }
    }

    #[test]
    fn cursor_of_another_room_is_told_apart() {
        let cursor = Cursor { epoch: Epoch(7), room: RoomHash(1), seen: PerList::default(), served_at_ms: 1 };
        assert_eq!(Cursor::decode(&cursor.encode(), RoomHash(2)), Err(CursorError::OtherRoom));
    }
}
