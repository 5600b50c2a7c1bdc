//! One time per key, in a bounded map: what the limits and slow mode remember of senders.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use governor::{nanos::Nanos, state::StateStore};
use parking_lot::Mutex;

/// Most keys that one map remembers. When it is full and hardly any are stale, the newer half stays: the senders
/// of the other may send again sooner than the limit says.
const KEYS_MAX: usize = 100_000;

/// How many keys there are before the first look for stale ones.
const PRUNE_FROM: usize = 256;

/// Times (nanoseconds) by key. Clones share the map.
///
/// The lock guards the map alone and is held for one look-up, or for one pass over the map when it has doubled.
#[derive(Debug)]
pub(crate) struct Marks<K>(Arc<Mutex<Inner<K>>>);

#[derive(Debug)]
struct Inner<K> {
    times: HashMap<K, u64>,
    prune_at: usize,
}

impl<K> Clone for Marks<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq + Clone> Marks<K> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner { times: HashMap::new(), prune_at: PRUNE_FROM })))
    }

    /// Sets `key`'s time to `now` if the one before lies at least `gap` back.
    ///
    /// Gives back the time before, for [`Marks::put_back`]; or how much of `gap` is left.
    pub(crate) fn mark_after(&self, key: &K, now: u64, gap: u64) -> Result<Option<u64>, u64> {
        let mut inner = self.0.lock();
        inner.make_room(now.saturating_sub(gap));
        match inner.times.get_mut(key) {
            Some(time) if now < time.saturating_add(gap) => Err(time.saturating_add(gap) - now),
            Some(time) => Ok(Some(std::mem::replace(time, now))),
            None => Ok(inner.times.insert(key.clone(), now)),
        }
    }

    /// Undoes a [`Marks::mark_after`] that set `ours`, unless somebody has set another time since.
    pub(crate) fn put_back(&self, key: &K, ours: u64, before: Option<u64>) {
        let mut inner = self.0.lock();
        if inner.times.get(key) != Some(&ours) {
            return;
        }
        match before {
            Some(before) => inner.times.insert(key.clone(), before),
            None => inner.times.remove(key),
        };
    }

    /// Takes `by` off `key`'s time, if it is remembered.
    pub(crate) fn take_off(&self, key: &K, by: u64) {
        if let Some(time) = self.0.lock().times.get_mut(key) {
            *time = time.saturating_sub(by);
        }
    }

    /// Forgets times up to `stale` when there are many.
    pub(crate) fn make_room(&self, stale: u64) {
        self.0.lock().make_room(stale);
    }

    /// Whether no time later than `stale` is remembered.
    pub(crate) fn is_stale(&self, stale: u64) -> bool {
        self.0.lock().times.values().all(|time| *time <= stale)
    }
}

impl<K: Hash + Eq> Inner<K> {
    fn make_room(&mut self, stale: u64) {
        if self.times.len() < self.prune_at {
            return;
        }
        self.times.retain(|_, time| *time > stale);
        // With a quarter free, a pass over the map pays for 25,000 new keys.
        if self.times.len() > KEYS_MAX / 4 * 3 {
            let mut times: Vec<u64> = self.times.values().copied().collect();
            let from = times.len() - KEYS_MAX / 2;
            let oldest_kept = *times.select_nth_unstable(from).1;
            // Ties could keep them all: count what stays.
            let mut left = KEYS_MAX / 2;
            self.times.retain(|_, time| {
                let stays = *time >= oldest_kept && left > 0;
                left -= usize::from(stays);
                stays
            });
        }
        self.prune_at = (self.times.len() * 2).clamp(PRUNE_FROM, KEYS_MAX);
        self.times.shrink_to(self.prune_at);
    }
}

impl<K: Hash + Eq + Clone> StateStore for Marks<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut inner = self.0.lock();
        let (outcome, time) = f(inner.times.get(key).map(|time| Nanos::from(*time)))?;
        match inner.times.get_mut(key) {
            Some(kept) => *kept = time.as_u64(),
            None => drop(inner.times.insert(key.clone(), time.as_u64())),
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_counts_from_the_last_mark() {
        let marks = Marks::new();
        assert_eq!(marks.mark_after(&"u", 100, 50), Ok(None));
        assert_eq!(marks.mark_after(&"u", 149, 50), Err(1));
        assert_eq!(marks.mark_after(&"v", 149, 50), Ok(None));
        assert_eq!(marks.mark_after(&"u", 150, 50), Ok(Some(100)));
        assert_eq!(marks.mark_after(&"u", 150, u64::MAX), Err(u64::MAX - 150));
    }

    #[test]
    fn mark_is_undone_unless_there_is_a_newer_one() {
        let marks = Marks::new();
        marks.mark_after(&"u", 100, 50).unwrap();
        marks.put_back(&"u", 100, None);
        assert_eq!(marks.mark_after(&"u", 101, 50), Ok(None));
        assert_eq!(marks.mark_after(&"u", 151, 50), Ok(Some(101)));
        marks.put_back(&"u", 101, None);
        assert_eq!(marks.mark_after(&"u", 152, 50), Err(49));
        marks.put_back(&"u", 151, Some(101));
        assert_eq!(marks.mark_after(&"u", 152, 50), Ok(Some(101)));
    }

    #[test]
    fn keys_are_bounded_and_the_oldest_go_first() {
        let marks = Marks::new();
        for key in 0..2 * KEYS_MAX as u64 {
            marks.mark_after(&key, key, u64::MAX).unwrap();
            assert!(marks.0.lock().times.len() <= KEYS_MAX);
        }
        let newest = 2 * KEYS_MAX as u64 - 1;
        assert!(marks.mark_after(&newest, newest, u64::MAX).is_err());
        assert!(marks.mark_after(&0, newest, u64::MAX).is_ok());
    }

    #[test]
    fn keys_of_one_time_are_bounded_too() {
        let marks = Marks::new();
        for key in 0..KEYS_MAX as u64 + 10 {
            marks.mark_after(&key, 7, 1).unwrap();
        }
        assert!(marks.0.lock().times.len() <= KEYS_MAX);
    }

    #[test]
    fn stale_keys_make_room() {
        let marks = Marks::new();
        for key in 0..10_000u64 {
            marks.mark_after(&key, key, 10).unwrap();
        }
        assert!(marks.0.lock().times.len() <= PRUNE_FROM);
        assert!(!marks.is_stale(9_998));
        assert!(marks.is_stale(9_999));
    }
}
