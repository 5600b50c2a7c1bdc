//! An HTTP/1 connection: the fast lane for polls, the way to everything else, and its end.
//!
//! One parser reads every request of a connection ([`super::head`]), so there is nothing that two could read
//! differently. A plain poll is begun right there, parks without holding a byte of its request, and is answered with
//! bytes that were prepared for all who wait. Every other request is read whole and goes to [`super::routes`].

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context as Task, Poll},
};

use bytes::Bytes;
use recvsvr::Started;
use room::{ErrorCode, Problem};
use tokio::io::ReadBuf;

use super::{
    body::{self, BodyError},
    clocks::{Phase, Ticket},
    events::Events,
    fields::{Field, Query},
    front::Context,
    head::{self, BodyLength, H2_PREFACE, Head, Malformed},
    http2,
    request::{Reply, Request},
    response::{Framing, Response, wire, write_head},
    routes,
    session::{Begun, Connected, Session, wants_events},
    stream::{Stream, linger, watch, write_all},
    target::Target,
};

/// Bytes a poll takes from the worker's scratch space at a time.
pub(crate) const SCRATCH_BYTES: usize = 16 * 1024;

struct Connection<S> {
    stream: S,
    context: Rc<Context>,
    session: Session,
    ticket: Ticket,
    /// What was read and not yet used; mostly empty.
    pending: Vec<u8>,
    has_begun: bool,
}

/// What the next bytes of a connection ask for.
enum Step {
    /// The client is gone, or was idle for too long.
    End,
    /// The bytes are not HTTP/1.1, or came too slowly.
    Refuse(Malformed),
    /// A connection preface: HTTP/2 from here on.
    Http2,
    /// A plain poll, begun or refused.
    Poll(Result<Begun, Problem>, Manner),
    /// Anything else.
    Other(Box<Pending>),
}

/// How the answer to a plain poll is written.
struct Manner {
    keeps_alive: bool,
    /// The page that asks, if answers to it differ from those to everybody else.
    origin: Option<Box<str>>,
}

/// A request whose body is still to be read.
struct Pending {
    request: Request,
    body: BodyLength,
    manner: Manner,
    is_http10: bool,
    expects_continue: bool,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<S: Stream>(stream: S, context: Rc<Context>) {
    let mut connection = Connection::new(stream, context);
    loop {
        connection.ticket.enter(if connection.pending.is_empty() { Phase::Idle } else { Phase::Head });
        let goes_on = match poll_fn(|task| connection.step(task)).await {
            Step::End => return,
            Step::Refuse(Malformed { problem, origin }) => {
                return Box::pin(connection.refuse(&problem, origin)).await;
            }
            Step::Http2 => return Box::pin(connection.upgrade()).await,
            Step::Poll(Ok(begun), manner) => connection.answer_poll(begun, &manner).await,
            Step::Poll(Err(problem), manner) => Box::pin(connection.answer_problem(problem, &manner)).await,
            Step::Other(pending) => Box::pin(connection.answer_other(*pending)).await,
        };
        if !goes_on {
            return;
        }
    }
}

/// Tells a client that it can't be served, whatever it may want, and ends its connection.
pub(crate) async fn turn_away<S: Stream>(stream: S, context: Rc<Context>, problem: &Problem) {
    Connection::new(stream, context).refuse(problem, None).await;
}

impl<S: Stream> Connection<S> {
    fn new(stream: S, context: Rc<Context>) -> Self {
        let connected = Connected::new(&context);
        Self {
            stream,
            session: Session::new(&context, &connected),
            ticket: context.clocks.register(),
            context,
            pending: Vec::new(),
            has_begun: false,
        }
    }

    /// Reads until the next request's head is whole, and begins what it asks for.
    fn step(&mut self, task: &mut Task<'_>) -> Poll<Step> {
        loop {
            if !self.pending.is_empty() {
                let pending = std::mem::take(&mut self.pending);
                match self.interpret(&pending) {
                    Ok(Some((step, used))) => {
                        self.pending = pending[used..].to_vec();
                        return Poll::Ready(step);
                    }
                    Ok(None) => self.pending = pending,
                    Err(malformed) => return Poll::Ready(Step::Refuse(malformed)),
                }
            }
            if self.ticket.is_over(task.waker()) {
                return Poll::Ready(self.too_slow());
            }
            let context = Rc::clone(&self.context);
            let mut scratch = context.scratch.borrow_mut();
            let mut space = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(task, &mut space) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Step::End),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = space.filled();
            if bytes.is_empty() {
                return Poll::Ready(Step::End);
            }
            if self.pending.is_empty() {
                match self.interpret(bytes) {
                    Ok(Some((step, used))) => {
                        self.pending.extend_from_slice(&bytes[used..]);
                        return Poll::Ready(step);
                    }
                    Ok(None) => self.ticket.enter(Phase::Head),
                    Err(malformed) => return Poll::Ready(Step::Refuse(malformed)),
                }
            }
            self.pending.extend_from_slice(bytes);
        }
    }

    fn too_slow(&self) -> Step {
        if self.pending.is_empty() {
            return Step::End;
        }
        let seconds = self.context.front.timeouts.header.as_secs_f32();
        let detail = format!("the head of a request must be there {seconds} s after its first byte");
        Step::Refuse(Problem::new(ErrorCode::RequestTimeout, detail).into())
    }

    /// What the bytes ask for, and how many of them that took; `None` if more are needed.
    fn interpret(&mut self, bytes: &[u8]) -> Result<Option<(Step, usize)>, Malformed> {
        if !self.has_begun
            && bytes[0] == b'P'
            && H2_PREFACE.starts_with(&bytes[..bytes.len().min(H2_PREFACE.len())])
        {
            // "P" alone may become a POST as well.
            return Ok((bytes.len() >= H2_PREFACE.len()).then_some((Step::Http2, 0)));
        }
        let Some((head, length)) = head::parse(bytes)? else { return Ok(None) };
        self.has_begun = true;
        self.ticket.enter(Phase::Served);
        let origin = self.context.front.cors.listed(head.fields.get(Field::Origin)).map(Box::from);
        let manner = Manner { keeps_alive: head.keeps_alive, origin };
        if let Some(room) = plain_poll_room(&head) {
            let begun = Query::parse(head.query)
                .and_then(|query| self.session.begin_poll(room, &head.fields, &query));
            return Ok(Some((Step::Poll(begun, manner), length)));
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
        };
        Ok(Some((Step::Other(Box::new(pending)), length)))
    }

    /// Waits for a poll's answer and writes it. Returns whether the connection goes on.
    async fn answer_poll(&mut self, mut begun: Begun, manner: &Manner) -> bool {
        // A client that ends its side behind its request still wants the answer, unless that has to be waited for.
        if matches!(begun.started, Started::Later(_)) {
            begun = match Box::pin(self.session.settle(begun)).await {
                Ok(begun) => begun,
                Err(problem) => return Box::pin(self.answer_problem(problem, manner)).await,
            };
        }
        let finished = {
            let Self { stream, context, session, pending, .. } = self;
            let mut finish = pin!(session.finish_poll(begun));
            poll_fn(|task| match finish.as_mut().poll(task) {
                Poll::Ready(finished) => Poll::Ready(Some(finished)),
                Poll::Pending => watch(stream, context, pending, task).map(|()| None),
            })
            .await
        };
        let finished = match finished {
            // The client left: its place is freed with the session.
            None => return false,
            Some(Err(problem)) => return Box::pin(self.answer_problem(problem, manner)).await,
            Some(Ok(finished)) => finished,
        };
        let goes_on = manner.keeps_alive && !finished.answer.is_drain;
        let is_written = if goes_on && manner.origin.is_none() {
            let wire = finished.answer.wire.get_or_init(|| wire(&finished.answer, &self.context.front.cors));
            write_all(&mut self.stream, &self.ticket, wire).await
        } else {
            Box::pin(self.write_whole(&Response::answer(&finished.answer), manner, !goes_on, true)).await
        };
        if is_written && let Some(follower) = &self.session.follower {
            follower.delivered(&finished.answer, finished.was_parked);
        }
        if is_written && !goes_on {
            Box::pin(linger(&mut self.stream)).await;
        }
        is_written && goes_on
    }

    /// Answers a request with a refusal, after which the connection goes on.
    async fn answer_problem(&mut self, problem: Problem, manner: &Manner) -> bool {
        self.write(&Response::problem(&problem), manner, "GET").await
    }

    /// Writes a response, and ends the connection if one of the two sides wants that. Returns whether it goes on.
    async fn write(&mut self, response: &Response, manner: &Manner, method: &str) -> bool {
        let goes_on = manner.keeps_alive && !response.closes;
        let is_written = self.write_whole(response, manner, !goes_on, method != "HEAD").await;
        if is_written && !goes_on {
            linger(&mut self.stream).await;
        }
        is_written && goes_on
    }

    /// Writes a response. Returns whether the client took it.
    async fn write_whole(
        &mut self,
        response: &Response,
        manner: &Manner,
        closes: bool,
        with_body: bool,
    ) -> bool {
        let cors = self.context.front.cors.fields(manner.origin.as_deref());
        let mut out = Vec::with_capacity(512 + response.body.len());
        write_head(&mut out, response, &cors, Framing::Length(response.body.len()), closes);
        if with_body {
            out.extend_from_slice(&response.body);
        }
        write_all(&mut self.stream, &self.ticket, &out).await
    }

    /// Answers bytes that are no request, and ends the connection.
    async fn refuse(&mut self, problem: &Problem, origin: Option<Box<str>>) {
        let listed = self.context.front.cors.listed(origin.as_deref()).map(Box::from);
        let manner = Manner { keeps_alive: false, origin: listed };
        self.write(&Response::problem(problem), &manner, "").await;
    }

    /// Reads a request's body, serves it, and writes what it is answered. Returns whether the connection goes on.
    async fn answer_other(&mut self, pending: Pending) -> bool {
        let Pending { mut request, body, manner, is_http10, expects_continue } = pending;
        // Asked before the body is read: a send that was under way when the drain began is finished.
        if let Err(problem) = self.context.front.check_open() {
            return self.write(&Response::problem(&problem), &manner, &request.method).await;
        }
        if expects_continue
            && self.pending.is_empty()
            && body != BodyLength::Bytes(0)
            && !write_all(&mut self.stream, &self.ticket, b"HTTP/1.1 100 Continue\r\n\r\n").await
        {
            return false;
        }
        self.ticket.enter(Phase::Served);
        let most = self.context.front.timeouts.body;
        let read = tokio::time::timeout(most, body::read(&mut self.stream, &mut self.pending, body));
        request.body = match read.await {
            Ok(Ok(body)) => body,
            Ok(Err(BodyError::Gone)) => return false,
            Ok(Err(BodyError::Refused(problem))) => {
                self.refuse(&problem, manner.origin).await;
                return false;
            }
            Err(_) => {
                let detail = format!("a body must be there {} s after its head", most.as_secs_f32());
                self.refuse(&Problem::new(ErrorCode::RequestTimeout, detail), manner.origin).await;
                return false;
            }
        };
        let reply = {
            let Self { stream, context, session, pending, .. } = self;
            let mut respond = pin!(routes::respond(session, &request));
            // A client that leaves ends what it waits for; everything else is finished all the same.
            let may_end = request.method == "GET" && waits(&request);
            poll_fn(|task| match respond.as_mut().poll(task) {
                Poll::Ready(reply) => Poll::Ready(Some(reply)),
                Poll::Pending if may_end => watch(stream, context, pending, task).map(|()| None),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        match reply {
            None => false,
            Some(Reply::Whole(response)) => self.write(&response, &manner, &request.method).await,
            Some(Reply::Events(events)) => self.stream_events(*events, &manner, is_http10).await,
        }
    }

    /// Writes a stream of events until it ends or the client leaves. Returns whether the connection goes on.
    async fn stream_events(&mut self, mut events: Events, manner: &Manner, is_http10: bool) -> bool {
        let response = Response::events();
        let framing = if is_http10 { Framing::UntilClose } else { Framing::Chunked };
        let cors = self.context.front.cors.fields(manner.origin.as_deref());
        let mut out = Vec::new();
        write_head(&mut out, &response, &cors, framing, !manner.keeps_alive);
        if !write_all(&mut self.stream, &self.ticket, &out).await {
            return false;
        }
        loop {
            self.ticket.enter(Phase::Served);
            let event = {
                let Self { stream, context, pending, .. } = self;
                let mut next = pin!(events.next());
                poll_fn(|task| match next.as_mut().poll(task) {
                    Poll::Ready(event) => Poll::Ready(Some(event)),
                    Poll::Pending => watch(stream, context, pending, task).map(|()| None),
                })
                .await
            };
            let Some(event) = event else { return false };
            let is_last = event.is_none();
            out.clear();
            match (framing, event) {
                (Framing::Chunked, Some(event)) => {
                    out.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
                    out.extend_from_slice(&event);
                    out.extend_from_slice(b"\r\n");
                }
                (Framing::Chunked, None) => out.extend_from_slice(b"0\r\n\r\n"),
                (_, event) => out.extend_from_slice(&event.unwrap_or_default()),
            }
            if !write_all(&mut self.stream, &self.ticket, &out).await {
                return false;
            }
            if is_last {
                return manner.keeps_alive && framing == Framing::Chunked;
            }
        }
    }

    /// Hands the connection to the HTTP/2 server, with the bytes already read.
    async fn upgrade(self) {
        let Self { stream, context, session, pending, ticket, .. } = self;
        drop((session, ticket));
        http2::serve(http2::Rewound::new(stream, pending), context).await;
    }
}

/// The room of a plain poll: `GET` on the path of a room's messages, spelt without percent-encoding.
fn plain_poll_room<'a>(head: &Head<'a>) -> Option<&'a str> {
    if head.method != "GET" {
        return None;
    }
    let room = head.path.strip_prefix("/v1/rooms/")?.strip_suffix("/messages")?;
    let is_plain = !room.is_empty() && !room.contains(['/', '%']) && room != "." && room != "..";
    (is_plain && !wants_events(&head.fields)).then_some(room)
}

/// Whether a request may be one that waits for news: a poll of any kind.
fn waits(request: &Request) -> bool {
    matches!(Target::parse(&request.path), Ok(Target::Messages(_) | Target::MultiPoll))
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
}
