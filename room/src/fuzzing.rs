//! Fuzz targets of the vocabulary, for `fuzz/` and for the tests that repeat its corpora.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use crate::{
    AppId, Cursor, DeviceId, Epoch, JSON_DEPTH_MAX, MessageId, MessageType, RoomHash, RoomId, RoomKey,
    RoomPattern, UserId, json::check,
};

/// [`check`] against `serde_json`: both take the same bytes, but for duplicate keys, depth, and numbers that no double
/// holds.
///
/// # Panics
/// If they disagree.
pub fn json(data: &[u8]) {
    let strict = check(data, JSON_DEPTH_MAX);
    if let Err(error) = &strict {
        assert!(error.at <= data.len(), "{error}, of {}", data.len());
    }
    match (serde_json::from_slice::<Shape>(data), strict.map_err(|error| error.what)) {
        (Ok(shape), Ok(())) => assert!(!shape.has_duplicate && shape.depth <= JSON_DEPTH_MAX, "{shape:?}"),
        (Ok(shape), Err("a duplicate key")) => assert!(shape.has_duplicate),
        (Ok(shape), Err("too deep a nesting")) => assert!(shape.depth > JSON_DEPTH_MAX),
        (Ok(_), Err(what)) => panic!("refused for {what}, and serde_json takes it"),
        // JSON all the same: it is passed on as it was written.
        (Err(error), Ok(())) => {
            assert!(
                error.to_string().starts_with("number out of range"),
                "taken, and serde_json says {error}"
            );
        }
        (Err(_), Err(_)) => {}
    }
}

/// What `serde_json` finds in a value.
#[derive(Debug, Default)]
struct Shape {
    /// How deep arrays and objects are nested.
    depth: usize,
    /// Whether an object has a key twice.
    has_duplicate: bool,
}

impl Shape {
    fn add(&mut self, inner: &Self) {
        self.depth = self.depth.max(inner.depth + 1);
        self.has_duplicate |= inner.has_duplicate;
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shapes;

        impl<'de> Visitor<'de> for Shapes {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Shape, E> {
                Ok(Shape::default())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Shape, E> {
                Ok(Shape::default())
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Shape, E> {
                Ok(Shape::default())
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Shape, E> {
                Ok(Shape::default())
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Shape, E> {
                Ok(Shape::default())
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Shape, E> {
                Ok(Shape::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Shape, A::Error> {
                let mut shape = Shape { depth: 1, has_duplicate: false };
                while let Some(inner) = array.next_element()? {
                    shape.add(&inner);
                }
                Ok(shape)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Shape, A::Error> {
                let mut shape = Shape { depth: 1, has_duplicate: false };
                let mut keys = HashSet::new();
                while let Some((key, inner)) = object.next_entry::<String, Shape>()? {
                    shape.add(&inner);
                    shape.has_duplicate |= !keys.insert(key);
                }
                Ok(shape)
            }
        }

        deserializer.deserialize_any(Shapes)
    }
}

/// Everything that is read from a short text: cursors, ids, types, epochs, room patterns.
///
/// # Panics
/// If something that was taken is not written as it was read.
pub fn texts(data: &[u8]) {
    cursor(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    macro_rules! read_as_written {
        ($($id:ident)+) => {$(
            if let Ok(id) = $id::new(text) {
                assert_eq!(id.as_str(), text);
                assert!(text.len() <= 64 && text.is_ascii() && !text.contains(['/', '%', '?', '#', '\0']));
            }
        )+};
    }
    read_as_written! { AppId RoomId UserId DeviceId MessageId }
    if let Ok(kind) = MessageType::new(text) {
        assert!(kind.as_str() == text && text.len() <= 32);
    }
    if let Ok(epoch) = text.parse::<Epoch>() {
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
    }
    // The first line is a pattern, the second a room.
    let (glob, room) = text.split_once('\n').unwrap_or((text, "room"));
    if let Ok(room) = RoomId::new(room) {
        assert_eq!(RoomPattern::new(glob).matches(&room), matches(glob.as_bytes(), room.as_str().as_bytes()));
    }
}

fn cursor(data: &[u8]) {
    let of_room = |room| Cursor::decode(data, room);
    if let Some((hash, text)) = data.split_last_chunk::<{ Cursor::TEXT_CHARS }>() {
        // A text that is whole in itself, for the room that it names or for another.
        let hash = hash.iter().fold(0, |hash, byte| (hash << 8 | u64::from(*byte)) & 0xffff_ffff_ffff);
        if let Ok(cursor) = Cursor::decode(text, RoomHash(hash)) {
            assert_eq!((cursor.encode(), cursor.room), (*text, RoomHash(hash)));
        }
    }
    let canary = RoomKey::canary().hash48();
    if let Ok(cursor) = of_room(canary) {
        assert_eq!(cursor.encode().as_slice(), data);
    }
}

/// Whether a glob means a text, by the definition: slow, and plain.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    // Which beginnings of the text the part of the glob so far means.
    let mut meant = vec![false; text.len() + 1];
    meant[0] = true;
    for byte in glob {
        let before = meant.clone();
        for at in 0..=text.len() {
            meant[at] = match byte {
                b'*' => before[..=at].iter().any(|is_meant| *is_meant),
                _ => at > 0 && before[at - 1] && text[at - 1] == *byte,
            };
        }
    }
    meant[text.len()]
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{json, replay::replay, texts};

    #[test]
    fn corpora_are_read_without_a_finding() {
        replay("json", json);
        replay("texts", texts);
    }
}
