//! A bounded queue from async callers to threads of our own.
//!
//! Callers wait for a place without blocking their thread, on whatever runtime they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::{
    sync::{Mutex, Semaphore},
    task::unconstrained,
};

use super::health;
use crate::{StoreError, metrics};

/// The end that callers put entries into.
pub(crate) struct Queue<T> {
    entries: Sender<T>,
    places: Arc<Semaphore>,
    /// Held by the first of those who wait for a place. It is fair: they get their places in the order in which they came.
    turn: Mutex<()>,
    /// How many wait, or have a place and did not put their entry in yet. Nobody overtakes them.
    waiting: AtomicUsize,
    is_over: Arc<AtomicBool>,
}

/// The end that threads take entries from, in the order in which they were put in.
pub(crate) struct Taker<T> {
    inner: Arc<Inner<T>>,
    kind: metrics::Queue,
}

/// What the takers share. When the last of them goes, however it ends, nobody waits for a place in vain, and entries that
/// nobody took are dropped.
struct Inner<T> {
    entries: Receiver<T>,
    places: Arc<Semaphore>,
    is_over: Arc<AtomicBool>,
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.places.close();
        // First, so that whoever put an entry in too late for the loop sees it (see `Queue::is_over`).
        self.is_over.store(true, Ordering::SeqCst);
        while self.entries.try_recv().is_ok() {}
    }
}

impl<T> Clone for Taker<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), kind: self.kind }
    }
}

/// A queue of at most `entries_max` entries.
pub(crate) fn queue<T>(entries_max: usize, kind: metrics::Queue) -> (Queue<T>, Taker<T>) {
    // One place more than there are permits, for the entry that closes it.
    let (sender, receiver) = bounded(entries_max + 1);
    let places = Arc::new(Semaphore::new(entries_max));
    let is_over = Arc::new(AtomicBool::new(false));
    let inner = Inner { entries: receiver, places: Arc::clone(&places), is_over: Arc::clone(&is_over) };
    let taker = Taker { inner: Arc::new(inner), kind };
    (Queue { entries: sender, places, turn: Mutex::new(()), waiting: AtomicUsize::new(0), is_over }, taker)
}

impl<T> Queue<T> {
    /// Puts an entry in, as soon as there is a place, in the order in which the futures are first polled.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] once the queue is closed, or its takers are gone.
    pub(crate) async fn push(&self, entry: T) -> Result<(), StoreError> {
        match self.push_now(entry) {
            Ok(pushed) => pushed,
            // Boxed, so that those who need not wait carry no space for it.
            Err(entry) => Box::pin(self.push_later(entry)).await,
        }
    }

    /// Puts an entry in unless it has to wait for its place, or gives it back.
    fn push_now(&self, entry: T) -> Result<Result<(), StoreError>, T> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return Err(entry);
        }
        let Ok(place) = self.places.try_acquire() else { return Err(entry) };
        place.forget();
        Ok(self.entries.try_send(entry).map_err(|_| health::closed()))
    }

    async fn push_later(&self, entry: T) -> Result<(), StoreError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        // A task that has used up its budget gets in line all the same.
        unconstrained(async {
            // Kept until the entry is in: a place alone can be had by the next in line before this one is polled again.
            let _turn = self.turn.lock().await;
            self.places.acquire().await.map_err(|_| health::closed())?.forget();
            self.entries.try_send(entry).map_err(|_| health::closed())
        })
        .await
    }

    /// Puts an entry in if there is a place now; says whether it did.
    pub(crate) fn try_push(&self, entry: T) -> bool {
        let Ok(place) = self.places.try_acquire() else {
            return false;
        };
        place.forget();
        self.entries.try_send(entry).is_ok()
    }

    /// Whether the takers are gone. An entry that was in before is dropped then, if it was not taken; one that was put in
    /// meanwhile may stay for as long as the queue, so ask behind a [`Queue::push`] whose entry must not.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
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

/// One who waits, until this goes.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T> Taker<T> {
    /// Waits for an entry; `Err` when none came in time, or none can come any more.
    pub(crate) fn take_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let entry = self.inner.entries.recv_timeout(timeout)?;
        self.inner.places.add_permits(1);
        Ok(entry)
    }

    /// Waits for an entry; `None` when none can come any more.
    pub(crate) fn take(&self) -> Option<T> {
        let entry = self.inner.entries.recv().ok()?;
        metrics::queue_depth(self.kind, self.inner.entries.len());
        self.inner.places.add_permits(1);
        Some(entry)
    }

    /// An entry that is there already.
    pub(crate) fn try_take(&self) -> Option<T> {
        let entry = self.inner.entries.try_recv().ok()?;
        self.inner.places.add_permits(1);
        Some(entry)
    }

    /// Tells the metrics how many entries wait.
    pub(crate) fn report_depth(&self) {
        metrics::queue_depth(self.kind, self.inner.entries.len());
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

    #[tokio::test]
    async fn freed_places_go_to_those_who_waited_first() {
        let (queue, taker) = queue(2, metrics::Queue::Writer);
        queue.push(1).await.unwrap();
        queue.push(2).await.unwrap();
        let mut third = std::pin::pin!(queue.push(3));
        let mut fourth = std::pin::pin!(queue.push(4));
        assert!(futures_poll(third.as_mut()).await.is_none());
        assert!(futures_poll(fourth.as_mut()).await.is_none());
        assert_eq!((taker.try_take(), taker.try_take()), (Some(1), Some(2)));
        // There are two places now, and those who may have them were not polled yet.
        let mut fifth = std::pin::pin!(queue.push(5));
        assert!(futures_poll(fifth.as_mut()).await.is_none());
        assert!(futures_poll(fourth.as_mut()).await.is_none());
        third.await.unwrap();
        fourth.await.unwrap();
        assert_eq!(taker.try_take(), Some(3));
        fifth.await.unwrap();
        assert_eq!((taker.try_take(), taker.try_take()), (Some(4), Some(5)));
        queue.push(6).await.unwrap();
        assert_eq!(queue.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn one_who_stops_waiting_holds_nobody_up() {
        let (queue, taker) = queue(1, metrics::Queue::Writer);
        queue.push(1).await.unwrap();
        let mut second = Box::pin(queue.push(2));
        let mut third = std::pin::pin!(queue.push(3));
        assert!(futures_poll(second.as_mut()).await.is_none());
        assert!(futures_poll(third.as_mut()).await.is_none());
        assert_eq!(taker.try_take(), Some(1));
        drop(second);
        third.await.unwrap();
        assert_eq!((taker.try_take(), queue.waiting.load(Ordering::SeqCst)), (Some(3), 0));
    }

    #[tokio::test]
    async fn end_of_the_last_taker_ends_the_waiting() {
        let (queue, taker) = queue(1, metrics::Queue::Reader);
        let other = taker.clone();
        queue.push(1).await.unwrap();
        let mut second = std::pin::pin!(queue.push(2));
        drop(taker);
        assert!(futures_poll(second.as_mut()).await.is_none());
        drop(other);
        assert!(second.await.is_err());
        assert!(queue.push(3).await.is_err());
    }

    #[tokio::test]
    async fn entries_that_nobody_took_are_dropped() {
        let (queue, taker) = queue(2, metrics::Queue::Writer);
        let entry = Arc::new(());
        queue.push(Arc::clone(&entry)).await.unwrap();
        assert!(!queue.is_over());
        drop(taker);
        assert!(queue.is_over());
        assert_eq!(Arc::strong_count(&entry), 1);
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
