//! The statistics as everybody else sees them: one view over all statsvrs.

mod following;
mod sending;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future;
use parking_lot::Mutex;
use room::{AppId, RoomKey, Routing, SectName, UserId};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::sending::Outgoing;
use crate::{
    Clock, Node, NodeId, Nodes, Placement, Report, RoomCell, RoomShare, RoomSnapshot, SectTotals, Series,
    SeriesRange, Signal, Snapshots, SplitId, SplitReach, Standing, StatsError, StatsService, StatsSettings,
    Totals, UserHash, Viewer, ViewersQuery,
    collector::{Closings, Leavings},
    metrics::Metrics,
    takeover::MESSAGES_AT_ONCE,
};

/// Waits between attempts to reach a node: doubled from the first to the last.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Batches that wait for one node; at 16,384 beats each 64 MiB. The next one is dropped, and counted.
const BATCHES_MAX: usize = 256;

/// Reports that wait for one node. The next one is dropped: the one after it makes good for it.
const REPORTS_MAX: usize = 4;

/// Most viewers of one page.
pub const VIEWERS_LIMIT_MAX: usize = 1_000;

struct Member {
    id: NodeId,
    service: Arc<dyn StatsService>,
    batches: mpsc::Sender<Outgoing>,
    reports: mpsc::Sender<Report>,
    shares: mpsc::Sender<Vec<RoomShare>>,
    queues: Mutex<Option<Queues>>,
}

/// What waits for one node.
struct Queues {
    batches: mpsc::Receiver<Outgoing>,
    reports: mpsc::Receiver<Report>,
    shares: mpsc::Receiver<Vec<RoomShare>>,
}

/// A page of the list of viewers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ViewersPage {
    /// By user id, ascending.
    pub viewers: Vec<Viewer>,
    /// Where the next page begins, if there may be one.
    pub next_after: Option<UserId>,
    /// Whether the list has everybody who has a name: rooms with more users than names are kept of have a part.
    pub is_complete: bool,
}

/// How far a priority message has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reached {
    /// Users online now.
    pub num_users: u64,
    /// Those of them whose last poll's cursor was at or past the message.
    pub reached: u64,
    /// After how long 50, 90, 99 and 100 % had it of those who were there before it: who had it and who does not have it yet.
    /// Milliseconds, up to 19 % too long; `None` while fewer have it.
    pub p50_ms: Option<u64>,
    /// See `p50_ms`.
    pub p90_ms: Option<u64>,
    /// See `p50_ms`.
    pub p99_ms: Option<u64>,
    /// See `p50_ms`.
    pub p100_ms: Option<u64>,
    /// When this was so (Unix milliseconds).
    pub as_of_ms: u64,
}

/// The view over all statsvrs: what collectors send through and what questions go to.
///
/// Numbers come from memory, without a lock and without asking anybody ([`Stats::room`]); lists and the reach of a
/// message are asked of the nodes that keep the room's splits. [`Stats::run`] keeps the view up to date.
pub struct Stats {
    clock: Clock,
    window_ms: u64,
    /// How long a node may take for one answer.
    deadline: Duration,
    members: HashMap<NodeId, Member>,
    snapshots: Snapshots,
    nodes: ArcSwap<Nodes>,
    /// Live nodes, and since when.
    live: Mutex<HashMap<NodeId, u64>>,
    signals: Mutex<Vec<(RoomKey, Signal)>>,
    has_signals: Notify,
    pub(crate) closings: Closings,
    pub(crate) leavings: Leavings,
    pub(crate) metrics: Metrics,
}

impl Stats {
    /// The view over `members`, all statsvrs that there may be. A node answers within `deadline` or counts as unavailable.
    #[must_use]
    pub fn new(
        clock: Clock,
        settings: &StatsSettings,
        deadline: Duration,
        members: impl IntoIterator<Item = (NodeId, Arc<dyn StatsService>)>,
    ) -> Arc<Self> {
        let member = |(id, service): (NodeId, Arc<dyn StatsService>)| {
            let (batches, batches_queue) = mpsc::channel(BATCHES_MAX);
            let (reports, reports_queue) = mpsc::channel(REPORTS_MAX);
            let (shares, shares_queue) = mpsc::channel(MESSAGES_AT_ONCE);
            let queues = Queues { batches: batches_queue, reports: reports_queue, shares: shares_queue };
            (id.clone(), Member { id, service, batches, reports, shares, queues: Mutex::new(Some(queues)) })
        };
        Arc::new(Self {
            clock,
            window_ms: settings.window_ms(),
            deadline,
            members: members.into_iter().map(member).collect(),
            snapshots: Snapshots::default(),
            nodes: ArcSwap::default(),
            live: Mutex::default(),
            signals: Mutex::default(),
            has_signals: Notify::new(),
            closings: Closings::default(),
            leavings: Leavings::default(),
            metrics: Metrics::new(),
        })
    }

    /// Follows the nodes, and sends what is to be sent, until `stop`. Once only.
    pub async fn run(&self, stop: &CancellationToken) {
        let members = self.members.values().map(|member| async {
            let Some(queues) = member.queues.lock().take() else { return };
            let work = future::join4(
                self.follow(member),
                self.send_batches(member, queues.batches),
                self.send_reports(member, queues.reports),
                self.send_queued_shares(member, queues.shares),
            );
            stop.run_until_cancelled(work).await;
        });
        let signals = stop.run_until_cancelled(self.tell_signals());
        future::join(future::join_all(members), signals).await;
    }

    /// The clock that all times here are by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn window_ms(&self) -> u64 {
        self.window_ms
    }

    /// The nodes that answer.
    #[must_use]
    pub fn nodes(&self) -> Arc<Nodes> {
        self.nodes.load_full()
    }

    /// The numbers of all rooms.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// A room's numbers, if anybody is there, and the time as of which they are right (Unix milliseconds). A look into memory.
    #[must_use]
    pub fn room(&self, room: &RoomKey) -> Option<(Arc<RoomSnapshot>, u64)> {
        self.snapshots.get(room)
    }

    /// A room's place in the table, for whoever asks often: worth keeping until it is empty.
    #[must_use]
    pub fn cell(&self, room: &RoomKey) -> Option<Arc<RoomCell>> {
        self.snapshots.cell(room)
    }

    /// The sums of an app and its busiest rooms, at most a second old; those of its sects by where `routing` has the rooms.
    #[must_use]
    pub fn totals(&self, app: &AppId, routing: &Arc<Routing>) -> Arc<Totals> {
        self.snapshots.totals(app, routing, self.clock.now_ms())
    }

    /// The sums of all apps by sect, at most a second old, in the order of the table.
    #[must_use]
    pub fn sect_totals(&self, routing: &Arc<Routing>) -> Vec<(SectName, SectTotals)> {
        self.snapshots.sect_totals(routing, self.clock.now_ms())
    }

    /// One page of who is online, by user id, at most `limit` (1 to [`VIEWERS_LIMIT_MAX`]).
    ///
    /// # Errors
    /// [`StatsError::Unavailable`] if a part of the room can't be asked: never a page with holes.
    pub async fn viewers(
        &self,
        room: &RoomKey,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<ViewersPage, StatsError> {
        let Some((snapshot, _)) = self.room(room) else {
            self.ensure_nodes()?;
            return Ok(ViewersPage { is_complete: true, ..ViewersPage::default() });
        };
        let limit = limit.clamp(1, VIEWERS_LIMIT_MAX);
        let pages = self.speakers(&snapshot)?.into_iter().map(|(member, splits)| {
            let query = ViewersQuery { room: room.clone(), splits, after: after.cloned(), limit };
            self.within(member.service.viewers(query))
        });
        let mut viewers = future::try_join_all(pages).await?.concat();
        viewers.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        let next_after = viewers.get(limit - 1).map(|last| last.user.clone());
        viewers.truncate(limit);
        Ok(ViewersPage { viewers, next_after, is_complete: snapshot.has_all_names })
    }

    /// A user, if online in the room.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`].
    pub async fn viewer(&self, room: &RoomKey, id: &UserId) -> Result<Option<Viewer>, StatsError> {
        let level = self.room(room).map_or(0, |(snapshot, _)| snapshot.layout.level);
        let user = UserHash::new(&room.app, id);
        let split = SplitId::of(level, user);
        let member = self.speaker(room, split)?;
        self.within(member.service.viewer(room, split, user, id)).await
    }

    /// How far a priority message has come; `None` if it is too long ago to know (more than 500 priority messages at least).
    ///
    /// # Errors
    /// [`StatsError::Unavailable`].
    pub async fn reach(&self, room: &RoomKey, seq: u64) -> Result<Option<Reached>, StatsError> {
        let mut sum = SplitReach::default();
        if let Some((snapshot, _)) = self.room(room) {
            let parts = self
                .speakers(&snapshot)?
                .into_iter()
                .map(|(member, splits)| self.within(member.service.reach(room, splits, seq)));
            for part in future::try_join_all(parts).await? {
                let Some(part) = part else { return Ok(None) };
                sum.merge(&part);
            }
        } else {
            self.ensure_nodes()?;
        }
        let behind = sum.num_users.saturating_sub(sum.reached);
        let time_ms = |part: f64| sum.spread.time_ms(part, behind);
        Ok(Some(Reached {
            num_users: sum.num_users,
            reached: sum.reached,
            p50_ms: time_ms(0.5),
            p90_ms: time_ms(0.9),
            p99_ms: time_ms(0.99),
            p100_ms: time_ms(1.0),
            as_of_ms: self.clock.now_ms(),
        }))
    }

    /// A room's numbers over time, of both nodes that add it up: of a point that both have, the smaller minimum, the larger
    /// maximum, joins and leaves, and the mean of the node that saw more (the larger span from minimum to maximum; then
    /// more joins and leaves; then the first node). One that does not answer is left out.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`], [`StatsError::Store`]: none of them answers.
    pub async fn series(&self, room: &RoomKey, range: SeriesRange) -> Result<Series, StatsError> {
        self.of_owners(room, |member| member.service.series(room, range), Series::merge).await
    }

    /// Peaks and unique viewers of a room, also if nobody is there now: then the larger numbers of both nodes that would
    /// add it up.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`], [`StatsError::Store`]: none of them answers.
    pub async fn standing(&self, room: &RoomKey) -> Result<Standing, StatsError> {
        if let Some((snapshot, _)) = self.room(room) {
            return Ok(snapshot.standing);
        }
        self.of_owners(room, |member| member.service.standing(room), Standing::merge).await
    }

    /// A room was opened, for the first time or again: its viewers are counted from zero.
    ///
    /// # Errors
    /// [`StatsError::Unavailable`]: none of the nodes that add up the room has heard of it.
    pub async fn opened(&self, room: &RoomKey) -> Result<(), StatsError> {
        let now_ms = self.clock.now_ms();
        let nodes = self.nodes();
        let told = nodes
            .informed(room, now_ms)
            .filter_map(|node| self.members.get(&node.id))
            .map(|member| self.within(member.service.opened(room, now_ms)));
        let outcomes = future::join_all(told).await;
        let unreachable = || Err(StatsError::Unavailable("no statsvr answers".into()));
        outcomes.into_iter().reduce(|one, other| one.or(other)).unwrap_or_else(unreachable)
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, StatsError>>) -> Result<T, StatsError> {
        timeout(self.deadline, call)
            .await
            .unwrap_or_else(|_| Err(StatsError::Unavailable("a statsvr did not answer in time".into())))
    }

    fn member(&self, node: Option<&Node>) -> Result<&Member, StatsError> {
        node.and_then(|node| self.members.get(&node.id))
            .ok_or_else(|| StatsError::Unavailable("no statsvr answers".into()))
    }

    fn speaker(&self, room: &RoomKey, split: SplitId) -> Result<&Member, StatsError> {
        let key = Placement::of(room, split);
        self.member(self.nodes().speaker(key, self.window_ms, self.clock.now_ms()))
    }

    /// That nothing is heard of a room means that nobody is there, unless there is nobody to hear it from.
    fn ensure_nodes(&self) -> Result<(), StatsError> {
        match self.nodes().live() {
            [] => Err(StatsError::Unavailable("no statsvr answers".into())),
            _ => Ok(()),
        }
    }

    /// What the nodes that add up a room answer, in one; the first one's error if none does.
    async fn of_owners<'a, T, F>(
        &'a self,
        room: &RoomKey,
        ask: impl Fn(&'a Member) -> F,
        merge: impl Fn(T, T) -> T,
    ) -> Result<T, StatsError>
    where
        F: Future<Output = Result<T, StatsError>>,
    {
        let nodes = self.nodes();
        let owners = nodes.owners(room, self.clock.now_ms()).into_iter().flatten();
        let members = owners.filter_map(|node| self.members.get(&node.id));
        let answers = future::join_all(members.map(|member| self.within(ask(member)))).await;
        let both = |one, other| match (one, other) {
            (Ok(one), Ok(other)) => Ok(merge(one, other)),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(error), Err(_)) => Err(error),
        };
        let unreachable = || Err(StatsError::Unavailable("no statsvr answers".into()));
        answers.into_iter().reduce(both).unwrap_or_else(unreachable)
    }

    /// The nodes that count a room's splits, each with its own.
    fn speakers(&self, room: &RoomSnapshot) -> Result<Vec<(&Member, Vec<SplitId>)>, StatsError> {
        let mut parts: HashMap<&NodeId, (&Member, Vec<SplitId>)> = HashMap::new();
        let level = room.layout.level;
        for index in 0..1 << level {
            let split = SplitId { level, index };
            let member = self.speaker(&room.room, split)?;
            parts.entry(&member.id).or_insert_with(|| (member, Vec::new())).1.push(split);
        }
        Ok(parts.into_values().collect())
    }
}
