//! An HTTP/1 connection: the fast lane for polls, and the way to everything else.
//!
//! One parser reads every request of a connection ([`super::head`]), so there is nothing that two could read
//! differently. A plain poll is begun right there, parks without holding a byte of its request, and is answered with
//! bytes that were prepared for all who wait. A plain send is checked right there as well, and finished by [`send`]; a
//! question for a room's [`numbers`] is answered from memory. Every other request goes [`aside`].

mod aside;
mod numbers;
mod send;

use std::{
    future::Future,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context as Task, Poll, ready},
};

use bytes::Bytes;
use recvsvr::{Answer, Ask, Started};
use room::{ErrorCode, Problem};
use tokio::io::{AsyncRead as _, ReadBuf};

pub(super) use self::{numbers::plain_numbers_room, send::plain_send};
use super::{
    access::PollPlace,
    addresses::{AddressPlace, Relay},
    clocks::Phase,
    fields::{Field, Query},
    front::Admitted,
    head::{self, BodyLength, H2_PREFACE, Head, Malformed},
    line::{Client, Line},
    request::Request,
    response::Response,
    routes::{
        messages::{self, Sending},
        statistics,
    },
    session::{Begun, Connected, Session, wants_events},
    stream::watch,
};

/// Bytes a poll takes from the worker's scratch space at a time.
pub(crate) const SCRATCH_BYTES: usize = 16 * 1024;

/// A connection that is served until it ends.
///
/// Written by hand, not as an `async fn`: what a connection is made of while its poll is parked is all that it takes,
/// and what is rare is on the heap for as long as it lasts.
#[allow(
    clippy::large_enum_variant,
    reason = "most connections are in the lane, and boxing it would cost more"
)]
pub(crate) enum Served<S> {
    /// Reads requests, and serves plain polls.
    Lane(Connection<S>),
    /// Serves something else with the connection; gives it back if it goes on.
    Aside(Pin<Box<dyn Future<Output = Option<Connection<S>>>>>),
    Ended,
}

/// A connection between two steps.
pub(crate) struct Connection<S> {
    line: Line<S>,
    session: Session,
    doing: Doing,
    /// What was read and not yet used; mostly empty.
    pending: Vec<u8>,
    has_begun: bool,
    /// It has asked for numbers, so it asks for more and can wait a moment.
    can_wait: bool,
    /// It has waited already before the next request is read.
    has_waited: bool,
}

/// What a connection in the lane is at.
enum Doing {
    /// Reads the head of a request.
    Reading,
    /// Waits for the answer of a poll, or for the worker to have written it.
    Parked(Manner),
    /// Writes a prepared answer.
    Writing { answer: Answer, was_parked: bool },
}

/// What the lane leaves to others.
enum Step {
    /// The client is gone, or was idle for too long.
    End,
    /// The bytes are not HTTP/1.1, or came too slowly.
    Refuse(Malformed),
    /// A connection preface: HTTP/2 from here on.
    Http2,
    /// A plain poll that is refused.
    Problem(Problem, Manner),
    /// A poll of which part of the answer is in the store only.
    Later { ask: Ask, started: Started, place: PollPlace, manner: Manner },
    /// An answer that can't be written as it was prepared, or ends the connection.
    Answer { answer: Answer, was_parked: bool, manner: Manner },
    /// A plain send, checked or refused.
    Send(Result<Box<Sending>, Problem>, Manner),
    /// A response that is there.
    Respond(Box<Response>, Manner),
    /// Any other request.
    Other(Box<Pending>),
}

/// What the next bytes of a connection ask for.
enum Asked {
    Http2,
    /// A plain poll, begun or refused.
    Poll(Result<Begun, Problem>, Manner),
    /// A plain send, checked or refused.
    Send(Result<Box<Sending>, Problem>, Manner),
    /// A plain question for numbers, answered or refused.
    Numbers(Result<Box<Response>, Problem>, Manner),
    Other(Box<Pending>),
}

/// How the answer to a request is written.
struct Manner {
    keeps_alive: bool,
    /// The page that asks, if answers to it differ from those to everybody else.
    origin: Option<Box<str>>,
}

impl Manner {
    /// Whether the client gets the bytes that were prepared for all.
    fn is_plain(&self) -> bool {
        self.keeps_alive && self.origin.is_none()
    }
}

/// A request whose body is still to be read.
struct Pending {
    request: Request,
    body: BodyLength,
    manner: Manner,
    is_http10: bool,
    expects_continue: bool,
    /// What it takes of its address's limit, or why it is refused.
    place: Result<AddressPlace, Problem>,
}

impl<S: Client> Served<S> {
    /// Serves a client who was let in, or the clients of a balancer.
    pub(crate) fn new(stream: S, admitted: Admitted, relay: Relay) -> Self {
        Self::Lane(Connection::new(stream, admitted, relay))
    }

    /// Tells a client that it can't be served, whatever it may want, and ends its connection.
    pub(crate) fn turned_away(stream: S, admitted: Admitted, problem: Problem) -> Self {
        let connection = Connection::new(stream, admitted, Relay::default());
        Self::Aside(Box::pin(connection.aside(Step::Refuse(problem.into()))))
    }
}

impl<S: Client> Future for Served<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        loop {
            let next = match &mut *self {
                Self::Lane(connection) => {
                    let step = ready!(connection.advance(task));
                    match (mem::replace(&mut *self, Self::Ended), step) {
                        (Self::Lane(_), Step::End) => Self::Ended,
                        // By itself: what is frequent must not carry the space of all that is rare.
                        (Self::Lane(connection), Step::Send(sending, manner)) => {
                            Self::Aside(Box::pin(connection.send(sending, manner)))
                        }
                        (Self::Lane(connection), Step::Respond(response, manner)) => {
                            Self::Aside(Box::pin(connection.respond(response, manner)))
                        }
                        (Self::Lane(connection), step) => Self::Aside(Box::pin(connection.aside(step))),
                        _ => Self::Ended,
                    }
                }
                Self::Aside(aside) => ready!(aside.as_mut().poll(task)).map_or(Self::Ended, Self::Lane),
                Self::Ended => return Poll::Ready(()),
            };
            *self = next;
        }
    }
}

impl<S: Client> Connection<S> {
    fn new(stream: S, admitted: Admitted, relay: Relay) -> Self {
        let connected = Connected::new(&admitted.context, relay);
        Self {
            session: Session::new(&admitted.context, &connected),
            line: Line::new(stream, admitted),
            doing: Doing::Reading,
            pending: Vec::new(),
            has_begun: false,
            can_wait: false,
            has_waited: false,
        }
    }

    /// Serves plain polls, one after the other. Ready when there is something else to do.
    fn advance(&mut self, task: &mut Task<'_>) -> Poll<Step> {
        loop {
            let step = match &self.doing {
                Doing::Reading => match ready!(self.read(task)) {
                    Ok(Asked::Poll(Ok(begun), manner)) => self.begin(begun, manner),
                    Ok(Asked::Poll(Err(problem), manner)) => Some(Step::Problem(problem, manner)),
                    Ok(Asked::Http2) => Some(Step::Http2),
                    Ok(Asked::Send(sending, manner)) => Some(Step::Send(sending, manner)),
                    Ok(Asked::Numbers(Ok(response), manner)) => Some(Step::Respond(response, manner)),
                    Ok(Asked::Numbers(Err(problem), manner)) => Some(Step::Problem(problem, manner)),
                    Ok(Asked::Other(pending)) => Some(Step::Other(pending)),
                    Err(step) => Some(step),
                },
                Doing::Parked(_) => ready!(self.wait(task)),
                Doing::Writing { answer, was_parked } => {
                    if !ready!(self.line.poll_finish(answer, task)) {
                        return Poll::Ready(Step::End);
                    }
                    if let Some(follower) = &self.session.follower {
                        follower.delivered(answer, *was_parked);
                    }
                    self.read_on();
                    None
                }
            };
            if let Some(step) = step {
                return Poll::Ready(step);
            }
        }
    }

    /// Goes on with the next request.
    fn read_on(&mut self) {
        self.line.ticket().enter(if self.pending.is_empty() { Phase::Idle } else { Phase::Head });
        self.doing = Doing::Reading;
    }

    /// Answers a poll that has begun, or parks it.
    fn begin(&mut self, begun: Begun, manner: Manner) -> Option<Step> {
        let (ask, started, place) = begun.into_parts();
        match started {
            Started::Answer(answer) => {
                place.answered();
                self.answer(answer, false, manner)
            }
            Started::Parked => {
                self.park(place, manner);
                None
            }
            started @ Started::Later(_) => Some(Step::Later { ask, started, place, manner }),
        }
    }

    fn park(&mut self, place: PollPlace, manner: Manner) {
        self.line.park(place, manner.is_plain() && self.pending.is_empty());
        let follower = self.session.follower.as_mut().expect("a poll that is parked has a follower");
        if !follower.has_outlet() {
            follower.set_outlet(Some(self.line.outlet()));
        }
        self.doing = Doing::Parked(manner);
    }

    fn answer(&mut self, answer: Answer, was_parked: bool, manner: Manner) -> Option<Step> {
        if !manner.is_plain() || answer.is_drain {
            return Some(Step::Answer { answer, was_parked, manner });
        }
        self.doing = Doing::Writing { answer, was_parked };
        None
    }

    /// Waits for the answer of the parked poll.
    fn wait(&mut self, task: &mut Task<'_>) -> Poll<Option<Step>> {
        let follower = self.session.follower.as_mut().expect("a poll that is parked has a follower");
        if follower.take_delivered() {
            // The line is as it should be: whoever wrote the answer saw to that.
            self.doing = Doing::Reading;
            return Poll::Ready(None);
        }
        let Poll::Ready(started) = follower.poll_answer(task) else {
            let has_left = watch(&mut self.line, &mut self.pending, task);
            if !self.pending.is_empty() {
                // There is a request to go on with, for which the task must wake.
                self.line.close();
            }
            // The client left: its place is freed with the session.
            return has_left.map(|()| Some(Step::End));
        };
        let ask = follower.parked().expect("a poll was parked");
        let place = self.line.unpark();
        let Doing::Parked(manner) = mem::replace(&mut self.doing, Doing::Reading) else {
            unreachable!("called while a poll is parked");
        };
        Poll::Ready(match started {
            Started::Answer(answer) => {
                place.answered();
                self.answer(answer, true, manner)
            }
            started => Some(Step::Later { ask, started, place, manner }),
        })
    }

    /// Reads until the next request's head is whole, and begins what it asks for.
    fn read(&mut self, task: &mut Task<'_>) -> Poll<Result<Asked, Step>> {
        if self.can_wait {
            ready!(self.line.context().worker.poll_precedence(&mut self.has_waited, task));
        }
        loop {
            if !self.pending.is_empty() {
                let pending = mem::take(&mut self.pending);
                match self.interpret(&pending) {
                    Ok(Some((asked, used))) => {
                        self.pending = pending[used..].to_vec();
                        return Poll::Ready(Ok(asked));
                    }
                    Ok(None) => self.pending = pending,
                    Err(malformed) => return Poll::Ready(Err(Step::Refuse(malformed))),
                }
            }
            if self.line.ticket().is_over(task.waker()) {
                return Poll::Ready(Err(self.too_slow()));
            }
            let context = Rc::clone(self.line.context());
            let mut scratch = context.scratch.borrow_mut();
            let mut space = ReadBuf::new(&mut scratch);
            let Poll::Ready(read) = Pin::new(&mut self.line).poll_read(task, &mut space) else {
                // Nothing was there to wait with: what comes can wait anew.
                self.has_waited = false;
                return Poll::Pending;
            };
            match read {
                Ok(()) if !space.filled().is_empty() => {}
                _ => return Poll::Ready(Err(Step::End)),
            }
            let bytes = space.filled();
            if self.pending.is_empty() {
                match self.interpret(bytes) {
                    Ok(Some((asked, used))) => {
                        self.pending.extend_from_slice(&bytes[used..]);
                        return Poll::Ready(Ok(asked));
                    }
                    Ok(None) => self.line.ticket().enter(Phase::Head),
                    Err(malformed) => return Poll::Ready(Err(Step::Refuse(malformed))),
                }
            }
            self.pending.extend_from_slice(bytes);
        }
    }

    fn too_slow(&self) -> Step {
        if self.pending.is_empty() {
            return Step::End;
        }
        let seconds = self.line.context().front.timeouts.header.as_secs_f32();
        let detail = format!("the head of a request must be there {seconds} s after its first byte");
        Step::Refuse(Problem::new(ErrorCode::RequestTimeout, detail).into())
    }

    /// What the bytes ask for, and how many of them that took; `None` if more are needed.
    fn interpret(&mut self, bytes: &[u8]) -> Result<Option<(Asked, usize)>, Malformed> {
        if !self.has_begun
            && bytes[0] == b'P'
            && H2_PREFACE.starts_with(&bytes[..bytes.len().min(H2_PREFACE.len())])
        {
            // "P" alone may become a POST as well.
            return Ok((bytes.len() >= H2_PREFACE.len()).then_some((Asked::Http2, 0)));
        }
        let Some((mut head, length)) = head::parse(bytes)? else { return Ok(None) };
        self.has_begun = true;
        (self.can_wait, self.has_waited) = (false, false);
        self.line.ticket().enter(Phase::Served);
        let origin = self.line.context().front.cors.listed(head.fields.get(Field::Origin)).map(Box::from);
        let manner = Manner { keeps_alive: head.keeps_alive, origin };
        let forwarded = head.fields.take(Field::ForwardedFor);
        let place = self.session.connection.let_request_in(self.line.context(), forwarded.as_deref());
        if let Some(room) = plain_poll_room(&head) {
            let begun = place.and_then(|place| {
                let mut begun = Query::parse(head.query)
                    .and_then(|query| self.session.begin_poll(room, &head.fields, &query))
                    // Of several things that are wrong, the routes name the room first, whatever comes by another way.
                    .map_err(|problem| match self.session.check_room(room) {
                        Err(of_room) if problem.code != ErrorCode::Draining => of_room,
                        _ => problem,
                    })?;
                begun.hold(place);
                Ok(begun)
            });
            return Ok(Some((Asked::Poll(begun, manner), length)));
        }
        if let Some((room, body)) = plain_send(&head, &bytes[length..]) {
            let sending = place.and_then(|place| {
                messages::begin(&mut self.session, room, &head.fields, head.query, body, place)
            });
            return Ok(Some((Asked::Send(sending, manner), length + body.len())));
        }
        // Answered at once, it keeps no place; one that has none is refused like any other.
        if let Some(room) = plain_numbers_room(&head).filter(|_| place.is_ok()) {
            match statistics::known_numbers(&mut self.session, room, &head.fields, head.query) {
                // Not in memory: the routes ask the statsvrs.
                Ok(None) => {}
                Ok(Some(response)) => {
                    self.can_wait = true;
                    return Ok(Some((Asked::Numbers(Ok(Box::new(response)), manner), length)));
                }
                Err(problem) => return Ok(Some((Asked::Numbers(Err(problem), manner), length))),
            }
        }
        let request = Request {
            method: head.method.to_owned(),
            path: head.path.to_owned(),
            query: head.query.to_owned(),
            fields: head.fields.into_owned(),
            body: Bytes::new(),
        };
        let pending = Pending {
            request,
            body: head.body,
            manner,
            is_http10: head.is_http10,
            expects_continue: head.expects_continue,
            place,
        };
        Ok(Some((Asked::Other(Box::new(pending)), length)))
    }
}

/// The room of a plain poll: `GET` on the path of a room's messages, spelt without percent-encoding.
pub(super) fn plain_poll_room<'a>(head: &Head<'a>) -> Option<&'a str> {
    if head.method != "GET" {
        return None;
    }
    let room = plain_room(head.path, MESSAGES)?;
    (!wants_events(&head.fields)).then_some(room)
}

/// How the path of a room's messages ends.
const MESSAGES: &str = "/messages";

/// The room in a path below a room, such as that of its messages, spelt without percent-encoding.
fn plain_room<'a>(path: &'a str, end: &str) -> Option<&'a str> {
    let room = path.strip_prefix("/v1/rooms/")?.strip_suffix(end)?;
    let has_more = memchr::memchr2(b'/', b'%', room.as_bytes()).is_some();
    let is_plain = !room.is_empty() && !has_more && room != "." && room != "..";
    is_plain.then_some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_lane(request: &str) -> bool {
        match head::parse(request.as_bytes()) {
            Ok(Some((head, _))) => plain_poll_room(&head).is_some(),
            _ => false,
        }
    }

    #[test]
    fn lane_takes_plain_polls_only() {
        let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        assert!(is_lane(&get("/v1/rooms/a/messages?cursor=now", "Accept: */*\r\n")));
        assert!(!is_lane(&get("/v1/rooms/a/messages", "Accept: text/event-stream\r\n")));
        assert!(!is_lane(&get("/v1/rooms/a%62/messages", "")));
        assert!(!is_lane(&get("/v1/rooms/../messages", "")));
        assert!(!is_lane(&get("/v1/rooms//messages", "")));
        assert!(!is_lane(&get("/v1/rooms/a/history", "")));
        assert!(!is_lane("POST /v1/rooms/a/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        assert!(!is_lane("HEAD /v1/rooms/a/messages HTTP/1.1\r\nHost: x\r\n\r\n"));
    }

    #[test]
    fn parked_poll_stays_small() {
        // Each byte here is one for every viewer of a node, and the runtime rounds a task up to 128.
        let size = mem::size_of::<Served<tokio::net::TcpStream>>();
        assert!(size <= 256, "a connection's future takes {size} bytes");
    }
}
