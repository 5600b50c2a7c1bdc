//! Which operation a request means: its method and path, never normalised.

use std::borrow::Cow;

use room::{ErrorCode, List, Problem, RoomId, Seq, UserId};

use super::fields::decode_segment;

/// A path of the API, with its ids checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// `/v1/rooms/{room}/messages`
    Messages(RoomId),
    /// `/v1/rooms/{room}/messages/{list}/{seq}`
    Message(RoomId, List, Seq),
    /// `/v1/rooms/{room}/history`
    History(RoomId),
    /// `/v1/rooms/{room}`
    Room(RoomId),
    /// `/v1/rooms/{room}/leave`
    Leave(RoomId),
    /// `/v1/rooms/{room}/stats`
    RoomStats(RoomId),
    /// `/v1/rooms/{room}/stats/history`
    StatsHistory(RoomId),
    /// `/v1/rooms/{room}/viewers`
    Viewers(RoomId),
    /// `/v1/rooms/{room}/viewers/{user}`
    Viewer(RoomId, UserId),
    /// `/v1/rooms/{room}/signals/{seq}/reach`
    Reach(RoomId, Seq),
    /// `/v1/rooms/{room}/sect`
    RoomSect(RoomId),
    /// `/v1/sects`
    Sects,
    /// `/v1/stats`
    AppStats,
    /// `/v1/poll`
    MultiPoll,
    /// `/openapi.json`
    OpenApi,
}

impl Target {
    /// Finds what a path means.
    ///
    /// # Errors
    /// `not_found` for a path that means nothing, `invalid_room` or `invalid_parameter` for an id in it that
    /// breaks its rule.
    pub(crate) fn parse(path: &str) -> Result<Self, Problem> {
        let mut segments = [""; 8];
        let mut count = 0;
        let Some(relative) = path.strip_prefix('/') else { return Err(not_found()) };
        for segment in relative.split('/') {
            if count == segments.len() || matches!(segment, "" | "." | "..") {
                return Err(not_found());
            }
            segments[count] = segment;
            count += 1;
        }
        match segments[..count] {
            ["v1", "rooms", room] => Ok(Self::Room(room_id(room)?)),
            ["v1", "rooms", room, "messages"] => Ok(Self::Messages(room_id(room)?)),
            ["v1", "rooms", room, "history"] => Ok(Self::History(room_id(room)?)),
            ["v1", "rooms", room, "messages", list, seq] => {
                let room = room_id(room)?;
                let list = List::parse(list).ok_or_else(|| {
                    Problem::new(ErrorCode::InvalidParameter, "the list in the path is priority or normal")
                })?;
                Ok(Self::Message(room, list, sequence(seq)?))
            }
            ["v1", "rooms", room, "leave"] => Ok(Self::Leave(room_id(room)?)),
            ["v1", "rooms", room, "stats"] => Ok(Self::RoomStats(room_id(room)?)),
            ["v1", "rooms", room, "stats", "history"] => Ok(Self::StatsHistory(room_id(room)?)),
            ["v1", "rooms", room, "viewers"] => Ok(Self::Viewers(room_id(room)?)),
            ["v1", "rooms", room, "viewers", user] => Ok(Self::Viewer(room_id(room)?, user_id(user)?)),
            ["v1", "rooms", room, "signals", seq, "reach"] => Ok(Self::Reach(room_id(room)?, sequence(seq)?)),
            ["v1", "rooms", room, "sect"] => Ok(Self::RoomSect(room_id(room)?)),
            ["v1", "sects"] => Ok(Self::Sects),
            ["v1", "stats"] => Ok(Self::AppStats),
            ["v1", "poll"] => Ok(Self::MultiPoll),
            ["openapi.json"] => Ok(Self::OpenApi),
            _ => Err(not_found()),
        }
    }

    /// The methods that the path has, as `Allow` and CORS name them.
    pub(crate) const fn methods(&self) -> &'static str {
        match self {
            Self::Messages(_) => "GET, POST, OPTIONS",
            Self::Message(..) => "DELETE, OPTIONS",
            Self::Room(_) => "GET, PUT, PATCH, DELETE, OPTIONS",
            Self::Leave(_) => "POST, OPTIONS",
            Self::RoomSect(_) => "PUT, OPTIONS",
            Self::History(_)
            | Self::RoomStats(_)
            | Self::StatsHistory(_)
            | Self::Viewers(_)
            | Self::Viewer(..)
            | Self::Reach(..)
            | Self::Sects
            | Self::AppStats
            | Self::MultiPoll
            | Self::OpenApi => "GET, OPTIONS",
        }
    }
}

fn room_id(segment: &str) -> Result<RoomId, Problem> {
    let text = decode_segment(segment).unwrap_or(Cow::Borrowed(""));
    RoomId::new(&text)
        .map_err(|rule| Problem::new(ErrorCode::InvalidRoom, format!("the room in the path: {rule}")))
}

fn user_id(segment: &str) -> Result<UserId, Problem> {
    let text = decode_segment(segment).unwrap_or(Cow::Borrowed(""));
    UserId::new(&text)
        .map_err(|rule| Problem::new(ErrorCode::InvalidId, format!("the user in the path: {rule}")))
}

fn sequence(segment: &str) -> Result<Seq, Problem> {
    let is_plain = segment.bytes().all(|b| b.is_ascii_digit());
    match segment.parse() {
        Ok(seq) if is_plain => Ok(Seq(seq)),
        _ => Err(Problem::new(ErrorCode::InvalidParameter, "the sequence in the path is a whole number")),
    }
}

/// There is nothing under this path.
pub(crate) fn not_found() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is nothing under this path: /openapi.json lists what there is")
}

/// The path has no such method.
pub(crate) fn method_not_allowed(methods: &'static str) -> Problem {
    Problem {
        allow: Some(methods),
        ..Problem::new(ErrorCode::MethodNotAllowed, format!("this path has the methods {methods}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_one_thing_or_nothing() {
        let room = || RoomId::internal("a.b");
        for (path, expect) in [
            ("/v1/rooms/a.b/messages", Ok(Target::Messages(room()))),
            ("/v1/rooms/a%2eb/messages", Ok(Target::Messages(room()))),
            ("/v1/rooms/a.b", Ok(Target::Room(room()))),
            ("/v1/rooms/a.b/messages/normal/7", Ok(Target::Message(room(), List::Normal, Seq(7)))),
            ("/v1/rooms/a.b/messages/normal/+7", Err(ErrorCode::InvalidParameter)),
            ("/v1/rooms/a.b/messages/both/7", Err(ErrorCode::InvalidParameter)),
            ("/v1/rooms/a.b/leave", Ok(Target::Leave(room()))),
            ("/v1/rooms/a.b/stats", Ok(Target::RoomStats(room()))),
            ("/v1/rooms/a.b/stats/history", Ok(Target::StatsHistory(room()))),
            ("/v1/rooms/a.b/viewers", Ok(Target::Viewers(room()))),
            ("/v1/rooms/a.b/viewers/u%31", Ok(Target::Viewer(room(), UserId::internal("u1")))),
            ("/v1/rooms/a.b/viewers/u u", Err(ErrorCode::InvalidId)),
            ("/v1/rooms/a.b/signals/7/reach", Ok(Target::Reach(room(), Seq(7)))),
            ("/v1/rooms/a.b/signals/x/reach", Err(ErrorCode::InvalidParameter)),
            ("/v1/rooms/a.b/signals/7", Err(ErrorCode::NotFound)),
            ("/v1/rooms/a.b/sect", Ok(Target::RoomSect(room()))),
            ("/v1/sects", Ok(Target::Sects)),
            ("/v1/stats", Ok(Target::AppStats)),
            ("/v1/poll", Ok(Target::MultiPoll)),
            ("/v1//rooms/a.b", Err(ErrorCode::NotFound)),
            ("/v1/rooms/a.b/", Err(ErrorCode::NotFound)),
            ("/v1/rooms/../poll", Err(ErrorCode::NotFound)),
            ("/v1/rooms/%2e%2e/messages", Err(ErrorCode::InvalidRoom)),
            ("/v1/rooms/a b/messages", Err(ErrorCode::InvalidRoom)),
            ("/v1/rooms/a%/messages", Err(ErrorCode::InvalidRoom)),
            ("/v1/rooms/_canary/messages", Err(ErrorCode::InvalidRoom)),
            ("/", Err(ErrorCode::NotFound)),
            ("*", Err(ErrorCode::NotFound)),
            ("/a/b/c/d/e/f/g/h/i/j", Err(ErrorCode::NotFound)),
        ] {
            assert_eq!(Target::parse(path).map_err(|p| p.code), expect, "{path}");
        }
    }
}
