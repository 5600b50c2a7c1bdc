//! Nodes with a store each, of which one dies, misses something, and comes back with what it had.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use room::{AppId, Role, RoomId, UserId};
use store::Store;

use super::*;
use crate::{
    Clock, Collector, CollectorSettings, DeviceHash, History, HistorySettings, Nodes, RoomShare, Series,
    SeriesRange, Standing, Stats, StatsError, StatsService, StatsSettings, Statsvr, Step, UserHash, Visitor,
    history::tests::memory::MemoryStore,
};

/// On the hour, in 2033, so that nothing has expired.
const START_MS: u64 = 2_000_001_600_000;

fn room() -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal("r"))
}

fn visitor(user: u64) -> Visitor {
    let id = UserId::internal(&format!("u{user}"));
    Visitor {
        user: UserHash::new(&AppId::default(), &id),
        device: DeviceHash(1),
        id: Some(id),
        role: Role::Viewer,
    }
}

struct Place {
    id: NodeId,
    store: Arc<MemoryStore>,
    node: Option<Arc<Statsvr>>,
}

/// Nodes whose messages are passed on by hand, and who should be there.
struct Sandbox {
    clock: Clock,
    hand: Arc<AtomicU64>,
    settings: StatsSettings,
    places: Vec<Place>,
    stats: Arc<Stats>,
    collector: Collector,
    random: StdRng,
    /// Shares that were sent, for a second time at a later one.
    sent: Vec<(NodeId, Vec<RoomShare>)>,
    online: BTreeSet<u64>,
    ever: BTreeSet<u64>,
    peak: u64,
    shown: u64,
}

impl Sandbox {
    fn new(count: usize, seed: u64) -> Self {
        let (clock, hand) = Clock::manual(START_MS);
        let settings = StatsSettings { window: Duration::from_secs(5), ..Default::default() };
        let ids = (0..count).map(|node| NodeId::new(&format!("n{node}")));
        let places: Vec<Place> = ids.map(|id| Place { id, store: Arc::default(), node: None }).collect();
        let mut this = Self {
            stats: Stats::new(clock.clone(), &settings, Duration::from_secs(1), []),
            collector: Collector::new(
                Stats::new(clock.clone(), &settings, Duration::from_secs(1), []),
                CollectorSettings::default(),
            ),
            clock,
            hand,
            settings,
            places,
            random: StdRng::seed_from_u64(seed),
            sent: Vec::new(),
            online: BTreeSet::new(),
            ever: BTreeSet::new(),
            peak: 0,
            shown: 0,
        };
        (0..count).for_each(|at| this.start(at));
        this.meet(START_MS - 100_000);
        this
    }

    fn now_ms(&self) -> u64 {
        self.hand.load(Ordering::Relaxed)
    }

    fn start(&mut self, at: usize) {
        let place = &mut self.places[at];
        let history = History::new(
            Arc::clone(&place.store) as Arc<dyn Store>,
            HistorySettings { node: place.id.number() },
        );
        let history = Some(Arc::new(history));
        place.node = Some(Statsvr::new(place.id.clone(), self.settings, self.clock.clone(), false, history));
    }

    /// A view over the nodes that are there now; it knows them since `since_ms`.
    fn meet(&mut self, since_ms: u64) {
        let members = self.places.iter().filter_map(|place| {
            let service: Arc<dyn StatsService> = Arc::new(Arc::clone(place.node.as_ref()?));
            Some((place.id.clone(), service))
        });
        let stats = Stats::new(self.clock.clone(), &self.settings, Duration::from_secs(1), members);
        for place in self.places.iter().filter(|place| place.node.is_some()) {
            let known = self.stats.nodes().live().iter().find(|node| node.id == place.id).cloned();
            stats.comes(&place.id, known.map_or(since_ms, |node| node.since_ms));
        }
        self.stats = stats;
        self.collector = Collector::new(Arc::clone(&self.stats), CollectorSettings::default());
    }

    /// A node dies, as after `kill -9`.
    fn kill(&mut self, at: usize) {
        self.places[at].node = None;
        self.stats.goes(&self.places[at].id);
        self.meet(0);
    }

    fn restart(&mut self, at: usize) {
        self.start(at);
        self.meet(self.now_ms());
    }

    fn node(&self, id: &NodeId) -> Option<&Arc<Statsvr>> {
        self.places.iter().find(|place| place.id == *id)?.node.as_ref()
    }

    fn live(&self) -> Vec<Arc<Statsvr>> {
        self.places.iter().filter_map(|place| place.node.clone()).collect()
    }

    /// A second: users come and go (one stays), nodes count, tell each other and write. What is shown must not fall.
    async fn second(&mut self, users: u64) {
        let now_ms = self.hand.fetch_add(1_000, Ordering::Relaxed) + 1_000;
        let mut left = BTreeSet::new();
        for _ in 0..self.random.random_range(0..6) {
            let goes = self.random.random_range(0..users);
            if goes > 0 && self.online.remove(&goes) {
                self.collector.left(&room(), &visitor(goes), now_ms);
                left.insert(goes);
            }
        }
        let newcomer = self.random.random_range(0..users);
        for user in [0, newcomer].into_iter().chain(0..users * u64::from(self.random.random_bool(0.02))) {
            if !left.contains(&user) && self.online.insert(user) {
                self.ever.insert(user);
            }
        }
        self.peak = self.peak.max(self.online.len() as u64);
        for user in &self.online {
            self.collector.seen(&room(), &visitor(*user), None, now_ms);
        }
        for (node, batch) in self.collector.batches(now_ms) {
            if let Some(node) = self.node(&node) {
                node.take(batch);
            }
        }
        self.rounds(1).await;
        let nodes = self.stats.nodes();
        // A view that is new has heard nothing before a node speaks for the room.
        if let Some((snapshot, _)) = self.stats.room(&room()) {
            let shown = snapshot.standing.unique_viewers;
            assert!(shown >= self.shown, "{shown} after {}, nodes {nodes:?}", self.shown);
            self.shown = shown;
        }
    }

    async fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            let nodes = self.stats.nodes();
            let live = self.live();
            let mut streams = Vec::new();
            for node in &live {
                streams.push(node.subscribe().await.unwrap());
                node.follow(&self.stats, &nodes);
            }
            for node in &live {
                for (to, report) in node.round(&nodes) {
                    self.node(&to).unwrap().report(report).await.unwrap();
                }
            }
            for stream in &mut streams {
                while let Some(Some(update)) = stream.next().now_or_never() {
                    self.stats.snapshots().apply(&update);
                }
            }
            let mut shares = Vec::new();
            for node in &live {
                node.keep_history().await;
                node.share(&nodes, |to, rooms| {
                    shares.push((to.clone(), rooms));
                    true
                });
            }
            for (to, rooms) in shares {
                self.node(&to).unwrap().adopt(rooms.clone()).await.unwrap();
                self.sent.push((to, rooms));
            }
        }
    }

    async fn seconds(&mut self, count: usize, users: u64) {
        for _ in 0..count {
            self.second(users).await;
        }
    }

    async fn standing(&self) -> Standing {
        self.stats.standing(&room()).await.unwrap()
    }

    async fn series(&self, step: Step) -> Series {
        let range = SeriesRange { from_ms: START_MS, to_ms: self.now_ms(), step };
        self.stats.series(&room(), range).await.unwrap()
    }

    /// Everybody who was ever there is counted, the peak is the one that there was, and the series has every interval.
    async fn check(&mut self) {
        self.rounds(3).await;
        let standing = self.standing().await;
        let ever = self.ever.len() as u64;
        assert_eq!((standing.unique_viewers, standing.unique_viewers_total), (ever, ever));
        assert_eq!(standing.peak_num_users, self.peak);
        let series = self.series(Step::TenSeconds).await;
        let times: Vec<u64> = series.points.iter().map(|point| point.t_ms / 10_000).collect();
        let all: Vec<u64> = (START_MS / 10_000..self.now_ms().div_ceil(10_000)).collect();
        assert_eq!(times, all, "no hole");
        assert_eq!(series.points.iter().map(|point| point.max).max(), Some(self.peak));
        for point in &series.points {
            assert!(point.min <= point.avg && point.avg <= point.max && point.min > 0, "{point:?}");
        }
    }
}

#[tokio::test]
async fn node_that_was_away_speaks_as_if_it_had_been_there() {
    for dies in [0, 1] {
        let mut sandbox = Sandbox::new(2, 7 + dies as u64);
        sandbox.seconds(60, 40).await;
        sandbox.kill(dies);
        sandbox.seconds(90, 80).await;
        sandbox.restart(dies);
        sandbox.seconds(40, 30).await;
        sandbox.check().await;
        // Now it is alone with what it was told.
        sandbox.kill(1 - dies);
        sandbox.check().await;
        sandbox.seconds(20, 90).await;
        sandbox.check().await;
    }
}

#[tokio::test]
async fn nobody_is_lost_while_nodes_come_and_go() {
    for seed in 0..12 {
        let mut sandbox = Sandbox::new(3, seed);
        sandbox.seconds(10, 30).await;
        for _ in 0..5 {
            let dies = sandbox.random.random_range(0..3);
            let (away, back) = (sandbox.random.random_range(1..25), sandbox.random.random_range(8..20));
            let users = sandbox.random.random_range(5..120);
            sandbox.kill(dies);
            sandbox.seconds(away, users).await;
            sandbox.restart(dies);
            sandbox.seconds(back, users + 20).await;
        }
        sandbox.check().await;
    }
}

#[tokio::test]
async fn share_that_comes_twice_or_late_changes_nothing() {
    let mut sandbox = Sandbox::new(2, 3);
    sandbox.seconds(30, 40).await;
    sandbox.kill(0);
    sandbox.seconds(30, 80).await;
    sandbox.restart(0);
    sandbox.seconds(20, 80).await;
    sandbox.check().await;
    let mut before = Vec::new();
    for step in Step::ALL {
        before.push((sandbox.standing().await, sandbox.series(step).await));
    }
    assert!(sandbox.sent.len() >= 6, "{}", sandbox.sent.len());
    for (to, rooms) in sandbox.sent.iter().rev().chain(&sandbox.sent) {
        sandbox.node(to).unwrap().adopt(rooms.clone()).await.unwrap();
    }
    let mut after = Vec::new();
    for step in Step::ALL {
        after.push((sandbox.standing().await, sandbox.series(step).await));
    }
    assert_eq!(before, after);
    sandbox.check().await;
}

#[tokio::test]
async fn malformed_share_is_refused_and_the_others_are_taken() {
    let mut sandbox = Sandbox::new(2, 5);
    sandbox.seconds(5, 40).await;
    let (_, mut shares) = sandbox.sent.pop().unwrap();
    let other = RoomKey::new(AppId::default(), RoomId::internal("other"));
    let good = shares.remove(0).bytes;
    sandbox.kill(1);
    let node = Arc::clone(sandbox.places[0].node.as_ref().unwrap());
    for length in 0..good.len() {
        let bad = RoomShare { room: other.clone(), bytes: good.slice(..length) };
        assert!(matches!(node.adopt(vec![bad]).await, Err(StatsError::Malformed(_))), "{length} bytes");
    }
    let later = RoomShare { room: other.clone(), bytes: vec![99; 9].into() };
    assert!(matches!(node.adopt(vec![later.clone()]).await, Err(StatsError::Malformed(_))));
    assert_eq!(StatsService::standing(&node, &other).await.unwrap().unique_viewers_total, 0);
    // Of another node, or it would be its own.
    let mut foreign = good.to_vec();
    foreign[1] ^= 1;
    let shares = vec![later, RoomShare { room: other.clone(), bytes: foreign.into() }];
    assert!(matches!(node.adopt(shares).await, Err(StatsError::Malformed(_))));
    assert!(StatsService::standing(&node, &other).await.unwrap().unique_viewers_total > 0);
}

#[tokio::test]
async fn series_of_one_node_will_do() {
    let mut sandbox = Sandbox::new(2, 9);
    sandbox.seconds(30, 20).await;
    let whole = sandbox.series(Step::TenSeconds).await;
    sandbox.places[0].store.refuses.store(true, Ordering::SeqCst);
    assert_eq!(sandbox.series(Step::TenSeconds).await.points.len(), whole.points.len());
    sandbox.places[1].store.refuses.store(true, Ordering::SeqCst);
    let range = SeriesRange { from_ms: 0, to_ms: 1, step: Step::Minute };
    assert!(matches!(sandbox.stats.series(&room(), range).await, Err(StatsError::Store(_))));
}

#[tokio::test]
async fn shares_that_find_no_place_are_told_in_the_next_round() {
    let mut sandbox = Sandbox::new(2, 5);
    sandbox.seconds(5, 10).await;
    sandbox.kill(1);
    sandbox.seconds(2, 10).await;
    sandbox.restart(1);
    let (node, nodes) = (Arc::clone(sandbox.places[0].node.as_ref().unwrap()), sandbox.stats.nodes());
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..3 {
        node.share(&nodes, |_, _| {
            refused += 1;
            false
        });
    }
    for _ in 0..3 {
        node.share(&nodes, |_, shares| {
            taken += shares.len();
            true
        });
    }
    assert_eq!((refused, taken), (3, 1), "once it was taken it is not due again");
}

#[test]
fn node_is_told_when_it_comes_before_it_speaks_and_once_more() {
    let nodes = |since_ms| Nodes::new([(NodeId::new("n"), since_ms)]);
    let tell = |told: &mut Told, nodes: &Nodes, now_ms| {
        let due = told.due(&room(), nodes.live().iter(), now_ms);
        due.iter().for_each(|(node, due)| told.told(node, due));
        due.len()
    };
    let mut told = Told::default();
    let times = |told: &mut Told, since_ms: u64, from_s: u64, to_s: u64| {
        let seconds = (from_s..to_s).filter(|at| tell(told, &nodes(since_ms), at * 1_000) > 0);
        seconds.collect::<Vec<_>>()
    };
    assert_eq!(times(&mut told, 0, 100, 120), [100], "one that was always there is told of a new room once");
    assert_eq!(times(&mut told, 120_000, 120, 140), [120, 122, 126], "it has come back");
    assert_eq!(times(&mut told, 138_500, 140, 160), [140, 141, 145], "its coming was noticed late");
    // Nobody, and then again the node that was there all the time: who adds up the room has changed twice.
    assert_eq!(tell(&mut told, &Nodes::default(), 160_000), 0);
    assert_eq!(times(&mut told, 138_500, 161, 180), [161, 163, 167]);
    assert_eq!(times(&mut told, 999_000, 180, 182), [180], "by a clock ahead of this one");
}
