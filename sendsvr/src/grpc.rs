//! The write path across nodes: `bigroom.internal.v1.SendService`.
//!
//! [`SendServer`] offers any [`crate::SendService`] to other nodes, [`RemoteSendsvr`] is one that asks another node.
//! A refusal travels as a gRPC status whose details hold all of it, and comes back equal.

mod client;
mod convert;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod server;

pub use client::RemoteSendsvr;
pub use server::SendServer;

#[cfg(test)]
mod tests;
