//! HTTP/2: with prior knowledge over TCP, or over any stream that agreed on it.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
};

use super::{Answer, DEADLINE, Request, within};

/// A request's body.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// One HTTP/2 connection; clones share it. It ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct H2 {
    requests: SendRequest<Body>,
    connection: AbortHandle,
}

impl H2 {
    /// Connects with prior knowledge.
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::over(within(DEADLINE, "connect", TcpStream::connect(addr)).await.expect("connect")).await
    }

    /// Begins HTTP/2 on a stream.
    pub(crate) async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let hands = handshake(TokioExecutor::new(), TokioIo::new(io));
        let (requests, connection) = within(DEADLINE, "HTTP/2 preface", hands).await.expect("HTTP/2 preface");
        let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Self { requests, connection }
    }

    /// Sends a request as a stream of its own and awaits the whole answer. Dropping the future resets the stream.
    pub(crate) async fn call(&self, request: &Request) -> Answer {
        self.try_call(request).await.expect("an answer")
    }

    /// [`H2::call`] of a request that the server may answer by resetting the stream.
    ///
    /// # Errors
    /// What became of the stream.
    pub(crate) async fn try_call(&self, request: &Request) -> Result<Answer, hyper::Error> {
        let body =
            Full::new(Bytes::from(request.body.clone().unwrap_or_default())).map_err(|never| match never {});
        self.call_with_body(request, body.boxed()).await
    }

    /// Sends a request whose body comes piece by piece.
    pub(crate) async fn call_with_body(&self, request: &Request, body: Body) -> Result<Answer, hyper::Error> {
        let mut builder = hyper::Request::builder()
            .method(request.method.as_str())
            .uri(format!("http://bigroom.test{}", request.target));
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let response = self.requests.clone().send_request(builder.body(body).expect("a request")).await?;
        let (head, body) = response.into_parts();
        let text = |value: &hyper::header::HeaderValue| value.to_str().expect("ASCII").to_owned();
        Ok(Answer {
            version: format!("{:?}", head.version),
            status: head.status.as_u16(),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: body.collect().await?.to_bytes().to_vec(),
        })
    }

    /// Drops the connection with everything on it.
    pub(crate) fn close(self) {
        self.connection.abort();
    }
}
