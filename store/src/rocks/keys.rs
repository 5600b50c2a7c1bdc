//! How things are named in RocksDB: what belongs to a room lies together, a list in the order of its sequence.
//!
//! Ids hold no zero byte, so it ends each of them: no key of one room is a prefix of another's.

use room::{AppId, List, MessageId, RoomId, RoomKey, UserId};

const SEQ_BYTES: usize = 8;

fn push_room(key: &mut Vec<u8>, room: &RoomKey) {
    push_id(key, room.app.as_str());
    push_id(key, room.room.as_str());
}

fn push_id(key: &mut Vec<u8>, id: &str) {
    key.extend_from_slice(id.as_bytes());
    key.push(0);
}

const fn list_byte(list: List) -> u8 {
    match list {
        List::Priority => 0,
        List::Normal => 1,
    }
}

/// Key of a room's settings: `app 0 room 0`.
pub(crate) fn room(room: &RoomKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(room.app.as_str().len() + room.room.as_str().len() + 2 + 1 + SEQ_BYTES);
    push_room(&mut key, room);
    key
}

/// Key of a list's head: the room's, and the list in one byte.
pub(crate) fn head(room: &RoomKey, list: List) -> Vec<u8> {
    let mut key = self::room(room);
    key.push(list_byte(list));
    key
}

/// Key of a message: its list's, and its sequence big-endian, so that order of keys is order of the list.
pub(crate) fn message(room: &RoomKey, list: List, seq: u64) -> Vec<u8> {
    let mut key = head(room, list);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// The sequence in a key that [`message`] made.
pub(crate) fn seq_of(message_key: &[u8]) -> Option<u64> {
    message_key.last_chunk::<SEQ_BYTES>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Key of what is remembered about a client's id: the room's, sender and id each ended by zero.
pub(crate) fn id(room: &RoomKey, sender: &UserId, id: &MessageId) -> Vec<u8> {
    let mut key = self::room(room);
    push_id(&mut key, sender.as_str());
    push_id(&mut key, id.as_str());
    key
}

/// The room and list that a head's key names; `None` if [`head`] did not make it.
pub(crate) fn parse_head(key: &[u8]) -> Option<(RoomKey, List)> {
    let mut parts = key.splitn(3, |byte| *byte == 0);
    let app = std::str::from_utf8(parts.next()?).ok()?;
    let room = std::str::from_utf8(parts.next()?).ok()?;
    let list = match parts.next()? {
        [0] => List::Priority,
        [1] => List::Normal,
        _ => return None,
    };
    Some((RoomKey::new(AppId::internal(app), RoomId::internal(room)), list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(app: &str, room: &str) -> RoomKey {
        RoomKey::new(AppId::internal(app), RoomId::internal(room))
    }

    #[test]
    fn messages_sort_by_sequence_within_their_list() {
        let room = key("a", "r");
        let mut keys = [
            message(&room, List::Normal, 256),
            message(&room, List::Priority, u64::MAX),
            message(&room, List::Normal, 2),
            message(&key("a", "r2"), List::Priority, 1),
        ];
        keys.sort();
        let order: Vec<_> = keys.iter().map(|key| seq_of(key).unwrap()).collect();
        assert_eq!(order, [u64::MAX, 2, 256, 1]);
    }

    #[test]
    fn rooms_with_a_common_beginning_share_no_key() {
        assert!(!message(&key("a", "room1"), List::Normal, 1).starts_with(&super::room(&key("a", "room"))));
        assert_ne!(super::room(&key("ab", "c")), super::room(&key("a", "bc")));
    }

    #[test]
    fn head_keys_read_back() {
        for list in List::ALL {
            assert_eq!(parse_head(&head(&key("app", "live:1"), list)), Some((key("app", "live:1"), list)));
        }
        for damaged in
            [&b""[..], b"app", b"app\0room", b"app\0room\0", b"app\0room\0\x02", b"app\0room\0\x00\x00"]
        {
            assert_eq!(parse_head(damaged), None, "{damaged:?}");
        }
    }
}
