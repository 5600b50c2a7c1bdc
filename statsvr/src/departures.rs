//! Who has left lately, so that a proof of presence that was overtaken does not bring them back.

use std::collections::{HashMap, VecDeque};

use crate::{DeviceHash, UserHash};

/// Most departures that a split remembers; beyond, the oldest is forgotten: a late proof of presence may then show a
/// client for another window.
const DEPARTURES_MAX: usize = 4_096;

/// How long one is remembered (milliseconds): several times the delay of a batch.
const KEPT_MS: u64 = 10_000;

type Client = (UserHash, DeviceHash);

/// The clients that have left in the last seconds, and when.
#[derive(Default)]
pub(crate) struct Departures {
    left_at_ms: HashMap<Client, u64>,
    /// In the order in which they were heard of; repeats possible.
    order: VecDeque<(u64, Client)>,
}

impl Departures {
    pub(crate) fn is_empty(&self) -> bool {
        self.left_at_ms.is_empty()
    }

    /// `client` has left at `at_ms`.
    pub(crate) fn add(&mut self, client: Client, at_ms: u64) {
        if self.order.len() >= DEPARTURES_MAX {
            self.forget_oldest();
        }
        let known = self.left_at_ms.entry(client).or_insert(at_ms);
        *known = at_ms.max(*known);
        self.order.push_back((*known, client));
    }

    /// Whether a proof of presence from `at_ms` is older than the client's leaving.
    pub(crate) fn overtook(&self, client: Client, at_ms: u64) -> bool {
        self.left_at_ms.get(&client).is_some_and(|left_at_ms| at_ms < *left_at_ms)
    }

    /// Forgets what can no longer be overtaken.
    pub(crate) fn forget(&mut self, now_ms: u64) {
        while self.order.front().is_some_and(|(at_ms, _)| at_ms + KEPT_MS < now_ms) {
            self.forget_oldest();
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            *self = Self::default();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((at_ms, client)) = self.order.pop_front() else { return };
        if self.left_at_ms.get(&client) == Some(&at_ms) {
            self.left_at_ms.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client = (UserHash(1), DeviceHash(1));

    #[test]
    fn late_beat_does_not_bring_back() {
        let mut departures = Departures::default();
        departures.add(CLIENT, 1_000);
        assert!(departures.overtook(CLIENT, 999));
        assert!(!departures.overtook(CLIENT, 1_000), "it came back");
        departures.add(CLIENT, 5_000);
        departures.forget(1_001 + KEPT_MS);
        assert!(departures.overtook(CLIENT, 4_999));
        departures.forget(5_001 + KEPT_MS);
        assert!(departures.is_empty());
    }

    #[test]
    fn oldest_departure_goes_first() {
        let mut departures = Departures::default();
        for user in 0..=DEPARTURES_MAX as u64 {
            departures.add((UserHash(user), DeviceHash(0)), 1_000);
        }
        assert!(!departures.overtook((UserHash(0), DeviceHash(0)), 1));
        assert!(departures.overtook((UserHash(1), DeviceHash(0)), 1));
    }
}
