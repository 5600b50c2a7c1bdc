//! From what waits in a collector to batches for nodes: by split, twice each.

use std::{collections::HashMap, sync::Arc};

use room::RoomKey;

use super::{Collector, Waiting, leavings::with_leaves};
use crate::{Batch, Beat, Name, NodeId, Nodes, Placement, Run, Snapshots, SplitId, stats::Outgoing};

/// Beats of a batch, about: 256 KiB on the wire. As many are sent before their time, too, by the next tick.
pub(super) const BATCH_BEATS: usize = 16_384;

impl Collector {
    /// Sends all that waits, now: before the end of the thread, for one.
    pub fn flush(&mut self, now_ms: u64) {
        self.hear();
        for (node, batch) in self.batches(now_ms) {
            let wanted = Some(Arc::clone(&self.wanted));
            self.stats.send(&node, Outgoing { batch, made_at_ms: now_ms, wanted });
        }
    }

    /// All that waits, for each node what it is to get. While no node answers, nothing, and all stays.
    pub fn batches(&mut self, now_ms: u64) -> Vec<(NodeId, Batch)> {
        let nodes = self.stats.nodes();
        if nodes.live().is_empty() {
            self.due_at_ms = now_ms + 1_000;
            return Vec::new();
        }
        self.due_at_ms = u64::MAX;
        self.num_waiting = 0;
        let mut dispatch = Dispatch::new(&nodes, self.stats.snapshots(), now_ms);
        for index in 0..self.rooms.len() {
            let Some(queue) = &mut self.rooms[index] else { continue };
            if !queue.left.is_empty() {
                queue.beats = with_leaves(std::mem::take(&mut queue.beats), std::mem::take(&mut queue.left));
            }
            if !queue.beats.is_empty() || !queue.names.is_empty() {
                dispatch.add(&queue.room, queue.hash, &queue.beats, &queue.names);
                queue.names.clear();
                // A storm's room does not keep its size.
                if queue.beats.capacity() > 4_096 && queue.beats.len() < queue.beats.capacity() / 4 {
                    queue.beats = Vec::new();
                }
                queue.beats.clear();
            }
            if queue.users == 0 {
                self.index.remove(&queue.room);
                self.rooms[index] = None;
                self.free_rooms.push(index as u32);
            }
        }
        self.names.grow_older(now_ms, self.stats.window_ms());
        dispatch.finish()
    }
}

/// Batches in the making.
pub(super) struct Dispatch<'a> {
    nodes: &'a Nodes,
    snapshots: &'a Snapshots,
    now_ms: u64,
    /// One for each node, in the order of `nodes`.
    open: HashMap<&'a NodeId, Batch>,
    open_beats: HashMap<&'a NodeId, usize>,
    done: Vec<(NodeId, Batch)>,
}

impl<'a> Dispatch<'a> {
    pub(super) fn new(nodes: &'a Nodes, snapshots: &'a Snapshots, now_ms: u64) -> Self {
        Self { nodes, snapshots, now_ms, open: HashMap::new(), open_beats: HashMap::new(), done: Vec::new() }
    }

    /// Adds a room's beats and names, for every level that the room has now.
    pub(super) fn add(&mut self, room: &RoomKey, hash: u64, beats: &[Waiting], names: &[Name]) {
        let known = self.snapshots.get(room);
        // A room whose list of names is full is told no more of them.
        let names = if known.as_ref().is_some_and(|(room, _)| !room.has_all_names && room.layout.level > 0) {
            &[]
        } else {
            names
        };
        let layout = known.map_or_else(Default::default, |(snapshot, _)| snapshot.layout);
        let base = beats.iter().map(|beat| beat.place).filter(|place| *place > 0).min().unwrap_or(1) - 1;
        for level in layout.levels() {
            for (id, beats) in self.by_split(level, base, beats).into_iter().enumerate() {
                let split = SplitId { level, index: id as u32 };
                let names: Vec<Name> =
                    names.iter().filter(|name| SplitId::of(level, name.user) == split).cloned().collect();
                if !beats.is_empty() || !names.is_empty() {
                    self.place(hash, Run { room: room.clone(), split, base, beats, names });
                }
            }
        }
    }

    /// The beats of each split of a level, in their order.
    fn by_split(&self, level: u8, base: u64, beats: &[Waiting]) -> Vec<Vec<Beat>> {
        let mut counts = vec![0_usize; 1 << level];
        beats.iter().for_each(|beat| counts[SplitId::of(level, beat.user).index as usize] += 1);
        let mut splits: Vec<Vec<Beat>> = counts.into_iter().map(Vec::with_capacity).collect();
        for beat in beats {
            let age_ms = self.now_ms.saturating_sub(beat.at_ms);
            let wire = if beat.is_leave {
                Beat::leave(beat.user, beat.device, age_ms)
            } else {
                Beat::presence(beat.user, beat.device, age_ms).at(beat.place, base)
            };
            splits[SplitId::of(level, beat.user).index as usize].push(wire);
        }
        splits
    }

    fn place(&mut self, hash: u64, run: Run) {
        let [first, second] = self.nodes.keepers(Placement::of_hash(hash, run.split));
        if let Some(second) = second {
            self.push(&second.id, run.clone());
        }
        if let Some(first) = first {
            self.push(&first.id, run);
        }
    }

    fn push(&mut self, node: &'a NodeId, run: Run) {
        let beats = self.open_beats.entry(node).or_default();
        *beats += run.beats.len();
        let is_full = *beats >= BATCH_BEATS;
        if is_full {
            *beats = 0;
        }
        let batch = self.open.entry(node).or_default();
        batch.runs.push(run);
        if is_full {
            self.done.push((node.clone(), std::mem::take(batch)));
        }
    }

    pub(super) fn finish(self) -> Vec<(NodeId, Batch)> {
        let rest = self.open.into_iter().filter(|(_, batch)| !batch.runs.is_empty());
        self.done.into_iter().chain(rest.map(|(node, batch)| (node.clone(), batch))).collect()
    }
}
