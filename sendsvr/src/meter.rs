//! A rate limit that can give back what it took.

use std::{hash::Hash, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, clock::Clock as _, middleware::NoOpMiddleware, nanos::Nanos};

use crate::{Clock, marks::Marks};

/// Lets `rate` sends a second through for each key, and up to a burst at once (GCRA, by governor).
///
/// governor has no refund, but its state is ours: the theoretical arrival time of each key. A send moves it one
/// emission interval on, giving back moves it one interval back. That is exact also when others sent in between,
/// because moves add up; those saw a later time, so at worst they were refused where they need not have been.
#[derive(Debug)]
pub(crate) struct Meter<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Marks<K>, Clock, NoOpMiddleware<Nanos>>,
    arrivals: Marks<K>,
    interval: u64,
    start: u64,
}

impl<K: Hash + Eq + Clone> Meter<K> {
    pub(crate) fn new(rate: NonZeroU32, burst: NonZeroU32, clock: &Clock) -> Self {
        let quota = Quota::per_second(rate).allow_burst(burst);
        let arrivals = Marks::new();
        let start = clock.ticks();
        let limiter = RateLimiter::new(quota, arrivals.clone(), clock.clone());
        let interval = Nanos::from(quota.replenish_interval()).as_u64().max(1);
        Self { limiter, arrivals, interval, start }
    }

    /// Takes one send of `key`, or says how long to wait for it.
    pub(crate) fn take(&self, key: &K) -> Result<(), Duration> {
        let clock = self.limiter.clock();
        self.arrivals.make_room(self.past(clock));
        self.limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(clock.now()))
    }

    /// Undoes one [`Meter::take`] of `key`.
    pub(crate) fn give_back(&self, key: &K) {
        self.arrivals.take_off(key, self.interval);
    }

    /// Whether forgetting all keys would change nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.arrivals.is_stale(self.past(self.limiter.clock()))
    }

    /// Arrival times up to this one are as good as none.
    fn past(&self, clock: &Clock) -> u64 {
        clock.ticks().saturating_sub(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(rate: u32, burst: u32, clock: &Clock) -> Meter<&'static str> {
        Meter::new(NonZeroU32::new(rate).unwrap(), NonZeroU32::new(burst).unwrap(), clock)
    }

    fn taken(meter: &Meter<&'static str>, key: &'static str) -> usize {
        (0..1_000).take_while(|_| meter.take(&key).is_ok()).count()
    }

    #[test]
    fn burst_then_rate() {
        let (clock, hand) = Clock::manual();
        let meter = meter(5, 10, &clock);
        assert_eq!((taken(&meter, "u"), taken(&meter, "v")), (10, 10));
        assert_eq!(meter.take(&"u"), Err(Duration::from_millis(200)));
        hand.advance(Duration::from_millis(199));
        assert_eq!(meter.take(&"u"), Err(Duration::from_millis(1)));
        hand.advance(Duration::from_millis(1));
        assert_eq!(taken(&meter, "u"), 1);
        hand.advance(Duration::from_secs(60));
        assert!(meter.is_idle());
        assert_eq!(taken(&meter, "u"), 10);
        assert!(!meter.is_idle());
    }

    #[test]
    fn given_back_can_be_taken_again() {
        let (clock, _hand) = Clock::manual();
        let meter = meter(5, 10, &clock);
        assert_eq!(taken(&meter, "u"), 10);
        for _ in 0..3 {
            meter.give_back(&"u");
        }
        assert_eq!(taken(&meter, "u"), 3);
    }

    #[test]
    fn extreme_rates_do_not_panic() {
        let (clock, hand) = Clock::manual();
        for (rate, burst) in [(u32::MAX, u32::MAX), (1, u32::MAX), (u32::MAX, 1)] {
            let meter = meter(rate, burst, &clock);
            assert!(taken(&meter, "u") > 0);
            meter.give_back(&"u");
            hand.advance(Duration::from_secs(1));
        }
    }
}
