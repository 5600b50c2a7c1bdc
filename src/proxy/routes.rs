//! From a request to what it is answered: checks that all requests have in common, then one file an operation.

mod history;
mod leave;
pub(crate) mod messages;
mod multi_poll;
mod rooms;
mod sects;
pub(crate) mod statistics;

use room::{ErrorCode, Problem};

use super::{
    events::Events,
    fields::{Field, Fields},
    request::{Reply, Request},
    response::Response,
    session::{Session, wants_events},
    target::{Target, method_not_allowed},
};

/// The OpenAPI document.
const OPENAPI: &[u8] = include_bytes!("openapi.json");

/// Answers a request. Plain polls over HTTP/1 don't come here: [`super::connection`] begins them itself, by the
/// same [`Session::begin_poll`].
pub(crate) async fn respond(session: &mut Session, request: &Request) -> Reply {
    match route(session, request).await {
        Ok(reply) => reply,
        Err(problem) => Reply::Whole(Response::problem(&problem)),
    }
}

async fn route(session: &mut Session, request: &Request) -> Result<Reply, Problem> {
    let target = Target::parse(&request.path)?;
    let whole = match (request.method.as_str(), &target) {
        ("OPTIONS", _) => Ok(session.context.front.cors.preflight(&target, &request.fields)),
        ("GET", Target::OpenApi) => Ok(Response::json(200, OPENAPI.to_vec())),
        ("GET", Target::Messages(room)) => return poll(session, room.as_str(), request).await,
        ("GET", Target::MultiPoll) => multi_poll::multi_poll(session, request).await,
        ("POST", Target::Messages(room)) => messages::send(session, room, request).await,
        ("DELETE", Target::Message(room, list, seq)) => {
            messages::retract(session, room, *list, *seq, request).await
        }
        ("GET", Target::History(room)) => history::history(session, room, request).await,
        ("GET", Target::Room(room)) => rooms::view(session, room, request).await,
        ("PUT" | "PATCH", Target::Room(room)) => rooms::change(session, room, request).await,
        ("DELETE", Target::Room(room)) => rooms::close(session, room, request).await,
        ("POST", Target::Leave(room)) => leave::leave(session, room, request),
        ("GET", Target::RoomStats(room)) => statistics::room(session, room, request).await,
        ("GET", Target::StatsHistory(room)) => statistics::series(session, room, request).await,
        ("GET", Target::Viewers(room)) => statistics::viewers(session, room, request).await,
        ("GET", Target::Viewer(room, user)) => statistics::viewer(session, room, user, request).await,
        ("GET", Target::Reach(room, seq)) => statistics::reach(session, room, *seq, request).await,
        ("PUT", Target::RoomSect(room)) => sects::put(session, room, request).await,
        ("GET", Target::Sects) => sects::list(session, request),
        ("GET", Target::AppStats) => statistics::app(session, request),
        _ => Err(method_not_allowed(target.methods())),
    };
    whole.map(Reply::Whole)
}

async fn poll(session: &mut Session, room: &str, request: &Request) -> Result<Reply, Problem> {
    let query = request.query()?;
    if wants_events(&request.fields) {
        let begun = session.begin_poll(room, &request.fields, &query)?;
        let events = Events::new(session, begun)
            .ok_or_else(|| Problem::new(ErrorCode::Internal, "the event stream lost its room: try again"))?;
        return Ok(Reply::Events(Box::new(events)));
    }
    let begun = session.begin_poll(room, &request.fields, &query)?;
    let finished = session.finish_poll(begun).await?;
    if let Some(follower) = &session.follower {
        follower.delivered(&finished.answer, finished.was_parked);
    }
    Ok(Reply::Whole(Response::answer(&finished.answer)))
}

/// Checks that a request's body is what its route reads.
fn check_json(fields: &Fields<'_>, types: &[&str]) -> Result<(), Problem> {
    let wrong = |detail: String| Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
    if fields.get(Field::ContentEncoding).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return wrong("bodies are taken without content-encoding only".into());
    }
    let expected = types.join(" or ");
    let Some(content_type) = fields.get(Field::ContentType) else {
        return wrong(format!("the body needs the field content-type: {expected}"));
    };
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let is_known = types.iter().any(|known| known.eq_ignore_ascii_case(media_type.trim()));
    let is_utf8 =
        parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty()).all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    if is_known && is_utf8 {
        Ok(())
    } else {
        wrong(format!("the body's content-type must be {expected}, in UTF-8"))
    }
}

/// Reads what single operations read from fields and query, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_values(fields: &Fields<'_>, query: &super::fields::Query<'_>) {
    let _ = check_json(fields, &["application/json"]);
    let _ = history::ask(query);
    let _ = query.get(super::fields::Key::Rooms).map(multi_poll::split);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf8_is_read() {
        for (content_type, fits) in [
            (Some("application/json"), true),
            (Some("Application/JSON; charset=UTF-8"), true),
            (Some("application/json; charset=\"utf-8\"; x=y"), true),
            (Some("application/json; charset=latin1"), false),
            (Some("text/plain"), false),
            (None, false),
        ] {
            let mut fields = Fields::default();
            if let Some(content_type) = content_type {
                fields.add("content-type", content_type.as_bytes()).unwrap();
            }
            assert_eq!(check_json(&fields, &["application/json"]).is_ok(), fits, "{content_type:?}");
        }
        let mut fields = Fields::default();
        fields.add("content-type", b"application/json").unwrap();
        fields.add("content-encoding", b"gzip").unwrap();
        assert!(check_json(&fields, &["application/json"]).is_err());
    }
}
