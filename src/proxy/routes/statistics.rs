//! Who is in a room, how many, how many ever. Numbers come from the snapshots in memory; lists, the past and the reach of a
//! message are asked of the statsvrs.

use std::rc::Rc;

use recvsvr::{now_ms, refusal};
use room::{ErrorCode, List, Problem, Role, RoomId, RoomKey, Seq, UserId};
use serde::Serialize;
use serde_json::{Value, json};
use statsvr::{SeriesRange, StatsError, Step, VIEWERS_LIMIT_MAX, Viewer};
use store::Range;

use crate::proxy::{
    fields::{Fields, Key, Query, invalid},
    request::Request,
    response::Response,
    session::{Session, form},
};

/// Viewers of a page of the list, unless asked otherwise.
const VIEWERS_LIMIT_DEFAULT: u64 = 200;

/// Rooms of the ranking, unless asked otherwise, and at most.
const TOP_DEFAULT: u64 = 50;
const TOP_MAX: u64 = statsvr::Totals::ROOMS_MAX as u64;

/// How much of a series is given unless asked otherwise (milliseconds): the last hour.
const SERIES_SPAN_DEFAULT_MS: u64 = 3_600_000;

/// `GET /v1/rooms/{room}/stats`
pub(super) async fn room(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    if let Some(known) = known_numbers(session, room.as_str(), &request.fields, &request.query)? {
        return Ok(known);
    }
    let key = enter(session, room, request, Role::Viewer)?;
    let standing = session.context.front.stats.standing(&key).await?;
    Ok(numbers((0, 0, true), &standing, now_ms()))
}

/// The same for a room whose numbers are in memory; `None` for any other.
///
/// # Errors
/// Whatever of the request is wrong.
pub(crate) fn known_numbers(
    session: &mut Session,
    room: &str,
    fields: &Fields<'_>,
    query: &str,
) -> Result<Option<Response>, Problem> {
    session.context.front.check_open()?;
    session.check_room(room)?;
    let identity = Rc::clone(&session.identify(fields, &Query::parse(query)?)?.identity);
    session.key(&identity.app, room)?;
    let (key, caller) = session.entering().expect("both were set above");
    caller.enter(&key.room)?;
    require(caller.identity.rights, Role::Viewer)?;
    let Some((snapshot, as_of_ms)) = session.context.front.stats.room(key) else { return Ok(None) };
    let counts = (snapshot.num_users, snapshot.num_clients, snapshot.exact);
    Ok(Some(numbers(counts, &snapshot.standing, as_of_ms)))
}

/// A room's numbers in the API's words.
#[derive(Serialize)]
struct Numbers {
    num_users: u64,
    num_clients: u64,
    exact: bool,
    peak_num_users: u64,
    peak_at_ms: u64,
    unique_viewers: u64,
    unique_viewers_total: u64,
    unique_error: f64,
    as_of_ms: u64,
    /// The past is not read yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

fn numbers(
    (num_users, num_clients, exact): (u64, u64, bool),
    standing: &statsvr::Standing,
    as_of_ms: u64,
) -> Response {
    let numbers = Numbers {
        num_users,
        num_clients,
        exact,
        peak_num_users: standing.peak_num_users,
        peak_at_ms: standing.peak_at_ms,
        unique_viewers: standing.unique_viewers,
        unique_viewers_total: standing.unique_viewers_total,
        unique_error: standing.unique_error,
        as_of_ms,
        partial: !standing.is_loaded,
    };
    Response::json(200, serde_json::to_vec(&numbers).expect("numbers are JSON"))
}

/// `GET /v1/rooms/{room}/stats/history`
pub(super) async fn series(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let query = request.query()?;
    let key = enter(session, room, request, Role::Viewer)?;
    let range = series_range(&query, now_ms())?;
    let series = session.context.front.stats.series(&key, range).await?;
    let points: Vec<_> = series
        .points
        .iter()
        .map(|point| {
            json!({
                "t_ms": point.t_ms,
                "min": point.min,
                "avg": point.avg,
                "max": point.max,
                "joins": point.joins,
                "leaves": point.leaves,
            })
        })
        .collect();
    let body = json!({ "step_s": series.step.seconds(), "points": points });
    let (body, compression) =
        session.context.front.compress(body.to_string().into_bytes(), form(&request.fields));
    Ok(Response { content_encoding: compression.content_encoding(), ..Response::json(200, body) })
}

/// The last hour unless the query says otherwise, in steps of ten seconds where those are still kept.
fn series_range(query: &Query<'_>, now_ms: u64) -> Result<SeriesRange, Problem> {
    let to_ms = query.number(Key::ToMs, 0..=u64::MAX, now_ms)?;
    let from_ms = query.number(Key::FromMs, 0..=u64::MAX, to_ms.saturating_sub(SERIES_SPAN_DEFAULT_MS))?;
    if from_ms > to_ms {
        return Err(invalid(Key::FromMs, "must not be after to_ms"));
    }
    let step = match query.get(Key::StepS) {
        None if now_ms.saturating_sub(from_ms) > Step::TenSeconds.kept_ms() => Step::Minute,
        None | Some("10") => Step::TenSeconds,
        Some("60") => Step::Minute,
        Some(_) => return Err(invalid(Key::StepS, "is 10 or 60")),
    };
    Ok(SeriesRange { from_ms, to_ms, step })
}

/// `GET /v1/rooms/{room}/viewers`
pub(super) async fn viewers(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let query = request.query()?;
    let key = enter(session, room, request, Role::Moderator)?;
    let after = query.get(Key::After).map(UserId::new).transpose().map_err(|rule| {
        Problem::new(ErrorCode::InvalidId, format!("after, the user id that a page ended with: {rule}"))
    })?;
    let limit = query.number(Key::Limit, 1..=VIEWERS_LIMIT_MAX as u64, VIEWERS_LIMIT_DEFAULT)?;
    let page = session.context.front.stats.viewers(&key, after.as_ref(), limit as usize).await?;
    let mut body = json!({ "viewers": page.viewers.iter().map(shown_viewer).collect::<Vec<_>>() });
    if let Some(next_after) = page.next_after {
        body["next_after"] = next_after.as_str().into();
    }
    if !page.is_complete {
        body["partial"] = true.into();
    }
    let (body, compression) =
        session.context.front.compress(body.to_string().into_bytes(), form(&request.fields));
    Ok(Response { content_encoding: compression.content_encoding(), ..Response::json(200, body) })
}

/// `GET /v1/rooms/{room}/viewers/{user}`
pub(super) async fn viewer(
    session: &mut Session,
    room: &RoomId,
    user: &UserId,
    request: &Request,
) -> Result<Response, Problem> {
    let key = enter(session, room, request, Role::Moderator)?;
    let viewer = session.context.front.stats.viewer(&key, user).await?;
    let mut body = viewer.as_ref().map_or_else(|| json!({ "user": user.as_str() }), shown_viewer);
    body["online"] = viewer.is_some().into();
    Ok(Response::json(200, body.to_string().into_bytes()))
}

fn shown_viewer(viewer: &Viewer) -> Value {
    let mut shown = json!({
        "user": viewer.user.as_str(),
        "num_clients": viewer.num_clients,
        "last_seen_ms": viewer.last_seen_ms,
    });
    if let Some(role) = viewer.role {
        shown["role"] = role.as_str().into();
    }
    if let Some(joined_at_ms) = viewer.joined_at_ms {
        shown["joined_at_ms"] = joined_at_ms.into();
    }
    shown
}

/// `GET /v1/rooms/{room}/signals/{seq}/reach`
pub(super) async fn reach(
    session: &mut Session,
    room: &RoomId,
    seq: Seq,
    request: &Request,
) -> Result<Response, Problem> {
    let key = enter(session, room, request, Role::Moderator)?;
    let front = &session.context.front;
    let before = Seq(seq.0.saturating_sub(1));
    let page = front.log.read(&key, List::Priority, Range::After(before), 1);
    let page = page.await.map_err(|error| refusal(&error))?;
    let message = page.messages.first().filter(|message| message.seq == seq);
    let unknown = |detail| Problem::new(ErrorCode::NotFound, detail);
    let message = message.ok_or_else(|| {
        unknown("the room keeps no priority message of this sequence: it is too old or not sent yet")
    })?;
    let reached = front.stats.reach(&key, seq.0).await?.ok_or_else(|| {
        unknown("the reach of a message is known of the latest few hundred priority messages only")
    })?;
    let mut body = json!({
        "seq": seq.0,
        "sent_at_ms": message.sent_at_ms,
        "num_users": reached.num_users,
        "reached": reached.reached,
        "as_of_ms": reached.as_of_ms,
    });
    let times = [
        ("p50_ms", reached.p50_ms),
        ("p90_ms", reached.p90_ms),
        ("p99_ms", reached.p99_ms),
        ("p100_ms", reached.p100_ms),
    ];
    for (name, time_ms) in times {
        if let Some(time_ms) = time_ms {
            body[name] = time_ms.into();
        }
    }
    Ok(Response::json(200, body.to_string().into_bytes()))
}

/// `GET /v1/stats`
pub(super) fn app(session: &mut Session, request: &Request) -> Result<Response, Problem> {
    let query = request.query()?;
    let caller = session.identify(&request.fields, &query)?;
    require(caller.identity.rights, Role::Ops)?;
    let app = caller.identity.app.clone();
    let top = query.number(Key::Top, 1..=TOP_MAX, TOP_DEFAULT)?;
    let stats = &session.context.front.stats;
    if stats.nodes().live().is_empty() {
        return Err(StatsError::Unavailable("no statsvr answers".into()).into());
    }
    let routing = session.context.front.sects.routing();
    let totals = stats.totals(&app, &routing);
    let rooms: Vec<_> = totals
        .rooms
        .iter()
        .take(top as usize)
        .map(|snapshot| {
            json!({
                "room": snapshot.room.room.as_str(),
                "num_users": snapshot.num_users,
                "num_clients": snapshot.num_clients,
                "unique_viewers": snapshot.standing.unique_viewers,
                "sect": routing.sect_of(&snapshot.room).name.as_str(),
            })
        })
        .collect();
    let sects: Vec<_> = routing
        .table
        .sects()
        .iter()
        .map(|sect| {
            let sum = totals.sect(&sect.name);
            json!({
                "sect": sect.name.as_str(),
                "num_users": sum.num_users,
                "num_clients": sum.num_clients,
                "num_rooms": sum.num_rooms,
            })
        })
        .collect();
    let body = json!({
        "num_users": totals.num_users,
        "num_clients": totals.num_clients,
        "rooms": rooms,
        "sects": sects,
        "as_of_ms": totals.as_of_ms,
    });
    let (body, compression) =
        session.context.front.compress(body.to_string().into_bytes(), form(&request.fields));
    Ok(Response { content_encoding: compression.content_encoding(), ..Response::json(200, body) })
}

/// The key of a room whose statistics the caller may have.
fn enter(session: &mut Session, room: &RoomId, request: &Request, least: Role) -> Result<RoomKey, Problem> {
    let caller = session.identify(&request.fields, &request.query()?)?;
    caller.enter(room)?;
    require(caller.identity.rights, least)?;
    Ok(RoomKey::new(caller.identity.app.clone(), room.clone()))
}

pub(super) fn require(rights: Role, least: Role) -> Result<(), Problem> {
    if rights >= least {
        return Ok(());
    }
    Err(Problem::new(
        ErrorCode::Forbidden,
        format!("this needs the role {least} or above: get a token that has it"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(query: &str, now_ms: u64) -> Result<(u64, u64, u8), ErrorCode> {
        series_range(&Query::parse(query).unwrap(), now_ms)
            .map(|range| (range.from_ms, range.to_ms, range.step.seconds()))
            .map_err(|problem| problem.code)
    }

    #[test]
    fn numbers_are_partial_until_the_past_is_read() {
        let numbers = |is_loaded| {
            let standing = statsvr::Standing { unique_viewers: 7, is_loaded, ..statsvr::Standing::default() };
            serde_json::from_slice::<Value>(&numbers((1, 2, true), &standing, 9).body).unwrap()
        };
        assert_eq!(
            (&numbers(false)["partial"], &numbers(false)["unique_viewers"]),
            (&json!(true), &json!(7))
        );
        assert_eq!(numbers(true).get("partial"), None);
    }

    #[test]
    fn series_is_the_last_hour_by_default() {
        const DAY_MS: u64 = 24 * 3_600_000;
        let now_ms = 10 * DAY_MS;
        assert_eq!(range("", now_ms), Ok((now_ms - 3_600_000, now_ms, 10)));
        assert_eq!(range("to_ms=5000000", now_ms), Ok((1_400_000, 5_000_000, 60)));
        assert_eq!(range("from_ms=1&to_ms=2&step_s=10", now_ms), Ok((1, 2, 10)));
        assert_eq!(range("from_ms=2&to_ms=2&step_s=60", now_ms), Ok((2, 2, 60)));
        assert_eq!(range("to_ms=5", now_ms), Ok((0, 5, 60)));
        for bad in ["from_ms=3&to_ms=2", "step_s=20", "step_s=", "from_ms=-1", "to_ms=x"] {
            assert_eq!(range(bad, now_ms), Err(ErrorCode::InvalidParameter), "{bad}");
        }
    }
}
