//! What is no plain poll, or can't be answered like one: refusals, other requests, streams of events, HTTP/2.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use recvsvr::Started;
use room::{ErrorCode, Problem};

use super::{Connection, Manner, Pending, Step};
use crate::proxy::{
    body::{self, BodyError},
    clocks::Phase,
    events::Events,
    head::BodyLength,
    http2,
    line::Client,
    request::{Reply, Request},
    response::{Framing, Response, write_head},
    routes,
    session::settle,
    stream::{linger, watch},
    target::Target,
};

impl<S: Client> Connection<S> {
    /// Does what the lane does not. Gives the connection back if it goes on.
    pub(super) async fn aside(mut self, step: Step) -> Option<Self> {
        let goes_on = match step {
            Step::End => false,
            Step::Refuse(malformed) => {
                self.refuse(&malformed.problem, malformed.origin).await;
                false
            }
            Step::Http2 => {
                self.upgrade().await;
                return None;
            }
            Step::Problem(problem, manner) => self.answer_problem(&problem, &manner).await,
            Step::Answer { answer, was_parked, manner } => {
                let goes_on = manner.keeps_alive && !answer.is_drain;
                let is_written = self.write_whole(&Response::answer(&answer), &manner, !goes_on, true).await;
                if is_written && let Some(follower) = &self.session.follower {
                    follower.delivered(&answer, was_parked);
                }
                if is_written && !goes_on {
                    linger(&mut self.line).await;
                }
                is_written && goes_on
            }
            Step::Later { ask, started, place, manner } => {
                let (follower, key) = self.session.following().expect("a poll that has begun has both");
                // A client that ends its side behind its request still wants the answer: nobody watches.
                match settle(follower, key, &ask, started).await {
                    Err(problem) => {
                        place.answered();
                        self.answer_problem(&problem, &manner).await
                    }
                    Ok(Started::Answer(answer)) => {
                        place.answered();
                        let step = self.answer(answer, false, manner);
                        return match step {
                            Some(step) => Box::pin(self.aside(step)).await,
                            None => Some(self),
                        };
                    }
                    Ok(Started::Parked | Started::Later(_)) => {
                        self.park(place, manner);
                        return Some(self);
                    }
                }
            }
            Step::Send(sending, manner) => return self.send(sending, manner).await,
            Step::Respond(response, manner) => return self.respond(response, manner).await,
            Step::Other(pending) => self.answer_other(*pending).await,
        };
        self.read_on();
        goes_on.then_some(self)
    }

    /// Answers a request with a refusal, after which the connection goes on.
    pub(super) async fn answer_problem(&mut self, problem: &Problem, manner: &Manner) -> bool {
        self.write(&Response::problem(problem), manner, "GET").await
    }

    /// Writes a response, and ends the connection if one of the two sides wants that. Returns whether it goes on.
    pub(super) async fn write(&mut self, response: &Response, manner: &Manner, method: &str) -> bool {
        let goes_on = manner.keeps_alive && !response.closes;
        let is_written = self.write_whole(response, manner, !goes_on, method != "HEAD").await;
        if is_written && !goes_on {
            linger(&mut self.line).await;
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
        let mut out = Vec::with_capacity(512 + response.body.len());
        let cors = self.line.context().front.cors.fields(manner.origin.as_deref());
        write_head(&mut out, response, &cors, Framing::Length(response.body.len()), closes);
        if with_body {
            out.extend_from_slice(&response.body);
        }
        self.write_all(&out).await
    }

    /// Writes all of `bytes`. Returns false if the client is gone or takes too long.
    async fn write_all(&mut self, bytes: &[u8]) -> bool {
        let mut written = 0;
        poll_fn(|task| self.line.poll_write_all(bytes, &mut written, task)).await
    }

    /// Answers bytes that are no request, and ends the connection.
    async fn refuse(&mut self, problem: &Problem, origin: Option<Box<str>>) {
        let listed = self.line.context().front.cors.listed(origin.as_deref()).map(Box::from);
        let manner = Manner { keeps_alive: false, origin: listed };
        self.write(&Response::problem(problem), &manner, "").await;
    }

    /// Reads a request's body, serves it, and writes what it is answered. Returns whether the connection goes on.
    async fn answer_other(&mut self, pending: Pending) -> bool {
        let Pending { mut request, body, manner, is_http10, expects_continue, place } = pending;
        // Asked before the body is read: a send that was under way when the drain began is finished.
        if let Err(problem) = self.line.context().front.check_open() {
            return self.write(&Response::problem(&problem), &manner, &request.method).await;
        }
        if expects_continue
            && self.pending.is_empty()
            && body != BodyLength::Bytes(0)
            && !self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await
        {
            return false;
        }
        self.line.ticket().enter(Phase::Served);
        let most = self.line.context().front.timeouts.body;
        let read = tokio::time::timeout(most, body::read(&mut self.line, &mut self.pending, body));
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
        // Refused only now: the next request begins behind the body, and may be another client's. Held until it is answered.
        let _place = match place {
            Ok(place) => place,
            Err(problem) => return self.write(&Response::problem(&problem), &manner, &request.method).await,
        };
        let reply = {
            let Self { line, session, pending, .. } = self;
            let mut respond = pin!(routes::respond(session, &request));
            // A client that leaves ends what it waits for; everything else is finished all the same.
            let may_end = request.method == "GET" && waits(&request);
            poll_fn(|task| match respond.as_mut().poll(task) {
                Poll::Ready(reply) => Poll::Ready(Some(reply)),
                Poll::Pending if may_end => watch(line, pending, task).map(|()| None),
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
        let mut out = Vec::new();
        let cors = self.line.context().front.cors.fields(manner.origin.as_deref());
        write_head(&mut out, &response, &cors, framing, !manner.keeps_alive);
        if !self.write_all(&out).await {
            return false;
        }
        loop {
            self.line.ticket().enter(Phase::Served);
            let event = {
                let Self { line, pending, .. } = self;
                let mut next = pin!(events.next());
                poll_fn(|task| match next.as_mut().poll(task) {
                    Poll::Ready(event) => Poll::Ready(Some(event)),
                    Poll::Pending => watch(line, pending, task).map(|()| None),
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
            if !self.write_all(&out).await {
                return false;
            }
            if is_last {
                return manner.keeps_alive && framing == Framing::Chunked;
            }
        }
    }

    /// Hands the connection to the HTTP/2 server, with the bytes already read.
    async fn upgrade(self) {
        let Self { line, session, pending, .. } = self;
        let connected = Rc::clone(&session.connection);
        drop(session);
        let context = Rc::clone(line.context());
        http2::serve(http2::Rewound::new(line, pending), context, connected).await;
    }
}

/// Whether a request may be one that waits for news: a poll of any kind.
fn waits(request: &Request) -> bool {
    matches!(Target::parse(&request.path), Ok(Target::Messages(_) | Target::MultiPoll))
}
