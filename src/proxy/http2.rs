//! HTTP/2, with prior knowledge or by ALPN: hyper speaks it, [`super::routes`] answers.

use std::{
    cell::Cell,
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context as Task, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::LocalBoxStream};
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use room::{BATCH_BYTES_MAX, ErrorCode, HEAD_BYTES_MAX, Problem};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use super::{
    addresses::AddressPlace,
    clocks::Phase,
    events::Events,
    fields::{Field, Fields},
    front::Context,
    request::{Reply, Request},
    response::Response,
    routes,
    session::{Connected, Session},
    stream::Stream,
};

/// How long a ping may go unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a connection looks whether it should end.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Requests of one connection that are served at a time.
///
/// Each may hold a body of a megabyte before anybody is asked who sends it.
const STREAMS_MAX: u32 = 64;

type Body = Either<Full<Bytes>, StreamBody<LocalBoxStream<'static, Result<Frame<Bytes>, Infallible>>>>;

/// Serves an HTTP/2 connection until it ends: by the client, because it was idle for too long, or in a drain as
/// soon as nothing is under way.
pub(crate) async fn serve<S: Stream>(stream: S, context: Rc<Context>, connected: Rc<Connected>) {
    let activity = Rc::new(Activity { requests: Cell::new(0), idle_since: Cell::new(Instant::now()) });
    let idle_most = context.front.timeouts.idle;
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        // A connection whose client is gone without a word is found out by this.
        .keep_alive_interval(idle_most)
        .keep_alive_timeout(PING_TIMEOUT);
    let _caller = ForgetCaller(Rc::clone(&context), Rc::clone(&connected));
    let service = {
        let (context, activity) = (Rc::clone(&context), Rc::clone(&activity));
        service_fn(move |request| {
            answer(Rc::clone(&context), Rc::clone(&connected), Rc::clone(&activity), request)
        })
    };
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut asked_to_end: Option<Instant> = None;
    let mut look = tokio::time::interval((idle_most / 4).clamp(LOOK_MIN, LOOK_MAX));
    loop {
        tokio::select! {
            served = serving.as_mut() => {
                if let Err(error) = served {
                    debug!(%error, "http/2 connection ended");
                }
                return;
            }
            _ = look.tick() => {
                let is_idle = activity.requests.get() == 0 && activity.idle_since.get().elapsed() >= idle_most;
                if is_idle && asked_to_end.is_some_and(|asked| asked.elapsed() >= context.front.timeouts.header) {
                    // It does not even finish the handshake, or does not take the goodbye.
                    return debug!("http/2 connection was idle and did not end by itself");
                }
                if is_idle || context.front.check_open().is_err() {
                    asked_to_end.get_or_insert_with(Instant::now);
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Lets go of the caller whom a connection saw last, when the connection ends.
struct ForgetCaller(Rc<Context>, Rc<Connected>);

impl Drop for ForgetCaller {
    fn drop(&mut self) {
        self.0.front.access.forget(self.1.caller.take());
    }
}

/// What is under way on a connection.
struct Activity {
    requests: Cell<usize>,
    idle_since: Cell<Instant>,
}

/// A request that is under way, for as long as it lives.
struct UnderWay {
    activity: Rc<Activity>,
    /// What it takes of its address's limit.
    place: AddressPlace,
}

impl UnderWay {
    fn new(activity: Rc<Activity>) -> Self {
        activity.requests.set(activity.requests.get() + 1);
        Self { activity, place: AddressPlace::default() }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.activity.requests.set(self.activity.requests.get() - 1);
        self.activity.idle_since.set(Instant::now());
    }
}

async fn answer(
    context: Rc<Context>,
    connected: Rc<Connected>,
    activity: Rc<Activity>,
    request: hyper::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let mut under_way = UnderWay::new(activity);
    let ticket = context.clocks.register();
    ticket.enter(Phase::Served);
    let method = request.method().as_str().to_owned();
    let origin = request
        .headers()
        .get(Field::Origin.name())
        .and_then(|origin| origin.to_str().ok())
        .map(str::to_owned);
    let reply = match read(&context, &connected, &mut under_way.place, request).await {
        Ok(request) => {
            let mut session = Session::new(&context, &connected);
            session.caller = connected.caller.take();
            let reply = routes::respond(&mut session, &request).await;
            // Of requests served side by side, the last one leaves its caller for the next.
            context.front.access.forget(connected.caller.replace(session.caller.take()));
            reply
        }
        Err(problem) => Reply::Whole(Response::problem(&problem)),
    };
    let (response, events) = match reply {
        Reply::Whole(response) => (response, None),
        Reply::Events(events) => (
            Response { content_type: Some("text/event-stream"), ..Response::empty(200) },
            Some((events, under_way)),
        ),
    };
    Ok(assemble(&context, response, events, &method, origin.as_deref()))
}

/// Reads a request whole. It takes its place as soon as its head is there.
async fn read(
    context: &Context,
    connected: &Connected,
    place: &mut AddressPlace,
    request: hyper::Request<Incoming>,
) -> Result<Request, Problem> {
    context.front.check_open()?;
    let (parts, body) = request.into_parts();
    let mut fields = Fields::default();
    for (name, value) in &parts.headers {
        fields.add(name.as_str(), value.as_bytes())?;
    }
    *place = connected.let_request_in(context, fields.take(Field::ForwardedFor).as_deref())?;
    let may_have_body = matches!(parts.method.as_str(), "POST" | "PUT" | "PATCH");
    let most = context.front.timeouts.body;
    let body = match tokio::time::timeout(most, Limited::new(body, BATCH_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Problem::new(
                ErrorCode::BodyTooLarge,
                format!("a body has at most {BATCH_BYTES_MAX} bytes"),
            ));
        }
        Ok(Err(_)) => return Err(Problem::new(ErrorCode::InvalidRequest, "the body broke off")),
        Err(_) => {
            let detail = format!("a body must be there {} s after its head", most.as_secs_f32());
            return Err(Problem::new(ErrorCode::RequestTimeout, detail));
        }
    };
    if !may_have_body && !body.is_empty() {
        return Err(Problem::new(ErrorCode::InvalidRequest, "a request of this method has no body"));
    }
    if let Some(expect) = fields.get(Field::Expect)
        && !expect.eq_ignore_ascii_case("100-continue")
    {
        return Err(Problem::new(
            ErrorCode::ExpectationFailed,
            "the only expectation that is met is 100-continue",
        ));
    }
    Ok(Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        fields: fields.into_owned(),
        body,
    })
}

fn assemble(
    context: &Context,
    response: Response,
    events: Option<(Box<Events>, UnderWay)>,
    method: &str,
    origin: Option<&str>,
) -> http::Response<Body> {
    let cors = context.front.cors.fields(context.front.cors.listed(origin));
    let mut head = http::Response::builder().status(response.status).header("cache-control", "no-store");
    let content = [("content-type", response.content_type), ("content-encoding", response.content_encoding)];
    for (name, value) in
        content.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(cors.iter())
    {
        head = head.header(name, value);
    }
    for (name, value) in &response.fields {
        head = head.header(*name, value);
    }
    let body = match events {
        Some(events) => {
            let next = async |(mut events, under_way): (Box<Events>, UnderWay)| {
                events.next().await.map(|event| (event, (events, under_way)))
            };
            Either::Right(StreamBody::new(
                stream::unfold(events, next).map(|event| Ok(Frame::data(event))).boxed_local(),
            ))
        }
        None => {
            if response.status != 204 {
                head = head.header("content-length", response.body.len());
            }
            Either::Left(Full::new(if method == "HEAD" { Bytes::new() } else { response.body }))
        }
    };
    head.body(body).expect("status and fields are made by us, of legal characters")
}

/// Runs what hyper spawns on the worker's own thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A stream of which some bytes were read already.
pub(crate) struct Rewound<S> {
    stream: S,
    read: Vec<u8>,
    at: usize,
}

impl<S> Rewound<S> {
    pub(crate) fn new(stream: S, read: Vec<u8>) -> Self {
        Self { stream, read, at: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.at == this.read.len() {
            return Pin::new(&mut this.stream).poll_read(task, space);
        }
        let count = space.remaining().min(this.read.len() - this.at);
        space.put_slice(&this.read[this.at..this.at + count]);
        this.at += count;
        if this.at == this.read.len() {
            (this.read, this.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(task)
    }
}
