//! Responses: what the routes say, and how it becomes the bytes of HTTP/1.1.

use std::io::Write as _;

use bytes::Bytes;
use recvsvr::Encoded;
use room::Problem;

use super::cors::{Cors, CorsFields};

/// A response with its whole body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) content_encoding: Option<&'static str>,
    /// Further fields, in lower case.
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// The connection is closed after it.
    pub(crate) closes: bool,
}

impl Response {
    pub(crate) fn json(status: u16, body: Vec<u8>) -> Self {
        Self { content_type: Some("application/json"), body: body.into(), ..Self::empty(status) }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            content_encoding: None,
            fields: Vec::new(),
            body: Bytes::new(),
            closes: false,
        }
    }

    /// A poll's answer, for where its prepared bytes don't fit.
    pub(crate) fn answer(answer: &Encoded) -> Self {
        Self {
            content_type: Some(answer.format.content_type()),
            content_encoding: answer.compression.content_encoding(),
            body: answer.body.clone(),
            ..Self::empty(200)
        }
    }

    /// The head of a stream of events.
    pub(crate) fn events() -> Self {
        Self {
            content_type: Some("text/event-stream"),
            // Tells nginx not to hold events back.
            fields: vec![("x-accel-buffering", "no".to_owned())],
            ..Self::empty(200)
        }
    }

    /// A refusal, as problem document. The connection is closed where the rest of it can't be trusted.
    pub(crate) fn problem(problem: &Problem) -> Self {
        metrics::counter!(crate::metrics::REFUSED, "code" => problem.code.as_str()).increment(1);
        let mut fields = Vec::new();
        if let Some(seconds) = problem.retry_after_s() {
            fields.push(("retry-after", seconds.to_string()));
        }
        if let Some(methods) = problem.allow {
            fields.push(("allow", methods.to_owned()));
        }
        if problem.code == room::ErrorCode::Unauthorized {
            fields.push(("www-authenticate", "Bearer".to_owned()));
        }
        Self {
            content_type: Some("application/problem+json"),
            body: serde_json::to_vec(&problem.to_json()).expect("a problem is JSON").into(),
            fields,
            closes: problem.code == room::ErrorCode::Draining,
            ..Self::empty(problem.code.http_status())
        }
    }
}

/// What the head of an HTTP/1.1 response says besides the response itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// Writes the head of a response.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    response: &Response,
    cors: &CorsFields<'_>,
    framing: Framing,
    closes: bool,
) {
    let reason =
        http::StatusCode::from_u16(response.status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
    put(out, format_args!("HTTP/1.1 {} {reason}\r\n", response.status));
    if let Some(content_type) = response.content_type {
        put(out, format_args!("content-type: {content_type}\r\n"));
    }
    if let Some(content_encoding) = response.content_encoding {
        put(out, format_args!("content-encoding: {content_encoding}\r\n"));
    }
    match framing {
        Framing::Length(_) if response.status == 204 => {}
        Framing::Length(length) => put(out, format_args!("content-length: {length}\r\n")),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::UntilClose => {}
    }
    out.extend_from_slice(b"cache-control: no-store\r\n");
    put(out, format_args!("date: {}\r\n", httpdate::HttpDate::from(std::time::SystemTime::now())));
    for (name, value) in cors.iter() {
        put(out, format_args!("{name}: {value}\r\n"));
    }
    for (name, value) in &response.fields {
        put(out, format_args!("{name}: {value}\r\n"));
    }
    if closes {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// The whole HTTP/1.1 response to a poll, for all clients that keep the connection and send no listed `Origin`.
pub(crate) fn wire(answer: &Encoded, cors: &Cors) -> Bytes {
    let response = Response::answer(answer);
    let mut out = Vec::with_capacity(answer.body.len() + 320);
    write_head(&mut out, &response, &cors.fields(None), Framing::Length(answer.body.len()), false);
    out.extend_from_slice(&answer.body);
    out.into()
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes all writes");
}
