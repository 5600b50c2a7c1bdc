//! Sending and retracting.

use room::{List, Problem, RoomId, RoomKey, Seq};
use sendsvr::{Caller, SendBody, Sent};
use serde_json::{Map, Value, json};

use super::check_json;
use crate::proxy::{fields::Field, request::Request, response::Response, session::Session};

/// `POST /v1/rooms/{room}/messages`
pub(super) async fn send(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let (caller, key) = enter(session, room, request)?;
    check_json(&request.fields, &["application/json"])?;
    let front = &session.context.front;
    let idempotency_key = request.fields.get(Field::IdempotencyKey);
    match SendBody::parse(&request.body, idempotency_key, front.message_bytes_max)? {
        SendBody::Single(draft) => {
            let sent = front.sender.send(&caller, &key, draft).await?;
            let status = status(&sent);
            Ok(Response::json(status, Value::Object(sent_json(&sent)).to_string().into_bytes()))
        }
        SendBody::Batch(drafts) => {
            let results = front.sender.send_batch(&caller, &key, drafts).await;
            let results: Vec<Value> = results.iter().map(result_json).collect();
            Ok(Response::json(200, json!({ "results": results }).to_string().into_bytes()))
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

fn sent_json(sent: &Sent) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("id".into(), json!(sent.id.as_str()));
    body.insert("seq".into(), json!(sent.seq.0));
    body.insert("list".into(), json!(sent.list.as_str()));
    body.insert("epoch".into(), json!(sent.epoch.to_string()));
    body.insert("sent_at_ms".into(), json!(sent.sent_at_ms));
    if sent.is_duplicate {
        body.insert("duplicate".into(), json!(true));
    }
    body
}

fn result_json(result: &Result<Sent, Problem>) -> Value {
    match result {
        Ok(sent) => {
            let mut body = sent_json(sent);
            body.insert("status".into(), json!(status(sent)));
            Value::Object(body)
        }
        Err(problem) => {
            metrics::counter!(crate::metrics::REFUSED, "code" => problem.code.as_str()).increment(1);
            problem.to_json()
        }
    }
}
