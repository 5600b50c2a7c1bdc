//! Leaving a room by word, where closing the connection would not say it.

use room::{Problem, RoomId, RoomKey};

use crate::proxy::{request::Request, response::Response, session::Session};

/// `POST /v1/rooms/{room}/leave`: the device is offline, and its polls end. Any body, for `sendBeacon` has one.
pub(super) fn leave(session: &mut Session, room: &RoomId, request: &Request) -> Result<Response, Problem> {
    let connection = session.connection.number;
    let caller = session.identify(&request.fields, &request.query()?)?;
    caller.enter(room)?;
    let identity = std::rc::Rc::clone(&caller.identity);
    let presence = &session.context.presence;
    let visitor = presence.visitor(&identity, connection);
    presence.leave(&RoomKey::new(identity.app.clone(), room.clone()), &visitor);
    Ok(Response::empty(204))
}
