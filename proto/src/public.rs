//! From the vocabulary to the public package.

use bytes::Bytes;

use crate::v1;

impl From<&room::Message> for v1::Message {
    fn from(message: &room::Message) -> Self {
        let mut out = Self {
            seq: message.seq.0,
            id: message.id.as_str().to_owned(),
            r#type: message.kind().to_owned(),
            sent_at_ms: message.sent_at_ms,
            ..Self::default()
        };
        match &message.content {
            room::Content::Post(post) => {
                out.sender = Some((&post.sender).into());
                out.text.clone_from(&post.text);
                out.data = post.data.as_ref().map(|data| data.as_bytes().clone());
            }
            room::Content::Redact { list, seq, id } => {
                // An id has no character that JSON would escape.
                let data = format!(r#"{{"list":"{}","seq":{seq},"id":"{id}"}}"#, list.as_str());
                out.data = Some(Bytes::from(data));
            }
            room::Content::Retracted { .. } => {}
        }
        out
    }
}

impl From<&room::Sender> for v1::Sender {
    fn from(sender: &room::Sender) -> Self {
        Self { id: sender.id.as_str().to_owned(), role: sender.role.as_str().to_owned() }
    }
}

impl From<&room::Problem> for v1::Problem {
    fn from(problem: &room::Problem) -> Self {
        Self {
            r#type: format!("urn:bigroom:problem:{}", problem.code),
            title: problem.code.title().to_owned(),
            status: u32::from(problem.code.http_status()),
            detail: problem.detail.to_string(),
            code: problem.code.as_str().to_owned(),
            scope: problem.scope.map(str::to_owned),
            cooldown_ms: problem.cooldown_ms,
            until_ms: problem.until_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use room::{
        Content, ErrorCode, List, Message, MessageId, MessageType, Post, Problem, RawJson, Role, Sender, Seq,
        UserId,
    };

    use super::*;

    fn message(content: Content) -> Message {
        Message { seq: Seq(7), id: MessageId::internal("m1"), sent_at_ms: 1_000, content }
    }

    #[test]
    fn post_keeps_every_field() {
        let post = Post {
            kind: MessageType::internal("gift"),
            sender: Sender { id: UserId::internal("u1"), role: Role::Broadcaster },
            text: Some("hi".into()),
            data: Some(RawJson::trusted(Bytes::from_static(b"{ \"a\": null }"))),
        };
        let wire = v1::Message::from(&message(Content::Post(post)));
        let back = v1::Message::decode(wire.encode_to_vec().as_slice()).unwrap();
        assert_eq!(back, wire);
        assert_eq!(
            (back.seq, back.id.as_str(), back.r#type.as_str(), back.sent_at_ms),
            (7, "m1", "gift", 1_000)
        );
        assert_eq!(back.sender, Some(v1::Sender { id: "u1".into(), role: "broadcaster".into() }));
        assert_eq!(back.text.as_deref(), Some("hi"));
        assert_eq!(back.data.as_deref(), Some(&b"{ \"a\": null }"[..]));
    }

    #[test]
    fn server_messages_have_no_sender() {
        let redact = Content::Redact { list: List::Normal, seq: Seq(3), id: MessageId::internal("m0") };
        let redact = v1::Message::from(&message(redact));
        assert_eq!(redact.r#type, "redact");
        assert_eq!(redact.data.as_deref(), Some(&br#"{"list":"normal","seq":3,"id":"m0"}"#[..]));
        let retracted = v1::Message::from(&message(Content::Retracted { redact_seq: Seq(9) }));
        assert_eq!((retracted.r#type.as_str(), retracted.sender, retracted.data), ("retracted", None, None));
    }

    #[test]
    fn problem_says_what_its_json_says() {
        let problem = Problem { cooldown_ms: Some(5), ..Problem::new(ErrorCode::SlowMode, "wait") };
        let wire = v1::Problem::from(&problem);
        let json = problem.to_json();
        assert_eq!(json["type"], wire.r#type);
        assert_eq!(json["title"], wire.title);
        assert_eq!(json["status"], wire.status);
        assert_eq!(json["detail"], wire.detail);
        assert_eq!(json["code"], wire.code);
        assert_eq!(json["cooldown_ms"].as_u64(), wire.cooldown_ms);
    }
}
