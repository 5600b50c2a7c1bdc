//! Sends of one id take turns.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use room::{MessageId, UserId};
use tokio::sync::{Mutex as TurnMutex, OwnedMutexGuard};

type Key = (UserId, MessageId);

/// The ids of a room that are being sent now, by sender.
///
/// Whoever has the turn looks the id up, sends it if it is new, and leaves; the next one then finds it in the log,
/// or tries itself if the one before was refused. An entry is there as long as somebody has or awaits its turn, so
/// there are never more than sends under way. The lock guards the map alone and is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct Inflight(Mutex<HashMap<Key, Arc<TurnMutex<()>>>>);

/// The right to send one id. Dropping it, in whatever way, lets the next one go.
#[derive(Debug)]
pub(crate) struct Turn {
    // In this order: the place must be the last to know that the turn is over.
    _turn: OwnedMutexGuard<()>,
    _place: Place,
}

#[derive(Debug)]
struct Place {
    inflight: Arc<Inflight>,
    key: Key,
    turns: Option<Arc<TurnMutex<()>>>,
}

impl Inflight {
    /// Waits until it is this send's turn, first come first served. Cancel-safe.
    pub(crate) async fn turn(self: &Arc<Self>, sender: UserId, id: MessageId) -> Turn {
        let key = (sender, id);
        let turns = Arc::clone(self.0.lock().entry(key.clone()).or_default());
        let place = Place { inflight: Arc::clone(self), key, turns: Some(Arc::clone(&turns)) };
        Turn { _turn: turns.lock_owned().await, _place: place }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inflight = self.inflight.0.lock();
        // Others join under this lock, so a count of one means the map's own and stays so.
        self.turns = None;
        if inflight.get(&self.key).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            inflight.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn turn(inflight: &Arc<Inflight>, id: &str) -> impl Future<Output = Turn> {
        let inflight = Arc::clone(inflight);
        let id = MessageId::internal(id);
        async move { inflight.turn(UserId::internal("u"), id).await }
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn one_id_has_one_turn_at_a_time() {
        let inflight = Arc::new(Inflight::default());
        let Poll::Ready(first) = poll(pin!(turn(&inflight, "a"))) else { panic!("taken") };
        let mut second = pin!(turn(&inflight, "a"));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(pin!(turn(&inflight, "b"))).is_ready());
        drop(first);
        assert!(poll(second.as_mut()).is_ready());
    }

    #[test]
    fn waiter_that_leaves_passes_its_turn_on() {
        let inflight = Arc::new(Inflight::default());
        let Poll::Ready(first) = poll(pin!(turn(&inflight, "a"))) else { panic!("taken") };
        let mut third = Box::pin(turn(&inflight, "a"));
        {
            let mut second = Box::pin(turn(&inflight, "a"));
            assert!(poll(second.as_mut()).is_pending());
            assert!(poll(third.as_mut()).is_pending());
            drop(first);
        }
        assert!(poll(third.as_mut()).is_ready());
    }

    #[test]
    fn nothing_stays_behind() {
        let inflight = Arc::new(Inflight::default());
        let Poll::Ready(first) = poll(pin!(turn(&inflight, "a"))) else { panic!("taken") };
        let mut second = Box::pin(turn(&inflight, "a"));
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        assert_eq!(inflight.0.lock().len(), 1);
        drop(second);
        assert_eq!(inflight.0.lock().len(), 0);
    }
}
