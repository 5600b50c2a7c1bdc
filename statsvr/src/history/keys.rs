//! Under which keys a room's statistics are kept: what belongs to a room lies together, a series in the order of time.
//!
//! Every key ends with the node that wrote it, so nodes that write about one room at once, as in a takeover, overwrite
//! nothing of each other's. Readers combine what all of them wrote.

use room::RoomKey;

use super::Step;

const TOTAL: u8 = 0;
const SESSION: u8 = 1;
const WHOLE: u8 = 0;
const PART: u8 = 1;

/// `app 0 room 0`: ids hold no zero byte, so no room's key is the beginning of another's.
pub(crate) fn room(room: &RoomKey) -> Vec<u8> {
    [room.app.as_str().as_bytes(), &[0], room.room.as_str().as_bytes(), &[0]].concat()
}

/// The beginning of the keys of a series.
pub(crate) fn series(room: &RoomKey, step: Step) -> Vec<u8> {
    let mut key = self::room(room);
    key.push(step.seconds());
    key
}

/// Where the blocks of a series that begin with this interval or later begin.
pub(crate) fn series_from(room: &RoomKey, step: Step, base: u64) -> Vec<u8> {
    [&series(room, step)[..], &base.to_be_bytes()].concat()
}

/// A block of a series, by its first interval.
pub(crate) fn block(room: &RoomKey, step: Step, base: u64, node: u64) -> Vec<u8> {
    [&series_from(room, step, base)[..], &node.to_be_bytes()].concat()
}

/// What a node has written of a room beside series and viewers.
pub(crate) fn summary(room: &RoomKey, node: u64) -> Vec<u8> {
    [&self::room(room)[..], &node.to_be_bytes()].concat()
}

/// The beginning of the keys of all-time viewers.
pub(crate) fn total(room: &RoomKey) -> Vec<u8> {
    let mut key = self::room(room);
    key.push(TOTAL);
    key
}

/// The beginning of the keys of the viewers of a session.
pub(crate) fn session(room: &RoomKey, session_ms: u64) -> Vec<u8> {
    let mut key = self::room(room);
    key.push(SESSION);
    key.extend_from_slice(&session_ms.to_be_bytes());
    key
}

/// All of a set of viewers; `set` is from [`total`] or [`session`].
pub(crate) fn whole(set: &[u8], node: u64) -> Vec<u8> {
    [set, &node.to_be_bytes(), &[WHOLE]].concat()
}

/// An addition to a set of viewers.
pub(crate) fn part(set: &[u8], node: u64, number: u32) -> Vec<u8> {
    [set, &node.to_be_bytes(), &[PART], &number.to_be_bytes()].concat()
}

/// If `node` wrote this record of a set as an addition to it: its number.
pub(crate) fn own_part(set: &[u8], node: u64, key: &[u8]) -> Option<u32> {
    let number = key.strip_prefix(set)?.strip_prefix(&node.to_be_bytes())?.strip_prefix(&[PART])?;
    number.try_into().map(u32::from_be_bytes).ok()
}

/// Which node wrote a block, by its key.
pub(crate) fn block_node(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use room::{AppId, RoomId};

    use super::*;

    fn key(app: &str, room: &str) -> RoomKey {
        RoomKey::new(AppId::internal(app), RoomId::internal(room))
    }

    #[test]
    fn blocks_sort_by_time_within_their_series() {
        let room = key("a", "r");
        let mut keys = [
            block(&room, Step::Minute, 0, 1),
            block(&room, Step::TenSeconds, 300, 1),
            block(&room, Step::TenSeconds, 30, 2),
            block(&key("a", "r2"), Step::TenSeconds, 0, 1),
        ];
        keys.sort();
        assert_eq!(keys[0], block(&room, Step::TenSeconds, 30, 2));
        assert_eq!(keys[1], block(&room, Step::TenSeconds, 300, 1));
        assert_eq!(block_node(&keys[0]), Some(2));
        assert!(keys[1] > series_from(&room, Step::TenSeconds, 31));
    }

    #[test]
    fn longest_key_is_one_that_the_store_takes() {
        let long = key(&"a".repeat(64), &"r".repeat(64));
        assert!(part(&session(&long, 7), 1, 2).len() <= store::RECORD_KEY_BYTES_MAX);
        assert!(block(&long, Step::Minute, 7, 1).len() <= store::RECORD_KEY_BYTES_MAX);
    }

    #[test]
    fn own_additions_are_told_from_others() {
        let set = total(&key("a", "r"));
        assert_eq!(own_part(&set, 5, &part(&set, 5, 77)), Some(77));
        assert_eq!(own_part(&set, 5, &part(&set, 6, 77)), None);
        assert_eq!(own_part(&set, 5, &whole(&set, 5)), None);
    }
}
