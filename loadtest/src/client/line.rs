//! A connection that carries one request at a time.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use mio::{Registry, Token};

use super::{
    answer::head_of,
    connect::connect,
    stream::{Stream, Target},
};

/// Header fields of a response.
const HEADERS_MAX: usize = 32;
/// Bytes of a response to a send.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// How long a server may take over a request that [`ask`] makes.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it looks for the response.
const ASK_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// One sender's connection.
pub(super) struct Line {
    stream: Stream,
    input: Vec<u8>,
    is_waiting: bool,
}

impl Line {
    /// Connects, and asks for events under `token`.
    pub(super) fn open(server: &Target, nth: u32, registry: &Registry, token: Token) -> Result<Self> {
        let mut stream = connect(server, nth)?;
        stream.register(registry, token)?;
        Ok(Self { stream, input: Vec::new(), is_waiting: false })
    }

    /// Whether a request is under way.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Sends a request.
    pub(super) fn send(&mut self, request: &[u8]) -> Result<()> {
        assert!(!self.is_waiting, "one request at a time");
        let written = self.stream.write(request).context("send a message")?;
        ensure!(
            written == request.len(),
            "a request of {} bytes does not fit into the socket",
            request.len()
        );
        self.is_waiting = true;
        Ok(())
    }

    /// Reads what there is; gives status and body of the response to `then` once it is whole.
    pub(super) fn read<T>(
        &mut self,
        buffer: &mut [u8],
        then: impl FnOnce(u16, &[u8]) -> T,
    ) -> Result<Option<T>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a sender's connection"),
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    ensure!(self.input.len() <= RESPONSE_BYTES_MAX, "the response to a send never ends");
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read the response to a send"),
            }
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let Some(head) = head_of(&self.input, &mut headers)? else { return Ok(None) };
        let end = head.head + head.body;
        if self.input.len() < end {
            return Ok(None);
        }
        ensure!(self.is_waiting && self.input.len() == end, "a response came that was not asked for");
        let (status, head) = (head.status, head.head);
        let given = then(status, &self.input[head..end]);
        self.input.clear();
        self.is_waiting = false;
        Ok(Some(given))
    }
}

/// Makes one request and waits for its response: status, and all of its bytes.
pub(crate) fn ask(server: &Target, request: &[u8]) -> Result<(u16, Vec<u8>)> {
    let mut stream = connect(server, 0)?;
    stream.write_all(request)?;
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    let deadline = Instant::now() + ASK_TIMEOUT;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection instead of answering"),
            Ok(count) => input.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(ASK_LOOK_INTERVAL),
            Err(error) => return Err(error).context("wait for a response"),
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        if let Some(head) = head_of(&input, &mut headers)?
            && input.len() >= head.head + head.body
        {
            return Ok((head.status, input));
        }
        ensure!(Instant::now() < deadline, "the server did not answer within {ASK_TIMEOUT:?}");
    }
}
