//! How many are in a room, as answers tell it and the poll policy goes by it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use room::{OnlineCounts, OnlineSource, RoomKey};

/// How long a look at the source holds (milliseconds). The source itself has news once a second.
pub(crate) const LOOK_HOLDS_MS: u64 = 200;

/// No count: nobody was counted yet.
const UNKNOWN: u64 = u64::MAX;

/// The counts of one room, looked up now and then by whoever needs them.
pub(crate) struct Online {
    source: Arc<dyn OnlineSource>,
    room: RoomKey,
    looked_at_ms: AtomicU64,
    num_users: AtomicU64,
    counts: Mutex<Option<OnlineCounts>>,
}

impl Online {
    pub(crate) fn new(source: Arc<dyn OnlineSource>, room: RoomKey) -> Arc<Self> {
        Arc::new(Self {
            source,
            room,
            looked_at_ms: AtomicU64::new(0),
            num_users: AtomicU64::new(UNKNOWN),
            counts: Mutex::default(),
        })
    }

    /// The counts for an answer that is encoded now.
    pub(crate) fn counts(&self, now_ms: u64) -> Option<OnlineCounts> {
        self.look(now_ms);
        *self.counts.lock()
    }

    /// People in the room, if they are counted.
    pub(crate) fn num_users(&self, now_ms: u64) -> Option<u64> {
        self.look(now_ms);
        Some(self.num_users.load(Ordering::Relaxed)).filter(|users| *users != UNKNOWN)
    }

    fn look(&self, now_ms: u64) {
        let looked_at_ms = self.looked_at_ms.load(Ordering::Relaxed);
        if now_ms.abs_diff(looked_at_ms) < LOOK_HOLDS_MS {
            return;
        }
        // One of those who come at once looks; the others go by what was known.
        let order = Ordering::Relaxed;
        if self.looked_at_ms.compare_exchange(looked_at_ms, now_ms, order, order).is_err() {
            return;
        }
        let counts = self.source.online(&self.room);
        self.num_users.store(counts.map_or(UNKNOWN, |counts| counts.num_users), Ordering::Relaxed);
        *self.counts.lock() = counts;
    }
}

impl std::fmt::Debug for Online {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Online").field("counts", &self.counts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rising(AtomicU64);

    impl OnlineSource for Rising {
        fn online(&self, _room: &RoomKey) -> Option<OnlineCounts> {
            let looks = self.0.fetch_add(1, Ordering::Relaxed);
            (looks > 0).then_some(OnlineCounts { num_users: looks, num_clients: 2 * looks, as_of_ms: 7 })
        }
    }

    #[test]
    fn source_is_asked_a_few_times_a_second() {
        let online = Online::new(Arc::new(Rising(AtomicU64::new(0))), RoomKey::canary());
        assert_eq!(online.num_users(1_000), None);
        assert_eq!(online.counts(1_199), None);
        assert_eq!(online.num_users(1_200), Some(1));
        assert_eq!(online.counts(1_399).map(|counts| counts.num_clients), Some(2));
        assert_eq!(online.num_users(1_400), Some(2));
        assert_eq!(online.num_users(100), Some(3), "a clock that was set back does not stop the looks");
    }
}
