//! What is written under the keys: one version byte, then a protobuf message.
//!
//! Fields are only ever added, with new tags: an older record reads as one without them. A change that older
//! records can't be read under takes a new version byte.

mod message;
mod settings;

use std::time::Duration;

use bytes::Bytes;
use room::List;

pub(crate) use self::{
    message::{decode_message, decode_sent_at, encode_message},
    settings::{decode_settings, encode_settings},
};

const VERSION: u8 = 1;

/// Why bytes under a key are not what is written there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// Nothing there, not even a version.
    #[error("the record is empty")]
    Empty,
    /// Written by a later bigroom, or damaged.
    #[error("the record has the unknown version {0}")]
    Version(u8),
    /// Not the protobuf message that belongs there.
    #[error("the record does not decode: {0}")]
    Decode(String),
    /// Decodes, but says something that is never written.
    #[error("the record has an impossible {0}")]
    Value(&'static str),
}

fn encode(record: &impl prost::Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + record.encoded_len());
    bytes.push(VERSION);
    record.encode(&mut bytes).expect("a vector grows as needed");
    bytes
}

fn decode<R: prost::Message + Default>(mut bytes: Bytes) -> Result<R, RecordError> {
    match bytes.first() {
        None => return Err(RecordError::Empty),
        Some(&VERSION) => {}
        Some(&other) => return Err(RecordError::Version(other)),
    }
    let _ = bytes.split_to(1);
    R::decode(bytes).map_err(|error| RecordError::Decode(error.to_string()))
}

const fn list_number(list: List) -> u32 {
    match list {
        List::Priority => 1,
        List::Normal => 2,
    }
}

fn list_of(number: u32) -> Result<List, RecordError> {
    List::ALL.into_iter().find(|list| list_number(*list) == number).ok_or(RecordError::Value("list"))
}

/// Far beyond any list's newest sequence. What is above it is damage, and could not be counted on from.
const LAST_MAX: u64 = u64::MAX / 2;

/// What is known of a list beside its messages. It outlives them all: sequences never restart.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct Head {
    /// The newest sequence ever given; 0 before the first.
    #[prost(uint64, tag = "1")]
    pub(crate) last: u64,
    /// Below this nothing is shown any more. Only grows; `last + 1` when all is gone.
    #[prost(uint64, tag = "2")]
    pub(crate) first: u64,
    /// Below this the bytes are deleted too. At most `first`.
    #[prost(uint64, tag = "3")]
    pub(crate) trimmed: u64,
    /// `sent_at_ms` of the newest message ever.
    #[prost(uint64, tag = "4")]
    pub(crate) last_sent_at_ms: u64,
}

impl Head {
    /// The head of a list that never had a message.
    pub(crate) const EMPTY: Self = Self { last: 0, first: 1, trimmed: 1, last_sent_at_ms: 0 };

    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let head: Self = decode(Bytes::copy_from_slice(bytes))?;
        if head.last > LAST_MAX
            || head.trimmed == 0
            || head.trimmed > head.first
            || head.first > head.last + 1
        {
            return Err(RecordError::Value("head"));
        }
        Ok(head)
    }
}

/// What is remembered about a client's id, apart from the message: retraction and expiry don't change it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct IdRecord {
    #[prost(uint32, tag = "1")]
    list: u32,
    /// Where the message went.
    #[prost(uint64, tag = "2")]
    pub(crate) seq: u64,
    /// When it was accepted (Unix milliseconds).
    #[prost(uint64, tag = "3")]
    pub(crate) sent_at_ms: u64,
    /// Hash of its content.
    #[prost(fixed64, tag = "4")]
    pub(crate) content_hash: u64,
    /// When this was written (Unix milliseconds): the window runs from here.
    #[prost(uint64, tag = "5")]
    pub(crate) written_at_ms: u64,
}

impl IdRecord {
    pub(crate) fn new(list: List, seq: u64, sent_at_ms: u64, content_hash: u64, written_at_ms: u64) -> Self {
        Self { list: list_number(list), seq, sent_at_ms, content_hash, written_at_ms }
    }

    /// The list that the message went to.
    pub(crate) fn list(&self) -> Result<List, RecordError> {
        list_of(self.list)
    }

    /// Whether `window` has passed. A clock that was set back does not make an id forgotten.
    pub(crate) fn is_over(&self, now_ms: u64, window: Duration) -> bool {
        u128::from(now_ms.saturating_sub(self.written_at_ms)) > window.as_millis()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode(Bytes::copy_from_slice(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use room::Seq;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_message(Seq(1), bytes.clone().into());
            let _ = decode_sent_at(&bytes);
            let _ = Head::decode(&bytes);
            let _ = IdRecord::decode(&bytes);
            let _ = decode_settings(&bytes);
        }
    }

    #[test]
    fn unknown_version_is_named() {
        assert_eq!(Head::decode(&[9, 1, 2]), Err(RecordError::Version(9)));
        assert_eq!(Head::decode(&[]), Err(RecordError::Empty));
    }

    #[test]
    fn impossible_head_is_refused() {
        for (last, first, trimmed) in
            [(5, 9, 1), (5, 3, 4), (5, 3, 0), (u64::MAX, 1, 1), (u64::MAX - 1, u64::MAX, 1)]
        {
            let head = Head { last, first, trimmed, last_sent_at_ms: 0 };
            assert_eq!(Head::decode(&head.encode()), Err(RecordError::Value("head")), "{head:?}");
        }
        assert_eq!(Head::decode(&Head::EMPTY.encode()), Ok(Head::EMPTY));
    }

    #[test]
    fn id_window_runs_from_the_writing() {
        let record = IdRecord::new(List::Normal, 1, 10, 7, 1_000);
        let window = Duration::from_secs(2);
        assert!(!record.is_over(3_000, window));
        assert!(record.is_over(3_001, window));
        assert!(!record.is_over(0, window));
    }
}
