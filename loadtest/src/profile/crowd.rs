//! When clients come and go.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// How long everybody takes to come where a profile has no curve.
const ARRIVAL: Duration = Duration::from_secs(5);

/// When clients come and go.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Crowd {
    /// Share of the clients that are online (0 to 1), straight lines between the points, ascending by `at`. Before the first
    /// point nobody is there, after the last one it stays.
    #[serde(default = "arrival")]
    pub(crate) curve: Vec<CrowdPoint>,
    /// How long a client stays on average before it leaves by itself; absent: to the end.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Duration>,
    /// How long it stays away on average before it comes back with its cursor.
    #[serde(default = "away", with = "duration")]
    pub(crate) away: Duration,
    /// Share of leaving clients that say so (`POST …/leave`); the others just close.
    #[serde(default)]
    pub(crate) says_goodbye: f64,
    /// Moments at which many are cut off at once.
    #[serde(default)]
    pub(crate) cut: Vec<Cut>,
}

/// A point of the curve.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrowdPoint {
    /// Time since the start.
    #[serde(with = "duration")]
    pub(crate) at: Duration,
    /// Share of the clients that are online then.
    pub(crate) online: f64,
}

/// A moment at which clients lose their connection, all at once.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cut {
    /// Time since the start.
    #[serde(with = "duration")]
    pub(crate) at: Duration,
    /// Share of the clients who are cut off, above 0 to 1.
    pub(crate) share: f64,
    /// How long nobody can come back.
    #[serde(default, with = "duration")]
    pub(crate) back_after: Duration,
    /// Within how long from then on all come back, evenly spread.
    #[serde(with = "duration")]
    pub(crate) back_within: Duration,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { curve: arrival(), session: None, away: away(), says_goodbye: 0.0, cut: Vec::new() }
    }
}

fn arrival() -> Vec<CrowdPoint> {
    vec![CrowdPoint { at: Duration::ZERO, online: 0.0 }, CrowdPoint { at: ARRIVAL, online: 1.0 }]
}

const fn away() -> Duration {
    Duration::from_secs(10)
}
