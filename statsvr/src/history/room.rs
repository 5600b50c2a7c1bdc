//! One room as the node remembers it: the newest of its series, its viewers, its peaks.

use std::collections::BTreeMap;

use ::room::RoomKey;
use bytes::Bytes;
use store::{RecordChange, RecordFamily, RecordRange};

use super::{
    Observation, Standing, Step,
    block::Block,
    keys,
    share::{Share, SharedBlock},
    summary::Summary,
    tally::Tally,
    track::{self, Track},
    viewers::{self, Viewers},
};
use crate::unique::{ERROR_BOUND, UniqueViewers};

/// Most blocks of other nodes in memory (count): the newest two of each step, for three of them.
const ADOPTED_MAX: usize = 12;

/// How many users come and go since the last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Flow {
    joins: u64,
    leaves: u64,
}

/// A point as one node saw it, or a part of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NodePoint {
    /// Since 1970, in steps of its series.
    pub(crate) interval: u64,
    /// Who saw it.
    pub(crate) node: u64,
    /// What.
    pub(crate) tally: Tally,
}

/// What the store knows of a room.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// All nodes' summaries, combined.
    pub(crate) summary: Summary,
    /// Whether there was one. Whatever is written first has one with it: without one there is nothing else either.
    pub(crate) has_summary: bool,
    /// All-time viewers, and those of the session that `summary` names.
    pub(crate) total: StoredViewers,
    /// See `total`.
    pub(crate) session: StoredViewers,
    /// Points that this node wrote, of the blocks that the room has in memory.
    pub(crate) points: Vec<(Step, Vec<(u64, Tally)>)>,
    /// Records that could not be read (count).
    pub(crate) damaged: usize,
}

/// What the store has of a set of viewers.
#[derive(Debug, Default)]
pub(crate) struct StoredViewers {
    /// All nodes' records, combined.
    pub(crate) set: UniqueViewers,
    /// How many numbers of additions this node has used (count), and their size (bytes).
    pub(crate) parts: u32,
    /// See `parts`.
    pub(crate) parts_bytes: usize,
}

/// What [`KeptRoom::take_unwritten`] took, to be given back if it could not be written.
#[derive(Debug)]
pub(crate) struct Unwritten {
    /// The changes that the store has to make, in one write.
    pub(crate) changes: Vec<RecordChange>,
    tracks: [track::Unwritten; Step::ALL.len()],
    adopted: Vec<BlockId>,
    has_session: bool,
    has_total: bool,
    had_sessions_before: bool,
}

impl Unwritten {
    /// How much the changes take in a write (bytes).
    pub(crate) fn size_bytes(&self) -> usize {
        let bytes = |change: &RecordChange| match change {
            RecordChange::Put { key, value, .. } => key.len() + value.len(),
            RecordChange::Delete(range) => range.from.len() + range.to.len(),
        };
        self.changes.iter().map(bytes).sum()
    }
}

/// A room in memory.
#[derive(Debug)]
pub(crate) struct KeptRoom {
    /// The last look, for the differences to it.
    last: Option<Observation>,
    tracks: [Track; Step::ALL.len()],
    session: Viewers,
    total: Viewers,
    summary: Summary,
    is_summary_dirty: bool,
    /// See [`Stored::has_summary`].
    has_stored_summary: bool,
    /// Whether records of earlier sessions are to be deleted.
    has_sessions_before: bool,
    /// Whether what the store knows has been merged. Nothing is written before.
    is_loaded: bool,
    adopted: BTreeMap<BlockId, Adopted>,
    /// When another node last shared what it knows (Unix milliseconds).
    adopted_at_ms: u64,
}

/// A block of another node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct BlockId {
    /// First, so that the oldest comes first.
    begins_ms: u64,
    step: Step,
    node: u64,
}

/// What another node has told of one of its blocks.
#[derive(Debug)]
struct Adopted {
    points: BTreeMap<u64, Tally>,
    is_dirty: bool,
}

impl Adopted {
    fn block(&self, id: &BlockId) -> Block {
        let mut block = Block::new(id.step, id.begins_ms / id.step.millis());
        self.points.iter().for_each(|(interval, tally)| block.put(id.step, *interval, tally));
        block
    }
}

impl KeptRoom {
    /// A room of which the store was not asked yet.
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            tracks: Step::ALL.map(Track::new),
            session: Viewers::default(),
            total: Viewers::default(),
            summary: Summary::default(),
            is_summary_dirty: false,
            has_stored_summary: false,
            has_sessions_before: false,
            is_loaded: false,
            adopted: BTreeMap::new(),
            adopted_at_ms: 0,
        }
    }

    /// Takes note of what is seen now.
    pub(crate) fn observe(&mut self, seen: Observation, new_users: &[u64]) -> Standing {
        let Flow { joins, leaves } = self.flow(&seen);
        for track in &mut self.tracks {
            if track.observe(seen.at_ms, seen.num_users, joins, leaves) {
                self.is_loaded = false;
            }
        }
        self.last = Some(seen);
        self.session.insert(new_users);
        self.total.insert(new_users);
        self.is_summary_dirty |= self.summary.session_peak.observe(seen.num_users, seen.at_ms)
            | self.summary.total_peak.observe(seen.num_users, seen.at_ms);
        self.note_shown();
        self.standing()
    }

    /// What has come and gone since the last look; the totals start again when the node's tables do.
    fn flow(&self, seen: &Observation) -> Flow {
        match self.last {
            Some(last) if seen.joins >= last.joins && seen.leaves >= last.leaves => {
                Flow { joins: seen.joins - last.joins, leaves: seen.leaves - last.leaves }
            }
            _ => Flow { joins: seen.joins, leaves: seen.leaves },
        }
    }

    /// Raises what is shown of the viewers to what is known of them.
    fn note_shown(&mut self) {
        for (viewers, shown) in
            [(&self.session, &mut self.summary.session_shown), (&self.total, &mut self.summary.total_shown)]
        {
            let count = viewers.set().count().count;
            if count > *shown {
                *shown = count;
                // A restart finds the exact count again by itself.
                self.is_summary_dirty |= viewers.set().exact_len().is_none();
            }
        }
    }

    /// The room's numbers.
    pub(crate) fn standing(&self) -> Standing {
        let is_exact = self.total.set().exact_len().is_some();
        Standing {
            peak_num_users: self.summary.session_peak.users,
            peak_at_ms: self.summary.session_peak.at_ms,
            unique_viewers: self.summary.session_shown,
            unique_viewers_total: self.summary.total_shown,
            unique_error: if is_exact { 0.0 } else { ERROR_BOUND },
            is_loaded: self.is_loaded,
        }
    }

    /// A session begins, unless it did already.
    pub(crate) fn open(&mut self, at_ms: u64) {
        if at_ms > self.summary.session_ms {
            self.summary.begin_session(at_ms);
            self.session = Viewers::default();
            self.is_summary_dirty = true;
            self.has_sessions_before = true;
        }
    }

    /// The room was opened at this time, as the store or another node knows. Those who were seen here before the store was
    /// asked came into that session.
    fn learn_session(&mut self, at_ms: u64) {
        if self.is_loaded {
            self.open(at_ms);
        } else {
            self.summary.session_ms = self.summary.session_ms.max(at_ms);
        }
    }

    /// Whether what the store knows has been merged.
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// First intervals of the blocks in memory, by step.
    pub(crate) fn bases(&self) -> Vec<(Step, Vec<u64>)> {
        Step::ALL.iter().zip(&self.tracks).map(|(step, track)| (*step, track.bases())).collect()
    }

    /// Points in memory.
    pub(crate) fn points(&self, step: Step, own_node: u64) -> Vec<NodePoint> {
        let own = self.tracks[step as usize].points().into_iter();
        let own = own.map(|(interval, tally)| NodePoint { interval, node: own_node, tally });
        let adopted = self.adopted.iter().filter(|(id, _)| id.step == step).flat_map(|(id, adopted)| {
            adopted.points.iter().map(|(at, tally)| NodePoint { interval: *at, node: id.node, tally: *tally })
        });
        own.chain(adopted).collect()
    }

    /// Merges what the store knows.
    pub(crate) fn load(&mut self, stored: Stored) {
        let Stored { summary, has_summary, total, session, points, damaged } = stored;
        self.has_stored_summary = has_summary;
        let known_session_ms = self.summary.session_ms;
        self.learn_session(summary.session_ms);
        self.summary.merge(&summary);
        self.is_summary_dirty |= self.summary != summary;
        self.total.resume(&total.set, total.parts, total.parts_bytes);
        if self.summary.session_ms == summary.session_ms {
            self.session.resume(&session.set, session.parts, session.parts_bytes);
        }
        self.has_sessions_before |= known_session_ms > summary.session_ms;
        if damaged > 0 {
            // What can be read is put in the place of what can't.
            self.session.make_whole_due();
            self.total.make_whole_due();
        }
        for (step, points) in points {
            self.tracks[step as usize].resume(points);
        }
        self.is_loaded = true;
        self.note_shown();
    }

    /// Merges what another node knows of the room.
    pub(super) fn adopt(&mut self, share: Share, own_node: u64, now_ms: u64) {
        let Share { summary, session, total, blocks, .. } = share;
        self.learn_session(summary.session_ms);
        let before = self.summary;
        self.summary.merge(&summary);
        self.is_summary_dirty |= self.summary != before;
        if summary.session_ms == self.summary.session_ms {
            self.session.merge(&session);
        }
        self.total.merge(&total);
        self.note_shown();
        // What this node wrote itself, before it gave the room away, is in its store.
        for SharedBlock { node, step, base, points } in
            blocks.into_iter().filter(|block| block.node != own_node)
        {
            let id = BlockId { begins_ms: base.saturating_mul(step.millis()), step, node };
            let adopted =
                self.adopted.entry(id).or_insert(Adopted { points: BTreeMap::new(), is_dirty: true });
            for (interval, tally) in points {
                let known = adopted.points.get(&interval).copied();
                let point = adopted.points.entry(interval).or_insert(tally);
                point.combine(&tally);
                adopted.is_dirty |= known != Some(*point);
            }
        }
        self.drop_adopted();
        self.adopted_at_ms = now_ms;
    }

    /// Lets go of blocks of other nodes beyond the bound: those that are written first, of them the oldest.
    fn drop_adopted(&mut self) {
        while self.adopted.len() > ADOPTED_MAX {
            let written = self.adopted.iter().find(|(_, adopted)| !adopted.is_dirty);
            let Some(id) = written.or_else(|| self.adopted.iter().next()).map(|(id, _)| *id) else { return };
            self.adopted.remove(&id);
        }
    }

    /// The newest blocks with the node that wrote each, for another node: also what earlier nodes told this one.
    pub(super) fn shared_blocks(&self, own_node: u64) -> Vec<(u64, Step, Vec<u8>)> {
        let own = Step::ALL
            .into_iter()
            .zip(&self.tracks)
            .flat_map(|(step, track)| track.shared().into_iter().map(move |block| (own_node, step, block)));
        let adopted =
            self.adopted.iter().map(|(id, adopted)| (id.node, id.step, adopted.block(id).bytes().to_vec()));
        own.chain(adopted).collect()
    }

    /// What another node is to know: the summary, the session's viewers, all-time viewers.
    pub(crate) fn shared(&self) -> (Summary, &UniqueViewers, &UniqueViewers) {
        (self.summary, self.session.set(), self.total.set())
    }

    /// Whether there is something to write, and it may be.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_loaded
            && (self.is_summary_dirty
                || self.has_sessions_before
                || self.session.is_dirty()
                || self.total.is_dirty()
                || self.adopted.values().any(|adopted| adopted.is_dirty)
                || self.tracks.iter().any(Track::is_dirty))
    }

    /// When the room was last looked at, here or by another node (Unix milliseconds); 0 if never.
    pub(crate) fn last_seen_ms(&self) -> u64 {
        self.last.map_or(0, |last| last.at_ms).max(self.adopted_at_ms)
    }

    /// Blocks of points that were given up since this was last asked (count).
    pub(crate) fn take_given_up(&mut self) -> u64 {
        self.tracks.iter_mut().map(Track::take_given_up).sum()
    }

    /// Takes what is to be written about the room.
    pub(crate) fn take_unwritten(&mut self, room: &RoomKey, node: u64) -> Unwritten {
        let mut changes = Vec::new();
        let session_key = keys::session(room, self.summary.session_ms);
        let had_sessions_before = std::mem::take(&mut self.has_sessions_before);
        if had_sessions_before {
            changes.push(RecordChange::Delete(RecordRange {
                family: RecordFamily::Unique,
                from: keys::session(room, 0).into(),
                to: session_key.clone().into(),
            }));
        }
        let mut tracks = self.tracks.each_mut().map(Track::take_unwritten);
        for (step, unwritten) in Step::ALL.into_iter().zip(&mut tracks) {
            for (base, bytes) in std::mem::take(&mut unwritten.records) {
                changes.push(block_change(room, step, base, node, bytes));
            }
        }
        let mut written = Vec::new();
        for (id, adopted) in self.adopted.iter_mut().filter(|(_, adopted)| adopted.is_dirty) {
            adopted.is_dirty = false;
            let block = adopted.block(id);
            changes.push(block_change(room, id.step, block.base(), id.node, block.bytes().to_vec()));
            written.push(*id);
        }
        let session = self.session.take_unwritten();
        let total = self.total.take_unwritten();
        let (has_session, has_total) = (session.is_some(), total.is_some());
        for (set, unwritten) in [(session_key, session), (keys::total(room), total)] {
            if let Some(unwritten) = unwritten {
                changes.extend(viewer_changes(&set, node, unwritten));
            }
        }
        let has_summary = std::mem::replace(&mut self.has_stored_summary, true);
        if std::mem::take(&mut self.is_summary_dirty) || !has_summary {
            changes.push(put(
                RecordFamily::RoomStats,
                keys::summary(room, node),
                self.summary.encode(),
                None,
            ));
        }
        Unwritten { changes, tracks, adopted: written, has_session, has_total, had_sessions_before }
    }

    /// Takes back what could not be written.
    pub(crate) fn give_back(&mut self, unwritten: Unwritten) {
        let Unwritten { tracks, adopted, has_session, has_total, had_sessions_before, .. } = unwritten;
        for id in adopted {
            if let Some(adopted) = self.adopted.get_mut(&id) {
                adopted.is_dirty = true;
            }
        }
        for (track, unwritten) in self.tracks.iter_mut().zip(tracks) {
            track.give_back(unwritten);
        }
        if has_session {
            self.session.make_whole_due();
        }
        if has_total {
            self.total.make_whole_due();
        }
        self.has_sessions_before |= had_sessions_before;
        self.is_summary_dirty = true;
    }
}

fn block_change(room: &RoomKey, step: Step, base: u64, node: u64, bytes: Vec<u8>) -> RecordChange {
    let ends_ms = (base + step.block_intervals()).saturating_mul(step.millis());
    let expires_at_ms = Some(ends_ms.saturating_add(step.kept_ms()));
    put(RecordFamily::History, keys::block(room, step, base, node), bytes, expires_at_ms)
}

fn viewer_changes(set: &[u8], node: u64, unwritten: viewers::Unwritten) -> Vec<RecordChange> {
    match unwritten {
        viewers::Unwritten::Part(number, bytes) => {
            vec![put(RecordFamily::Unique, keys::part(set, node, number), bytes, None)]
        }
        viewers::Unwritten::Whole(bytes, parts) => {
            let mut changes = vec![put(RecordFamily::Unique, keys::whole(set, node), bytes, None)];
            changes.extend((0..parts).map(|number| {
                RecordChange::Delete(RecordRange::only(RecordFamily::Unique, &keys::part(set, node, number)))
            }));
            changes
        }
    }
}

fn put(family: RecordFamily, key: Vec<u8>, value: Vec<u8>, expires_at_ms: Option<u64>) -> RecordChange {
    RecordChange::Put { family, key: Bytes::from(key), value: Bytes::from(value), expires_at_ms }
}
