//! The two clocks of the write path, as one argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use governor::{
    clock::{Clock as GovernorClock, FakeRelativeClock},
    nanos::Nanos,
};

/// Time since some start, for limits, and the time of day, for messages.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { start: Instant },
    Manual(FakeRelativeClock),
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { start: Instant::now() })
    }

    /// A clock that stands still until the other part moves it: for tests.
    #[must_use]
    pub fn manual() -> (Self, FakeRelativeClock) {
        let hand = FakeRelativeClock::default();
        (Self(Source::Manual(hand.clone())), hand)
    }

    /// How long ago the clock was started; never falls.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual(hand) => hand.now().into(),
        }
    }

    /// The time of day (Unix microseconds). A manual clock counts from its start.
    #[must_use]
    pub fn unix_us(&self) -> u64 {
        let since = match &self.0 {
            Source::System { .. } => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Manual(hand) => hand.now().into(),
        };
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// [`Clock::elapsed`] as a number that fits an atomic (nanoseconds).
    pub(crate) fn ticks(&self) -> u64 {
        GovernorClock::now(self).as_u64()
    }
}

impl GovernorClock for Clock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.elapsed().into()
    }
}
