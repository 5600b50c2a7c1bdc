//! From a crowd and measured costs to requests, ages and nodes.
//!
//! The same rules serve `bigroom plan` and the simulation, which builds the cluster that they name and then shows
//! whether it holds. [`Cycle`] is one viewer between two pauses, [`Ages`] how old messages are when they arrive,
//! [`Sizing`] the nodes.

mod ages;
mod cycle;
mod demand;
mod sizing;

pub use ages::{Ages, Quantiles, Ways};
pub use cycle::Cycle;
pub use demand::{Crowd, Demand, Seeds, Traffic};
pub use sizing::{Bound, NodeSize, RoleSize, Sizing, SizingError, size};

/// What surrounds a message's text in an answer (bytes of JSON): ids, sender, sequence number, time.
pub const ENVELOPE_BYTES: f64 = 130.0;
/// What surrounds the messages of an answer (bytes): head, cursor, online count, state.
pub const ANSWER_BYTES: f64 = 480.0;
/// A poll on the wire (bytes), with a token in its head.
pub const POLL_BYTES: f64 = 420.0;
/// What the kernel keeps for an established connection, on top of the process (bytes): measured as the growth of its
/// slab by 16,000 loopback sockets, 3,997 each, with empty buffers.
pub const SOCKET_BYTES: f64 = 4_096.0;
/// The most that a polite client waits beyond what it is told, as a share of that.
pub const POLITE_JITTER: f64 = 0.2;
