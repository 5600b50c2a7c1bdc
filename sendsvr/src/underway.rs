//! Writes under way: bounded, answered in time, and finished whether or not their callers stay.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use room::Problem;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::error::{internal, overfull, unanswered};

/// Most that writes under way hold together (bytes, as estimated by [`WRITE_BYTES`] and the size of each).
///
/// While the log stalls, callers leave and repeat, and what they began stays. At this bound the next write is refused
/// as `log_unavailable` before it has left a trace: a stall costs this much memory and no more. It is enough for
/// some 65,000 short messages, or 7,000 of 16 KiB.
pub(crate) const BYTES_MAX: u32 = 128 << 20;

/// What a write holds beside the text and data of its message: its task, its ids, its places in queues.
pub(crate) const WRITE_BYTES: usize = 2 << 10;

/// How long a caller waits for the log. The write goes on after that, and a repeat with the same id finds it.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The writes that were begun and are not done.
pub(crate) struct Underway {
    tasks: TaskTracker,
    pub(crate) bytes_left: Arc<Semaphore>,
}

/// The right to begin a write. Dropping it makes room for others.
#[derive(Debug)]
pub(crate) struct Place {
    _bytes: OwnedSemaphorePermit,
}

impl Underway {
    pub(crate) fn new() -> Self {
        Self { tasks: TaskTracker::new(), bytes_left: Arc::new(Semaphore::new(BYTES_MAX as usize)) }
    }

    /// A place for a write that holds so many `bytes`, or `log_unavailable` if there is none left. One that is larger
    /// than the bound has its place when there is no other.
    pub(crate) fn place(&self, bytes: usize) -> Result<Place, Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(BYTES_MAX).min(BYTES_MAX);
        let bytes = Arc::clone(&self.bytes_left).try_acquire_many_owned(bytes);
        bytes.map(|bytes| Place { _bytes: bytes }).map_err(|_| overfull())
    }

    /// Begins `work`, which runs to its end whether or not the caller stays: as soon as [`answered`] is polled.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        place: Place,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Work<T> {
        let token = self.tasks.token();
        let work = async move {
            // The place comes back before the end is told.
            let _token = token;
            let _place = place;
            work.await
        };
        // A panic ends this work alone, wherever it is polled.
        let left = Some(AssertUnwindSafe(work).catch_unwind().boxed());
        Work { left, runtime: Handle::current() }
    }

    /// Waits until nothing is under way, that of callers who left included. More may begin meanwhile, and is waited
    /// for too.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

/// Work that goes on when it is dropped: as a task of its own, on the runtime that it was begun on.
///
/// Nearly all work is awaited to its end where it was begun, and pays for no task.
#[must_use = "await its answer"]
pub(crate) struct Work<T: Send + 'static> {
    left: Option<BoxFuture<'static, Result<T, Box<dyn Any + Send>>>>,
    runtime: Handle,
}

/// The outcome of `work` once it is there, or a refusal after [`ANSWER_WITHIN`].
pub(crate) async fn answered<T: Send + 'static>(work: Work<T>) -> Result<T, Problem> {
    match timeout(ANSWER_WITHIN, work).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_)) => {
            error!("a write panicked");
            Err(internal())
        }
        Err(_) => Err(unanswered()),
    }
}

impl<T: Send + 'static> Future for Work<T> {
    type Output = Result<T, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.left.as_mut().expect("not polled again after its end");
        let outcome = std::task::ready!(work.as_mut().poll(task));
        self.left = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static> Drop for Work<T> {
    fn drop(&mut self) {
        if let Some(work) = self.left.take() {
            // The tracker's token is in the work itself.
            drop(self.runtime.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use room::ErrorCode;

    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let underway = Underway::new();
        let half = BYTES_MAX as usize / 2;
        let (first, _second) = (underway.place(half).unwrap(), underway.place(half).unwrap());
        let problem = underway.place(1).unwrap_err();
        assert_eq!((problem.code, problem.retry_after_s()), (ErrorCode::LogUnavailable, Some(1)));
        drop(first);
        assert!(underway.place(half).is_ok());
        assert!(underway.place(half + 1).is_err());
    }

    #[tokio::test]
    async fn panic_ends_its_own_write_only() {
        let underway = Underway::new();
        let place = underway.place(1).unwrap();
        let work = underway.begin(place, async { panic!("as the test wants it") });
        let outcome: Result<(), _> = answered(work).await;
        assert_eq!(outcome.unwrap_err().code, ErrorCode::Internal);
        assert_eq!(underway.bytes_left.available_permits(), BYTES_MAX as usize);
        underway.drain().await;
    }

    #[test]
    fn one_larger_than_the_bound_goes_alone() {
        let underway = Underway::new();
        let place = underway.place(usize::MAX).unwrap();
        assert!(underway.place(1).is_err());
        drop(place);
        let _other = underway.place(1).unwrap();
        assert!(underway.place(usize::MAX).is_err());
    }
}
