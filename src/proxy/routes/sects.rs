//! Where rooms live: the sects, and moving a room.

use std::collections::HashMap;

use room::{ErrorCode, JSON_DEPTH_MAX, Problem, Role, RoomId, RoomKey};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{check_json, messages::enter, statistics::require};
use crate::proxy::{
    front::Front,
    request::Request,
    response::Response,
    session::{Session, form},
};

/// What a sect's rooms add up to.
#[derive(Clone, Copy, Default)]
pub(super) struct SectSums {
    pub(super) num_rooms: u64,
    pub(super) num_users: u64,
    pub(super) num_clients: u64,
}

/// Sums over the rooms that are counted now and that `is_wanted`, by sect.
pub(super) fn sums(front: &Front, is_wanted: impl Fn(&RoomKey) -> bool) -> HashMap<String, SectSums> {
    let routing = front.sects.routing();
    let mut sums: HashMap<String, SectSums> = HashMap::new();
    front.stats.snapshots().for_each(|snapshot| {
        if !is_wanted(&snapshot.room) {
            return;
        }
        let sect = routing.sect_of(&snapshot.room).name.as_str();
        let sum = sums.entry(sect.to_owned()).or_default();
        sum.num_rooms += 1;
        sum.num_users += snapshot.num_users;
        sum.num_clients += snapshot.num_clients;
    });
    sums
}

/// `GET /v1/sects`
pub(super) fn list(session: &mut Session, request: &Request) -> Result<Response, Problem> {
    let caller = session.identify(&request.fields, &request.query()?)?;
    require(caller.identity.rights, Role::Ops)?;
    let app = caller.identity.app.clone();
    let front = &session.context.front;
    let (routing, sums) = (front.sects.routing(), sums(front, |room| room.app == app));
    let sects: Vec<_> = routing
        .table
        .sects()
        .iter()
        .map(|sect| {
            let sum = sums.get(sect.name.as_str()).copied().unwrap_or_default();
            json!({
                "sect": sect.name.as_str(),
                "kind": sect.kind.as_str(),
                "weight": sect.weight,
                "policy": policy(sect.policy.steps()),
                "num_rooms": sum.num_rooms,
                "num_users": sum.num_users,
                "num_clients": sum.num_clients,
            })
        })
        .collect();
    let promotions = routing.table.promotions();
    let body = json!({
        "version": routing.version,
        "sects": sects,
        "promote_at": promotions.promote_at,
        "demote_at": promotions.demote_at,
        "demote_after_ms": u64::try_from(promotions.demote_after.as_millis()).unwrap_or(u64::MAX),
    });
    let (body, compression) =
        recvsvr::compress(body.to_string().into_bytes(), form(&request.fields).compression);
    Ok(Response { content_encoding: compression.content_encoding(), ..Response::json(200, body) })
}

fn policy(steps: &[(u64, std::time::Duration)]) -> Vec<Value> {
    let step = |(users, interval): &(u64, std::time::Duration)| json!({ "num_users": users, "interval_ms": u64::try_from(interval.as_millis()).unwrap_or(u64::MAX) });
    steps.iter().map(step).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(deserialize_with = "present")]
    sect: Option<String>,
}

/// A member that must be there, and may be null.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(value)
}

/// `PUT /v1/rooms/{room}/sect`
pub(super) async fn put(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let (caller, key) = enter(session, room, request)?;
    require(caller.rights, Role::Ops)?;
    check_json(&request.fields, &["application/json"])?;
    room::json::check(&request.body, JSON_DEPTH_MAX)
        .map_err(|error| Problem::new(ErrorCode::InvalidJson, error.to_string()))?;
    let wanted: Wanted = serde_json::from_slice(&request.body).map_err(|_| {
        let detail = "the body must be {\"sect\": \"NAME\"}, or {\"sect\": null} for where the sect table has the room";
        Problem::new(ErrorCode::InvalidMessage, detail)
    })?;
    let placed = session.context.front.sects.set_sect(&caller, &key, wanted.sect.as_deref()).await?;
    let mut body = json!({ "room": room.as_str(), "sect": placed.sect.as_str() });
    if let Some(by) = placed.by {
        body["by"] = by.as_str().into();
    }
    Ok(Response::json(200, body.to_string().into_bytes()))
}
