//! How often a viewer is answered, by the size of the room.

use std::time::Duration;

use crate::RoomKey;

/// A table from online users to the least time between two answers with normal messages.
///
/// A room's request rate is then at most `viewers / interval`, however fast messages come; priority messages cut
/// through it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PollPolicy {
    /// Ascending by users: from that many users on, the interval holds.
    steps: Vec<(u64, Duration)>,
}

impl PollPolicy {
    /// A policy from its steps; below the first one the interval is zero.
    ///
    /// # Errors
    /// A sentence that names the step which does not have more users than the one before it.
    pub fn new(steps: Vec<(u64, Duration)>) -> Result<Self, String> {
        for pair in steps.windows(2) {
            if pair[1].0 <= pair[0].0 {
                return Err(format!(
                    "poll policy: step {} must have more users than step {}",
                    pair[1].0, pair[0].0
                ));
            }
        }
        Ok(Self { steps })
    }

    /// The policy that answers everybody at once.
    #[must_use]
    pub const fn off() -> Self {
        Self { steps: Vec::new() }
    }

    /// Its steps: from so many users on, so long; ascending by users.
    #[must_use]
    pub fn steps(&self) -> &[(u64, Duration)] {
        &self.steps
    }

    /// The least time between two answers to one viewer in a room of `users`.
    #[must_use]
    pub fn interval(&self, users: u64) -> Duration {
        match self.steps.partition_point(|(from, _)| *from <= users) {
            0 => Duration::ZERO,
            above => self.steps[above - 1].1,
        }
    }
}

/// Who waits out what is left of an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PollWait {
    /// The client, between two polls: it is told how long, and has nothing parked meanwhile. The fewest requests and parked polls; a
    /// priority message reaches it at its next poll, up to an interval later.
    #[default]
    Client,
    /// The server, which parks the poll: the client is told to poll again at once. A priority message reaches it at once, for one
    /// request more each time.
    Server,
}

/// Which policy a room's viewers are answered by.
pub trait PolicySource: Send + Sync + 'static {
    /// The least time between two answers to one viewer in a room of `users`. Asked a few times a second for each room.
    fn interval(&self, room: &RoomKey, users: u64) -> Duration;
}

/// One policy for all rooms.
impl PolicySource for PollPolicy {
    fn interval(&self, _: &RoomKey, users: u64) -> Duration {
        Self::interval(self, users)
    }
}

impl Default for PollPolicy {
    /// Below 1,000 users at once; then 0.5 s, 1 s from 10,000, 2 s from 100,000, 3 s from a million, 5 s from ten.
    fn default() -> Self {
        Self {
            steps: vec![
                (1_000, Duration::from_millis(500)),
                (10_000, Duration::from_secs(1)),
                (100_000, Duration::from_secs(2)),
                (1_000_000, Duration::from_secs(3)),
                (10_000_000, Duration::from_secs(5)),
            ],
        }
    }
}

/// From when on a reader that was served at `served_at_ms` gets normal messages again.
#[must_use]
pub fn eligible_at_ms(served_at_ms: u64, interval: Duration, now_ms: u64) -> u64 {
    if served_at_ms == 0 {
        return 0;
    }
    // A cursor of a node whose clock is ahead must not hold a reader for longer than the interval.
    served_at_ms.min(now_ms) + interval.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_grows_with_the_room() {
        let policy = PollPolicy::default();
        for (users, ms) in [
            (0, 0),
            (999, 0),
            (1_000, 500),
            (9_999, 500),
            (10_000, 1_000),
            (15_000_000, 5_000),
            (u64::MAX, 5_000),
        ] {
            assert_eq!(policy.interval(users), Duration::from_millis(ms), "{users}");
        }
        assert_eq!(PollPolicy::off().interval(1 << 40), Duration::ZERO);
    }

    #[test]
    fn steps_must_ascend() {
        let second = Duration::from_secs(1);
        assert!(PollPolicy::new(vec![(10, second), (10, second)]).is_err());
        assert!(PollPolicy::new(vec![(10, second), (11, second)]).is_ok());
    }

    #[test]
    fn clock_ahead_holds_no_longer_than_the_interval() {
        let second = Duration::from_secs(1);
        assert_eq!(eligible_at_ms(0, second, 5_000), 0);
        assert_eq!(eligible_at_ms(4_500, second, 5_000), 5_500);
        assert_eq!(eligible_at_ms(9_000, second, 5_000), 6_000);
    }
}
