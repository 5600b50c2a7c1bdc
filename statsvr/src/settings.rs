//! What can be set.

use std::time::Duration;

/// The window of the HTTP contract.
pub const WINDOW_DEFAULT: Duration = Duration::from_secs(30);

/// How a statsvr counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatsSettings {
    /// How long a user is online after the last proof of presence: `[online] window`. It is kept to half a second, or a
    /// sixtieth part of more than 30 s.
    pub window: Duration,
    /// Most rooms in the tables (count). Beats for one more are not counted, and
    /// `bigroom_heartbeats_dropped_total{reason="rooms"}` says how many they were. A room with few users takes about
    /// 1.5 KB.
    pub rooms_max: usize,
    /// Most names of a room that are kept for the list of viewers (count), about 160 bytes each. In a room with more users
    /// the list is partial.
    pub names_per_room_max: usize,
}

impl Default for StatsSettings {
    fn default() -> Self {
        Self { window: WINDOW_DEFAULT, rooms_max: 1_000_000, names_per_room_max: 100_000 }
    }
}

impl StatsSettings {
    pub(crate) fn window_ms(&self) -> u64 {
        u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX)
    }
}
