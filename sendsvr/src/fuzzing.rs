//! Fuzz targets of the write path: what clients post, for `fuzz/` and for the tests that repeat its corpora.

use bytes::Bytes;
use room::{BATCH_MESSAGES_MAX, JSON_DEPTH_MAX, MessageId, RoomId, RoomSettings, json};
use serde_json::{Value, value::RawValue};

use crate::{Draft, PatchMode, SendBody, SendLimits, SettingsPatch, settings_json};

/// As many bytes as a message may have by default.
const MESSAGE_BYTES_MAX: usize = 16_384;

/// The body of a send, against `serde_json`: a message is what its JSON says, and an item of a batch what it would be
/// alone.
///
/// # Panics
/// If it is not.
pub fn send(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let parsed = SendBody::parse(&body, None, MESSAGE_BYTES_MAX);
    match &parsed {
        Ok(SendBody::Single(draft)) => check(draft, data),
        Ok(SendBody::Batch(drafts)) => {
            let items: Vec<&RawValue> = serde_json::from_slice(data).expect("a batch is an array");
            assert!(items.len() == drafts.len() && (1..=BATCH_MESSAGES_MAX).contains(&items.len()));
            for (item, draft) in items.into_iter().zip(drafts) {
                let item = Bytes::copy_from_slice(item.get().as_bytes());
                let alone = Draft::from_json(&item, None, MESSAGE_BYTES_MAX);
                match (draft, alone) {
                    (Ok(draft), Ok(alone)) => {
                        assert_eq!(*draft, alone);
                        check(draft, &item);
                    }
                    (Err(problem), Err(alone)) => assert_eq!(problem.code, alone.code),
                    (draft, alone) => panic!("{draft:?} in a batch, {alone:?} alone"),
                }
            }
        }
        Err(problem) => assert!(!problem.detail.is_empty()),
    }
    // The header is another way to write the id.
    let key = "k1";
    match (parsed, SendBody::parse(&body, Some(key), MESSAGE_BYTES_MAX)) {
        (Ok(SendBody::Single(draft)), Ok(SendBody::Single(keyed))) => {
            let id = Some(MessageId::new(key).expect("a good id"));
            assert!(draft.id.is_none() || draft.id == id);
            assert_eq!(keyed, Draft { id, ..draft });
        }
        (Ok(SendBody::Single(draft)), Err(_)) => assert!(draft.id.is_some_and(|id| id.as_str() != key)),
        (Ok(SendBody::Batch(_)) | Err(_), Err(_)) => {}
        (without, with) => panic!("{without:?} without a key, {with:?} with one"),
    }
}

fn check(draft: &Draft, body: &[u8]) {
    assert_eq!(json::check(body, JSON_DEPTH_MAX), Ok(()));
    if let Some(data) = &draft.data {
        assert_eq!(json::check(data.as_bytes(), JSON_DEPTH_MAX), Ok(()));
    }
    assert!(draft.text.is_some() || draft.data.is_some());
    assert!(
        draft.text.iter().flat_map(|text| text.chars()).all(|c| !c.is_control() || c == '\n' || c == '\t')
    );
    assert_eq!(draft.content_hash(), draft.clone().content_hash());
    // A number that no double holds is JSON, and nothing that serde_json could compare.
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    let members = value.as_object().expect("a message is an object");
    let known = ["id", "type", "priority", "text", "data"];
    assert!(members.keys().all(|name| known.contains(&name.as_str())));
    let text = |name| members.get(name).and_then(Value::as_str);
    assert_eq!(draft.id.as_ref().map(MessageId::as_str), text("id"));
    assert_eq!(draft.kind.as_str(), text("type").unwrap_or("text"));
    assert_eq!(draft.text.as_deref(), text("text"));
    let data =
        draft.data.as_ref().map(|data| serde_json::from_slice(data.as_bytes()).expect("checked above"));
    assert_eq!(data.as_ref(), members.get("data"));
}

/// The settings of a room: the document that comes of a change can be sent back, and then changes nothing.
///
/// # Panics
/// If it can't, or does.
pub fn settings(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let room = RoomId::new("room").expect("a good id");
    let defaults = SendLimits::default();
    for mode in [PatchMode::Merge, PatchMode::Replace] {
        let Ok(patch) = SettingsPatch::from_json(&body, mode, &room, "default") else { continue };
        let now = RoomSettings { muted: true, room_rate: Some(1), ..RoomSettings::default() };
        let after = patch.apply(&now, &defaults);
        assert_eq!(patch.apply(&after, &defaults), after, "a change is made once");
        let document = settings_json(&room, &after, &defaults, "default");
        let sent_back = Bytes::from(document.to_string());
        for (mode, now) in [(PatchMode::Merge, &after), (PatchMode::Replace, &now)] {
            let patch =
                SettingsPatch::from_json(&sent_back, mode, &room, "default").expect("our own document");
            assert_eq!(settings_json(&room, &patch.apply(now, &defaults), &defaults, "default"), document);
        }
    }
}

pub use crate::grpc::fuzzing::wire;

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{replay::replay, send, settings, wire};

    #[test]
    fn corpora_are_read_without_a_finding() {
        replay("send", send);
        replay("settings", settings);
        replay("wire", wire);
    }
}
