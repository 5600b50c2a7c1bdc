//! A message that a client wants to send, read from its JSON.

use bytes::Bytes;
use room::{ErrorCode, JSON_DEPTH_MAX, List, MessageId, MessageType, Priority, Problem, RawJson};
use xxhash_rust::xxh3::Xxh3;

use crate::object::{Member, Members, Text, invalid};

/// A message that a client wants to send: every rule that concerns it alone holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// The client's id for it; with one, sending it again is harmless.
    pub id: Option<MessageId>,
    /// What it is.
    pub kind: MessageType,
    /// Where it goes, and how early it is refused under pressure.
    pub priority: Priority,
    /// Text for people. This or `data` is there.
    pub text: Option<String>,
    /// Anything for programs.
    pub data: Option<RawJson>,
}

impl Draft {
    /// Reads the body of one send. `idempotency_key` is the header of that name: another way to say `id`.
    ///
    /// # Errors
    /// `body_too_large`, `invalid_json`, `invalid_message` or `invalid_id`, with the field and its rule.
    pub fn from_json(
        body: &[u8],
        idempotency_key: Option<&str>,
        message_bytes_max: usize,
    ) -> Result<Self, Problem> {
        check_size(body.len(), message_bytes_max)?;
        let mut draft = Self::from_checked(checked(body, "the body")?)?;
        if let Some(key) = idempotency_key {
            draft.set_key(key)?;
        }
        Ok(draft)
    }

    /// Reads JSON that [`room::json::check`] has accepted.
    pub(crate) fn from_checked(json: &str) -> Result<Self, Problem> {
        let (mut id, mut kind, mut priority) = (None, MessageType::default(), Priority::default());
        let (mut text, mut data) = (None, None);
        Members::of(json, "a message")?.each("", |name, member| {
            match name {
                "id" => id = Some(message_id(member)?),
                "type" => {
                    let Text(word) = member.read("a string")?;
                    kind = MessageType::new(&word).map_err(|error| invalid(error.to_string()))?;
                }
                "priority" => priority = one_of_priorities(member)?,
                "text" => text = Some(plain_text(member)?),
                // A copy, not a slice: a message may stay in caches long after the buffer that it came in, which
                // can be that of a whole batch.
                "data" => data = Some(RawJson::trusted(Bytes::copy_from_slice(member.json.as_bytes()))),
                _ => return Err(member.unknown("id, type, priority, text, data")),
            }
            Ok(())
        })?;
        if text.is_none() && data.is_none() {
            return Err(invalid("a message needs text or data, or both"));
        }
        Ok(Self { id, kind, priority, text, data })
    }

    fn set_key(&mut self, key: &str) -> Result<(), Problem> {
        let key = MessageId::new(key).map_err(|error| invalid_id(format!("Idempotency-Key: {error}")))?;
        if self.id.as_ref().is_some_and(|id| *id != key) {
            return Err(invalid_id("id and Idempotency-Key differ: send one of them, or both equal"));
        }
        self.id = Some(key);
        Ok(())
    }

    /// The list that it goes to.
    #[must_use]
    pub fn list(&self) -> List {
        self.priority.list()
    }

    /// What its content holds in memory (bytes).
    pub(crate) fn content_bytes(&self) -> usize {
        self.text.as_ref().map_or(0, String::len) + self.data.as_ref().map_or(0, |data| data.as_bytes().len())
    }

    /// Tells two contents under one id apart: everything but the id, defaults filled in, `data` byte for byte.
    ///
    /// Kept with the message, so its making is part of the store's format: each part has its length in front.
    #[must_use]
    pub fn content_hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        let mut part = |bytes: Option<&[u8]>| {
            // One more than the length, so that nothing and empty differ.
            hash.update(&bytes.map_or(0, |bytes| bytes.len() as u64 + 1).to_le_bytes());
            hash.update(bytes.unwrap_or_default());
        };
        part(Some(self.kind.as_str().as_bytes()));
        part(Some(match self.priority {
            Priority::High => b"high",
            Priority::Normal => b"normal",
            Priority::Low => b"low",
        }));
        part(self.text.as_deref().map(str::as_bytes));
        part(self.data.as_ref().map(|data| data.as_bytes().as_ref()));
        hash.digest()
    }
}

/// Refuses a message whose JSON has more than `max` bytes.
pub(crate) fn check_size(bytes: usize, max: usize) -> Result<(), Problem> {
    if bytes > max {
        let detail = format!("a message has at most {max} bytes of JSON, this one has {bytes}");
        return Err(Problem::new(ErrorCode::BodyTooLarge, detail));
    }
    Ok(())
}

/// The text of `json` if it is strict JSON; refusals call it `what`.
pub(crate) fn checked<'a>(json: &'a [u8], what: &str) -> Result<&'a str, Problem> {
    room::json::check(json, JSON_DEPTH_MAX).map_err(|error| {
        Problem::new(ErrorCode::InvalidJson, format!("{what} is not strict JSON: {error}"))
    })?;
    utf8(json, what)
}

/// The text of `json` if it is UTF-8; refusals call it `what`.
pub(crate) fn utf8<'a>(json: &'a [u8], what: &str) -> Result<&'a str, Problem> {
    std::str::from_utf8(json).map_err(|error| {
        let detail = format!("{what} is not strict JSON: invalid UTF-8 at byte {}", error.valid_up_to());
        Problem::new(ErrorCode::InvalidJson, detail)
    })
}

fn invalid_id(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ErrorCode::InvalidId, detail)
}

fn message_id(member: Member<'_>) -> Result<MessageId, Problem> {
    let Text(text) = member.read("a string")?;
    MessageId::new(&text).map_err(|error| invalid_id(error.to_string()))
}

fn one_of_priorities(member: Member<'_>) -> Result<Priority, Problem> {
    const RULE: &str = "high, normal or low";
    let Text(word) = member.read(RULE)?;
    match &*word {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        _ => Err(invalid(format!("{} must be {RULE}", member.path))),
    }
}

fn plain_text(member: Member<'_>) -> Result<String, Problem> {
    let Text(text) = member.read("a string; leave it out rather than null")?;
    // Most texts are plain ASCII, which the machine sees many bytes at a time.
    let is_plain = text.bytes().fold(true, |is_plain, byte| is_plain & (0x20..0x7f).contains(&byte));
    let control = match is_plain {
        true => None,
        false => text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')),
    };
    match control {
        Some(c) => Err(invalid(format!(
            "text has the control character U+{:04X}: only line feed and tab are allowed",
            u32::from(c)
        ))),
        None => Ok(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Draft, Problem> {
        Draft::from_json(json.as_bytes(), None, 16_384)
    }

    #[test]
    fn message_is_read_with_its_defaults() {
        let draft = parse(r#"{"text":"hi\n\tthere"}"#).unwrap();
        assert_eq!(
            draft,
            Draft {
                id: None,
                kind: MessageType::internal("text"),
                priority: Priority::Normal,
                text: Some("hi\n\tthere".into()),
                data: None,
            }
        );
        let draft =
            parse(r#"{"id":"a","type":"gift","priority":"high","text":"","data":{"g" : 1.50 }}"#).unwrap();
        assert_eq!(draft.id, Some(MessageId::internal("a")));
        assert_eq!((draft.kind.as_str(), draft.list()), ("gift", List::Priority));
        assert_eq!(draft.data.unwrap().as_bytes().as_ref(), br#"{"g" : 1.50 }"#);
        assert_eq!(parse(r#"{"priority":"low","text":"x"}"#).unwrap().list(), List::Normal);
    }

    #[test]
    fn any_json_value_is_data() {
        for data in ["null", "false", "1e999", "\"x\"", "[]", "{}", "12345678901234567890123"] {
            let draft = parse(&format!("{{\"data\": {data} }}")).unwrap();
            assert_eq!(draft.data.unwrap().as_bytes().as_ref(), data.as_bytes());
        }
    }

    #[test]
    fn every_refusal_names_its_rule() {
        let long_id = format!(r#"{{"id":"{}","text":"x"}}"#, "x".repeat(65));
        let long_type = format!(r#"{{"type":"{}","text":"x"}}"#, "x".repeat(33));
        let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(16_384));
        let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(32), "]".repeat(32));
        for (json, code, says) in [
            ("", "invalid_json", "the end"),
            ("{", "invalid_json", "at byte 1"),
            (r#"{"text":"x"} x"#, "invalid_json", "behind the JSON value"),
            ("\u{feff}{\"text\":\"x\"}", "invalid_json", "byte-order mark"),
            (r#"{"text":"x","text":"x"}"#, "invalid_json", "duplicate key"),
            (r#"{"text":"\ud800"}"#, "invalid_json", "lone surrogate"),
            (&deep, "invalid_json", "too deep"),
            ("1", "invalid_message", "must be a JSON object"),
            ("null", "invalid_message", "must be a JSON object"),
            (r#"{"txt":"x"}"#, "invalid_message", "unknown field \"txt\""),
            ("{}", "invalid_message", "needs text or data"),
            (r#"{"id":"a"}"#, "invalid_message", "needs text or data"),
            (r#"{"text":null}"#, "invalid_message", "text must be a string"),
            (r#"{"text":1}"#, "invalid_message", "text must be a string"),
            (r#"{"text":["x"]}"#, "invalid_message", "text must be a string"),
            (r#"{"text":"a\u0000"}"#, "invalid_message", "U+0000"),
            (r#"{"text":"a\r\n"}"#, "invalid_message", "U+000D"),
            ("{\"text\":\"\u{7f}\"}", "invalid_message", "U+007F"),
            ("{\"text\":\"\u{85}\"}", "invalid_message", "U+0085"),
            (r#"{"type":"Text","text":"x"}"#, "invalid_message", "type has 1 to 32"),
            (r#"{"type":"","text":"x"}"#, "invalid_message", "type has 1 to 32"),
            (&long_type, "invalid_message", "type has 1 to 32"),
            (r#"{"type":"redact","text":"x"}"#, "invalid_message", "is the server's"),
            (r#"{"type":"retracted","text":"x"}"#, "invalid_message", "is the server's"),
            (r#"{"type":"room.closed","text":"x"}"#, "invalid_message", "is the server's"),
            (r#"{"type":null,"text":"x"}"#, "invalid_message", "type must be a string"),
            (
                r#"{"priority":"urgent","text":"x"}"#,
                "invalid_message",
                "priority must be high, normal or low",
            ),
            (r#"{"priority":"HIGH","text":"x"}"#, "invalid_message", "priority must be"),
            (r#"{"priority":null,"text":"x"}"#, "invalid_message", "priority must be"),
            (r#"{"priority":{"high":null},"text":"x"}"#, "invalid_message", "priority must be"),
            (r#"{"id":1,"text":"x"}"#, "invalid_message", "id must be a string"),
            (r#"{"id":null,"text":"x"}"#, "invalid_message", "id must be a string"),
            (r#"{"id":"","text":"x"}"#, "invalid_id", "1 to 64"),
            (r#"{"id":"a b","text":"x"}"#, "invalid_id", "only"),
            (r#"{"id":"..","text":"x"}"#, "invalid_id", "dots"),
            (r#"{"id":"_a","text":"x"}"#, "invalid_id", "reserved"),
            (&long_id, "invalid_id", "1 to 64"),
            (&large, "body_too_large", "16384"),
        ] {
            let problem = parse(json).expect_err(json);
            assert_eq!(problem.code.as_str(), code, "{json}: {problem}");
            assert!(problem.detail.contains(says), "{json}: {problem}");
        }
        assert_eq!(parse("{\"text\":\"\u{a0}é\u{1f600}\"}").map(|_| ()), Ok(()));
    }

    #[test]
    fn key_header_is_another_way_to_say_id() {
        let parse = |json: &'static str, key| Draft::from_json(json.as_bytes(), Some(key), 16_384);
        let a = Some(MessageId::internal("a"));
        assert_eq!(parse(r#"{"text":"x"}"#, "a").unwrap().id, a);
        assert_eq!(parse(r#"{"id":"a","text":"x"}"#, "a").unwrap().id, a);
        for (json, key) in
            [(r#"{"id":"a","text":"x"}"#, "b"), (r#"{"text":"x"}"#, ""), (r#"{"text":"x"}"#, "a b")]
        {
            assert_eq!(parse(json, key).unwrap_err().code, ErrorCode::InvalidId, "{json} {key}");
        }
    }

    #[test]
    fn content_hash_tells_contents_apart() {
        let hash = |json| parse(json).unwrap().content_hash();
        let base = hash(r#"{"text":"x"}"#);
        assert_eq!(base, hash(r#"{ "type":"text", "priority":"normal", "id":"a", "text":"\u0078" }"#));
        for other in [
            r#"{"text":"y"}"#,
            r#"{"text":"x","type":"texts"}"#,
            r#"{"text":"x","priority":"low"}"#,
            r#"{"text":"x","priority":"high"}"#,
            r#"{"text":"x","data":null}"#,
            r#"{"data":"x"}"#,
        ] {
            assert_ne!(base, hash(other), "{other}");
        }
        assert_ne!(hash(r#"{"data":[1]}"#), hash(r#"{"data":[ 1]}"#));
        assert_ne!(hash(r#"{"data":1}"#), hash(r#"{"data":1,"text":""}"#));
    }

    #[test]
    fn content_hash_is_part_of_the_format() {
        assert_eq!(parse(r#"{"text":"x"}"#).unwrap().content_hash(), 15_428_717_857_978_834_001);
    }
}
