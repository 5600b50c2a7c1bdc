//! Messages as they are written.

use bytes::Bytes;
use prost::{
    Message as _, Oneof,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, uint32, uint64},
};
use room::{Content, Message, MessageId, MessageType, Post, RawJson, Role, Sender, Seq, UserId};

use super::{RecordError, VERSION, decode, encode, list_number, list_of};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use room::List;

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
    }
}
