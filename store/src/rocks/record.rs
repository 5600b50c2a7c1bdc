//! What is written under the keys: one version byte, then a protobuf message.
//!
//! Fields are only ever added, with new tags: an older record reads as one without them. A change that older
//! records can't be read under takes a new version byte.

use std::time::Duration;

use bytes::Bytes;
use prost::{
    Message as _, Oneof,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, uint32, uint64},
};
use room::{
    Content, List, Message, MessageId, MessageType, PerList, Post, RawJson, Retention, Role, RoomSettings,
    RoomState, Sender, Seq, UserId,
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

#[derive(Clone, PartialEq, prost::Message)]
struct MessageRecord {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint64, tag = "2")]
    sent_at_ms: u64,
    #[prost(oneof = "ContentRecord", tags = "3, 4, 5")]
    content: Option<ContentRecord>,
}

/// The one field of a message that retention needs; the others are skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct StampRecord {
    #[prost(uint64, tag = "2")]
    sent_at_ms: u64,
}

#[derive(Clone, PartialEq, Oneof)]
enum ContentRecord {
    #[prost(message, tag = "3")]
    Post(PostRecord),
    #[prost(message, tag = "4")]
    Redact(RedactRecord),
    #[prost(message, tag = "5")]
    Retracted(RetractedRecord),
}

#[derive(Clone, PartialEq, prost::Message)]
struct PostRecord {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    sender: String,
    #[prost(uint32, tag = "3")]
    role: u32,
    #[prost(string, optional, tag = "4")]
    text: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    data: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RedactRecord {
    #[prost(uint32, tag = "1")]
    list: u32,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(string, tag = "3")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetractedRecord {
    #[prost(uint64, tag = "1")]
    redact_seq: u64,
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

const fn role_number(role: Role) -> u32 {
    match role {
        Role::Viewer => 1,
        Role::Speaker => 2,
        Role::Broadcaster => 3,
        Role::Moderator => 4,
        Role::Ops => 5,
    }
}

fn role_of(number: u32) -> Result<Role, RecordError> {
    Role::ALL.into_iter().find(|role| role_number(*role) == number).ok_or(RecordError::Value("role"))
}

/// A message as it is written; its sequence is in its key.
pub(crate) fn encode_message(message: &Message) -> Vec<u8> {
    let content = match &message.content {
        Content::Post(post) => return encode_post(message, post),
        Content::Redact { list, seq, id } => ContentRecord::Redact(RedactRecord {
            list: list_number(*list),
            seq: seq.0,
            id: id.as_str().to_owned(),
        }),
        Content::Retracted { redact_seq } => {
            ContentRecord::Retracted(RetractedRecord { redact_seq: redact_seq.0 })
        }
    };
    encode(&MessageRecord {
        id: message.id.as_str().to_owned(),
        sent_at_ms: message.sent_at_ms,
        content: Some(content),
    })
}

/// A [`MessageRecord`] of a post, without a copy of its parts in between: the writing thread makes one for every send.
fn encode_post(message: &Message, post: &Post) -> Vec<u8> {
    let (id, kind, sender) = (message.id.as_str(), post.kind.as_str(), post.sender.id.as_str());
    let role = role_number(post.sender.role);
    let data = post.data.as_ref().map(|data| data.as_bytes().as_ref());
    let post_bytes = text_len(1, kind)
        + text_len(2, sender)
        + uint32::encoded_len(3, &role)
        + post.text.as_ref().map_or(0, |text| bytes_len(4, text.as_bytes()))
        + data.map_or(0, |data| bytes_len(5, data));
    let most = 1 + text_len(1, id) + uint64::encoded_len(2, &message.sent_at_ms) + KEY_BYTES_MAX + post_bytes;
    let mut out = Vec::with_capacity(most);
    out.push(VERSION);
    put_text(&mut out, 1, id);
    if message.sent_at_ms != 0 {
        uint64::encode(2, &message.sent_at_ms, &mut out);
    }
    encode_key(3, WireType::LengthDelimited, &mut out);
    encode_varint(post_bytes as u64, &mut out);
    put_text(&mut out, 1, kind);
    put_text(&mut out, 2, sender);
    uint32::encode(3, &role, &mut out);
    if let Some(text) = &post.text {
        put_bytes(&mut out, 4, text.as_bytes());
    }
    if let Some(data) = data {
        put_bytes(&mut out, 5, data);
    }
    out
}

/// A field's key and a length (bytes): more than any has here.
const KEY_BYTES_MAX: usize = 11;

fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn bytes_len(tag: u32, bytes: &[u8]) -> usize {
    key_len(tag) + encoded_len_varint(bytes.len() as u64) + bytes.len()
}

/// Puts a text that, as is usual in protobuf, is left out where it is empty.
fn put_text(out: &mut Vec<u8>, tag: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, tag, text.as_bytes());
    }
}

fn text_len(tag: u32, text: &str) -> usize {
    if text.is_empty() { 0 } else { bytes_len(tag, text.as_bytes()) }
}

/// The message that was written under `seq`.
pub(crate) fn decode_message(seq: Seq, bytes: Bytes) -> Result<Message, RecordError> {
    let record: MessageRecord = decode(bytes)?;
    let content = match record.content.ok_or(RecordError::Value("content"))? {
        ContentRecord::Post(post) => Content::Post(Post {
            kind: MessageType::internal(&post.kind),
            sender: Sender { id: UserId::internal(&post.sender), role: role_of(post.role)? },
            text: post.text,
            data: post.data.map(RawJson::trusted),
        }),
        ContentRecord::Redact(redact) => Content::Redact {
            list: list_of(redact.list)?,
            seq: Seq(redact.seq),
            id: MessageId::internal(&redact.id),
        },
        ContentRecord::Retracted(retracted) => Content::Retracted { redact_seq: Seq(retracted.redact_seq) },
    };
    Ok(Message { seq, id: MessageId::internal(&record.id), sent_at_ms: record.sent_at_ms, content })
}

/// When the message was accepted (Unix milliseconds), without building the rest of it.
pub(crate) fn decode_sent_at(bytes: &[u8]) -> Result<u64, RecordError> {
    match bytes {
        [] => Err(RecordError::Empty),
        [VERSION, rest @ ..] => StampRecord::decode(rest)
            .map(|record| record.sent_at_ms)
            .map_err(|error| RecordError::Decode(error.to_string())),
        [other, ..] => Err(RecordError::Version(*other)),
    }
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

#[derive(Clone, PartialEq, prost::Message)]
struct SettingsRecord {
    #[prost(bool, tag = "1")]
    is_closed: bool,
    #[prost(bool, tag = "2")]
    muted: bool,
    #[prost(uint64, tag = "3")]
    cooldown_ms: u64,
    #[prost(uint32, optional, tag = "4")]
    room_rate: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    user_rate: Option<u32>,
    #[prost(message, optional, tag = "6")]
    priority: Option<RetentionRecord>,
    #[prost(message, optional, tag = "7")]
    normal: Option<RetentionRecord>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RetentionRecord {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(uint64, tag = "2")]
    age_ms: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A room's settings as they are written.
pub(crate) fn encode_settings(settings: &RoomSettings) -> Vec<u8> {
    let retention = |list| {
        settings.retention[list]
            .map(|kept: Retention| RetentionRecord { count: kept.count, age_ms: millis(kept.age) })
    };
    encode(&SettingsRecord {
        is_closed: settings.is_closed(),
        muted: settings.muted,
        cooldown_ms: millis(settings.cooldown),
        room_rate: settings.room_rate,
        user_rate: settings.user_rate,
        priority: retention(List::Priority),
        normal: retention(List::Normal),
    })
}

/// The settings that were written.
pub(crate) fn decode_settings(bytes: &[u8]) -> Result<RoomSettings, RecordError> {
    let record: SettingsRecord = decode(Bytes::copy_from_slice(bytes))?;
    let retention = |kept: Option<RetentionRecord>| {
        kept.map(|kept| Retention { count: kept.count, age: Duration::from_millis(kept.age_ms) })
    };
    Ok(RoomSettings {
        state: if record.is_closed { RoomState::Closed } else { RoomState::Live },
        muted: record.muted,
        cooldown: Duration::from_millis(record.cooldown_ms),
        room_rate: record.room_rate,
        user_rate: record.user_rate,
        retention: PerList { priority: retention(record.priority), normal: retention(record.normal) },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content() -> impl Strategy<Value = Content> {
        let list = prop_oneof![Just(List::Priority), Just(List::Normal)];
        let post = (
            "[a-z.]{1,32}",
            "[A-Za-z0-9:]{1,64}",
            proptest::sample::select(Role::ALL.to_vec()),
            proptest::option::of(any::<String>()),
            proptest::option::of("[0-9]{1,20}"),
        )
            .prop_map(|(kind, sender, role, text, data)| {
                Content::Post(Post {
                    kind: MessageType::internal(&kind),
                    sender: Sender { id: UserId::internal(&sender), role },
                    text,
                    data: data.map(|data| RawJson::trusted(data.into())),
                })
            });
        prop_oneof![
            post,
            (list, any::<u64>(), "[a-z]{1,64}").prop_map(|(list, seq, id)| Content::Redact {
                list,
                seq: Seq(seq),
                id: MessageId::internal(&id)
            }),
            any::<u64>().prop_map(|seq| Content::Retracted { redact_seq: Seq(seq) }),
        ]
    }

    proptest! {
        #[test]
        fn message_round_trips(seq in any::<u64>(), id in "[a-z0-9]{1,64}", sent_at_ms in any::<u64>(), content in content()) {
            let message = Message { seq: Seq(seq), id: MessageId::internal(&id), sent_at_ms, content };
            let bytes = encode_message(&message);
            prop_assert_eq!(decode_sent_at(&bytes), Ok(sent_at_ms));
            prop_assert_eq!(decode_message(Seq(seq), bytes.into()), Ok(message));
        }

        #[test]
        fn post_is_written_as_prost_would(
            parts in ("[a-z.]{0,32}", "[A-Za-z0-9:]{0,64}", "[a-z0-9]{0,64}"),
            role in proptest::sample::select(Role::ALL.to_vec()),
            text in proptest::option::of(any::<String>()),
            data in proptest::option::of("[0-9]{0,200}"),
            sent_at_ms in prop_oneof![Just(0), any::<u64>()],
        ) {
            let (kind, sender, id) = parts;
            let record = MessageRecord {
                id: id.clone(),
                sent_at_ms,
                content: Some(ContentRecord::Post(PostRecord {
                    kind: kind.clone(),
                    sender: sender.clone(),
                    role: role_number(role),
                    text: text.clone(),
                    data: data.clone().map(Bytes::from),
                })),
            };
            let content = Content::Post(Post {
                kind: MessageType::internal(&kind),
                sender: Sender { id: UserId::internal(&sender), role },
                text,
                data: data.map(|data| RawJson::trusted(data.into())),
            });
            let message = Message { seq: Seq(1), id: MessageId::internal(&id), sent_at_ms, content };
            prop_assert_eq!(encode_message(&message), encode(&record));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_message(Seq(1), bytes.clone().into());
            let _ = decode_sent_at(&bytes);
            let _ = Head::decode(&bytes);
            let _ = IdRecord::decode(&bytes);
            let _ = decode_settings(&bytes);
        }

        #[test]
        fn settings_round_trip(
            is_closed in any::<bool>(), muted in any::<bool>(), cooldown_ms in 0u64..1 << 40,
            rates in any::<(Option<u32>, Option<u32>)>(), kept in proptest::option::of((1u64..1 << 40, 1u64..1 << 40)),
        ) {
            let settings = RoomSettings {
                state: if is_closed { RoomState::Closed } else { RoomState::Live },
                muted,
                cooldown: Duration::from_millis(cooldown_ms),
                room_rate: rates.0,
                user_rate: rates.1,
                retention: PerList {
                    priority: None,
                    normal: kept.map(|(count, age)| Retention { count, age: Duration::from_millis(age) }),
                },
            };
            prop_assert_eq!(decode_settings(&encode_settings(&settings)), Ok(settings));
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
