//! What one process is to do in a run.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::profile::Profile;

/// One process's share of a run: everything that it needs to know.
///
/// Shares of the same run differ in `clients` and in the four switches only. Each client belongs to one share, which is what
/// [`RunPlan::split`] takes care of.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(crate) struct RunPlan {
    /// Part of the rooms' names, so that no run reads what another one wrote: 1-16 of `a-z 0-9`.
    pub(crate) run_id: String,
    /// As it is to be played: scaled, overridden and checked.
    pub(crate) profile: Profile,
    /// Where clients connect, in turn.
    pub(crate) targets: Vec<Target>,
    /// Where `/metrics` of the servers is, `host:port`; read by the share that has `watches`.
    pub(crate) ops: Vec<Target>,
    /// Id of the server's process, if it runs on this machine; its tree is measured by the share that has `watches`.
    pub(crate) server_pid: Option<u32>,
    /// Numbers of this share's clients, out of `0..profile.clients.count`.
    pub(crate) clients: Range<u32>,
    /// Whether this share sends the messages.
    pub(crate) sends: bool,
    /// Whether this share has the probes.
    pub(crate) probes: bool,
    /// Whether this share reads the server's side.
    pub(crate) watches: bool,
    /// Whether progress is shown on stderr.
    pub(crate) shows_progress: bool,
    /// Threads for clients.
    pub(crate) threads: u32,
    /// When the run starts (Unix milliseconds); all shares start together, and messages carry times relative to it.
    pub(crate) start_at_unix_ms: u64,
    /// Decides everything that is left to chance.
    pub(crate) seed: u64,
    /// Sent as `Authorization: Bearer` by senders, and by viewers without a token of their own.
    pub(crate) token: Option<String>,
    /// Tokens of viewers: client `i` has the one at `i` modulo their count. Empty: `token`, else anonymous access.
    pub(crate) viewer_tokens: Vec<String>,
    /// Whether targets elsewhere than on loopback are allowed.
    pub(crate) allow_remote: bool,
}

/// A server to connect to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Target {
    /// As it was given: `host:port`, for the `Host` header.
    pub(crate) authority: String,
    /// What it resolved to.
    pub(crate) address: std::net::SocketAddr,
}

impl RunPlan {
    /// Shares for `count` processes: equal numbers of clients, no user in two of them. The first sends, probes and watches.
    pub(crate) fn split(&self, count: u32) -> Vec<Self> {
        let bounds = self.profile.clients.bounds(self.clients.clone(), count);
        let shares = bounds.windows(2).enumerate().map(|(nth, pair)| Self {
            clients: pair[0]..pair[1],
            sends: self.sends && nth == 0,
            probes: self.probes && nth == 0,
            watches: self.watches && nth == 0,
            ..self.clone()
        });
        shares.collect()
    }
}
