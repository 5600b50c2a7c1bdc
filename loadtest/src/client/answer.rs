//! Answers to polls, parsed no further than needed, and not twice.

use std::rc::Rc;

use anyhow::{Context as _, Result, bail};

use crate::{
    mark::{Mark, marks_in},
    peers::Peer,
};

/// Bytes of a reader's place, as the peer writes it into a request.
const POSITION_BYTES_MAX: usize = 126;
/// Header fields of an answer.
const HEADERS_MAX: usize = 32;
/// Bytes of an answer, head and body.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A reader's place, as the peer writes it into the next request; empty at first.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    bytes: [u8; POSITION_BYTES_MAX],
    length: u8,
}

impl Position {
    /// Before anything was answered.
    pub(crate) const START: Self = Self { bytes: [0; POSITION_BYTES_MAX], length: 0 };

    /// From its parts; `None` if they are longer than any peer's place.
    pub(crate) fn of(parts: &[&[u8]]) -> Option<Self> {
        let mut position = Self::START;
        for part in parts {
            let at = usize::from(position.length);
            position.bytes.get_mut(at..at + part.len())?.copy_from_slice(part);
            position.length = u8::try_from(at + part.len()).ok()?;
        }
        Some(position)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// One response to a poll.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where the reader stands now; `None` if the answer says nothing of it.
    pub(super) position: Option<Position>,
    pub(super) marks: Vec<Mark>,
    /// Bytes of head and body.
    pub(super) length: usize,
}

/// Parses answers; remembers the last one, because in a fan-out all are alike.
#[derive(Default)]
pub(super) struct Answers {
    last: Option<(Vec<u8>, Rc<Answer>)>,
}

impl Answers {
    /// The answer that `bytes` begin with, once it is whole.
    pub(super) fn read(&mut self, bytes: &[u8], peer: &dyn Peer) -> Result<Option<Rc<Answer>>> {
        if let Some((last, answer)) = &self.last
            && last == bytes
        {
            return Ok(Some(Rc::clone(answer)));
        }
        let Some(answer) = parse(bytes, peer)? else { return Ok(None) };
        let answer = Rc::new(answer);
        let (last, kept) = self.last.get_or_insert_with(|| (Vec::new(), Rc::clone(&answer)));
        last.clear();
        last.extend_from_slice(&bytes[..answer.length]);
        *kept = Rc::clone(&answer);
        Ok(Some(answer))
    }
}

fn parse(bytes: &[u8], peer: &dyn Peer) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let Some(Head { status, head, body, headers }) = head_of(bytes, &mut headers)? else { return Ok(None) };
    let length = head + body;
    if bytes.len() < length {
        return Ok(None);
    }
    let body = &bytes[head..length];
    let position = peer.position_after(headers, body);
    Ok(Some(Answer { status, position, marks: marks_in(body).collect(), length }))
}

/// The head of a response, and how long its parts are (bytes).
pub(super) struct Head<'h, 'b> {
    pub(super) status: u16,
    pub(super) head: usize,
    pub(super) body: usize,
    pub(super) headers: &'h [httparse::Header<'b>],
}

/// The head that `bytes` begin with, once it is whole.
pub(super) fn head_of<'h, 'b>(
    bytes: &'b [u8],
    headers: &'h mut [httparse::Header<'b>],
) -> Result<Option<Head<'h, 'b>>> {
    let mut response = httparse::Response::new(headers);
    let httparse::Status::Complete(head) = response.parse(bytes).context("parse a response")? else {
        return Ok(None);
    };
    let status = response.code.context("find the status of a response")?;
    let headers = &*response.headers;
    let body = match headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length")) {
        Some(header) => std::str::from_utf8(header.value).ok().and_then(|text| text.parse::<usize>().ok()),
        None => (status == 204).then_some(0),
    };
    match body.context("find the length of a response")? {
        body if body > ANSWER_BYTES_MAX => {
            bail!("a response of {body} bytes is longer than any that was asked for")
        }
        body => Ok(Some(Head { status, head, body, headers })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_joined_from_parts() {
        assert_eq!(Position::of(&[b"ab", b"", b"c"]).unwrap().as_bytes(), b"abc");
        assert!(Position::of(&[&[0; POSITION_BYTES_MAX + 1]]).is_none());
    }

    #[test]
    fn head_is_known_once_it_is_whole() {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        for end in 0..response.len() {
            assert!(head_of(&response[..end], &mut headers).unwrap().is_none(), "{end}");
        }
        let head = head_of(response, &mut headers).unwrap().unwrap();
        assert_eq!((head.status, head.head, head.body), (200, response.len(), 3));
    }

    #[test]
    fn response_without_length_is_an_error() {
        for response in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            assert!(head_of(response.as_bytes(), &mut headers).is_err(), "{response}");
        }
    }
}
