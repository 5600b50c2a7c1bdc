//! Entries of the log and notices of them, between the vocabulary and the inner package.

use std::sync::Arc;

use room::{
    Bounds, Change, Content, Epoch, JSON_DEPTH_MAX, List, Message, MessageId, MessageType, Notice, PerList,
    Post, RawJson, RoomSettings, Sender, Seq, UserId,
};

use crate::{Malformed, internal as wire};

/// A field that must be there.
///
/// # Errors
/// [`Malformed`] with its name if it is not, or what its own conversion says.
pub fn needed<T, U>(field: Option<T>, name: &'static str) -> Result<U, Malformed>
where
    U: TryFrom<T, Error = Malformed>,
{
    field.ok_or(Malformed(name))?.try_into()
}

impl From<&Message> for wire::LogMessage {
    fn from(message: &Message) -> Self {
        use wire::log_message::Content as Wire;
        let content = match &message.content {
            Content::Post(post) => Wire::Post(wire::LogPost {
                r#type: post.kind.as_str().to_owned(),
                sender_id: post.sender.id.as_str().to_owned(),
                sender_role: wire::Role::from(post.sender.role).into(),
                text: post.text.clone(),
                data: post.data.as_ref().map(|data| data.as_bytes().clone()),
            }),
            Content::Redact { list, seq, id } => Wire::Redact(wire::LogRedact {
                list: wire::List::from(*list).into(),
                seq: seq.0,
                id: id.as_str().to_owned(),
            }),
            Content::Retracted { redact_seq } => {
                Wire::Retracted(wire::LogRetracted { redact_seq: redact_seq.0 })
            }
        };
        Self {
            seq: message.seq.0,
            id: message.id.as_str().to_owned(),
            sent_at_ms: message.sent_at_ms,
            content: Some(content),
        }
    }
}

impl TryFrom<wire::LogMessage> for Message {
    type Error = Malformed;

    /// Ids and types may be the server's own. JSON is checked again: a wrong byte would reach every reader.
    fn try_from(message: wire::LogMessage) -> Result<Self, Malformed> {
        use wire::log_message::Content as Wire;
        let content = match message.content.ok_or(Malformed("content"))? {
            Wire::Post(post) => {
                if let Some(data) = &post.data {
                    room::json::check(data, JSON_DEPTH_MAX).map_err(|_| Malformed("data"))?;
                }
                Content::Post(Post {
                    kind: MessageType::internal(&post.r#type),
                    sender: Sender {
                        role: post.sender_role().try_into()?,
                        id: UserId::internal(&post.sender_id),
                    },
                    text: post.text,
                    data: post.data.map(RawJson::trusted),
                })
            }
            Wire::Redact(redact) => Content::Redact {
                list: redact.list().try_into()?,
                seq: Seq(redact.seq),
                id: MessageId::internal(&redact.id),
            },
            Wire::Retracted(retracted) => Content::Retracted { redact_seq: Seq(retracted.redact_seq) },
        };
        let (seq, sent_at_ms) = (Seq(message.seq), message.sent_at_ms);
        Ok(Self { seq, id: MessageId::internal(&message.id), sent_at_ms, content })
    }
}

/// Messages of one list, as they must be: ascending and contiguous.
///
/// # Errors
/// [`Malformed`] if they are not.
pub fn messages(messages: Vec<wire::LogMessage>) -> Result<Vec<Arc<Message>>, Malformed> {
    let messages: Vec<_> =
        messages.into_iter().map(|m| Message::try_from(m).map(Arc::new)).collect::<Result<_, _>>()?;
    let is_contiguous = messages.windows(2).all(|pair| follows(pair[0].seq, pair[1].seq));
    if is_contiguous { Ok(messages) } else { Err(Malformed("seq")) }
}

/// Whether a place is the one after another; after the last there is none.
fn follows(seq: Seq, next: Seq) -> bool {
    seq.0.checked_add(1) == Some(next.0)
}

/// Settings and bounds as the wire has them.
#[must_use]
pub fn view(settings: &RoomSettings, bounds: &PerList<Bounds>) -> wire::RoomView {
    wire::RoomView {
        settings: Some(settings.into()),
        priority: Some(bounds.priority.into()),
        normal: Some(bounds.normal.into()),
    }
}

/// The settings and bounds of a view.
///
/// # Errors
/// [`Malformed`] if a part is missing.
pub fn view_parts(view: wire::RoomView) -> Result<(Arc<RoomSettings>, PerList<Bounds>), Malformed> {
    let bounds = PerList {
        priority: Bounds::from(view.priority.ok_or(Malformed("priority"))?),
        normal: Bounds::from(view.normal.ok_or(Malformed("normal"))?),
    };
    Ok((Arc::new(needed(view.settings, "settings")?), bounds))
}

impl From<&Notice> for wire::LogNotice {
    fn from(notice: &Notice) -> Self {
        use wire::log_notice::Change as Wire;
        let change = match &notice.change {
            Change::Appended { list, prev, messages, accepted_at_us } => Wire::Appended(wire::LogAppended {
                list: wire::List::from(*list).into(),
                prev: prev.0,
                messages: messages.iter().map(|message| (&**message).into()).collect(),
                accepted_at_us: *accepted_at_us,
            }),
            Change::Settings { settings, bounds } => Wire::Settings(view(settings, bounds)),
            Change::Viewed { settings, bounds } => Wire::Viewed(view(settings, bounds)),
        };
        Self { room: Some((&notice.room).into()), epoch: notice.epoch.0, change: Some(change) }
    }
}

impl TryFrom<wire::LogNotice> for Notice {
    type Error = Malformed;

    fn try_from(notice: wire::LogNotice) -> Result<Self, Malformed> {
        use wire::log_notice::Change as Wire;
        let change = match notice.change.ok_or(Malformed("change"))? {
            Wire::Appended(appended) => {
                let list: List = appended.list().try_into()?;
                let messages = messages(appended.messages)?;
                let prev = Seq(appended.prev);
                if messages.first().is_none_or(|first| !follows(prev, first.seq)) {
                    return Err(Malformed("prev"));
                }
                Change::Appended { list, prev, messages, accepted_at_us: appended.accepted_at_us }
            }
            Wire::Settings(view) => {
                let (settings, bounds) = view_parts(view)?;
                Change::Settings { settings, bounds }
            }
            Wire::Viewed(view) => {
                let (settings, bounds) = view_parts(view)?;
                Change::Viewed { settings, bounds }
            }
        };
        Ok(Self { room: needed(notice.room, "room")?, epoch: Epoch(notice.epoch), change })
    }
}

#[cfg(test)]
mod tests {
    use prost::{Message as _, bytes::Bytes};
    use room::{AppId, Role, RoomId, RoomKey};

    use super::*;

    fn post(seq: u64) -> Message {
        Message {
            seq: Seq(seq),
            id: MessageId::internal("m-1"),
            sent_at_ms: 17,
            content: Content::Post(Post {
                kind: MessageType::internal("room.canary"),
                sender: Sender { id: UserId::internal("_canary"), role: Role::Ops },
                text: Some("a\n".to_owned()),
                data: Some(RawJson::trusted(Bytes::from_static(b"{\"a\": [1,2]}"))),
            }),
        }
    }

    #[test]
    fn every_kind_of_entry_comes_back_equal() {
        let redact = Content::Redact { list: List::Normal, seq: Seq(4), id: MessageId::internal("x") };
        let retracted = Content::Retracted { redact_seq: Seq(9) };
        for content in [post(3).content, redact, retracted] {
            let message = Message { content, ..post(3) };
            let bytes = wire::LogMessage::from(&message).encode_to_vec();
            assert_eq!(wire::LogMessage::decode(&*bytes).unwrap().try_into(), Ok(message));
        }
    }

    #[test]
    fn notices_come_back_and_holes_are_malformed() {
        let notice = |seqs: &[u64], prev| Notice {
            room: RoomKey::new(AppId::default(), RoomId::internal("r")),
            epoch: Epoch(5),
            change: Change::Appended {
                list: List::Priority,
                prev: Seq(prev),
                messages: seqs.iter().map(|seq| Arc::new(post(*seq))).collect(),
                accepted_at_us: 12,
            },
        };
        let back = Notice::try_from(wire::LogNotice::from(&notice(&[3, 4], 2))).unwrap();
        let Change::Appended { list, prev, messages, accepted_at_us } = back.change else { panic!() };
        assert_eq!((back.epoch, list, prev, accepted_at_us), (Epoch(5), List::Priority, Seq(2), 12));
        assert_eq!(messages.iter().map(|m| m.seq.0).collect::<Vec<_>>(), [3, 4]);
        for (seqs, prev) in
            [(&[3, 5][..], 2), (&[3, 4], 1), (&[], 2), (&[u64::MAX, 0], u64::MAX - 1), (&[0], u64::MAX)]
        {
            assert!(Notice::try_from(wire::LogNotice::from(&notice(seqs, prev))).is_err());
        }
    }

    #[test]
    fn bad_json_from_another_node_is_malformed() {
        let mut message = wire::LogMessage::from(&post(1));
        let Some(wire::log_message::Content::Post(post)) = &mut message.content else { panic!() };
        post.data = Some(Bytes::from_static(b"{"));
        assert_eq!(Message::try_from(message), Err(Malformed("data")));
    }
}
