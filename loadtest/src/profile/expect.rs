//! What may happen without spoiling a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// Share of sends that may go out late, unless a profile says otherwise: all. Late ones are always told, and ages count from
/// when messages were due, so lateness hides nothing; a machine that others use has it at any time.
const LATE_SHARE_MAX: f64 = 1.0;

/// What may happen without spoiling the run, and bounds that must hold. Losses, repeats, wrong order and skipped priority
/// messages are never expected.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// Readers may be told to miss normal messages.
    #[serde(default)]
    pub(crate) normal_gap: bool,
    /// Answers may start over in another epoch of the log.
    #[serde(default)]
    pub(crate) epoch_change: bool,
    /// Sends may end without an answer.
    #[serde(default)]
    pub(crate) unanswered: bool,
    /// Messages may not go out at all, because those before them took all the time there was.
    #[serde(default)]
    pub(crate) missed: bool,
    /// No message need be acknowledged.
    #[serde(default)]
    pub(crate) silence: bool,
    /// Share of sends that may go out late, 0 to 1.
    #[serde(default = "late_share_max")]
    pub(crate) late_share_max: f64,
    /// Errors that may occur, as the report names them: `poll 503 node_full`; a `*` at the end stands for anything.
    #[serde(default)]
    pub(crate) errors: Vec<String>,
    /// The most that 99 of 100 ages of priority messages may reach; absent: not judged.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub(crate) priority_p99_max: Option<Duration>,
    /// The same of normal messages.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub(crate) normal_p99_max: Option<Duration>,
    /// The same of both lists as probes see them: viewers who read at once, apart from the crowd's queues and faults.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub(crate) probes_p99_max: Option<Duration>,
    /// The most memory that the server may take (MiB); absent: not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_memory_max_mib: Option<u64>,
    /// The most polls a second that a client who is there may send, over all clients and the whole run; absent: not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) polls_per_client_max: Option<f64>,
    /// Every 5 s, the server's own numbers of users and clients must be what was there at some moment of so long before; absent: not
    /// judged. Of a server with the window of presence as shipped, whose clients don't fail.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub(crate) counts_within: Option<Duration>,
}

impl Expect {
    /// Drops the bounds that are of the profile's own size: a larger crowd waits longer between polls, and takes more memory.
    pub(crate) fn leave_out_size(&mut self) {
        self.probes_p99_max = None;
        self.server_memory_max_mib = None;
        self.polls_per_client_max = None;
    }

    /// Whether an error may occur.
    pub(crate) fn allows_error(&self, what: &str) -> bool {
        self.errors.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => what.starts_with(start),
            None => what == pattern,
        })
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            normal_gap: false,
            epoch_change: false,
            unanswered: false,
            missed: false,
            silence: false,
            late_share_max: LATE_SHARE_MAX,
            errors: Vec::new(),
            priority_p99_max: None,
            normal_p99_max: None,
            probes_p99_max: None,
            server_memory_max_mib: None,
            polls_per_client_max: None,
            counts_within: None,
        }
    }
}

const fn late_share_max() -> f64 {
    LATE_SHARE_MAX
}
