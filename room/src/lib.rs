//! The vocabulary of bigroom: what every role means by a room, a message, a cursor, a refusal.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and randomness come in as arguments, so
//! every rule can be tested by itself and replayed in a simulation.
//!
//! Where to look first: [`RoomKey`] names a conversation, [`Message`] is one entry of one of its two [`List`]s,
//! [`Cursor`] is a reader's place in both, [`Problem`] is a refusal as the client sees it.

pub mod capacity;
mod costs;
mod cursor;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod id;
pub mod json;
mod limits;
mod list;
mod message;
mod notice;
mod online;
mod policy;
pub mod pressure;
mod problem;
mod promotion;
mod role;
mod sects;
mod settings;

pub use costs::{COSTS_SCHEMA, Cost, CostError, CostRun, CostTable, Costs};
pub use cursor::{Cursor, CursorError, CursorText, Epoch, Seq};
pub use id::{AppId, DeviceId, IdError, MessageId, RoomHash, RoomId, RoomKey, UserId};
pub use limits::{
    BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, HEAD_BYTES_MAX, HISTORY_LIMIT_DEFAULT, JSON_DEPTH_MAX,
    MULTI_POLL_ROOMS_MAX, POLL_LIMIT_DEFAULT, POLL_LIMIT_MAX, POLL_TIMEOUT_DEFAULT_MS, POLL_TIMEOUT_MAX_MS,
    TAIL_MAX,
};
pub use list::{List, PerList, Priority};
pub use message::{Content, Message, MessageType, Post, RawJson, Sender, TypeError};
pub use notice::{Bounds, Change, Notice, NoticeSink};
pub use online::{NobodyCounts, OnlineCounts, OnlineSource};
pub use policy::{PolicySource, PollPolicy, PollWait, eligible_at_ms};
pub use problem::{ErrorCode, Problem};
pub use promotion::{Move, Promotion};
pub use role::{Identity, Role, RoomPattern, UnknownRole};
pub use sects::{
    MOVE_SPREAD, MOVED_ROOMS_MAX, NotAdmitted, Pin, Placed, PlacedBy, Promotions, Routing, Sect, SectKind,
    SectName, SectNameError, SectTable, SectTableError, move_after, ranked_nodes, users_per_node,
};
pub use settings::{Retention, RoomSettings, RoomState};
