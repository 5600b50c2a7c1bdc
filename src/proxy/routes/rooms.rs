//! A room's settings.

use room::{Problem, RoomId, RoomKey};
use sendsvr::{PatchMode, SettingsPatch, settings_json};
use store::RoomView;
use tracing::warn;

use super::{check_json, messages::enter};
use crate::proxy::{front::Front, request::Request, response::Response, session::Session};

/// `GET /v1/rooms/{room}`
pub(super) async fn view(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let caller = session.identify(&request.fields, &request.query()?)?;
    caller.enter(room)?;
    let key = RoomKey::new(caller.identity.app.clone(), room.clone());
    let view = session.context.front.sender.view(&key).await?;
    Ok(shown(session, &key, &view))
}

/// `PUT /v1/rooms/{room}` replaces the settings, `PATCH` merges into them (RFC 7386).
pub(super) async fn change(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let (caller, key) = enter(session, room, request)?;
    let mode = if request.method == "PUT" { PatchMode::Replace } else { PatchMode::Merge };
    check_json(&request.fields, &["application/json", "application/merge-patch+json"])?;
    let front = &session.context.front;
    let patch = SettingsPatch::from_json(&request.body, mode, room, &sect(front, &key))?;
    let was_closed = front.sender.view(&key).await?.settings.is_closed();
    let view = front.sender.change_settings(&caller, &key, patch).await?;
    if was_closed
        && !view.settings.is_closed()
        && let Err(error) = front.stats.opened(&key).await
    {
        warn!(%error, room = %key, "the room is open, but its viewers go on being counted from before");
    }
    Ok(shown(session, &key, &view))
}

/// `DELETE /v1/rooms/{room}` closes the room.
pub(super) async fn close(
    session: &mut Session,
    room: &RoomId,
    request: &Request,
) -> Result<Response, Problem> {
    let (caller, key) = enter(session, room, request)?;
    session.context.front.sender.change_settings(&caller, &key, SettingsPatch::closing()).await?;
    Ok(Response::empty(204))
}

/// The sect that the room lives in.
fn sect(front: &Front, key: &RoomKey) -> String {
    front.sects.routing().sect_of(key).name.as_str().to_owned()
}

fn shown(session: &Session, key: &RoomKey, view: &RoomView) -> Response {
    let front = &session.context.front;
    let body = settings_json(&key.room, &view.settings, &front.send_limits, &sect(front, key));
    Response::json(200, body.to_string().into_bytes())
}
