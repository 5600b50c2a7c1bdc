//! The write path: from a client's bytes to a durable message that the recvsvrs have heard of.
//!
//! # Contract
//! - **Refused loudly or kept.** [`SendService::send`] answers `Ok` once the message is durable and every recvsvr
//!   of this process has taken notice of it. A refusal leaves no trace: the id stays free, the limits and slow mode
//!   are as before.
//! - **Once.** Sends of one (room, sender, id) take turns; the first that is accepted makes the message, the others
//!   are told what it became and cost nothing from the limits.
//! - **Independent of the client.** A write that was begun is finished also when its caller goes away;
//!   [`Sendsvr::drain`] waits for those.
//! - **Answered in time.** Whoever changes something waits at most 15 s for the log; a repeat with the same id finds
//!   out what became of a message.
//! - **Bounded.** What is under way has a bound in bytes; at it, the next write is refused. The state that is kept per
//!   room and per sender is a cache with a bound; at it, the longest unused goes first.
//!
//! Where to look first: [`SendBody::parse`] reads what a client posted, [`Sendsvr`] does the work in process,
//! [`grpc`] does it across nodes; both are a [`SendService`].

mod body;
mod clock;
mod draft;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grpc;
mod inflight;
mod limits;
mod marks;
mod meter;
mod metrics;
mod notifier;
mod object;
mod rooms;
mod sendsvr;
mod service;
mod settings;
#[cfg(test)]
mod testing;
mod underway;

pub use body::SendBody;
pub use clock::Clock;
pub use draft::Draft;
pub use limits::SendLimits;
pub use sendsvr::Sendsvr;
pub use service::{Caller, CountedAs, SendService, Sent};
pub use settings::{PatchMode, RetentionPatch, Setting, SettingsPatch, settings_json};
