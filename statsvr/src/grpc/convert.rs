//! Between the statistics' types and the wire.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use proto::{Malformed, internal as wire};
use room::{Role, RoomKey, UserId};
use tonic::{Code, Status};

use crate::{
    Batch, Beat, Layout, Name, NodeId, Point, Report, RoomReport, RoomShare, RoomSnapshot, Run, Series,
    SeriesRange, Signal, SplitCounts, SplitId, SplitReach, Spread, Standing, StatsError, Step, Taken, Update,
    UserHash, VIEWERS_LIMIT_MAX, Viewer, ViewersQuery,
    takeover::{SHARE_BYTES_MAX, SHARES_ROOMS_MAX},
};

/// A field that must be there.
pub(super) fn needed<T, U>(field: Option<T>, name: &'static str) -> Result<U, Malformed>
where
    U: TryFrom<T, Error = Malformed>,
{
    field.ok_or(Malformed(name))?.try_into()
}

fn all<T, U>(fields: Vec<T>) -> Result<Vec<U>, Malformed>
where
    U: TryFrom<T, Error = Malformed>,
{
    fields.into_iter().map(TryInto::try_into).collect()
}

/// A number of people: far from overflow, whatever is added to it.
fn people(count: u64) -> Result<u64, Malformed> {
    Some(count).filter(|count| *count < 1 << 40).ok_or(Malformed("count"))
}

/// A sequence number, or a number of events: the same.
fn number(number: u64, name: &'static str) -> Result<u64, Malformed> {
    Some(number).filter(|number| *number < 1 << 62).ok_or(Malformed(name))
}

pub(super) fn status_of(error: &StatsError) -> Status {
    match error {
        StatsError::Unavailable(cause) => Status::unavailable(cause),
        StatsError::Store(cause) => Status::internal(cause),
        StatsError::Malformed(cause) => Status::invalid_argument(cause),
    }
}

pub(super) fn error_of(status: &Status) -> StatsError {
    let message = status.message().to_owned();
    match status.code() {
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => StatsError::Malformed(message),
        Code::Internal | Code::DataLoss => StatsError::Store(message),
        code => StatsError::Unavailable(format!("{code:?} {message}")),
    }
}

impl From<SplitId> for wire::SplitId {
    fn from(split: SplitId) -> Self {
        Self { level: split.level.into(), index: split.index }
    }
}

impl TryFrom<wire::SplitId> for SplitId {
    type Error = Malformed;

    fn try_from(split: wire::SplitId) -> Result<Self, Malformed> {
        let level = u8::try_from(split.level).map_err(|_| Malformed("split"))?;
        Some(Self { level, index: split.index }).filter(Self::is_valid).ok_or(Malformed("split"))
    }
}

fn user_id(text: &str) -> Result<UserId, Malformed> {
    // Only the shape: that it may be used was checked where it came in.
    if text.is_empty() || text.len() > 64 { Err(Malformed("user id")) } else { Ok(UserId::internal(text)) }
}

impl From<Name> for wire::HeartbeatName {
    fn from(name: Name) -> Self {
        Self {
            user: name.user.0,
            id: name.id.map(|id| id.as_str().to_owned()),
            role: wire::Role::from(name.role).into(),
        }
    }
}

impl TryFrom<wire::HeartbeatName> for Name {
    type Error = Malformed;

    fn try_from(name: wire::HeartbeatName) -> Result<Self, Malformed> {
        Ok(Self {
            user: UserHash(name.user),
            id: name.id.as_deref().map(user_id).transpose()?,
            role: name.role().try_into()?,
        })
    }
}

impl From<Run> for wire::HeartbeatRun {
    fn from(run: Run) -> Self {
        let mut beats = BytesMut::with_capacity(run.beats.len() * Beat::WIRE_BYTES);
        run.beats.iter().for_each(|beat| beats.put_slice(&beat.to_bytes()));
        Self {
            room: Some((&run.room).into()),
            split: Some(run.split.into()),
            base: run.base,
            beats: beats.freeze(),
            names: run.names.into_iter().map(Into::into).collect(),
        }
    }
}

fn beats(bytes: &Bytes, split: SplitId) -> Result<Vec<Beat>, Malformed> {
    let (whole, rest) = bytes.as_chunks::<{ Beat::WIRE_BYTES }>();
    let beats: Vec<Beat> = whole.iter().map(Beat::from_bytes).collect();
    // One in a split that is not its own would be counted twice.
    let are_its_own = beats.iter().all(|beat| SplitId::of(split.level, beat.user) == split);
    if rest.is_empty() && are_its_own { Ok(beats) } else { Err(Malformed("beats")) }
}

impl TryFrom<wire::HeartbeatRun> for Run {
    type Error = Malformed;

    fn try_from(run: wire::HeartbeatRun) -> Result<Self, Malformed> {
        let split: SplitId = needed(run.split, "split")?;
        let names: Vec<Name> = all(run.names)?;
        if names.iter().any(|name| SplitId::of(split.level, name.user) != split) {
            return Err(Malformed("names"));
        }
        let base = number(run.base, "base")?;
        Ok(Self { room: needed(run.room, "room")?, split, base, beats: beats(&run.beats, split)?, names })
    }
}

impl From<Batch> for wire::HeartbeatBatch {
    fn from(batch: Batch) -> Self {
        let signal = |(room, signal): &(RoomKey, Signal)| wire::PrioritySignal {
            room: Some(room.into()),
            seq: signal.seq,
            sent_at_ms: signal.sent_at_ms,
        };
        Self {
            age_ms: batch.age_ms,
            signals: batch.signals.iter().map(signal).collect(),
            runs: batch.runs.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::HeartbeatBatch> for Batch {
    type Error = Malformed;

    fn try_from(batch: wire::HeartbeatBatch) -> Result<Self, Malformed> {
        let signal = |signal: wire::PrioritySignal| {
            let message = Signal { seq: number(signal.seq, "seq")?, sent_at_ms: signal.sent_at_ms };
            Ok((needed(signal.room, "room")?, message))
        };
        Ok(Self {
            age_ms: batch.age_ms,
            runs: all(batch.runs)?,
            signals: batch.signals.into_iter().map(signal).collect::<Result<_, Malformed>>()?,
        })
    }
}

impl From<Taken> for wire::HeartbeatsTaken {
    fn from(taken: Taken) -> Self {
        let wanted =
            |(room, user): &(RoomKey, UserHash)| wire::WantedName { room: Some(room.into()), user: user.0 };
        Self { wanted: taken.wanted.iter().map(wanted).collect() }
    }
}

impl TryFrom<wire::HeartbeatsTaken> for Taken {
    type Error = Malformed;

    fn try_from(taken: wire::HeartbeatsTaken) -> Result<Self, Malformed> {
        let wanted = |wanted: wire::WantedName| Ok((needed(wanted.room, "room")?, UserHash(wanted.user)));
        Ok(Self { wanted: taken.wanted.into_iter().map(wanted).collect::<Result<_, Malformed>>()? })
    }
}

fn node_id(name: &str) -> Result<NodeId, Malformed> {
    if name.is_empty() { Err(Malformed("node")) } else { Ok(NodeId::new(name)) }
}

impl From<Report> for wire::StatsReport {
    fn from(report: Report) -> Self {
        let counts = |(split, counts): (SplitId, SplitCounts)| wire::SplitCounts {
            split: Some(split.into()),
            num_users: counts.num_users,
            num_clients: counts.num_clients,
            joins: counts.joins,
            has_all_names: counts.has_all_names,
        };
        let room = |report: RoomReport| wire::RoomReport {
            room: Some((&report.room).into()),
            splits: report.splits.into_iter().map(counts).collect(),
            joined: report.joined,
        };
        Self { node: report.node.as_str().to_owned(), rooms: report.rooms.into_iter().map(room).collect() }
    }
}

impl TryFrom<wire::StatsReport> for Report {
    type Error = Malformed;

    fn try_from(report: wire::StatsReport) -> Result<Self, Malformed> {
        let counts = |counts: wire::SplitCounts| {
            let split = needed(counts.split, "split")?;
            let counts = SplitCounts {
                num_users: people(counts.num_users)?,
                num_clients: people(counts.num_clients)?,
                joins: people(counts.joins)?,
                has_all_names: counts.has_all_names,
            };
            Ok((split, counts))
        };
        let room = |report: wire::RoomReport| {
            let splits = report.splits.into_iter().map(counts).collect::<Result<_, Malformed>>()?;
            Ok(RoomReport { room: needed(report.room, "room")?, splits, joined: report.joined })
        };
        let rooms = report.rooms.into_iter().map(room).collect::<Result<_, Malformed>>()?;
        Ok(Self { node: node_id(&report.node)?, rooms })
    }
}

impl From<Standing> for wire::RoomStanding {
    fn from(standing: Standing) -> Self {
        Self {
            peak_num_users: standing.peak_num_users,
            peak_at_ms: standing.peak_at_ms,
            unique_viewers: standing.unique_viewers,
            unique_viewers_total: standing.unique_viewers_total,
            unique_error: standing.unique_error,
            is_loaded: standing.is_loaded,
        }
    }
}

impl From<wire::RoomStanding> for Standing {
    fn from(standing: wire::RoomStanding) -> Self {
        Self {
            peak_num_users: standing.peak_num_users,
            peak_at_ms: standing.peak_at_ms,
            unique_viewers: standing.unique_viewers,
            unique_viewers_total: standing.unique_viewers_total,
            unique_error: standing.unique_error,
            is_loaded: standing.is_loaded,
        }
    }
}

impl From<&RoomSnapshot> for wire::RoomSnapshot {
    fn from(snapshot: &RoomSnapshot) -> Self {
        let next = |(level, since_ms): (u8, u64)| wire::NextLevel { level: level.into(), since_ms };
        Self {
            room: Some((&snapshot.room).into()),
            num_users: snapshot.num_users,
            num_clients: snapshot.num_clients,
            exact: snapshot.exact,
            joins: snapshot.joins,
            leaves: snapshot.leaves,
            level: snapshot.layout.level.into(),
            next_level: snapshot.layout.next.map(next),
            has_all_names: snapshot.has_all_names,
            standing: Some(snapshot.standing.into()),
            as_of_ms: snapshot.as_of_ms,
        }
    }
}

impl TryFrom<wire::RoomSnapshot> for RoomSnapshot {
    type Error = Malformed;

    fn try_from(snapshot: wire::RoomSnapshot) -> Result<Self, Malformed> {
        let level = |level: u32| {
            u8::try_from(level).ok().filter(|level| *level <= SplitId::LEVEL_MAX).ok_or(Malformed("level"))
        };
        let next = snapshot.next_level.map(|next| Ok((level(next.level)?, next.since_ms)));
        Ok(Self {
            room: needed(snapshot.room, "room")?,
            num_users: people(snapshot.num_users)?,
            num_clients: people(snapshot.num_clients)?,
            exact: snapshot.exact,
            joins: number(snapshot.joins, "joins")?,
            leaves: number(snapshot.leaves, "leaves")?,
            layout: Layout { level: level(snapshot.level)?, next: next.transpose()? },
            has_all_names: snapshot.has_all_names,
            standing: snapshot.standing.unwrap_or_default().into(),
            as_of_ms: snapshot.as_of_ms,
        })
    }
}

impl From<&Update> for wire::StatsUpdate {
    fn from(update: &Update) -> Self {
        Self {
            node: update.node.as_str().to_owned(),
            uptime_ms: update.uptime_ms,
            as_of_ms: update.as_of_ms,
            is_full: update.is_full,
            changed: update.changed.iter().map(|snapshot| (&**snapshot).into()).collect(),
            gone: update.gone.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::StatsUpdate> for Update {
    type Error = Malformed;

    fn try_from(update: wire::StatsUpdate) -> Result<Self, Malformed> {
        let changed = update.changed.into_iter().map(|snapshot| snapshot.try_into().map(Arc::new));
        Ok(Self {
            node: node_id(&update.node)?,
            uptime_ms: update.uptime_ms,
            as_of_ms: update.as_of_ms,
            is_full: update.is_full,
            changed: changed.collect::<Result<_, Malformed>>()?,
            gone: all(update.gone)?,
        })
    }
}

impl From<ViewersQuery> for wire::ViewersQuery {
    fn from(query: ViewersQuery) -> Self {
        Self {
            room: Some((&query.room).into()),
            splits: query.splits.into_iter().map(Into::into).collect(),
            after: query.after.map(|after| after.as_str().to_owned()),
            limit: u32::try_from(query.limit).unwrap_or(u32::MAX),
        }
    }
}

impl TryFrom<wire::ViewersQuery> for ViewersQuery {
    type Error = Malformed;

    fn try_from(query: wire::ViewersQuery) -> Result<Self, Malformed> {
        Ok(Self {
            room: needed(query.room, "room")?,
            splits: all(query.splits)?,
            after: query.after.as_deref().map(user_id).transpose()?,
            limit: (query.limit as usize).min(VIEWERS_LIMIT_MAX),
        })
    }
}

impl From<Viewer> for wire::OnlineViewer {
    fn from(viewer: Viewer) -> Self {
        let role = viewer.role.map_or(wire::Role::Unspecified, wire::Role::from);
        Self {
            user: viewer.user.as_str().to_owned(),
            num_clients: viewer.num_clients,
            role: role.into(),
            joined_at_ms: viewer.joined_at_ms,
            last_seen_ms: viewer.last_seen_ms,
        }
    }
}

impl TryFrom<wire::OnlineViewer> for Viewer {
    type Error = Malformed;

    fn try_from(viewer: wire::OnlineViewer) -> Result<Self, Malformed> {
        Ok(Self {
            user: user_id(&viewer.user)?,
            num_clients: viewer.num_clients,
            role: Role::try_from(viewer.role()).ok(),
            joined_at_ms: viewer.joined_at_ms,
            last_seen_ms: viewer.last_seen_ms,
        })
    }
}

impl From<SplitReach> for wire::SplitReach {
    fn from(reach: SplitReach) -> Self {
        Self { num_users: reach.num_users, reached: reach.reached, spread: reach.spread.counts().to_vec() }
    }
}

impl TryFrom<wire::SplitReach> for SplitReach {
    type Error = Malformed;

    fn try_from(reach: wire::SplitReach) -> Result<Self, Malformed> {
        let spread = Spread::from_counts(&reach.spread).ok_or(Malformed("spread"))?;
        Ok(Self { num_users: people(reach.num_users)?, reached: people(reach.reached)?, spread })
    }
}

pub(super) fn wire_shares(shares: Vec<RoomShare>) -> wire::RoomShares {
    let share = |share: RoomShare| wire::RoomShare { room: Some((&share.room).into()), share: share.bytes };
    wire::RoomShares { shares: shares.into_iter().map(share).collect() }
}

pub(super) fn room_shares(shares: wire::RoomShares) -> Result<Vec<RoomShare>, Malformed> {
    if shares.shares.len() > SHARES_ROOMS_MAX {
        return Err(Malformed("shares"));
    }
    let share = |share: wire::RoomShare| {
        let bytes =
            Some(share.share).filter(|bytes| bytes.len() <= SHARE_BYTES_MAX).ok_or(Malformed("share"))?;
        Ok(RoomShare { room: needed(share.room, "room")?, bytes })
    };
    shares.shares.into_iter().map(share).collect()
}

fn step(seconds: u32) -> Result<Step, Malformed> {
    match seconds {
        10 => Ok(Step::TenSeconds),
        60 => Ok(Step::Minute),
        _ => Err(Malformed("step_s")),
    }
}

pub(super) fn series_query(room: &RoomKey, range: SeriesRange) -> wire::SeriesQuery {
    let SeriesRange { from_ms, to_ms, step } = range;
    wire::SeriesQuery { room: Some(room.into()), from_ms, to_ms, step_s: step.seconds().into() }
}

pub(super) fn series_range(query: &wire::SeriesQuery) -> Result<SeriesRange, Malformed> {
    Ok(SeriesRange { from_ms: query.from_ms, to_ms: query.to_ms, step: step(query.step_s)? })
}

impl From<Series> for wire::SeriesAnswer {
    fn from(series: Series) -> Self {
        let point = |point: Point| wire::SeriesPoint {
            t_ms: point.t_ms,
            min: point.min,
            avg: point.avg,
            max: point.max,
            joins: point.joins,
            leaves: point.leaves,
        };
        Self { step_s: series.step.seconds().into(), points: series.points.into_iter().map(point).collect() }
    }
}

impl TryFrom<wire::SeriesAnswer> for Series {
    type Error = Malformed;

    fn try_from(answer: wire::SeriesAnswer) -> Result<Self, Malformed> {
        let point = |point: wire::SeriesPoint| Point {
            t_ms: point.t_ms,
            min: point.min,
            avg: point.avg,
            max: point.max,
            joins: point.joins,
            leaves: point.leaves,
        };
        Ok(Self { step: step(answer.step_s)?, points: answer.points.into_iter().map(point).collect() })
    }
}
