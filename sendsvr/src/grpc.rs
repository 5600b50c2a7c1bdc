//! The write path across nodes: `bigroom.internal.v1.SendService`.
//!
//! [`SendServer`] offers any [`crate::SendService`] to other nodes, [`RemoteSendsvr`] is one that asks another node.
//! A refusal travels as a gRPC status whose details hold all of it, and comes back equal.

mod client;
mod convert;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod server;

/// Largest message: a batch of 1 MiB, with what protobuf adds, and room to spare.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

pub use client::RemoteSendsvr;
pub use convert::{problem_in, status_of};
pub use server::SendServer;

#[cfg(test)]
mod tests;
