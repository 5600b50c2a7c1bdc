//! A coarse timer that many share: a wheel of one-millisecond buckets.
//!
//! After Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987), scheme 4, with one turn longer than
//! the longest hold, so that a bucket holds entries of one turn only. Entries are never taken out: who set one
//! looks, when it fires, whether it still means anything.

/// Buckets: one turn is 32.8 s, longer than the longest hold of 30 s.
const BUCKETS: u64 = 1 << 15;

/// The longest time ahead that an entry may be set (milliseconds).
pub(crate) const HORIZON_MS: u64 = BUCKETS - 1;

#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Vec<Vec<u32>>,
    /// One bit a bucket: set if it has entries.
    occupied: Vec<u64>,
    /// Everything before this time has fired.
    now_ms: u64,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS as usize], occupied: vec![0; BUCKETS as usize / 64], now_ms }
    }

    /// Sets an entry for `at_ms`; a time that has passed or lies beyond the horizon is moved to the nearest one
    /// that fits. Returns the time it was set for.
    pub(crate) fn set(&mut self, at_ms: u64, key: u32) -> u64 {
        let at_ms = at_ms.clamp(self.now_ms, self.now_ms + HORIZON_MS);
        let bucket = (at_ms % BUCKETS) as usize;
        self.buckets[bucket].push(key);
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        at_ms
    }

    /// When the next entry is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let start = self.now_ms % BUCKETS;
        let words = self.occupied.len() as u64;
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let mut bits = self.occupied[word as usize];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == words {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let bucket = word * 64 + u64::from(bits.trailing_zeros());
                return Some(self.now_ms + (bucket + BUCKETS - start) % BUCKETS);
            }
        }
        None
    }

    /// Moves on to `now_ms` and appends what came due, with the time it was set for, to `due`.
    pub(crate) fn advance(&mut self, now_ms: u64, due: &mut Vec<(u64, u32)>) {
        while let Some(at_ms) = self.next_due().filter(|at_ms| *at_ms <= now_ms) {
            let bucket = (at_ms % BUCKETS) as usize;
            due.extend(self.buckets[bucket].drain(..).map(|key| (at_ms, key)));
            if self.buckets[bucket].capacity() > 1_024 {
                self.buckets[bucket] = Vec::new();
            }
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            self.now_ms = at_ms;
        }
        self.now_ms = self.now_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fires_each_entry_once_at_its_time(
            start in 0u64..100_000,
            sets in proptest::collection::vec((0u64..HORIZON_MS, 0u64..500), 1..200),
        ) {
            let mut wheel = Wheel::new(start);
            let mut now = start;
            let mut model: Vec<(u64, u32)> = Vec::new();
            let mut due = Vec::new();
            for (key, (ahead, step)) in sets.into_iter().enumerate() {
                let at = wheel.set(now + ahead, key as u32);
                prop_assert_eq!(at, now + ahead);
                model.push((at, key as u32));
                now += step;
                due.clear();
                wheel.advance(now, &mut due);
                let mut expect: Vec<_> = model.extract_if(.., |(at, _)| *at <= now).collect();
                expect.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(&due, &expect);
                prop_assert_eq!(wheel.next_due(), model.iter().map(|(at, _)| *at).min());
            }
        }
    }

    #[test]
    fn past_times_fire_at_the_next_turn_of_the_hand() {
        let mut wheel = Wheel::new(1_000);
        assert_eq!(wheel.set(10, 1), 1_000);
        assert_eq!(wheel.set(1_000 + 2 * BUCKETS, 2), 1_000 + HORIZON_MS);
        let mut due = Vec::new();
        wheel.advance(1_000, &mut due);
        assert_eq!(due, [(1_000, 1)]);
    }
}
