//! The parser of HTTP/1: however its bytes come in pieces, it reads the same.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context as Task, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use room::{ErrorCode, Problem};
use tokio::io::{AsyncRead, ReadBuf};

use crate::proxy::{
    body::{self, BodyError},
    connection::{plain_numbers_room, plain_poll_room, plain_send},
    fields::{Field, Fields},
    head::{self, Head},
    session::wants_events,
    target::Target,
};

/// A request as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    /// The values of the fields that are read, in the order of [`Field::ALL`].
    pub(super) fields: Vec<Option<String>>,
    pub(super) body: Bytes,
}

/// How the bytes of a connection end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Within a request, or behind one that another may follow.
    Open,
    /// Behind a request that is the connection's last; what follows is not read.
    Closed,
    /// With something that is no request.
    Refused(ErrorCode),
}

/// Reads the requests of a connection whose bytes come in these pieces, as `Connection::step` and `answer_other` do.
pub(super) fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, End) {
    let mut stream = Pieces(pieces.into_iter().collect());
    let mut pending = Vec::new();
    let mut requests = Vec::new();
    loop {
        let (length, body_length, keeps_alive, sent) = match head::parse(&pending) {
            Err(malformed) => return (requests, refused(&malformed.problem)),
            Ok(Some((head, length))) => {
                check_lane(&head);
                requests.push(Seen {
                    method: head.method.to_owned(),
                    path: head.path.to_owned(),
                    query: head.query.to_owned(),
                    fields: values(&head.fields),
                    body: Bytes::new(),
                });
                let sent = plain_send(&head, &pending[length..]).map(|(room, body)| {
                    assert_is_messages(&head, room);
                    body.to_vec()
                });
                (length, head.body, head.keeps_alive, sent)
            }
            Ok(None) => match stream.0.pop_front() {
                Some(piece) => {
                    pending.extend_from_slice(piece);
                    continue;
                }
                None => return (requests, End::Open),
            },
        };
        pending.drain(..length);
        let read = body::read(&mut stream, &mut pending, body_length).now_or_never();
        match read.expect("the stream is always ready") {
            Ok(body) => {
                // The lane of sends takes the body from where it lies.
                assert!(sent.is_none_or(|sent| sent == body));
                requests.last_mut().expect("pushed above").body = body;
            }
            Err(error) => {
                requests.pop();
                return match error {
                    BodyError::Gone => (requests, End::Open),
                    BodyError::Refused(problem) => (requests, refused(&problem)),
                };
            }
        }
        if !keeps_alive {
            return (requests, End::Closed);
        }
    }
}

/// The fast lane takes what the routes would take for a poll of the same room.
fn check_lane(head: &Head<'_>) {
    match plain_poll_room(head) {
        Some(room) => assert_is_messages(head, room),
        None => assert!(
            head.method != "GET"
                || !matches!(Target::parse(head.path), Ok(Target::Messages(_)))
                || head.path.contains('%')
                || wants_events(&head.fields),
            "{head:?}"
        ),
    }
    if let Some(room) = plain_numbers_room(head) {
        assert_is(head, |target| matches!(target, Target::RoomStats(id) if id.as_str() == room));
    }
}

fn assert_is_messages(head: &Head<'_>, room: &str) {
    assert_is(head, |target| matches!(target, Target::Messages(id) if id.as_str() == room));
}

/// The routes read the same of a head, or refuse its room.
fn assert_is(head: &Head<'_>, expected: impl FnOnce(&Target) -> bool) {
    match Target::parse(head.path) {
        Ok(target) => assert!(expected(&target), "{head:?}"),
        Err(problem) => assert_eq!(problem.code, ErrorCode::InvalidRoom, "{head:?}"),
    }
}

fn refused(problem: &Problem) -> End {
    assert!((400..500).contains(&problem.code.http_status()), "{problem}");
    End::Refused(problem.code)
}

pub(super) fn values(fields: &Fields<'_>) -> Vec<Option<String>> {
    Field::ALL.iter().map(|field| fields.get(*field).map(str::to_owned)).collect()
}

/// A client's stream that gives one piece at a time, and then ends.
struct Pieces<'a>(VecDeque<&'a [u8]>);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Task<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.pop_front() {
            let (now, later) = piece.split_at(piece.len().min(space.remaining()));
            space.put_slice(now);
            if !later.is_empty() {
                self.0.push_front(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The bytes of a connection: whole, in pieces that the bytes themselves choose, and byte by byte.
///
/// # Panics
/// If they are not read the same.
pub fn http1(data: &[u8]) {
    /// Beyond this, byte by byte takes too long: a head is parsed anew with each.
    const BY_BYTE_MAX: usize = 2_000;
    let whole = read([data]);
    let mut sizes = data.iter().rev().map(|byte| usize::from(byte % 67) + 1).cycle();
    let mut rest = data;
    let pieces = std::iter::from_fn(|| {
        let size = sizes.next()?.min(rest.len());
        let (piece, left) = rest.split_at(size);
        rest = left;
        (!piece.is_empty()).then_some(piece)
    });
    check(&whole, read(pieces));
    if data.len() <= BY_BYTE_MAX {
        check(&whole, read(data.chunks(1)));
    }
    for seen in whole.0 {
        assert!(seen.path.starts_with('/') || seen.path == "*", "{seen:?}");
        assert!(!seen.method.is_empty() && !seen.path.contains(['?', '#', ' ']), "{seen:?}");
    }
}

fn check(whole: &(Vec<Seen>, End), pieces: (Vec<Seen>, End)) {
    // Which of two things that are wrong is told may depend on how much has come: one is a size.
    let is_size = |end| matches!(end, End::Refused(ErrorCode::HeaderTooLarge | ErrorCode::UriTooLong));
    let is_same_end = whole.1 == pieces.1
        || (is_size(whole.1) || is_size(pieces.1))
            && matches!((whole.1, pieces.1), (End::Refused(_), End::Refused(_)));
    assert!(is_same_end && whole.0 == pieces.0, "whole: {whole:?}\nin pieces: {pieces:?}");
}
