//! Scrolling back.

use recvsvr::HistoryAsk;
use room::{HISTORY_LIMIT_DEFAULT, List, POLL_LIMIT_MAX, Problem, RoomId, RoomKey, Seq};

use crate::proxy::{
    fields::{Key, Query, invalid},
    request::Request,
    response::Response,
    session::{Session, form},
};

/// `GET /v1/rooms/{room}/history`
pub(super) async fn history(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let query = request.query()?;
    let caller = session.identify(&request.fields, &query)?;
    caller.enter(room)?;
    let key = RoomKey::new(caller.identity.app.clone(), room.clone());
    let body = recvsvr::history(session.context.front.log.as_ref(), &key, ask(&query)?).await?;
    let (body, compression) = session.context.front.compress(body, form(&request.fields));
    Ok(Response { content_encoding: compression.content_encoding(), ..Response::json(200, body) })
}

pub(super) fn ask(query: &Query<'_>) -> Result<HistoryAsk, Problem> {
    let list = match query.get(Key::List) {
        None => List::Normal,
        Some(text) => List::parse(text).ok_or_else(|| invalid(Key::List, "is priority or normal"))?,
    };
    let seq = |key| match query.get(key) {
        None => Ok(None),
        Some(_) => query.number(key, 0..=u64::MAX, 0).map(|seq| Some(Seq(seq))),
    };
    let reverse = match query.get(Key::Reverse) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(invalid(Key::Reverse, "is true or false")),
    };
    let limit = query.number(Key::Limit, 1..=POLL_LIMIT_MAX as u64, HISTORY_LIMIT_DEFAULT as u64)? as usize;
    Ok(HistoryAsk { list, since: seq(Key::Since)?, before: seq(Key::Before)?, limit, reverse })
}
