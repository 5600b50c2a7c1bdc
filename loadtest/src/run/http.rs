//! Responses, read no further than a load test needs.

use anyhow::{Context as _, Result, bail, ensure};

/// Header fields of a response.
const HEADERS_MAX: usize = 32;
/// Bytes of a response, head and body: an answer of a thousand messages of 16 KiB, and a bit.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// The head of a response, and how long its parts are (bytes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) head: usize,
    pub(super) body: usize,
    /// Whether the server closes the connection after it.
    pub(super) closes: bool,
    /// `Retry-After` (seconds).
    pub(super) retry_after_s: Option<u32>,
}

impl Head {
    /// The head that `bytes` begin with, once it is whole.
    ///
    /// # Errors
    /// If that is no response, or one without a length.
    pub(super) fn of(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = response.parse(bytes).context("parse a response")? else {
            ensure!(bytes.len() < 64 * 1024, "the head of a response never ends");
            return Ok(None);
        };
        let status = response.code.context("find the status of a response")?;
        let mut parsed = Self { status, head, body: 0, closes: false, retry_after_s: None };
        let mut length = (status == 204).then_some(0);
        for header in response.headers.iter() {
            let text = || std::str::from_utf8(header.value).ok();
            if header.name.eq_ignore_ascii_case("content-length") {
                length = text().and_then(|text| text.parse().ok());
            } else if header.name.eq_ignore_ascii_case("connection") {
                parsed.closes = header.value.eq_ignore_ascii_case(b"close");
            } else if header.name.eq_ignore_ascii_case("retry-after") {
                parsed.retry_after_s = text().and_then(|text| text.parse().ok());
            }
        }
        parsed.body = length.context("find the length of a response")?;
        if parsed.body > RESPONSE_BYTES_MAX {
            bail!("a response of {} bytes is longer than any that was asked for", parsed.body);
        }
        Ok(Some(parsed))
    }

    /// Bytes of the whole response.
    pub(super) const fn length(&self) -> usize {
        self.head + self.body
    }
}

/// The `code` of a problem document; empty if there is none.
pub(super) fn problem_code(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: String,
    }
    let code = serde_json::from_slice::<Problem>(body).map(|problem| problem.code).unwrap_or_default();
    // It goes into the report: no longer than a code is, and nothing that a terminal would obey.
    code.chars().filter(|char| char.is_ascii_graphic()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_known_once_it_is_whole() {
        let response =
            b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\nRetry-After: 7\r\nConnection: close\r\n\r\n";
        for end in 0..response.len() {
            assert_eq!(Head::of(&response[..end]).unwrap(), None, "{end}");
        }
        let head = Head { status: 503, head: response.len(), body: 3, closes: true, retry_after_s: Some(7) };
        assert_eq!(Head::of(response).unwrap(), Some(head));
    }

    #[test]
    fn response_without_length_is_an_error() {
        for response in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert!(Head::of(response.as_bytes()).is_err(), "{response}");
        }
        assert_eq!(Head::of(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().body, 0);
    }

    #[test]
    fn code_of_a_problem_is_found() {
        assert_eq!(problem_code(br#"{"type":"x","code":"node_full"}"#), "node_full");
        assert_eq!(problem_code(b"nonsense"), "");
    }
}
