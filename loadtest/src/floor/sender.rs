//! A sender's connection to the floor.

use std::io::{self, ErrorKind, Read as _, Write as _};

use mio::net::TcpStream;

use super::{Outcome, log::Log};

const ACCEPTED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
/// Bytes of one send, head and body.
const SEND_BYTES_MAX: usize = 1 << 20;

/// One sender; it sends only when its last message was answered.
pub(super) struct Sender {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Sender {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, input: Vec::new() }
    }

    /// Reads what there is, appends whole messages and acknowledges them; tells whether there was one.
    pub(super) fn read(&mut self, buffer: &mut [u8], log: &mut Log) -> io::Result<(Outcome, bool)> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok((Outcome::Closed, false)),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.input.len() > SEND_BYTES_MAX {
                return Ok((Outcome::Closed, false));
            }
        }
        let mut has_sent = false;
        while let Some((head, body)) = lengths(&self.input)? {
            let fits = log.append(&self.input[head..head + body]);
            self.stream.write_all(if fits { ACCEPTED } else { FULL })?;
            self.input.drain(..head + body);
            has_sent |= fits;
        }
        Ok((Outcome::Open, has_sent))
    }
}

/// Bytes of head and body of the request that `input` begins with, once it is whole.
fn lengths(input: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    let invalid = || io::Error::from(ErrorKind::InvalidData);
    let httparse::Status::Complete(head) = request.parse(input).map_err(|_| invalid())? else {
        return Ok(None);
    };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = match length {
        None => 0,
        Some(header) => {
            let text = std::str::from_utf8(header.value).map_err(|_| invalid())?;
            text.parse::<usize>().ok().filter(|&body| body <= SEND_BYTES_MAX).ok_or_else(invalid)?
        }
    };
    Ok((input.len() >= head + body).then_some((head, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn send_is_taken_once_it_is_whole() {
        let send = b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
        for end in 0..send.len() {
            assert_eq!(lengths(&send[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(lengths(send).unwrap(), Some((send.len() - 5, 5)));
        assert!(lengths(b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n").is_err());
        assert!(lengths(b"\x00\x01\r\n\r\n").is_err());
    }
}
