//! Writes under way: bounded, answered in time, and finished whether or not their callers stay.

use std::{sync::Arc, time::Duration};

use room::Problem;
use tokio::{
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

    /// Runs `work` to its end, whether or not the caller stays, and answers by then or within [`ANSWER_WITHIN`].
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        place: Place,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let work = self.tasks.spawn(async move {
            let _place = place;
            work.await
        });
        match timeout(ANSWER_WITHIN, work).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => {
                error!(%error, "write failed");
                Err(internal())
            }
            Err(_) => Err(unanswered()),
        }
    }

    /// Waits until nothing is under way, that of callers who left included. More may begin meanwhile, and is waited
    /// for too.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
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
