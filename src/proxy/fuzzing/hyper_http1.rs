//! The parser of HTTP/1 beside hyper's: what ours takes, hyper takes for the same requests. Ours may refuse more.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Task, Poll, Wake, Waker},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http1::{End, Seen, read};
use crate::proxy::fields::{Field, text_at_the_end};

/// How hyper's reading of a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HyperEnd {
    /// It waits for more.
    Open,
    /// It has read the connection's last request.
    Closed,
    /// It takes what it read for no request.
    Refused,
}

/// The bytes of a connection, read by our parser and by hyper's.
///
/// Ours may refuse what hyper takes; `tests` lists where. It must not take what hyper refuses, but for one thing: hyper wants
/// some characters percent-encoded that mean nothing in a target ([`is_unusual`]). There they reach the routes, which
/// answer for the id that they are in, or pass over the key.
///
/// # Panics
/// If ours takes a request that hyper refuses or reads differently, or finds another number of them.
pub fn http1_as_hyper(data: &[u8]) {
    let (ours, our_end) = read([data]);
    let (hypers, hyper_end) = read_by_hyper(data);
    let says = || format!("\nours:  {our_end:?} {ours:#?}\nhyper: {hyper_end:?} {hypers:#?}");
    if hyper_end == HyperEnd::Refused && ours.get(hypers.len()).is_some_and(is_unusual) {
        assert_eq!(ours[..hypers.len()], hypers, "requests are read differently{}", says());
        return;
    }
    assert!(hypers.starts_with(&ours), "requests are read differently{}", says());
    if our_end == End::Open {
        assert_eq!(ours.len(), hypers.len(), "hyper sees more requests{}", says());
        // Hyper may see in the first byte of a line what ours sees at its end: with the rest it is another input.
        assert_ne!(hyper_end, HyperEnd::Closed, "hyper ends the connection{}", says());
    }
    // Where ours refuses or ends the connection, hyper may go on: not a byte of what follows is read as a request.
}

/// Whether a target has a character that hyper wants percent-encoded.
fn is_unusual(seen: &Seen) -> bool {
    seen.path.contains(['<', '>', '^', '`']) || seen.query.contains(['<', '>', '"'])
}

/// Reads the requests of a connection by hyper, each answered 404.
pub(super) fn read_by_hyper(data: &[u8]) -> (Vec<Seen>, HyperEnd) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = {
        let seen = Rc::clone(&seen);
        service_fn(move |request: hyper::Request<Incoming>| {
            let seen = Rc::clone(&seen);
            async move {
                let (parts, body) = request.into_parts();
                // Not whole, not seen.
                let body = body.collect().await?.to_bytes();
                seen.borrow_mut().push(Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or("").to_owned(),
                    fields: Field::ALL.iter().map(|field| value(&parts.headers, *field)).collect(),
                    body,
                });
                let mut response = hyper::Response::new(Full::new(Bytes::new()));
                *response.status_mut() = hyper::StatusCode::NOT_FOUND;
                Ok::<_, hyper::Error>(response)
            }
        })
    };
    let stream = Memory { data: data.to_vec(), at: 0 };
    let mut serving = pin!(Builder::new().serve_connection(TokioIo::new(stream), service));
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let end = loop {
        match serving.as_mut().poll(&mut Task::from_waker(&waker)) {
            Poll::Ready(Ok(())) => break HyperEnd::Closed,
            Poll::Ready(Err(_)) => break HyperEnd::Refused,
            Poll::Pending if woken.0.swap(false, Ordering::Relaxed) => {}
            Poll::Pending => break HyperEnd::Open,
        }
    };
    let seen = seen.take();
    (seen, end)
}

/// A field's values, put together as [`crate::proxy::fields::Fields`] does.
fn value(headers: &hyper::HeaderMap, field: Field) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(field.name())
        .iter()
        .map(|value| match (field, std::str::from_utf8(value.as_bytes())) {
            // The one field whose text may be a part of its bytes.
            (Field::ForwardedFor, Err(_)) => text_at_the_end(value.as_bytes()).into(),
            _ => String::from_utf8_lossy(value.as_bytes()),
        })
        .collect();
    (!values.is_empty()).then(|| values.join(if field == Field::Cookie { "; " } else { ", " }))
}

/// A waker that only notes that it was called.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client that has written all its bytes, reads all answers, and stays connected.
struct Memory {
    data: Vec<u8>,
    at: usize,
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Task<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at == self.data.len() {
            return Poll::Pending;
        }
        let count = space.remaining().min(self.data.len() - self.at);
        space.put_slice(&self.data[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
