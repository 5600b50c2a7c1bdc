//! The read path: the recent messages of each room, and the long polls parked on them.
//!
//! # Contract
//! - **Caches hold nothing that matters.** All of it can be lost and is rebuilt from the [`store::Store`].
//! - **Order and completeness.** An answer lists each list ascending and contiguous; priority messages first and
//!   never skipped within retention; what of the normal list a reader can't have is counted in `gap`.
//! - **One encoding.** All who wait at the same place get the same bytes, made once.
//! - **Reads never wait for writes.** Readers load an immutable snapshot; whoever has news swaps in the next one.
//!
//! [`Rooms`] is the cache of a node. Each of its threads has a [`Worker`], and on it a [`Follower`] for each reader.

mod ahead;
mod answer;
mod catch_up;
mod encode;
mod history;
mod hold;
mod live_room;
mod metrics;
mod online;
mod pace;
mod passed_on;
mod pressure;
mod rooms;
mod slice;
mod snapshot;
mod tail;
mod tally;
mod timer;
mod upkeep;
mod worker;

pub use encode::{Compression, Encoded, Form, Format, compress};
pub use history::{HistoryAsk, history};
pub use metrics::describe as describe_metrics;
pub use passed_on::PassedOn;
pub use pressure::Pressure;
pub use rooms::{RecvOptions, Rooms, refusal};
pub use slice::Start;
pub use worker::{Answer, Ask, Delivery, Follower, Outlet, Started, Worker, now_ms};
