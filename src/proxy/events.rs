//! Server-sent events: the answers of one poll after the other, as one response (WHATWG HTML, section 9.2).

use std::rc::Rc;

use bytes::Bytes;
use recvsvr::{Ask, Follower, Form, Start, now_ms};
use room::{Cursor, RoomKey};
use tracing::debug;

use super::{
    access::{Caller, PollPlace},
    front::Context,
    session::{Begun, Session, finish},
};

/// A comment goes out after so long without an event (milliseconds): it tells both sides that the other is there.
pub(crate) const KEEP_ALIVE_MS: u64 = 15_000;

/// A stream of events for one client.
pub(crate) struct Events {
    context: Rc<Context>,
    follower: Follower,
    room: RoomKey,
    caller: Option<Box<Caller>>,
    /// The first poll, which began with the request.
    first: Option<Begun>,
    ask: Ask,
    _place: Option<PollPlace>,
    has_ended: bool,
}

impl Events {
    /// The stream that goes on with a poll which has begun; `None` if that has no room.
    pub(crate) fn new(session: Session, begun: Begun) -> Option<Self> {
        let context = Rc::clone(&session.context);
        let ask = Ask { form: Form::JSON, ..begun.ask };
        let (follower, room, caller) = session.into_following()?;
        Some(Self {
            context,
            follower,
            room,
            caller,
            first: Some(begun),
            ask,
            _place: None,
            has_ended: false,
        })
    }

    /// The next event or comment; `None` at the end: the room was closed, the node goes down, the token expired.
    /// Cancel-safe up to one event, which a reconnecting client gets again by its `Last-Event-ID`.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        let expires_at_ms = self.caller.as_ref().map_or(u64::MAX, |caller| caller.expires_at_ms);
        let finished = match self.first.take() {
            Some(begun) => self.finish_first(begun).await,
            None if now_ms() >= expires_at_ms => return None,
            None => {
                self.ask.deadline_ms = expires_at_ms.min(now_ms() + KEEP_ALIVE_MS);
                match self.follower.ask(&self.room, &self.ask) {
                    Ok(started) => finish(&mut self.follower, &self.room, &self.ask, started).await,
                    Err(problem) => Err(problem),
                }
            }
        };
        let finished = match finished {
            Ok(finished) => finished,
            Err(problem) => {
                // The status is gone out: all that is left is to end. The client comes back and is told why.
                debug!(%problem, "event stream ended");
                return None;
            }
        };
        let answer = &finished.answer;
        self.has_ended = answer.is_closed || answer.is_drain;
        if let Ok(cursor) = Cursor::decode(&answer.cursor, self.room.hash48()) {
            self.ask.start = Start::At(cursor);
        }
        if answer.messages == 0 && !answer.has_gap && !self.has_ended {
            return Some(Bytes::from_static(b": keep-alive\n\n"));
        }
        self.follower.delivered(answer, finished.was_parked);
        Some(event(&answer.cursor, &answer.body))
    }

    async fn finish_first(&mut self, begun: Begun) -> Result<super::session::Finished, room::Problem> {
        let (ask, started, place) = begun.into_parts();
        self._place = Some(place);
        finish(&mut self.follower, &self.room, &ask, started).await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.context.front.access.forget(self.caller.take());
    }
}

/// One event. White space in a message's `data` may have line ends, which would end the event's line: they become
/// spaces, which mean the same there. Within strings JSON has no bare line ends.
fn event(cursor: &[u8], body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + cursor.len() + 16);
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(cursor);
    out.extend_from_slice(b"\ndata: ");
    out.extend(body.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    out.extend_from_slice(b"\n\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_stays_on_its_line() {
        assert_eq!(event(b"c1", b"{\"data\": [1,\r\n2]}"), "id: c1\ndata: {\"data\": [1,  2]}\n\n");
    }
}
