//! Answers as bytes: JSON or protobuf, plain or compressed, made once and shared by all who wait.

pub(crate) mod json;
mod protobuf;

use std::{
    io::Write as _,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use room::{Cursor, Epoch, Message, OnlineCounts, PerList, RoomSettings};

use crate::{slice::Gap, tail::Cached};

/// Bodies below this size are not compressed (bytes): the head would eat what is saved.
const COMPRESS_FROM_BYTES: usize = 1024;

/// How a client reads answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/x-protobuf`, message `bigroom.v1.PollAnswer`.
    Protobuf,
}

/// How answers are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// What a client and a server agree on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Form {
    /// JSON or protobuf.
    pub format: Format,
    /// The best that the client takes; small bodies go without.
    pub compression: Compression,
}

impl Form {
    /// Plain JSON.
    pub const JSON: Self = Self { format: Format::Json, compression: Compression::None };
}

impl Format {
    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    /// The media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }
}

impl Compression {
    /// `Content-Encoding`, if there is any.
    #[must_use]
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// An answer, ready to be written to any number of clients.
#[derive(Debug)]
pub struct Encoded {
    /// The body.
    pub body: Bytes,
    /// Its media type.
    pub format: Format,
    /// What was done to it: less than the client takes where that would not pay.
    pub compression: Compression,
    /// Where a reader stands after it, as text.
    pub cursor: room::CursorText,
    /// Messages in it.
    pub messages: usize,
    /// Whether nothing was left out for the next poll.
    pub up_to_date: bool,
    /// Whether it says that messages are missing in front of it.
    pub has_gap: bool,
    /// Whether it says that the room is closed.
    pub is_closed: bool,
    /// Whether the server is going down and whoever gets this should go elsewhere.
    pub is_drain: bool,
    /// When the newest message in it was accepted (Unix microseconds), per list; 0 if it has none.
    pub accepted_at_us: PerList<u64>,
    /// The whole HTTP/1.1 response, for the front to keep: made by whoever needs it first.
    pub wire: OnceLock<Bytes>,
}

/// Everything that goes into an answer.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) messages: PerList<Messages<'a>>,
    pub(crate) next_cursor: Cursor,
    pub(crate) up_to_date: bool,
    pub(crate) gap: Option<Gap>,
    pub(crate) poll_after_ms: u64,
    pub(crate) settings: &'a RoomSettings,
    pub(crate) online: Option<OnlineCounts>,
    /// What is being left out under load.
    pub(crate) degraded: &'a [&'a str],
    pub(crate) accepted_at_us: PerList<u64>,
    pub(crate) is_drain: bool,
}

/// The messages of one list in an answer: from the cache, with their JSON at hand, or fresh from the store.
#[derive(Clone, Copy)]
pub(crate) enum Messages<'a> {
    Cached(&'a [&'a Arc<Cached>]),
    Stored(&'a [Arc<Message>]),
}

impl<'a> Messages<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Cached(messages) => messages.len(),
            Self::Stored(messages) => messages.len(),
        }
    }

    pub(crate) fn get(self, at: usize) -> &'a Message {
        match self {
            Self::Cached(messages) => &messages[at].message,
            Self::Stored(messages) => &messages[at],
        }
    }
}

/// Encodes an answer for clients of this form, and counts it.
pub(crate) fn encode(parts: &Parts<'_>, form: Form) -> Encoded {
    let cursor = parts.next_cursor.encode();
    let plain = match form.format {
        Format::Json => json::answer(parts, &cursor),
        Format::Protobuf => protobuf::answer(parts, &cursor),
    };
    let (body, compression) = compress(plain, form.compression);
    metrics::counter!(crate::metrics::ANSWERS_ENCODED, "format" => form.format.as_str(), "compression" => compression.as_str())
        .increment(1);
    let count = PerList::from_fn(|list| parts.messages[list].len());
    Encoded {
        body: body.into(),
        format: form.format,
        compression,
        cursor,
        messages: count.priority + count.normal,
        up_to_date: parts.up_to_date,
        has_gap: parts.gap.is_some(),
        is_closed: parts.settings.is_closed(),
        is_drain: parts.is_drain,
        accepted_at_us: PerList::from_fn(|list| if count[list] > 0 { parts.accepted_at_us[list] } else { 0 }),
        wire: OnceLock::new(),
    }
}

/// Compresses a body if it is worth it. Level 1 for both: answers are short-lived, and the next one is waiting.
pub fn compress(plain: Vec<u8>, wanted: Compression) -> (Vec<u8>, Compression) {
    if plain.len() < COMPRESS_FROM_BYTES {
        return (plain, Compression::None);
    }
    let packed = match wanted {
        Compression::None => None,
        Compression::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(
                Vec::with_capacity(plain.len() / 2),
                flate2::Compression::fast(),
            );
            gzip.write_all(&plain).and_then(|()| gzip.finish()).ok()
        }
        Compression::Zstd => zstd::bulk::compress(&plain, 1).ok(),
    };
    match packed {
        Some(packed) if packed.len() < plain.len() => (packed, wanted),
        _ => (plain, Compression::None),
    }
}
