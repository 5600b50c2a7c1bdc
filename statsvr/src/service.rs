//! What one statsvr offers, wherever it runs.

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use room::{Role, RoomKey, UserId};

use crate::{
    Batch, NodeId, Series, SeriesRange, SplitCounts, SplitId, SplitReach, Standing, StatsError, Taken,
    Update, UserHash,
};

/// A user who is online.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Viewer {
    /// Who.
    pub user: UserId,
    /// Devices that are online.
    pub num_clients: u32,
    /// The role of the latest name that was told; `None` if none was yet.
    pub role: Option<Role>,
    /// When the user came online (Unix milliseconds), if it is known.
    pub joined_at_ms: Option<u64>,
    /// The last proof of presence (Unix milliseconds, to half a second).
    pub last_seen_ms: u64,
}

/// One node's counts of the splits that it keeps, for whoever adds up their rooms.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// Whose.
    pub node: NodeId,
    /// The rooms that the receiver adds up: what is not among them has no splits on this node.
    pub rooms: Vec<RoomReport>,
}

/// The splits of one room on one node.
#[derive(Clone, PartialEq, Debug)]
pub struct RoomReport {
    /// The room.
    pub room: RoomKey,
    /// What each counts.
    pub splits: Vec<(SplitId, SplitCounts)>,
    /// Unique keys of users who have come since the last report, and now and then of all who are online; any order,
    /// repeats possible.
    pub joined: Vec<u64>,
}

/// What a node knows of a room's past, for a node that was not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomShare {
    /// The room.
    pub room: RoomKey,
    /// What [`crate::History::share`] gave.
    pub bytes: Bytes,
}

/// Which viewers to list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewersQuery {
    /// Of which room.
    pub room: RoomKey,
    /// Of which of its splits.
    pub splits: Vec<SplitId>,
    /// After this user id.
    pub after: Option<UserId>,
    /// At most so many.
    pub limit: usize,
}

/// What has changed, again and again.
pub type Updates = Pin<Box<dyn Stream<Item = Arc<Update>> + Send>>;

/// One statsvr, in process or across nodes.
#[async_trait]
pub trait StatsService: Send + Sync {
    /// Takes proofs of presence. Taking a batch twice does no harm.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`]: it may have been taken or not.
    async fn ingest(&self, batch: Batch) -> Result<Taken, StatsError>;

    /// Takes what another node counts.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`]: the next report makes good for it.
    async fn report(&self, report: Report) -> Result<(), StatsError>;

    /// The numbers of the rooms that the node speaks for: everything first, then once a second what has changed. The stream
    /// ends when the node does.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`].
    async fn subscribe(&self) -> Result<Updates, StatsError>;

    /// Users of some splits, by user id.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`].
    async fn viewers(&self, query: ViewersQuery) -> Result<Vec<Viewer>, StatsError>;

    /// A user, if online in that split.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`].
    async fn viewer(
        &self,
        room: &RoomKey,
        split: SplitId,
        user: UserHash,
        id: &UserId,
    ) -> Result<Option<Viewer>, StatsError>;

    /// What some splits know of a priority message, added up; `None` if it is too long ago for one of them.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`].
    async fn reach(
        &self,
        room: &RoomKey,
        splits: Vec<SplitId>,
        seq: u64,
    ) -> Result<Option<SplitReach>, StatsError>;

    /// A room's numbers over time, as this node has seen them.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`], [`StatsError::Store`].
    async fn series(&self, room: &RoomKey, range: SeriesRange) -> Result<Series, StatsError>;

    /// Peaks and unique viewers of a room that may have nobody in it now.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`], [`StatsError::Store`].
    async fn standing(&self, room: &RoomKey) -> Result<Standing, StatsError>;

    /// Takes in what another node knows of rooms' past. Taking it twice or late changes nothing. Of several rooms each is
    /// taken or not on its own.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`]: it may have been taken or not. [`StatsError::Malformed`]: a share is damaged or of a later
    /// bigroom. [`StatsError::Store`]: the node keeps no history, or no more rooms.
    async fn adopt(&self, shares: Vec<RoomShare>) -> Result<(), StatsError>;

    /// A room was opened: its viewers are counted from zero.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`].
    async fn opened(&self, room: &RoomKey, at_ms: u64) -> Result<(), StatsError>;
}
