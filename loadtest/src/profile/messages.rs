//! What is sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use crate::mark::List;

/// Messages of one kind.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Messages {
    /// Where they go: `priority` or `normal`.
    pub(crate) list: List,
    /// Messages a second (on the clock) in each room, straight lines between the points, ascending by `at`. Before the first
    /// point nothing is sent, after the last one it goes on.
    #[serde(default)]
    pub(crate) curve: Vec<RatePoint>,
    /// The least and the most bytes of a text, evenly spread; the message around it is about 100 bytes more.
    #[serde(default = "bytes")]
    pub(crate) bytes: [u32; 2],
    /// Connections that send them. Each waits for its acknowledgement before it sends again.
    #[serde(default = "senders")]
    pub(crate) senders: u32,
    /// Many at once, on top of the curve.
    #[serde(default)]
    pub(crate) burst: Vec<Burst>,
}

/// A point of the curve.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct RatePoint {
    /// Time since the start.
    #[serde(with = "duration")]
    pub(crate) at: Duration,
    /// Messages a second in each room.
    pub(crate) rate: f64,
}

/// Many messages in a short time.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Burst {
    /// Time since the start.
    #[serde(with = "duration")]
    pub(crate) at: Duration,
    /// Messages in each room.
    pub(crate) count: u32,
    /// Over how long they are spread; 0s: all are due at once.
    #[serde(default, with = "duration")]
    pub(crate) over: Duration,
    /// After how long it happens again, on and on; absent: once.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub(crate) every: Option<Duration>,
}

const fn bytes() -> [u32; 2] {
    [200, 200]
}

const fn senders() -> u32 {
    8
}
