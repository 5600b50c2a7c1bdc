//! One run over many processes: workers that play a share each, and a controller that starts them together, shows their
//! progress as one, and merges what they yield.
//!
//! What holds:
//! - A run starts only if every worker accepted its share, and all start at the same moment: the controller reads each
//!   worker's clock first, and names the start in that clock. So ages of messages, which count from the common start,
//!   are right on all of them to within the error of that reading, which the report states.
//! - The verdict is over the union: what all readers got, against what all senders got acknowledged.
//! - A run that lost a worker is ended on all others, and fails, whatever the rest yielded. A worker that lost its controller
//!   ends its share. Either is noticed within [`SILENCE_MAX`]; a process that ends is noticed at once.
//! - Nothing here is encrypted, and whoever reaches a worker can make it send load. So a worker listens on loopback unless
//!   told otherwise, and elsewhere only with a secret; see [`access`].

mod access;
mod args;
mod clock;
mod control;
mod local;
mod played;
mod players;
mod progress;
mod session;
mod share;
mod worker;

use std::time::Duration;

pub(crate) use self::{
    args::{ControlArgs, RunHereArgs, WorkerArgs},
    players::Players,
    worker::serve,
};

/// `loadtest.v1`: what controller and workers say to each other.
#[allow(missing_docs, unreachable_pub, clippy::all)] // made by the compiler of proto/loadtest/v1
mod wire {
    tonic::include_proto!("loadtest.v1");
}

/// How long connecting to a worker, and each short call of one, may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the other side may be silent while a share is played. It tells something every second; the rest is for a worker
/// that encodes a long outcome on a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often each side asks whether the other is still there, and how long that may take to be answered.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Longest message: a plan with a token for each of a hundred thousand viewers.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Most bytes of an outcome in one message.
const PART_BYTES: usize = 1 << 20;
/// Longest outcome that a controller takes from a worker: four times what the longest profile's audit can come to.
const OUTCOME_BYTES_MAX: u64 = 2 << 30;

#[cfg(test)]
mod tests;
