//! bigroom's two protobuf packages and their conversions to the vocabulary of [`room`]. Conversions, no rules.
//!
//! - [`v1`] is public: the answer of a poll as `application/x-protobuf`.
//! - [`internal`] is what nodes of one deployment say to each other over gRPC.

mod convert;
pub mod log;
mod public;

/// `bigroom.v1`: what clients get.
#[allow(missing_docs, unreachable_pub, clippy::all)] // made by the compiler of proto/bigroom/v1
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/bigroom.v1.rs"));
}

/// `bigroom.internal.v1`: what nodes say to each other.
#[allow(missing_docs, unreachable_pub, clippy::all)] // made by the compiler of proto/bigroom/internal/v1
pub mod internal {
    include!(concat!(env!("OUT_DIR"), "/bigroom.internal.v1.rs"));
}

/// A message of the inner protocol that no node of this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing or not understood: the nodes of a deployment must run versions that fit together")]
pub struct Malformed(pub &'static str);
