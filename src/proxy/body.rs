//! The body of an HTTP/1 request, read whole: none is larger than a batch of messages.

use std::{future::poll_fn, pin::Pin};

use bytes::Bytes;
use room::{BATCH_BYTES_MAX, ErrorCode, Problem};
use tokio::io::{AsyncRead, ReadBuf};

use super::head::{BodyLength, malformed};

/// Longest line that gives a chunk's size: eight digits and the line's end (bytes).
const CHUNK_LINE_BYTES_MAX: usize = 10;

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The client left, or did something that can't be answered.
    Gone,
    /// The client is to be told. The connection can't be used further.
    Refused(Problem),
}

impl From<Problem> for BodyError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// Reads a body of which `buffer` has the beginning; what follows the body stays in `buffer`.
pub(crate) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    length: BodyLength,
) -> Result<Bytes, BodyError> {
    match length {
        BodyLength::Bytes(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            check_size(length)?;
            fill(stream, buffer, length).await?;
            let rest = buffer.split_off(length);
            Ok(std::mem::replace(buffer, rest).into())
        }
        BodyLength::Chunked => {
            let mut body = Vec::new();
            loop {
                let size = chunk_size(stream, buffer).await?;
                check_size(body.len() + size)?;
                // The chunk and the line's end behind it; for the last chunk, the end of the (empty) trailer.
                fill(stream, buffer, size + 2).await?;
                if buffer[size..size + 2] != *b"\r\n" {
                    return Err(malformed(if size == 0 {
                        "trailer fields are not taken"
                    } else {
                        "a chunk is as long as it says and ends with CR LF"
                    })
                    .into());
                }
                body.extend(buffer.drain(..size + 2).take(size));
                if size == 0 {
                    // The connection goes on, and must not keep the space of its largest body.
                    buffer.shrink_to_fit();
                    return Ok(body.into());
                }
            }
        }
    }
}

/// Reads the line that gives the size of the next chunk: hex digits and nothing else, no extensions.
async fn chunk_size<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<usize, BodyError> {
    loop {
        let line = &buffer[..buffer.len().min(CHUNK_LINE_BYTES_MAX)];
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let digits = line[..end]
                .strip_suffix(b"\r")
                .filter(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit));
            let size = digits
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| usize::from_str_radix(digits, 16).ok())
                .ok_or_else(|| malformed("a chunk begins with its size in hex digits, and CR LF"))?;
            buffer.drain(..=end);
            return Ok(size);
        }
        if line.len() == CHUNK_LINE_BYTES_MAX {
            return Err(malformed("a chunk begins with its size in hex digits, and CR LF").into());
        }
        more(stream, buffer).await?;
    }
}

fn check_size(bytes: usize) -> Result<(), Problem> {
    if bytes <= BATCH_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::BodyTooLarge, format!("a body has at most {BATCH_BYTES_MAX} bytes")))
}

/// Reads until `buffer` has at least `length` bytes.
async fn fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    length: usize,
) -> Result<(), BodyError> {
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Ok(())
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<(), BodyError> {
    let count = poll_fn(|task| {
        // In here, so that those who wait hold no space for it.
        let mut chunk = [0u8; 4096];
        let mut space = ReadBuf::new(&mut chunk);
        Pin::new(&mut *stream).poll_read(task, &mut space).map(|read| {
            buffer.extend_from_slice(space.filled());
            read.map_or(0, |()| space.filled().len())
        })
    })
    .await;
    if count == 0 { Err(BodyError::Gone) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut input: &[u8], length: BodyLength) -> Result<(Bytes, Vec<u8>), Option<ErrorCode>> {
        let mut buffer = Vec::new();
        match read(&mut input, &mut buffer, length).await {
            Ok(body) => {
                buffer.extend_from_slice(input);
                Ok((body, buffer))
            }
            Err(BodyError::Gone) => Err(None),
            Err(BodyError::Refused(problem)) => Err(Some(problem.code)),
        }
    }

    #[tokio::test]
    async fn bodies_end_where_they_say() {
        let whole = |body: &[u8], rest: &[u8]| Ok((Bytes::copy_from_slice(body), rest.to_vec()));
        assert_eq!(read_all(b"abcdef", BodyLength::Bytes(3)).await, whole(b"abc", b"def"));
        assert_eq!(
            read_all(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\nGET", BodyLength::Chunked).await,
            whole(b"abc", b"GET")
        );
        assert_eq!(read_all(b"ab", BodyLength::Bytes(3)).await, Err(None));
        let too_large = Err(Some(ErrorCode::BodyTooLarge));
        assert_eq!(read_all(b"", BodyLength::Bytes(BATCH_BYTES_MAX as u64 + 1)).await, too_large);
        assert_eq!(read_all(b"7fffffff\r\n", BodyLength::Chunked).await, too_large);
        for input in [
            &b"x\r\n"[..],
            b"\r\n",
            b"1;ext\r\na\r\n0\r\n\r\n",
            b"1\na\r\n0\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"0\r\nX: y\r\n\r\n",
            b"-1\r\n",
            b"00000000001\r\n",
        ] {
            let refused = read_all(input, BodyLength::Chunked).await;
            assert_eq!(refused, Err(Some(ErrorCode::InvalidRequest)), "{}", input.escape_ascii());
        }
    }
}
