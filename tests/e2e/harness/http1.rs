//! An HTTP/1 connection with nothing hidden: bytes go out as given, answers are read strictly.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{Answer, DEADLINE, Request, within};

/// Longest wait for an answer: the longest poll and some.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30).saturating_add(DEADLINE);

/// Why no answer could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The server closed before the first byte of an answer.
    #[error("closed without an answer")]
    Closed,
    /// The connection broke, or closed within an answer.
    #[error("broken: {0}")]
    Broken(#[from] io::Error),
    /// The bytes are no HTTP/1 answer.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection to a server.
pub(crate) struct Conn {
    io: Box<dyn Io>,
    read: BytesMut,
    /// The methods of the requests not yet answered: an answer to HEAD has no body.
    heads: std::collections::VecDeque<bool>,
}

impl Conn {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::try_open(addr).await.expect("connect")
    }

    /// Connects, if the server is there.
    pub(crate) async fn try_open(addr: SocketAddr) -> io::Result<Self> {
        let stream = within(DEADLINE, "connect", TcpStream::connect(addr)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Connects from this address.
    pub(crate) async fn open_from(source: IpAddr, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(source, 0)).expect("all of 127.0.0.0/8 is this machine's");
        let stream = within(DEADLINE, "connect", socket.connect(addr)).await.expect("connect");
        Self::over(stream)
    }

    /// A connection over any byte stream.
    pub(crate) fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self {
            io: Box::new(io),
            read: BytesMut::with_capacity(4096),
            heads: std::collections::VecDeque::new(),
        }
    }

    /// Writes bytes as they are; the peer may have closed already, which is no failure of the test.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes.as_ref()).await.expect("write");
    }

    /// Writes a request; its answer is read later.
    pub(crate) async fn send(&mut self, request: &Request) {
        self.heads.push_back(request.method == "HEAD");
        self.write(request.encode()).await;
    }

    /// Writes a request and reads its answer.
    pub(crate) async fn call(&mut self, request: &Request) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// Writes a request and reads its answer; `None` if the server has gone.
    pub(crate) async fn try_call(&mut self, request: &Request) -> Option<Answer> {
        self.heads.push_back(request.method == "HEAD");
        self.try_write(&request.encode()).await.ok()?;
        self.try_answer().await.ok()
    }

    /// Sends FIN: the server reads the end of the stream, this side can still read.
    pub(crate) async fn finish(&mut self) {
        self.try_finish().await.expect("shut down the sending side");
    }

    /// [`Conn::finish`] where the server may have closed already.
    pub(crate) async fn try_finish(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }

    /// Reads the next answer, interim ones (1xx) included.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer")
    }

    /// Reads the next answer, interim ones (1xx) included.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn try_answer(&mut self) -> Result<Answer, ReadError> {
        let mut answer = self.head().await?;
        if answer.status < 200 {
            return Ok(answer);
        }
        if self.heads.pop_front().unwrap_or(false) || matches!(answer.status, 204 | 304) {
            return Ok(answer);
        }
        if answer.header_list("transfer-encoding") == ["chunked"] {
            while let Some(chunk) = self.chunk().await? {
                answer.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            let length =
                length.parse().map_err(|_| ReadError::Malformed(format!("Content-Length: {length}")))?;
            self.fill(length).await?;
            answer.body = self.read.split_to(length).to_vec();
        } else {
            while self.more().await? {}
            answer.body = self.read.split().to_vec();
        }
        Ok(answer)
    }

    /// Reads the head of an answer only: its body is read by [`Conn::chunk`].
    pub(crate) async fn head(&mut self) -> Result<Answer, ReadError> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await? {
                return Err(match self.read.is_empty() {
                    true => ReadError::Closed,
                    false => ReadError::Malformed(String::from_utf8_lossy(&self.read).into_owned()),
                });
            }
        };
        let head = self.read.split_to(end);
        let text = std::str::from_utf8(&head).map_err(|error| ReadError::Malformed(error.to_string()))?;
        parse_head(text).ok_or_else(|| ReadError::Malformed(text.to_owned()))
    }

    /// Reads the next chunk of a chunked body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let line = self.line().await?;
        let size = usize::from_str_radix(line.trim(), 16)
            .map_err(|_| ReadError::Malformed(format!("chunk {line:?}")))?;
        self.fill(size + 2).await?;
        let chunk = self.read.split_to(size).to_vec();
        if self.read.split_to(2) != b"\r\n"[..] {
            return Err(ReadError::Malformed("no CRLF behind a chunk".into()));
        }
        Ok((size > 0).then_some(chunk))
    }

    /// Fails the test unless the server closes the connection without another byte.
    pub(crate) async fn expect_close(&mut self) {
        match self.more().await {
            Ok(false) | Err(_) if self.read.is_empty() => {}
            Ok(_) | Err(_) => panic!("not closed, but {:?}", String::from_utf8_lossy(&self.read)),
        }
    }

    /// Reads that many bytes, whatever they are.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.fill(count).await.expect("bytes");
        self.read.split_to(count).to_vec()
    }

    /// Fails the test unless the server closes the connection, whatever it says before.
    pub(crate) async fn expect_end(&mut self) {
        while matches!(self.more().await, Ok(true)) {}
    }

    /// Waits until there is something to read, or the server has closed.
    pub(crate) async fn readable(&mut self) {
        if self.read.is_empty() {
            drop(self.more().await);
        }
    }

    async fn line(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(at) = self.read.windows(2).position(|window| window == b"\r\n") {
                let line = self.read.split_to(at);
                self.read.advance(2);
                return String::from_utf8(line.to_vec())
                    .map_err(|error| ReadError::Malformed(error.to_string()));
            }
            if !self.more().await? {
                return Err(ReadError::Malformed("closed within a chunk's head".into()));
            }
        }
    }

    async fn fill(&mut self, bytes: usize) -> Result<(), ReadError> {
        while self.read.len() < bytes {
            if !self.more().await? {
                return Err(ReadError::Malformed(format!("closed {} bytes short", bytes - self.read.len())));
            }
        }
        Ok(())
    }

    /// Reads some bytes; false at the end of the stream.
    async fn more(&mut self) -> Result<bool, ReadError> {
        let read = within(ANSWER_DEADLINE, "read an answer", self.io.read_buf(&mut self.read)).await;
        match read {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && self.read.is_empty() => {
                Err(ReadError::Closed)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn parse_head(text: &str) -> Option<Answer> {
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let (version, rest) = lines.next()?.split_once(' ')?;
    let status = rest.get(..3)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let headers = lines.map(header).collect::<Option<Vec<_>>>()?;
    Some(Answer { version: version.to_owned(), status, headers, body: Vec::new() })
}
