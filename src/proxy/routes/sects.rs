//! Where rooms live: the sects, and moving a room.

use room::{ErrorCode, JSON_DEPTH_MAX, Problem, Role, RoomId, Sect};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{check_json, messages::enter, statistics::require};
use crate::{
    placement::{SectNode, SectService},
    proxy::{
        request::Request,
        response::Response,
        session::{Session, form},
    },
};

/// `GET /v1/sects`
pub(super) fn list(session: &mut Session, request: &Request) -> Result<Response, Problem> {
    let caller = session.identify(&request.fields, &request.query()?)?;
    require(caller.identity.rights, Role::Ops)?;
    let app = caller.identity.app.clone();
    let front = &session.context.front;
    let routing = front.sects.routing();
    let totals = front.stats.totals(&app, &routing);
    let sects: Vec<_> = routing
        .table
        .sects()
        .iter()
        .map(|sect| {
            let sum = totals.sect(&sect.name);
            json!({
                "sect": sect.name.as_str(),
                "kind": sect.kind.as_str(),
                "weight": sect.weight,
                "policy": policy(sect.policy.steps()),
                "nodes": nodes(&*front.sects, sect),
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

fn nodes(sects: &dyn SectService, sect: &Sect) -> Vec<Value> {
    let node = |node: SectNode| json!({ "address": &*node.address, "state": node.state.as_str() });
    sects.nodes_of(sect).into_iter().map(node).collect()
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
