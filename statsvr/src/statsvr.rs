//! One statsvr: keeps splits, counts them, adds up rooms.

mod asked;
mod past;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use parking_lot::{Mutex, RwLock};
use room::RoomKey;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    Batch, Clock, History, Node, NodeId, Nodes, Report, RoomReport, Run, Signal, SplitCounts, SplitId, Stats,
    StatsSettings, Taken, Update,
    aggregate::Aggregator,
    metrics::{Dropped, Metrics},
    nodes::room_hash,
    reach::SIGNALS_MAX,
    split::Split,
    ticks::Ticks,
};

/// Beats that are taken under a split's lock at a time: about 50 µs.
const LOCKED_BEATS_MAX: usize = 1_024;

/// Updates that a slow subscriber may be behind; then it gets everything anew.
const UPDATES_MAX: usize = 16;

/// Every so many rounds all users online are told to the unique counts, so that a report that was lost loses nobody.
const RETELL_ROUNDS: u64 = 60;

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(1);

/// A room on this node.
struct Room {
    key: RoomKey,
    /// See [`room_hash`].
    hash: u64,
    splits: RwLock<BTreeMap<SplitId, Arc<Kept>>>,
    /// Latest priority messages, ascending.
    signals: Mutex<Vec<Signal>>,
    heard_of_at_ms: u64,
}

impl Room {
    fn new(key: &RoomKey, now_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            key: key.clone(),
            hash: room_hash(key),
            splits: RwLock::default(),
            signals: Mutex::default(),
            heard_of_at_ms: now_ms,
        })
    }
}

struct Kept {
    split: Mutex<Split>,
    /// Rounds since the last beat.
    idle_rounds: AtomicUsize,
}

/// A statsvr. [`Statsvr::run`] makes it live.
pub struct Statsvr {
    id: NodeId,
    settings: StatsSettings,
    ticks: Ticks,
    clock: Clock,
    started_ms: u64,
    rooms: DashMap<RoomKey, Arc<Room>>,
    history: Option<Arc<History>>,
    aggregator: Mutex<Aggregator>,
    updates: broadcast::Sender<Arc<Update>>,
    metrics: Metrics,
    rounds: AtomicUsize,
}

impl Statsvr {
    /// An empty statsvr. `is_alone`: no other will ever count with it, so what it has not heard of is not there. Without
    /// `history` there are no peaks, series and unique viewers.
    #[must_use]
    pub fn new(
        id: NodeId,
        settings: StatsSettings,
        clock: Clock,
        is_alone: bool,
        history: Option<Arc<History>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            aggregator: Mutex::new(Aggregator::new(
                id.clone(),
                settings.window_ms(),
                is_alone,
                history.clone(),
            )),
            id,
            settings,
            ticks: Ticks::new(settings.window),
            started_ms: clock.now_ms(),
            clock,
            rooms: DashMap::new(),
            history,
            updates: broadcast::Sender::new(UPDATES_MAX),
            metrics: Metrics::new(),
            rounds: AtomicUsize::new(0),
        })
    }

    /// Counts once a second, tells whoever subscribed and the other nodes of `stats`, and writes history, until `stop`;
    /// then writes history once more.
    pub async fn run(&self, stats: &Stats, stop: &CancellationToken) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(rounds.tick()).await.is_some() {
            let nodes = stats.nodes();
            self.follow(stats, &nodes);
            for (node, report) in self.round(&nodes) {
                stats.send_report(&node, report);
            }
            self.keep_history().await;
            self.share(&nodes, |node, shares| stats.send_shares(node, shares));
        }
        if let Some(history) = &self.history {
            self.flush(history).await;
        }
    }

    /// Learns what the nodes that speak for rooms have decided on.
    pub(crate) fn follow(&self, stats: &Stats, nodes: &Nodes) {
        if nodes.live().len() > 1 {
            let now_ms = self.clock.now_ms();
            let mut aggregator = self.aggregator.lock();
            stats.snapshots().for_each(|snapshot| aggregator.follow(snapshot, nodes, now_ms));
        }
    }

    /// One round: lets time pass, counts, adds up and tells subscribers. Gives back what other nodes are to be told.
    pub fn round(&self, nodes: &Nodes) -> Vec<(NodeId, Report)> {
        let now_ms = self.clock.now_ms();
        let mut reports: Vec<(&Node, Vec<RoomReport>)> =
            nodes.live().iter().filter(|node| node.id != self.id).map(|node| (node, Vec::new())).collect();
        let number = self.aggregator.lock().begin_report();
        self.count(now_ms, |room, splits, joined| {
            let mut adds_up = false;
            for told in nodes.informed_of(room.hash, now_ms) {
                match reports.iter_mut().find(|(node, _)| node.id == told.id) {
                    Some((_, rooms)) => rooms.push(RoomReport {
                        room: room.key.clone(),
                        splits: splits.to_vec(),
                        joined: joined.clone(),
                    }),
                    None => adds_up = true,
                }
            }
            if adds_up {
                self.aggregator.lock().take_room(&self.id, &room.key, splits, joined, (number, now_ms));
            }
        });
        let round = {
            let mut aggregator = self.aggregator.lock();
            aggregator.end_report(&self.id, number);
            aggregator.round(nodes, now_ms)
        };
        let update = Update {
            node: self.id.clone(),
            uptime_ms: now_ms.saturating_sub(self.started_ms),
            as_of_ms: now_ms,
            is_full: false,
            changed: round.changed,
            gone: round.gone,
        };
        // Nobody listens yet: whoever begins to is told everything first.
        let _ = self.updates.send(Arc::new(update));
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let report = |rooms| Report { node: self.id.clone(), rooms };
        reports.into_iter().map(|(node, rooms)| (node.id.clone(), report(rooms))).collect()
    }

    /// Lets time pass in every split; drops those that nobody has been in for a window, and rooms without any. `tell` is told
    /// what each room counts, ascending by split, and the unique keys of new users.
    fn count(&self, now_ms: u64, mut tell: impl FnMut(&Room, &[(SplitId, SplitCounts)], &mut Vec<u64>)) {
        let rooms: Vec<Arc<Room>> = self.rooms.iter().map(|room| Arc::clone(&room)).collect();
        let round = self.rounds.load(Ordering::Relaxed) as u64;
        let idle_rounds_max = (self.settings.window_ms() / 1_000 + 2) as usize;
        let (mut splits_sum, mut window_bytes, mut names_bytes) = (0, 0, 0);
        let (mut all_kept, mut splits, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for room in rooms {
            all_kept.extend(room.splits.read().iter().map(|(id, kept)| (*id, Arc::clone(kept))));
            // A room that only a priority message was heard of, and nobody has come to.
            let mut idle = all_kept.is_empty() && room.heard_of_at_ms + self.settings.window_ms() < now_ms;
            splits_sum += all_kept.len();
            for (id, kept) in all_kept.drain(..) {
                let mut split = kept.split.lock();
                let counts = split.advance(now_ms);
                let retell = room.hash.wrapping_add(id.index.into()) % RETELL_ROUNDS == round % RETELL_ROUNDS;
                joined.append(&mut split.take_joined(retell));
                let (window, names) = split.bytes();
                drop(split);
                window_bytes += window;
                names_bytes += names;
                let idle_rounds = kept.idle_rounds.fetch_add(1, Ordering::Relaxed);
                idle |= counts.num_users == 0 && idle_rounds > idle_rounds_max;
                splits.push((id, counts));
            }
            if idle {
                self.drop_idle(&room, idle_rounds_max);
            }
            if !splits.is_empty() {
                tell(&room, &splits, &mut joined);
            }
            splits.clear();
            joined.clear();
        }
        self.metrics.rooms.set(self.rooms.len() as f64);
        self.metrics.splits.set(splits_sum as f64);
        self.metrics.window_bytes.set(window_bytes as f64);
        self.metrics.names_bytes.set(names_bytes as f64);
    }

    fn drop_idle(&self, room: &Room, idle_rounds_max: usize) {
        // A beat that finds the room before it is taken out finds its split, too, or makes it: see `kept`.
        self.rooms.remove_if(&room.key, |_, _| {
            let mut splits = room.splits.write();
            splits.retain(|_, kept| kept.idle_rounds.load(Ordering::Relaxed) <= idle_rounds_max);
            splits.is_empty()
        });
    }

    /// The split, made if it is new; `None` if there are too many rooms.
    fn kept(&self, key: &RoomKey, id: SplitId, now_ms: u64) -> Option<Arc<Kept>> {
        if let Some(room) = self.rooms.get(key)
            && let Some(kept) = room.splits.read().get(&id)
        {
            kept.idle_rounds.store(0, Ordering::Relaxed);
            return Some(Arc::clone(kept));
        }
        if self.is_full_for(key) {
            return None;
        }
        // The entry is held while the split is made, so that the room is not taken out between.
        let room = self.rooms.entry(key.clone()).or_insert_with(|| Room::new(key, now_ms));
        let mut splits = room.splits.write();
        let kept = splits.entry(id).or_insert_with(|| {
            let mut split =
                Split::new(self.ticks, now_ms, (self.settings.names_per_room_max >> id.level).max(1));
            room.signals.lock().iter().for_each(|signal| split.signal(*signal));
            Arc::new(Kept { split: Mutex::new(split), idle_rounds: AtomicUsize::new(0) })
        });
        kept.idle_rounds.store(0, Ordering::Relaxed);
        Some(Arc::clone(kept))
    }

    fn is_full_for(&self, room: &RoomKey) -> bool {
        self.rooms.len() >= self.settings.rooms_max && !self.rooms.contains_key(room)
    }

    fn signal(&self, key: &RoomKey, signal: Signal, now_ms: u64) {
        if self.is_full_for(key) {
            return;
        }
        let room = Arc::clone(&self.rooms.entry(key.clone()).or_insert_with(|| Room::new(key, now_ms)));
        {
            let mut signals = room.signals.lock();
            if signals.last().is_some_and(|last| last.seq >= signal.seq) {
                return;
            }
            if signals.len() >= SIGNALS_MAX {
                signals.remove(0);
            }
            signals.push(signal);
        }
        for kept in room.splits.read().values() {
            kept.split.lock().signal(signal);
        }
    }

    fn take_run(&self, mut run: Run, made_at_ms: u64, now_ms: u64, taken: &mut Taken) {
        let Some(kept) = self.kept(&run.room, run.split, now_ms) else {
            self.metrics.dropped(Dropped::Rooms, run.beats.len());
            return;
        };
        self.metrics.heartbeats.increment(run.beats.len() as u64);
        let names = std::mem::take(&mut run.names);
        let mut wanted = Vec::new();
        if run.beats.len() <= LOCKED_BEATS_MAX {
            kept.split.lock().ingest(&run, made_at_ms, now_ms, &mut wanted);
        } else {
            let beats = std::mem::take(&mut run.beats);
            for part in beats.chunks(LOCKED_BEATS_MAX) {
                run.beats.clear();
                run.beats.extend_from_slice(part);
                kept.split.lock().ingest(&run, made_at_ms, now_ms, &mut wanted);
            }
        }
        if !names.is_empty() {
            let mut split = kept.split.lock();
            names.iter().for_each(|name| split.name(name));
            wanted.retain(|user| split.wants(*user));
        }
        let room_left = Taken::WANTED_MAX.saturating_sub(taken.wanted.len());
        taken.wanted.extend(wanted.into_iter().take(room_left).map(|user| (run.room.clone(), user)));
    }

    /// Takes a batch, at once.
    pub fn take(&self, batch: Batch) -> Taken {
        let now_ms = self.clock.now_ms();
        let made_at_ms = now_ms.saturating_sub(batch.age_ms);
        let mut taken = Taken::default();
        for (room, signal) in batch.signals {
            self.signal(&room, signal, now_ms);
        }
        for run in batch.runs {
            self.take_run(run, made_at_ms, now_ms, &mut taken);
        }
        taken
    }

    /// Bytes of the online windows and of the names (computed).
    #[must_use]
    pub fn bytes(&self) -> (usize, usize) {
        let rooms: Vec<Arc<Room>> = self.rooms.iter().map(|entry| Arc::clone(&entry)).collect();
        let splits = rooms.iter().flat_map(|room| room.splits.read().values().cloned().collect::<Vec<_>>());
        splits.fold((0, 0), |(windows, names), kept| {
            let (window, name) = kept.split.lock().bytes();
            (windows + window, names + name)
        })
    }

    fn splits_of(&self, room: &RoomKey, ids: &[SplitId]) -> Vec<Arc<Kept>> {
        let Some(room) = self.rooms.get(room).map(|room| Arc::clone(&room)) else { return vec![] };
        let splits = room.splits.read();
        ids.iter().filter_map(|id| splits.get(id).cloned()).collect()
    }

    /// Everything that this node has to say.
    fn full_update(&self) -> Arc<Update> {
        let now_ms = self.clock.now_ms();
        Arc::new(Update {
            node: self.id.clone(),
            uptime_ms: now_ms.saturating_sub(self.started_ms),
            as_of_ms: now_ms,
            is_full: true,
            changed: self.aggregator.lock().said(),
            gone: vec![],
        })
    }
}
