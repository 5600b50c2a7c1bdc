//! A bounded queue from async callers to threads of our own.
//!
//! Callers wait for a place without blocking their thread, on whatever runtime they are.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::sync::Semaphore;

use super::health;
use crate::{StoreError, metrics};

/// The end that callers put entries into.
pub(crate) struct Queue<T> {
    entries: Sender<T>,
    places: Arc<Semaphore>,
}

/// The end that threads take entries from, in the order in which they were put in.
pub(crate) struct Taker<T> {
    entries: Receiver<T>,
    places: Arc<Semaphore>,
    kind: metrics::Queue,
}

impl<T> Clone for Taker<T> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), places: Arc::clone(&self.places), kind: self.kind }
    }
}

/// A queue of at most `entries_max` entries.
pub(crate) fn queue<T>(entries_max: usize, kind: metrics::Queue) -> (Queue<T>, Taker<T>) {
    // One place more than there are permits, for the entry that closes it.
    let (sender, receiver) = bounded(entries_max + 1);
    let places = Arc::new(Semaphore::new(entries_max));
    (Queue { entries: sender, places: Arc::clone(&places) }, Taker { entries: receiver, places, kind })
}

impl<T> Queue<T> {
    /// Puts an entry in, as soon as there is a place.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] once the queue is closed.
    pub(crate) async fn push(&self, entry: T) -> Result<(), StoreError> {
        self.places.acquire().await.map_err(|_| health::closed())?.forget();
        self.entries.try_send(entry).map_err(|_| health::closed())
    }

    /// Puts an entry in if there is a place now; says whether it did.
    pub(crate) fn try_push(&self, entry: T) -> bool {
        let Ok(place) = self.places.try_acquire() else {
            return false;
        };
        place.forget();
        self.entries.try_send(entry).is_ok()
    }

    /// Lets no more entries in; `last` comes behind those that are.
    pub(crate) fn close(&self, last: T) {
        if !self.places.is_closed() {
            self.places.close();
            // Fails only if the taker is gone, which is what closing is for.
            let _ = self.entries.try_send(last);
        }
    }
}

impl<T> Taker<T> {
    /// Waits for an entry; `Err` when none came in time, or none can come any more.
    pub(crate) fn take_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let entry = self.entries.recv_timeout(timeout)?;
        self.places.add_permits(1);
        Ok(entry)
    }

    /// Waits for an entry; `None` when none can come any more.
    pub(crate) fn take(&self) -> Option<T> {
        let entry = self.entries.recv().ok()?;
        metrics::queue_depth(self.kind, self.entries.len());
        self.places.add_permits(1);
        Some(entry)
    }

    /// An entry that is there already.
    pub(crate) fn try_take(&self) -> Option<T> {
        let entry = self.entries.try_recv().ok()?;
        self.places.add_permits(1);
        Some(entry)
    }

    /// Tells the metrics how many entries wait.
    pub(crate) fn report_depth(&self) {
        metrics::queue_depth(self.kind, self.entries.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn full_queue_makes_callers_wait() {
        let (queue, taker) = queue(2, metrics::Queue::Writer);
        queue.push(1).await.unwrap();
        queue.push(2).await.unwrap();
        assert!(!queue.try_push(3));
        let mut third = std::pin::pin!(queue.push(3));
        assert!(futures_poll(third.as_mut()).await.is_none());
        assert_eq!(taker.try_take(), Some(1));
        third.await.unwrap();
        assert_eq!((taker.try_take(), taker.try_take(), taker.try_take()), (Some(2), Some(3), None));
    }

    #[tokio::test]
    async fn closed_queue_gives_what_it_has_and_refuses_more() {
        let (queue, taker) = queue(2, metrics::Queue::Writer);
        queue.push(1).await.unwrap();
        queue.push(2).await.unwrap();
        queue.close(9);
        queue.close(9);
        assert!(queue.push(3).await.is_err());
        assert!(!queue.try_push(3));
        assert_eq!((taker.take(), taker.take(), taker.take()), (Some(1), Some(2), Some(9)));
        assert_eq!(taker.take_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        drop(queue);
        assert_eq!(taker.take(), None);
    }

    /// The future's value if it is ready now.
    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
