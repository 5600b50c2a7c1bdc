//! A client's stream: watched while it is served, ended gently.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context as Task, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::line::{Client, Line};

/// Bytes of later requests that are read while one is served; beyond it, the client has to wait.
const PIPELINE_BYTES_MAX: usize = 64 * 1024;

/// How long, and how much of, what a refused client still sends is read away before the connection is closed: a
/// close with unread bytes would reset it, and the client would not see why.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 4 << 20;

/// A client's stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

/// Watches a client that is being served: keeps what it sends for later, up to a bound. Ready when it has left.
pub(crate) fn watch<S: Client>(line: &mut Line<S>, pending: &mut Vec<u8>, task: &mut Task<'_>) -> Poll<()> {
    let context = Rc::clone(line.context());
    while pending.len() < PIPELINE_BYTES_MAX {
        let mut scratch = context.scratch.borrow_mut();
        let mut space = ReadBuf::new(&mut scratch);
        match Pin::new(&mut *line).poll_read(task, &mut space) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(())) if space.filled().is_empty() => return Poll::Ready(()),
            Poll::Ready(Ok(())) => pending.extend_from_slice(space.filled()),
        }
    }
    Poll::Pending
}

/// Tells the client that nothing follows, and reads away what it still sends.
pub(crate) async fn linger<S: Stream>(stream: &mut S) {
    let reading = async {
        if poll_fn(|task| Pin::new(&mut *stream).poll_shutdown(task)).await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES_MAX;
        let mut sink = [0u8; 4096];
        while left > 0 {
            let read = poll_fn(|task| {
                let mut space = ReadBuf::new(&mut sink);
                Pin::new(&mut *stream).poll_read(task, &mut space).map_ok(|()| space.filled().len())
            });
            match read.await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    // Running out of time is as good an end as any.
    let _ = tokio::time::timeout(LINGER, reading).await;
}
