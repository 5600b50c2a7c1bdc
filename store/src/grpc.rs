//! The log across nodes: `bigroom.internal.v1.LogService`.
//!
//! [`LogServer`] offers any [`crate::RoomLog`] to other nodes, and tells those who follow a room of its notices ([`Followers`]);
//! [`RemoteLog`] is a [`crate::RoomLog`] that asks other nodes. So a log can be passed on from node to node.
//!
//! # Contract
//! - **Order.** A stream has a room's notices in the order in which the node behind it heard of them.
//! - **Nothing is missed without being noticed.** A stream that can't keep up is cut, never thinned; it counts its notices aloud;
//!   and whoever begins to follow is told how the room is, after its notices have begun to come.
//! - **A node that is gone is replaced at once** by another one that the [`Upstreams`] name, and what was missed meanwhile is found
//!   by the same look.

mod client;
mod followers;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod link;
mod metrics;
mod places;
mod server;
mod status;

pub use client::{RemoteLog, RemoteLogSettings, Upstreams};
pub use followers::Followers;
pub use metrics::describe as describe_metrics;
pub use server::LogServer;

#[cfg(test)]
mod tests;
