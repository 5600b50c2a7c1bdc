//! The body of a send: one message or a batch.

use std::fmt;

use room::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, ErrorCode, Problem};
use serde::{
    Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    Draft,
    draft::{check_size, checked, utf8},
    object::invalid,
};

/// What a client posted to a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendBody {
    /// An object: one message, answered 201 or 200.
    Single(Draft),
    /// An array: 1 to [`BATCH_MESSAGES_MAX`] messages, each with its own result. A message that alone would be
    /// refused has its refusal in its place.
    Batch(Vec<Result<Draft, Problem>>),
}

impl SendBody {
    /// Reads a body. `idempotency_key` is the header of that name; `message_bytes_max` bounds each message, and
    /// [`BATCH_BYTES_MAX`] a batch.
    ///
    /// # Errors
    /// `body_too_large`, `batch_too_large`, `invalid_json`, `invalid_message` or `invalid_id`, with the rule.
    pub fn parse(
        body: &[u8],
        idempotency_key: Option<&str>,
        message_bytes_max: usize,
    ) -> Result<Self, Problem> {
        let first = body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        if first == Some(&b'[') {
            batch(body, idempotency_key.is_some(), message_bytes_max).map(Self::Batch)
        } else {
            Draft::from_json(body, idempotency_key, message_bytes_max).map(Self::Single)
        }
    }
}

fn batch(
    body: &[u8],
    has_idempotency_key: bool,
    message_bytes_max: usize,
) -> Result<Vec<Result<Draft, Problem>>, Problem> {
    if body.len() > BATCH_BYTES_MAX {
        let detail = format!("a batch has at most {BATCH_BYTES_MAX} bytes, this one has {}", body.len());
        return Err(Problem::new(ErrorCode::BodyTooLarge, detail));
    }
    let text = utf8(body, "the body")?;
    if has_idempotency_key {
        return Err(invalid("a batch takes no Idempotency-Key: give each message its id"));
    }
    match items(text).map_err(not_json)? {
        (_, 1..) => Err(Problem::new(
            ErrorCode::BatchTooLarge,
            format!("a batch has at most {BATCH_MESSAGES_MAX} messages: split it"),
        )),
        (items, 0) if items.is_empty() => Err(invalid("a batch has at least one message")),
        (items, 0) => Ok(items.into_iter().map(|item| one_of_batch(item, message_bytes_max)).collect()),
    }
}

fn not_json(error: serde_json::Error) -> Problem {
    Problem::new(ErrorCode::InvalidJson, format!("the body is not strict JSON: {error}"))
}

fn one_of_batch(item: &RawValue, message_bytes_max: usize) -> Result<Draft, Problem> {
    check_size(item.get().len(), message_bytes_max)?;
    Draft::from_checked(checked(item.get().as_bytes(), "the message")?)
}

/// Takes apart an array. Only its syntax is checked, that of its items included: what else strict JSON rules out
/// concerns an item alone.
fn items(text: &str) -> serde_json::Result<(Vec<&RawValue>, usize)> {
    let mut json = serde_json::Deserializer::from_str(text);
    let items = json.deserialize_seq(Items)?;
    json.end()?;
    Ok(items)
}

/// The first [`BATCH_MESSAGES_MAX`] items of an array, and how many more there are, which are only counted so that an
/// array of a million small ones costs no memory.
struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < BATCH_MESSAGES_MAX {
            match array.next_element()? {
                Some(item) => items.push(item),
                None => return Ok((items, 0)),
            }
        }
        let mut more = 0;
        while array.next_element::<IgnoredAny>()?.is_some() {
            more += 1;
        }
        Ok((items, more))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use room::JSON_DEPTH_MAX;

    use super::*;

    fn parse(json: &str, key: Option<&str>) -> Result<SendBody, Problem> {
        SendBody::parse(json.as_bytes(), key, 16_384)
    }

    fn array(items: usize) -> String {
        format!("[{}]", vec![r#"{"text":"x"}"#; items].join(","))
    }

    #[test]
    fn array_is_a_batch_and_object_a_single() {
        assert!(
            matches!(parse(" \n{\"text\":\"x\"} ", Some("k")), Ok(SendBody::Single(draft)) if draft.id.is_some())
        );
        assert!(
            matches!(parse(&format!("\t{} ", array(1)), None), Ok(SendBody::Batch(drafts)) if drafts.len() == 1)
        );
        assert!(matches!(parse(&array(100), None), Ok(SendBody::Batch(drafts)) if drafts.len() == 100));
    }

    #[test]
    fn bad_batch_is_refused_whole() {
        let long = format!("[{}]", " ".repeat(BATCH_BYTES_MAX));
        for (json, key, code) in [
            ("[]", None, "invalid_message"),
            (&array(1), Some("k"), "invalid_message"),
            (&array(101), None, "batch_too_large"),
            (&array(10_000), None, "batch_too_large"),
            (&long, None, "body_too_large"),
            ("[", None, "invalid_json"),
            (r#"[{"text":"x"},]"#, None, "invalid_json"),
            (r#"[{"text":"x"}] ]"#, None, "invalid_json"),
            ("[{\"text\":\"a\tb\"}]", None, "invalid_json"),
            ("\u{feff}[{\"text\":\"x\"}]", None, "invalid_json"),
            ("[\u{feff}{\"text\":\"x\"}]", None, "invalid_json"),
        ] {
            assert_eq!(parse(json, key).unwrap_err().code.as_str(), code, "{}", &json[..json.len().min(40)]);
        }
    }

    #[test]
    fn bad_item_is_refused_in_its_place() {
        let large = "x".repeat(16_384);
        let json = format!(
            r#"[{{"text":"a"}},1,null,[],{{"text":"{large}"}},{{"id":"_","text":"b"}},{{"x":1}},{{"text":"c"}}]"#
        );
        let Ok(SendBody::Batch(drafts)) = parse(&json, None) else { panic!("no batch") };
        let codes: Vec<_> =
            drafts.iter().map(|draft| draft.as_ref().map_or_else(|p| p.code.as_str(), |_| "ok")).collect();
        assert_eq!(
            codes,
            [
                "ok",
                "invalid_message",
                "invalid_message",
                "invalid_message",
                "body_too_large",
                "invalid_id",
                "invalid_message",
                "ok"
            ]
        );
    }

    #[test]
    fn batch_that_is_not_utf8_is_refused_whole() {
        let body = b"[{\"text\":\"a\"},{\"text\":\"\xff\"}]";
        let problem = SendBody::parse(body, None, 16_384).unwrap_err();
        assert_eq!(problem.code, ErrorCode::InvalidJson);
        assert!(problem.detail.contains("invalid UTF-8 at byte 23"), "{problem}");
    }

    #[test]
    fn item_is_as_strict_json_as_a_single() {
        let data = |depth: usize| format!(r#"{{"data":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let (deepest, deeper) = (data(JSON_DEPTH_MAX - 1), data(JSON_DEPTH_MAX));
        let very_deep = data(8_000);
        let json = format!(
            r#"[{{"text":"a"}},{deepest},{deeper},{very_deep},{{"text":"x","text":"x"}},{{"text":"\ud800"}},{{"text":"b"}}]"#
        );
        let Ok(SendBody::Batch(drafts)) = parse(&json, None) else { panic!("no batch") };
        let says: Vec<_> = drafts
            .iter()
            .map(|draft| draft.as_ref().map_or_else(|p| p.to_string(), |_| "ok".into()))
            .collect();
        for (says, expect) in says.iter().zip([
            "ok",
            "ok",
            "invalid_json: the message is not strict JSON: too deep",
            "invalid_json: the message is not strict JSON: too deep",
            "invalid_json: the message is not strict JSON: a duplicate key",
            "invalid_json: the message is not strict JSON: a lone surrogate",
            "ok",
        ]) {
            assert!(says.starts_with(expect), "{says}");
        }
        assert!(parse(&deepest, None).is_ok() && parse(&deeper, None).is_err());
    }

    #[test]
    fn single_may_have_as_many_bytes_as_the_limit() {
        let json = |bytes: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11));
        assert!(parse(&json(16_384), None).is_ok());
        assert_eq!(parse(&json(16_385), None).unwrap_err().code, ErrorCode::BodyTooLarge);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200), key in ".{0,8}") {
            let _ = SendBody::parse(&body, Some(&key), 100);
        }

        #[test]
        fn any_json_like_text_is_read_without_panic(
            body in r#"\[?\{("(id|type|priority|text|data)":(null|1|"[a-z\\u0-9]{0,6}"|\[\]|\{\})[,}\]]{1,2}){0,4}\]?"#,
        ) {
            let _ = SendBody::parse(body.as_bytes(), None, 100);
        }

        #[test]
        fn batch_of_one_is_read_as_a_single(
            item in r#"\{("(id|text|data)":("[a\\ud8]{0,6}"|\[{0,9}\]{0,9}),?){0,3}\}"#,
        ) {
            let Ok(SendBody::Batch(mut drafts)) = parse(&format!("[{item}]"), None) else {
                prop_assert!(parse(&item, None).is_err());
                return Ok(());
            };
            if drafts.len() == 1 {
                let single = parse(&item, None).map_err(|problem| problem.code);
                prop_assert_eq!(drafts.remove(0).map(SendBody::Single).map_err(|problem| problem.code), single);
            }
        }

        #[test]
        fn data_comes_back_byte_for_byte(data in r#"(\[ ?(1|"[a-z]"|null)(,[ \n]*\{\})*\])|-?[1-9]{1,30}"#) {
            let body = format!("{{\"data\":{data}}}");
            let Ok(SendBody::Single(draft)) = SendBody::parse(body.as_bytes(), None, 16_384) else { panic!("refused: {data}") };
            let kept = draft.data.unwrap();
            prop_assert_eq!(kept.as_bytes().as_ref(), data.as_bytes());
        }
    }
}
