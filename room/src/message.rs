//! A message, as the log keeps it and readers get it.

use std::fmt;

use bytes::Bytes;

use crate::{List, MessageId, Role, Seq, UserId};

/// What a message is, in the words of the application: `text`, `gift`, `cohost.invite`.
///
/// 1-32 characters of `a-z 0-9 . _ -`. `redact`, `retracted` and everything under `room.` belong to the server.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MessageType(Box<str>);

/// Why a text is no message type that a client may send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// Wrong length or characters.
    #[error("type has 1 to 32 characters of a-z 0-9 . _ -")]
    Malformed,
    /// One of the server's own.
    #[error("type {0:?} is the server's: redact, retracted and room.* can't be sent")]
    Reserved(String),
}

impl MessageType {
    /// Checks and takes a client's text.
    ///
    /// # Errors
    /// The rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, TypeError> {
        let fits = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
        if !fits {
            return Err(TypeError::Malformed);
        }
        if matches!(text, "redact" | "retracted") || text.starts_with("room.") {
            return Err(TypeError::Reserved(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// Takes a text that the log gave back.
    #[must_use]
    pub fn internal(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for MessageType {
    /// `text`, the type of a message that names none.
    fn default() -> Self {
        Self("text".into())
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A JSON value as the client wrote it, checked by [`crate::json::check`] and passed on byte for byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Takes bytes that [`crate::json::check`] has accepted as exactly one value.
    #[must_use]
    pub fn trusted(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes: one valid JSON value in UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Who sent a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sender {
    /// The user, `anonymous` where none was named.
    pub id: UserId,
    /// Their role at the time.
    pub role: Role,
}

/// What a client sent. At least one of `text` and `data` is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Post {
    /// What it is.
    pub kind: MessageType,
    /// Whose it is.
    pub sender: Sender,
    /// Text for people; no control characters but line feed and tab.
    pub text: Option<String>,
    /// Anything for programs.
    pub data: Option<RawJson>,
}

/// What a message holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A client's message.
    Post(Post),
    /// The server's word, on the priority list, that a message was retracted: readers drop it if they show it.
    Redact {
        /// The list that it was in.
        list: List,
        /// Its place there.
        seq: Seq,
        /// Its id.
        id: MessageId,
    },
    /// What is left of a retracted message: its place stays taken, its content is gone.
    Retracted {
        /// Where on the priority list the [`Content::Redact`] for it is.
        redact_seq: Seq,
    },
}

/// One entry of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its place in the list.
    pub seq: Seq,
    /// The client's id for it, or one that the server made.
    pub id: MessageId,
    /// When it was accepted (Unix milliseconds); never falls along a list.
    pub sent_at_ms: u64,
    /// What it holds.
    pub content: Content,
}

impl Message {
    /// The `type` that readers see.
    #[must_use]
    pub fn kind(&self) -> &str {
        match &self.content {
            Content::Post(post) => post.kind.as_str(),
            Content::Redact { .. } => "redact",
            Content::Retracted { .. } => "retracted",
        }
    }

    /// What is left of this message once the redaction at `redact_seq` is in the log.
    #[must_use]
    pub fn retracted(&self, redact_seq: Seq) -> Self {
        Self { content: Content::Retracted { redact_seq }, ..self.clone() }
    }

    /// About how much memory it takes (bytes): what caches count.
    #[must_use]
    pub fn size_hint(&self) -> usize {
        let content = match &self.content {
            Content::Post(post) => {
                post.text.as_ref().map_or(0, String::len)
                    + post.data.as_ref().map_or(0, |d| d.as_bytes().len())
            }
            Content::Redact { .. } | Content::Retracted { .. } => 0,
        };
        size_of::<Self>() + 128 + content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_types_follow_their_rule() {
        for (text, fits) in [
            ("text", true),
            ("cohost.invite-2_x", true),
            ("", false),
            ("Text", false),
            ("redact", false),
            ("retracted", false),
            ("room.closed", false),
            ("roomy", true),
            (&"x".repeat(32), true),
            (&"x".repeat(33), false),
        ] {
            assert_eq!(MessageType::new(text).is_ok(), fits, "{text:?}");
        }
    }
}
