//! The statistics across nodes: `bigroom.internal.v1.StatsService`.
//!
//! [`StatsServer`] offers any [`crate::StatsService`] to other nodes, [`RemoteStatsvr`] is one that asks another node. The
//! beats of a batch travel as one run of bytes for each split, 16 each.

mod client;
mod convert;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod server;

pub use client::RemoteStatsvr;
pub use server::StatsServer;

#[cfg(test)]
mod tests;
