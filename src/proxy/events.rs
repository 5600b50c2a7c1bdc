//! Server-sent events: the answers of one poll after the other, as one response (WHATWG HTML, section 9.2).

use std::rc::Rc;

use bytes::Bytes;
use recvsvr::{Ask, Follower, Start, Started, now_ms};
use room::{Cursor, Problem, RoomKey};
use statsvr::Moment;
use tracing::debug;

use super::{
    access::{Caller, PollPlace},
    front::Context,
    session::{Begun, Finished, Session, finish},
};

/// A comment goes out after so long without an event (milliseconds): it tells both sides that the other is there.
const KEEP_ALIVE_MS: u64 = 15_000;

/// How often a stream looks whether its token is still good (milliseconds): keys that are taken away take effect within
/// 5 s, a second of which may pass until they are read.
pub(crate) const TOKEN_CHECK_MS: u64 = 4_000;

/// A stream of events for one client.
pub(crate) struct Events {
    context: Rc<Context>,
    follower: Follower,
    room: RoomKey,
    caller: Option<Box<Caller>>,
    /// The first poll, which began with the request.
    first: Option<Begun>,
    ask: Ask,
    place: Option<PollPlace>,
    /// Up to when it is known that its client has not left by word.
    present_at: Moment,
    /// The number of its connection.
    connection: u64,
    has_ended: bool,
    /// When something was last written (Unix milliseconds).
    written_at_ms: u64,
}

impl Events {
    /// The stream that goes on with a poll which has begun; `None` if that has no room.
    pub(crate) fn new(session: &mut Session, begun: Begun) -> Option<Self> {
        let context = Rc::clone(&session.context);
        let ask = begun.ask;
        let present_at = context.presence.moment();
        let (follower, room, caller) = session.take_following()?;
        Some(Self {
            context,
            follower,
            room,
            caller,
            first: Some(begun),
            ask,
            place: None,
            present_at,
            connection: session.connection.number,
            has_ended: false,
            written_at_ms: now_ms(),
        })
    }

    /// The next event or comment; `None` at the end: the room was closed, the node goes down, the client has left by word,
    /// the token is no longer good. Cancel-safe up to one event, which a reconnecting client gets again by its `Last-Event-ID`.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let finished = match self.first.take() {
                Some(begun) => self.finish_first(begun).await,
                None => self.ask_on().await?,
            };
            let finished = match finished {
                Ok(finished) => finished,
                Err(problem) => {
                    // The status is gone out: all that is left is to end. The client comes back and is told why.
                    debug!(%problem, "event stream ended");
                    self.has_ended = true;
                    return None;
                }
            };
            let answer = &finished.answer;
            self.has_ended |= answer.is_drain || (answer.is_closed && answer.up_to_date);
            if let Ok(cursor) = Cursor::decode(&answer.cursor, self.room.hash48()) {
                self.ask.start = Start::At(cursor);
            }
            if answer.messages > 0 || answer.has_gap || self.has_ended {
                self.follower.delivered(answer, finished.was_parked);
                self.written_at_ms = now_ms();
                return Some(event(&answer.cursor, &answer.body));
            }
            if now_ms() >= self.written_at_ms + KEEP_ALIVE_MS {
                self.written_at_ms = now_ms();
                return Some(Bytes::from_static(b": keep-alive\n\n"));
            }
        }
    }

    /// Goes on with the next poll; `None` when the stream has ended or its caller's token is no longer good.
    async fn ask_on(&mut self) -> Option<Result<Finished, Problem>> {
        let caller = self.caller.as_ref().filter(|_| !self.has_ended)?;
        if !self.context.front.access.is_current(caller, now_ms()) {
            return None;
        }
        let until_keep_alive = self.written_at_ms + KEEP_ALIVE_MS;
        self.ask.deadline_ms = caller.expires_at_ms.min(until_keep_alive).min(now_ms() + TOKEN_CHECK_MS);
        let visitor = self.context.presence.visitor(&caller.identity, self.connection);
        // While the last event was written: what was begun with the stream must not bring back who has left.
        if self.context.presence.has_left_since(self.present_at, &self.room, &visitor) {
            return None;
        }
        let started = match self.follower.ask(&self.room, &self.ask) {
            Ok(started) => started,
            Err(problem) => return Some(Err(problem)),
        };
        let present = self.context.presence.park(&self.room, visitor, &self.follower);
        if let Some(place) = &mut self.place {
            place.set_present(present);
        }
        let ask = self.ask;
        let finished = self.finish(&ask, started).await;
        // Until here the parked poll would have been told.
        self.present_at = self.context.presence.moment();
        Some(finished)
    }

    async fn finish_first(&mut self, begun: Begun) -> Result<Finished, Problem> {
        let (ask, started, place) = begun.into_parts();
        self.place = Some(place);
        self.finish(&ask, started).await
    }

    async fn finish(&mut self, ask: &Ask, started: Started) -> Result<Finished, Problem> {
        let finished = finish(&mut self.follower, &self.room, ask, started).await;
        // Going on would bring back who has left.
        self.has_ended |= self.place.as_mut().is_some_and(PollPlace::rest);
        finished
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // They count the caller's polls: the caller is forgotten once nothing does.
        (self.first, self.place) = (None, None);
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
