//! The rooms that were sent to lately: their settings, limits and sends under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use parking_lot::Mutex;
use room::{RoomKey, RoomSettings};
use store::{Store, StoreError};
use tokio::sync::Mutex as LoadMutex;

use crate::{Clock, SendLimits, inflight::Inflight, limits::Gate};

/// Most rooms whose state is kept when nobody is sending to them. Beyond it, the longest unused are forgotten:
/// their settings are read again with the next send, their limits and slow mode start afresh.
const ROOMS_MAX: usize = 100_000;

/// How many rooms there are before the first look for idle ones.
const PRUNE_FROM: usize = 1_024;

/// A room that was not sent to for so long is forgotten if that changes nothing.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// What the write path keeps of a room.
#[derive(Debug)]
pub(crate) struct WriteRoom {
    pub(crate) inflight: Arc<Inflight>,
    gate: ArcSwapOption<Gate>,
    /// Held to make a gate of the one before; nothing else is locked under it.
    changing: Mutex<()>,
    /// One load at a time.
    loading: LoadMutex<()>,
    used_at: AtomicU64,
}

/// The cache of them.
pub(crate) struct Rooms {
    by_key: DashMap<RoomKey, Arc<WriteRoom>>,
    limits: SendLimits,
    clock: Clock,
    /// The next look for idle rooms comes at this many.
    prune_at: AtomicUsize,
    pruning: Mutex<()>,
}

impl Rooms {
    pub(crate) fn new(limits: SendLimits, clock: Clock) -> Self {
        Self {
            by_key: DashMap::new(),
            limits,
            clock,
            prune_at: AtomicUsize::new(PRUNE_FROM),
            pruning: Mutex::new(()),
        }
    }

    /// The room's state, made if need be. It stays in the cache at least while the caller has it.
    pub(crate) fn enter(&self, key: &RoomKey) -> Arc<WriteRoom> {
        let now = self.clock.ticks();
        let found = self.by_key.get(key).map(|room| Arc::clone(&room));
        let room = found.unwrap_or_else(|| {
            self.prune(now);
            Arc::clone(&self.by_key.entry(key.clone()).or_insert_with(|| Arc::new(WriteRoom::new())))
        });
        room.used_at.store(now, Ordering::Relaxed);
        room
    }

    /// The room's gate; its settings are read from the store with the first send.
    pub(crate) async fn gate(
        &self,
        room: &WriteRoom,
        key: &RoomKey,
        store: &dyn Store,
    ) -> Result<Arc<Gate>, StoreError> {
        if let Some(gate) = room.gate.load_full() {
            return Ok(gate);
        }
        let _one_load = room.loading.lock().await;
        if let Some(gate) = room.gate.load_full() {
            return Ok(gate);
        }
        let loaded = store.view(key).await?.settings;
        Ok(room.change(|before| match before {
            // A notice came in while the store was read: it is newer.
            Some(noticed) => noticed,
            None => Arc::new(Gate::new(loaded, &self.limits, &self.clock)),
        }))
    }

    /// The room's settings are now these. A room that is not in the cache reads them when it is sent to.
    pub(crate) fn settings_changed(&self, key: &RoomKey, settings: &Arc<RoomSettings>) {
        let Some(room) = self.by_key.get(key).map(|room| Arc::clone(&room)) else {
            return;
        };
        let settings = Arc::clone(settings);
        room.change(|before| {
            Arc::new(match before {
                Some(gate) => gate.with_settings(settings, &self.limits, &self.clock),
                None => Gate::new(settings, &self.limits, &self.clock),
            })
        });
    }

    fn prune(&self, now: u64) {
        if self.by_key.len() < self.prune_at.load(Ordering::Relaxed) {
            return;
        }
        let Some(_one_at_a_time) = self.pruning.try_lock() else {
            return;
        };
        self.by_key.retain(|_, room| room.is_in_use() || !room.is_idle(now, &self.clock));
        // With a quarter free, a pass over the rooms pays for many new ones.
        if self.by_key.len() > ROOMS_MAX / 4 * 3 {
            let mut used: Vec<u64> =
                self.by_key.iter().map(|room| room.used_at.load(Ordering::Relaxed)).collect();
            let from = used.len() - ROOMS_MAX / 2;
            let oldest_kept = *used.select_nth_unstable(from).1;
            self.by_key
                .retain(|_, room| room.is_in_use() || room.used_at.load(Ordering::Relaxed) > oldest_kept);
        }
        self.prune_at.store((self.by_key.len() * 2).clamp(PRUNE_FROM, ROOMS_MAX), Ordering::Relaxed);
    }
}

impl WriteRoom {
    fn new() -> Self {
        Self {
            inflight: Arc::default(),
            gate: ArcSwapOption::empty(),
            changing: Mutex::new(()),
            loading: LoadMutex::new(()),
            used_at: AtomicU64::new(0),
        }
    }

    fn change(&self, make: impl FnOnce(Option<Arc<Gate>>) -> Arc<Gate>) -> Arc<Gate> {
        let _one_at_a_time = self.changing.lock();
        let gate = make(self.gate.load_full());
        self.gate.store(Some(Arc::clone(&gate)));
        gate
    }

    /// Whether somebody has it from [`Rooms::enter`]. Exact under the map's lock, which `retain` holds: turns and
    /// limits of one room must never be in two places.
    fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    fn is_idle(&self, now: u64, clock: &Clock) -> bool {
        let idle_for = Duration::from_nanos(now.saturating_sub(self.used_at.load(Ordering::Relaxed)));
        idle_for >= IDLE_AFTER && self.gate.load().as_ref().is_none_or(|gate| gate.is_idle(clock))
    }
}

#[cfg(test)]
mod tests {
    use room::{AppId, RoomId};

    use super::*;

    fn key(number: usize) -> RoomKey {
        RoomKey::new(AppId::default(), RoomId::internal(&number.to_string()))
    }

    #[test]
    fn idle_rooms_are_forgotten() {
        let (clock, hand) = Clock::manual();
        let rooms = Rooms::new(SendLimits::default(), clock);
        let held = rooms.enter(&key(0));
        for number in 1..PRUNE_FROM {
            rooms.enter(&key(number));
        }
        hand.advance(IDLE_AFTER);
        rooms.enter(&key(PRUNE_FROM));
        assert_eq!(rooms.by_key.len(), 2);
        assert!(Arc::ptr_eq(&held, &rooms.enter(&key(0))));
    }

    #[test]
    fn rooms_are_bounded_and_the_longest_unused_go_first() {
        let (clock, hand) = Clock::manual();
        let rooms = Rooms::new(SendLimits::default(), clock);
        for number in 0..ROOMS_MAX + 10 {
            hand.advance(Duration::from_micros(1));
            rooms.enter(&key(number));
            assert!(rooms.by_key.len() <= ROOMS_MAX);
        }
        assert!(rooms.by_key.contains_key(&key(ROOMS_MAX)));
        assert!(!rooms.by_key.contains_key(&key(0)));
    }

    #[test]
    fn notice_during_a_load_wins() {
        let (clock, _hand) = Clock::manual();
        let rooms = Rooms::new(SendLimits::default(), clock);
        let room = rooms.enter(&key(1));
        let noticed = Arc::new(RoomSettings { muted: true, ..Default::default() });
        rooms.settings_changed(&key(1), &noticed);
        assert!(room.gate.load_full().is_some_and(|gate| gate.settings.muted));
        rooms.settings_changed(&key(2), &noticed);
        assert!(!rooms.by_key.contains_key(&key(2)));
    }
}
