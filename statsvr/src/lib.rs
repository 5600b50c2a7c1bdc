//! Online statistics: who is here, how many, how many ever, and what has reached them.
//!
//! # Contract
//! - **People, not connections.** A user on three devices is one user and three clients. Online is who has a poll parked, or
//!   polled or sent within the last window; who leaves or closes a parked poll is offline at once.
//! - **Exact.** [`RoomSnapshot::num_users`] is the number of users, not an estimate; [`RoomSnapshot::exact`] says when a part of
//!   the room is still waiting for the first window of a node. Unique viewers are exact up to 10,000.
//! - **A count never asks.** Once a second every room is added up, and pushed to whoever shows numbers; [`Stats::room`]
//!   is a look into memory, without a lock, and says as of when it is right.
//! - **Two copies.** Each part of a room is kept by two nodes. One that dies changes no count: the other one answers, and
//!   tells it what it has missed when it is back.
//! - **Idempotent.** A batch may be taken twice and late; what it says is dated.
//! - **Bounded.** Rooms, names, queues and what is remembered of departures; what is dropped is counted.
//!
//! # Where to look first
//! [`Collector`] gathers beats on a thread that serves polls; [`Statsvr`] counts them; [`Stats`] is what everybody else asks.
//! [`grpc`] does it across nodes: `Arc<Statsvr>` and [`grpc::RemoteStatsvr`] are both a [`StatsService`].

mod aggregate;
mod beat;
mod clock;
mod collector;
mod departures;
mod error;
pub mod grpc;
mod history;
mod identity;
mod keep;
mod level;
mod metrics;
mod nodes;
mod reach;
#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
mod roster;
mod service;
mod settings;
mod snapshot;
mod split;
mod stats;
mod statsvr;
mod takeover;
mod ticks;
mod totals;
mod unique;
mod window;

pub use beat::{Batch, Beat, Name, Run, Signal, SplitId, Taken};
pub use clock::Clock;
pub use collector::{Collector, CollectorSettings, Moment, Parked, TICK_EVERY, Visitor};
pub use error::StatsError;
pub use history::{
    Flushed, History, HistorySettings, Observation, Point, Series, SeriesRange, ShareError, Standing, Step,
};
pub use identity::{DeviceHash, UserHash};
pub use level::Layout;
pub use nodes::{Node, NodeId, Nodes, Placement};
pub use reach::Spread;
pub use service::{Report, RoomReport, RoomShare, StatsService, Updates, Viewer, ViewersQuery};
pub use settings::{StatsSettings, WINDOW_DEFAULT};
pub use snapshot::{RoomCell, RoomSnapshot, Snapshots, Update};
pub use split::{SplitCounts, SplitReach};
pub use stats::{Reached, Stats, VIEWERS_LIMIT_MAX, ViewersPage};
pub use statsvr::Statsvr;
pub use totals::{SectTotals, Totals};
pub use unique::{EXACT_MAX, UniqueCount, UniqueError, UniqueViewers};

#[cfg(any(test, fuzzing))]
pub mod fuzzing {
    //! Fuzz targets of the statistics, for `fuzz/` and for the tests that repeat its corpora.

    pub use crate::{grpc::fuzzing::stats_wire, history::fuzzing::kept};
}
