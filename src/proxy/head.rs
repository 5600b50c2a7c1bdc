//! The head of an HTTP/1 request: strict, so that no other parser could read it differently.

use std::mem::MaybeUninit;

use room::{ErrorCode, HEAD_BYTES_MAX, Problem};

use super::fields::{Field, Fields};

/// Longest request target (bytes).
const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Most header fields.
const FIELDS_MAX: usize = 100;

/// The first bytes of an HTTP/2 connection with prior knowledge (RFC 9113, section 3.4).
pub(crate) const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request's head.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// What follows the `?`.
    pub(crate) query: &'a str,
    pub(crate) fields: Fields<'a>,
    pub(crate) body: BodyLength,
    /// The client keeps the connection for another request.
    pub(crate) keeps_alive: bool,
    /// HTTP/1.0: knows no chunks, and is closed after the answer.
    pub(crate) is_http10: bool,
    pub(crate) expects_continue: bool,
}

/// How long the body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyLength {
    /// `Content-Length`, or no body.
    Bytes(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Bytes that are no request.
#[derive(Debug)]
pub(crate) struct Malformed {
    /// What is wrong with them.
    pub(crate) problem: Box<Problem>,
    /// The page that sent them, if that could be read: it may only see a refusal that admits it.
    pub(crate) origin: Option<Box<str>>,
}

impl From<Problem> for Malformed {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), origin: None }
    }
}

/// Reads a head from the start of `bytes`, and says how long it is (bytes); `None` if it is not whole yet.
///
/// # Errors
/// What the client did wrong. The connection can't be used further: where the next request begins is not certain.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Head<'_>, usize)>, Malformed> {
    // Not initialised: a hundred empty fields are 3 kB to write, and most requests have few.
    let mut headers = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(too_large(bytes).into()),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Problem::new(
                ErrorCode::HeaderTooLarge,
                format!("a request has at most {FIELDS_MAX} fields"),
            )
            .into());
        }
        Err(error) => return Err(malformed(format!("the request is not HTTP/1.1: {error}")).into()),
    };
    if length > HEAD_BYTES_MAX {
        return Err(too_large(&bytes[..length]).into());
    }
    if has_bare_line_feed(&bytes[..length]) {
        return Err(malformed("lines end with CR LF, not with a bare LF").into());
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(malformed("the request line is incomplete").into());
    };
    if target.len() > TARGET_BYTES_MAX {
        return Err(uri_too_long().into());
    }
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        fields.add(header.name, header.value)?;
    }
    let origin = fields.get(Field::Origin).map(Box::from);
    match checked(method, target, version == 0, fields) {
        Ok(head) => Ok(Some((head, length))),
        Err(problem) => Err(Malformed { origin, ..problem.into() }),
    }
}

/// Checks what a head says.
fn checked<'a>(
    method: &'a str,
    target: &'a str,
    is_http10: bool,
    fields: Fields<'a>,
) -> Result<Head<'a>, Problem> {
    if !is_http10
        && fields.get(Field::Host).is_none_or(|host| host.is_empty() || host.contains(['/', ' ', '@']))
    {
        return Err(malformed("an HTTP/1.1 request has one field host with a host in it"));
    }
    let body = body_length(method, &fields, is_http10)?;
    let expects_continue = match fields.get(Field::Expect) {
        None => false,
        Some(expect) if expect.eq_ignore_ascii_case("100-continue") => !is_http10,
        Some(_) => {
            return Err(Problem::new(
                ErrorCode::ExpectationFailed,
                "the only expectation that is met is 100-continue",
            ));
        }
    };
    let Some((path, query)) = split_target(target) else {
        return Err(malformed("the target is a path, or http:// with a host and a path, without a fragment"));
    };
    let keeps_alive = !is_http10 && !fields.has_token(Field::Connection, "close");
    Ok(Head { method, path, query, fields, body, keeps_alive, is_http10, expects_continue })
}

/// Path and query of a target, of the absolute form (RFC 9112, section 3.2.2) as well; `None` if it has none of the forms
/// that a request for them has.
fn split_target(target: &str) -> Option<(&str, &str)> {
    // No client sends a fragment. Of those who get one, some cut it off and some do not.
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return None;
    }
    let origin_form = match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        Some(rest) => {
            let (host, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let is_host = !host.contains('@') && http::uri::Authority::try_from(host).is_ok();
            is_host.then_some(rest)?
        }
        None if target.starts_with('/') || target == "*" => target,
        None => return None,
    };
    let (path, query) = origin_form.split_once('?').unwrap_or((origin_form, ""));
    Some((if path.is_empty() { "/" } else { path }, query))
}

/// How long the body is, by RFC 9112, section 6, without its leniencies.
fn body_length(method: &str, fields: &Fields<'_>, is_http10: bool) -> Result<BodyLength, Problem> {
    let length = match (fields.get(Field::TransferEncoding), fields.get(Field::ContentLength)) {
        (Some(_), Some(_)) => {
            return Err(malformed("a request has content-length or transfer-encoding, not both"));
        }
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") && !is_http10 => BodyLength::Chunked,
        (Some(_), None) => return Err(malformed("the only transfer-encoding is chunked, in HTTP/1.1")),
        (None, Some(text)) => {
            let is_plain = !text.is_empty() && text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
            match text.parse() {
                Ok(length) if is_plain => BodyLength::Bytes(length),
                _ => return Err(malformed("content-length is a number of bytes")),
            }
        }
        (None, None) => BodyLength::Bytes(0),
    };
    let may_have_body = matches!(method, "POST" | "PUT" | "PATCH");
    if !may_have_body && length != BodyLength::Bytes(0) {
        return Err(malformed("a request of this method has no body"));
    }
    Ok(length)
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at > 0 && head[at - 1] != b'\r')
}

fn too_large(head: &[u8]) -> Problem {
    let line = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    if line > TARGET_BYTES_MAX {
        return uri_too_long();
    }
    Problem::new(
        ErrorCode::HeaderTooLarge,
        format!("request line and fields have at most {HEAD_BYTES_MAX} bytes"),
    )
}

fn uri_too_long() -> Problem {
    Problem::new(ErrorCode::UriTooLong, format!("path and query have at most {TARGET_BYTES_MAX} bytes"))
}

pub(crate) fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(request: &str) -> Option<ErrorCode> {
        parse(request.as_bytes()).err().map(|malformed| malformed.problem.code)
    }

    #[test]
    fn plain_poll_is_read() {
        let text = "GET /v1/rooms/a/messages?cursor=now HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\nrest";
        let Some((head, length)) = parse(text.as_bytes()).unwrap() else { panic!("complete") };
        assert_eq!((head.method, head.path, head.query), ("GET", "/v1/rooms/a/messages", "cursor=now"));
        assert_eq!(&text[length..], "rest");
        assert!(head.keeps_alive && head.body == BodyLength::Bytes(0));
        assert!(matches!(parse(&text.as_bytes()[..40]), Ok(None)));
    }

    #[test]
    fn absolute_form_is_its_path() {
        assert_eq!(split_target("http://h:1/a?b"), Some(("/a", "b")));
        assert_eq!(split_target("http://h"), Some(("/", "")));
        assert_eq!(split_target("http://h?b"), Some(("/", "b")));
        assert_eq!(split_target("/a?b?c"), Some(("/a", "b?c")));
        assert_eq!(split_target("*"), Some(("*", "")));
    }

    #[test]
    fn target_of_another_form_is_refused() {
        for target in "a ?a h:1 http:// http:///a http://u@h/a http://[/a HTTP://h/a /a#b /a?b#c".split(' ') {
            assert_eq!(split_target(target), None, "{target}");
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(code(&request), Some(ErrorCode::InvalidRequest), "{target}");
        }
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        for fields in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: \r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Host: y\r\n",
            "X : y\r\n",
            "X: y\r\n folded\r\n",
            "X: y\nZ: a\r\n",
        ] {
            assert_eq!(code(&post(fields)), Some(ErrorCode::InvalidRequest), "{fields:?}");
        }
        assert_eq!(code(&post("Transfer-Encoding: Chunked\r\n")), None);
        assert_eq!(code("GET / HTTP/1.1\r\n\r\n"), Some(ErrorCode::InvalidRequest));
        assert_eq!(code("GET / HTTP/1.0\r\n\r\n"), None);
        assert_eq!(
            code("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"),
            Some(ErrorCode::InvalidRequest)
        );
        assert_eq!(
            code("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Some(ErrorCode::InvalidRequest)
        );
        assert_eq!(code(&post("Expect: tea\r\n")), Some(ErrorCode::ExpectationFailed));
    }

    #[test]
    fn sizes_are_bounded() {
        let long = "x".repeat(20_000);
        assert_eq!(code(&format!("GET /{long}")), Some(ErrorCode::UriTooLong));
        assert_eq!(
            code(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", &long[..9_000])),
            Some(ErrorCode::UriTooLong)
        );
        assert_eq!(code(&format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}")), Some(ErrorCode::HeaderTooLarge));
        let many = "X: y\r\n".repeat(101);
        assert_eq!(
            code(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")),
            Some(ErrorCode::HeaderTooLarge)
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
