//! Sending and retracting.

use std::{io::Write as _, rc::Rc};

use room::{List, Problem, RoomId, RoomKey, Seq};
use sendsvr::{Caller, SendBody, Sent};
use serde_json::json;
use statsvr::{Moment, Visitor};

use super::check_json;
use crate::proxy::{
    addresses::AddressPlace,
    fields::{Field, Fields, Query},
    front::{Context, Front},
    request::Request,
    response::Response,
    session::Session,
};

/// Bytes of the answer to one send, most of the time.
const SENT_BYTES: usize = 192;

/// A send that was checked, as far as it can be checked alone.
pub(crate) struct Sending {
    caller: Caller,
    visitor: Visitor,
    key: RoomKey,
    began: Moment,
    /// Until it is sent.
    body: Option<SendBody>,
    /// What it takes of its address's limit meanwhile.
    _place: AddressPlace,
}

/// `POST /v1/rooms/{room}/messages`
pub(super) async fn send(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let (caller, key) = enter(session, room, request)?;
    let context = Rc::clone(&session.context);
    let body = Some(read(&context.front, &request.fields, &request.body)?);
    let identity = &session.caller.as_ref().expect("identified above").identity;
    let visitor = context.presence.visitor(identity, session.connection.number);
    let began = context.presence.moment();
    // The request has its own.
    let _place = AddressPlace::default();
    finish(&context, Box::new(Sending { caller, visitor, key, began, body, _place })).await
}

/// Checks a send whose head and body lie together in what was read from its connection. [`send`] is for all others and
/// comes to the same answers.
///
/// # Errors
/// Whatever of the request is wrong; nothing is sent then.
pub(crate) fn begin(
    session: &mut Session,
    room: &str,
    fields: &Fields<'_>,
    query: &str,
    body: &[u8],
    _place: AddressPlace,
) -> Result<Box<Sending>, Problem> {
    session.context.front.check_open()?;
    session.check_room(room)?;
    let connection = session.connection.number;
    let caller = session.identify(fields, &Query::parse(query)?)?;
    let (sender, identity) = (Caller::new(&caller.identity, connection), Rc::clone(&caller.identity));
    let key = session.key(&identity.app, room)?.clone();
    session.caller.as_ref().expect("identified above").enter(&key.room)?;
    let body = Some(read(&session.context.front, fields, body)?);
    let visitor = session.context.presence.visitor(&identity, connection);
    let began = session.context.presence.moment();
    Ok(Box::new(Sending { caller: sender, visitor, key, began, body, _place }))
}

fn read(front: &Front, fields: &Fields<'_>, body: &[u8]) -> Result<SendBody, Problem> {
    check_json(fields, &["application/json"])?;
    SendBody::parse(body, fields.get(Field::IdempotencyKey), front.message_bytes_max)
}

/// Does what a send asks for.
///
/// # Errors
/// Why the one message was refused; those of a batch have their refusals in the response.
pub(crate) async fn finish(context: &Context, mut sending: Box<Sending>) -> Result<Response, Problem> {
    let body = sending.body.take().expect("a sending is finished once");
    let Sending { caller, visitor, key, began, .. } = &*sending;
    let (sender, presence) = (&context.front.sender, &context.presence);
    match body {
        SendBody::Single(draft) => {
            let draft = context.front.check_pressure(draft)?;
            let sent = sender.send(caller, key, draft).await?;
            presence.sent(key, visitor, *began);
            let mut body = Vec::with_capacity(SENT_BYTES);
            write_sent(&mut body, &sent, Within::Alone);
            Ok(Response::json(status(&sent), body))
        }
        SendBody::Batch(drafts) => {
            let checked = |draft| context.front.check_pressure(draft);
            let drafts = drafts.into_iter().map(|draft| draft.and_then(checked)).collect();
            let results = sender.send_batch(caller, key, drafts).await;
            if results.iter().any(Result::is_ok) {
                presence.sent(key, visitor, *began);
            }
            let mut body = Vec::with_capacity(SENT_BYTES * results.len());
            body.extend_from_slice(b"{\"results\":");
            for (place, result) in results.iter().enumerate() {
                body.push(if place == 0 { b'[' } else { b',' });
                write_result(&mut body, result);
            }
            body.extend_from_slice(b"]}");
            Ok(Response::json(200, body))
        }
    }
}

/// `DELETE /v1/rooms/{room}/messages/{list}/{seq}`
pub(super) async fn retract(
    session: &mut Session,
    room: &RoomId,
    list: List,
    seq: Seq,
    request: &Request,
) -> Result<Response, Problem> {
    let (caller, key) = enter(session, room, request)?;
    let retraction = session.context.front.sender.retract(&caller, &key, list, seq).await?;
    let body = json!({ "list": list.as_str(), "seq": seq.0, "redact_seq": retraction.redact_seq.0 });
    Ok(Response::json(200, body.to_string().into_bytes()))
}

/// What everything that changes a room begins with: the caller is known and may enter.
pub(super) fn enter(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<(Caller, RoomKey), Problem> {
    let connection = session.connection.number;
    let caller = session.identify(&request.fields, &request.query()?)?;
    caller.enter(room)?;
    Ok((Caller::new(&caller.identity, connection), RoomKey::new(caller.identity.app.clone(), room.clone())))
}

fn status(sent: &Sent) -> u16 {
    if sent.is_duplicate { 200 } else { 201 }
}

/// What an answer stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// The whole body.
    Alone,
    /// The answer to a batch: each item has its status.
    Batch,
}

/// Writes what a sender is told. By hand, because every send is answered with one.
fn write_sent(out: &mut Vec<u8>, sent: &Sent, within: Within) {
    const INFALLIBLE: &str = "memory takes all writes";
    out.push(b'{');
    if sent.is_duplicate {
        out.extend_from_slice(b"\"duplicate\":true,");
    }
    write!(out, "\"epoch\":\"{}\",\"id\":", sent.epoch).expect(INFALLIBLE);
    serde_json::to_writer(&mut *out, sent.id.as_str()).expect(INFALLIBLE);
    let (list, seq) = (sent.list.as_str(), sent.seq.0);
    write!(out, ",\"list\":\"{list}\",\"sent_at_ms\":{},\"seq\":{seq}", sent.sent_at_ms).expect(INFALLIBLE);
    if within == Within::Batch {
        write!(out, ",\"status\":{}", status(sent)).expect(INFALLIBLE);
    }
    out.push(b'}');
}

fn write_result(out: &mut Vec<u8>, result: &Result<Sent, Problem>) {
    match result {
        Ok(sent) => write_sent(out, sent, Within::Batch),
        Err(problem) => {
            metrics::counter!(crate::metrics::REFUSED, "code" => problem.code.as_str()).increment(1);
            serde_json::to_writer(out, &problem.to_json()).expect("memory takes all writes");
        }
    }
}

#[cfg(test)]
mod tests {
    use room::{Epoch, MessageId};
    use serde_json::Value;

    use super::*;

    #[test]
    fn sender_is_told_in_json() {
        let sent = Sent {
            id: MessageId::internal("a\"b"),
            list: List::Priority,
            seq: Seq(7),
            epoch: Epoch(35),
            sent_at_ms: 1_700_000_000_000,
            is_duplicate: false,
        };
        let told = |sent: &Sent, within| {
            let mut out = Vec::new();
            write_sent(&mut out, sent, within);
            serde_json::from_slice::<Value>(&out).unwrap()
        };
        let mut expect = json!({"id": "a\"b", "list": "priority", "seq": 7, "epoch": "z", "sent_at_ms": 1_700_000_000_000_u64});
        assert_eq!(told(&sent, Within::Alone), expect);
        expect["duplicate"] = json!(true);
        expect["status"] = json!(200);
        assert_eq!(told(&Sent { is_duplicate: true, ..sent }, Within::Batch), expect);
    }
}
