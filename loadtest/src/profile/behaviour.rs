//! What clients do between two answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// Longest hold that clients ask for, unless a profile says otherwise: the server's own default.
const TIMEOUT: Duration = Duration::from_secs(25);
/// Messages that clients ask for at most, unless a profile says otherwise: the server's own default.
const LIMIT: u32 = 200;

/// What a share of the clients does.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Behaviour {
    /// How they treat the server.
    pub(crate) kind: Kind,
    /// Share of all clients, above 0 to 1.
    #[serde(default = "super::one")]
    pub(crate) share: f64,
    /// Longest time that a poll may be held (`timeout_ms`), 0s to 30s.
    #[serde(default = "timeout", with = "duration")]
    pub(crate) timeout: Duration,
    /// Most messages of an answer (`limit`), 1 to 1000.
    #[serde(default = "limit")]
    pub(crate) limit: u32,
    /// Messages of the past that a client asks for when it comes (`tail`), 1 to 1000.
    #[serde(default = "tail")]
    pub(crate) tail: u32,
    /// Pause between an answer and the next poll, instead of the server's `poll_after_ms`; polite clients alone.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<Duration>,
    /// Bytes a second that are read; slow clients alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) read_bytes_per_s: Option<u32>,
}

/// How clients treat the server.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Waits `poll_after_ms` and up to a fifth of it more, by chance, before it polls again; heeds `Retry-After`.
    Polite,
    /// Polls again at once, whatever the server says.
    Rude,
    /// Polite, but takes its time to read: answers pile up in front of it. It is held to order and to announced gaps, not to
    /// the end of the list.
    Slow,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            kind: Kind::Polite,
            share: 1.0,
            timeout: TIMEOUT,
            limit: LIMIT,
            tail: tail(),
            pause: None,
            read_bytes_per_s: None,
        }
    }
}

const fn timeout() -> Duration {
    TIMEOUT
}

const fn limit() -> u32 {
    LIMIT
}

const fn tail() -> u32 {
    1
}
