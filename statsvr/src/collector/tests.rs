//! Collectors against one or two statsvrs in process, by a clock that the tests move.

mod leaving;

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt as _, future};
use room::{AppId, RoomId};

use super::*;
use crate::{Clock, NodeId, Nodes, RoomSnapshot, StatsService, StatsSettings, Statsvr, Update};

const START_MS: u64 = 1_000_000_000;

fn room(name: &str) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal(name))
}

fn visitor(user: u64, device: u32) -> Visitor {
    let id = UserId::internal(&format!("u{user}"));
    Visitor {
        user: UserHash::new(&AppId::default(), &id),
        device: DeviceHash(device),
        id: Some(id),
        role: Role::Viewer,
    }
}

/// Nodes whose messages are passed on by hand, so that nothing depends on a scheduler.
struct Sandbox {
    hand: Arc<AtomicU64>,
    nodes: Vec<(NodeId, Arc<Statsvr>)>,
    stats: Arc<Stats>,
}

impl Sandbox {
    fn new(count: usize, settings: StatsSettings) -> Self {
        let (clock, hand) = Clock::manual(START_MS);
        let ids: Vec<NodeId> = (0..count).map(|node| NodeId::new(&format!("n{node}"))).collect();
        let nodes: Vec<_> = ids
            .iter()
            .map(|id| (id.clone(), Statsvr::new(id.clone(), settings, clock.clone(), count == 1, None)))
            .collect();
        let members = nodes.iter().map(|(id, node)| {
            let service: Arc<dyn StatsService> = Arc::new(Arc::clone(node));
            (id.clone(), service)
        });
        let stats = Stats::new(clock, &settings, Duration::from_secs(1), members);
        let this = Self { hand, nodes, stats };
        for (id, _) in &this.nodes {
            this.stats.comes(id, START_MS - 100_000);
        }
        this
    }

    fn now_ms(&self) -> u64 {
        self.hand.load(Ordering::Relaxed)
    }

    fn collector(&self) -> Collector {
        Collector::new(Arc::clone(&self.stats), CollectorSettings::default())
    }

    fn node(&self, id: &NodeId) -> Option<&Arc<Statsvr>> {
        self.nodes.iter().find(|(node, _)| node == id).map(|(_, node)| node)
    }

    /// Takes what a collector has to say to the nodes that are there, and asks it for names.
    fn deliver(&self, collector: &mut Collector) {
        for (node, batch) in collector.batches(self.now_ms()) {
            if let Some(node) = self.node(&node) {
                collector.wanted.add(node.take(batch).wanted);
            }
        }
    }

    fn tick(&self, collector: &mut Collector) {
        collector.gather(self.now_ms());
        if collector.is_due(self.now_ms()) {
            self.deliver(collector);
        }
    }

    /// Lets all nodes count and tell each other, and the view hear of it.
    fn round(&self) {
        let nodes = self.stats.nodes();
        let mut streams: Vec<_> =
            self.nodes.iter().map(|(_, node)| node.subscribe().now_or_never_unwrap()).collect();
        let reports: Vec<_> = self.nodes.iter().flat_map(|(_, node)| node.round(&nodes)).collect();
        for (to, report) in reports {
            if let Some(node) = self.node(&to) {
                node.report(report).now_or_never_unwrap();
            }
        }
        for stream in &mut streams {
            while let Some(Some(update)) = future::FutureExt::now_or_never(stream.next()) {
                self.hear(&update);
            }
        }
    }

    fn hear(&self, update: &Update) {
        self.stats.snapshots().apply(update);
    }

    /// Two rounds: what one node reports to another is in the other's next one.
    fn settle(&self) {
        self.round();
        self.round();
    }

    fn wait(&self, ms: u64, collectors: &mut [Collector]) {
        let end_ms = self.now_ms() + ms;
        while self.now_ms() < end_ms {
            self.hand.fetch_add(50, Ordering::Relaxed);
            collectors.iter_mut().for_each(|collector| self.tick(collector));
        }
        self.settle();
    }

    fn seen(&self, name: &str) -> (u64, u64) {
        let seen = self.stats.room(&room(name));
        seen.map_or((0, 0), |(room, _): (Arc<RoomSnapshot>, u64)| (room.num_users, room.num_clients))
    }
}

trait NowOrNever {
    type Out;
    fn now_or_never_unwrap(self) -> Self::Out;
}

impl<T, F: Future<Output = Result<T, crate::StatsError>>> NowOrNever for F {
    type Out = T;

    fn now_or_never_unwrap(self) -> T {
        futures_util::FutureExt::now_or_never(self).expect("nothing to wait for").expect("in process")
    }
}

#[test]
fn parked_poll_is_in_time_for_the_shortest_window() {
    let settings = StatsSettings { window: Duration::from_secs(1), ..StatsSettings::default() };
    let sandbox = Sandbox::new(1, settings);
    let mut collectors = [sandbox.collector()];
    let parked = collectors[0].parked(&room("r"), visitor(1, 1), None, 0, sandbox.now_ms());
    sandbox.wait(1_200, &mut collectors);
    for _ in 0..400 {
        sandbox.wait(50, &mut collectors);
        assert_eq!(sandbox.seen("r"), (1, 1), "at {}", sandbox.now_ms());
    }
    collectors[0].ended(parked);
}

#[test]
fn parked_poll_keeps_its_user_online() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collectors = [sandbox.collector()];
    let parked = collectors[0].parked(&room("r"), visitor(1, 1), None, 0, sandbox.now_ms());
    sandbox.wait(1_200, &mut collectors);
    assert_eq!(sandbox.seen("r"), (1, 1));
    sandbox.wait(120_000, &mut collectors);
    assert_eq!((sandbox.seen("r"), collectors[0].num_parked()), ((1, 1), 1));
    collectors[0].answered(parked, sandbox.now_ms());
    sandbox.wait(29_900, &mut collectors);
    assert_eq!(sandbox.seen("r"), (1, 1), "for a window after the last poll");
    sandbox.wait(1_100, &mut collectors);
    assert_eq!(sandbox.seen("r"), (0, 0));
    assert!(collectors[0].index.is_empty(), "the room is forgotten");
}

#[test]
fn parked_poll_is_told_after_a_second_and_then_every_third_of_the_window() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collector = sandbox.collector();
    let poll = collector.parked(&room("r"), visitor(1, 1), None, 0, sandbox.now_ms());
    let mut told_after_ms = Vec::new();
    for _ in 0..700 {
        sandbox.hand.fetch_add(50, Ordering::Relaxed);
        collector.gather(sandbox.now_ms());
        for run in collector.batches(sandbox.now_ms()).into_iter().flat_map(|(_, batch)| batch.runs) {
            told_after_ms.extend(run.beats.iter().map(|_| sandbox.now_ms() - START_MS));
        }
    }
    let [first, second, third, fourth, fifth] = told_after_ms[..] else { panic!("{told_after_ms:?}") };
    assert_eq!((first, second), (50, 1_000));
    for (one, next) in [(second, third), (third, fourth), (fourth, fifth)] {
        assert!((10_000..=11_000).contains(&(next - one)), "{told_after_ms:?}");
    }
    collector.ended(poll);
}

#[tokio::test]
async fn names_come_by_themselves_and_when_asked_for() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collectors = [sandbox.collector()];
    let parked = collectors[0].parked(&room("r"), visitor(1, 1), None, 0, sandbox.now_ms());
    sandbox.wait(1_200, &mut collectors);
    let page = sandbox.stats.viewers(&room("r"), None, 10).await.unwrap();
    assert_eq!((page.viewers[0].user.as_str(), page.viewers[0].joined_at_ms), ("u1", Some(START_MS)));
    assert!(page.is_complete);
    // A statsvr that has heard of the user but not of the name asks, and is told.
    let other = Sandbox::new(1, StatsSettings::default());
    other.hand.store(sandbox.now_ms(), Ordering::Relaxed);
    for (_, batch) in {
        collectors[0].seen(&room("r"), &visitor(1, 1), None, sandbox.now_ms());
        collectors[0].batches(sandbox.now_ms())
    } {
        let taken = other.nodes[0].1.take(batch);
        assert_eq!(taken.wanted, [(room("r"), visitor(1, 1).user)]);
        collectors[0].wanted.add(taken.wanted);
    }
    collectors[0].tell_names();
    let told = collectors[0].batches(sandbox.now_ms());
    assert_eq!(told[0].1.runs[0].names[0].id, Some(UserId::internal("u1")));
    collectors[0].ended(parked);
}

#[test]
fn nothing_is_lost_while_no_statsvr_answers() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collectors = [sandbox.collector()];
    sandbox.stats.goes(&sandbox.nodes[0].0);
    collectors[0].seen(&room("r"), &visitor(1, 1), None, sandbox.now_ms());
    sandbox.wait(5_000, &mut collectors);
    assert_eq!(collectors[0].num_waiting, 1);
    sandbox.stats.comes(&sandbox.nodes[0].0, START_MS - 100_000);
    sandbox.wait(1_100, &mut collectors);
    assert_eq!(sandbox.seen("r"), (1, 1));
    sandbox.wait(25_000, &mut collectors);
    assert_eq!(sandbox.seen("r"), (0, 0), "the window counts from the poll");
}

#[test]
fn full_collector_drops_while_no_statsvr_answers() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    sandbox.stats.goes(&sandbox.nodes[0].0);
    let settings = CollectorSettings { beats_max: 3, ..Default::default() };
    let mut collector = Collector::new(Arc::clone(&sandbox.stats), settings);
    for user in 0..5 {
        collector.seen(&room("r"), &visitor(user, 1), None, sandbox.now_ms());
    }
    assert_eq!(collector.num_waiting, 3);
}

#[test]
fn what_makes_a_batch_is_sent_early_and_polls_that_are_over_are_forgotten() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collector = sandbox.collector();
    let later_ms = sandbox.now_ms() + 1;
    let stays = collector.parked(&room("r"), visitor(0, 1), None, 0, sandbox.now_ms());
    for user in 1..BATCH_BEATS as u64 {
        assert!(!collector.is_due(later_ms), "{user} beats wait");
        let poll = collector.parked(&room("r"), visitor(user, 1), None, 0, sandbox.now_ms());
        collector.answered(poll, later_ms);
    }
    assert!(collector.is_due(later_ms));
    sandbox.deliver(&mut collector);
    assert!(!collector.is_due(later_ms) && collector.num_waiting == 0);
    collector.answered(stays, later_ms);
    collector.parked(&room("r"), visitor(0, 1), None, 0, later_ms);
    assert_eq!(collector.told_once.len(), 1, "none that are over");
}

#[test]
fn rooms_beyond_the_bound_are_not_counted() {
    let sandbox = Sandbox::new(1, StatsSettings { rooms_max: 2, ..Default::default() });
    let mut collectors = [sandbox.collector()];
    for name in ["a", "b", "c"] {
        collectors[0].seen(&room(name), &visitor(1, 1), None, sandbox.now_ms());
        sandbox.wait(1_100, &mut collectors);
    }
    assert_eq!(["a", "b", "c"].map(|name| sandbox.seen(name).0), [1, 1, 0]);
    (0..70).for_each(|_| sandbox.wait(1_000, &mut collectors));
    collectors[0].seen(&room("c"), &visitor(1, 1), None, sandbox.now_ms());
    sandbox.wait(1_100, &mut collectors);
    assert_eq!(["a", "b", "c"].map(|name| sandbox.seen(name).0), [0, 0, 1], "empty rooms make way");
}

/// What users do in a cluster whose nodes come and go, against a count of who must be online.
fn cluster_run(seed: u64) {
    use std::collections::HashMap;

    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    let mut rng = StdRng::seed_from_u64(seed);
    let settings = StatsSettings { window: Duration::from_secs(5), ..Default::default() };
    let mut sandbox = Sandbox::new(3, settings);
    let mut collectors = [sandbox.collector(), sandbox.collector()];
    let mut parked: HashMap<(u64, u32), (usize, Parked)> = HashMap::new();
    let mut lost_at_ms = 0;
    for step in 0..400 {
        // Nobody leaves and comes back within a tick: what came first is then for one thread to tell, not for two.
        let mut left = std::collections::HashSet::new();
        for _ in 0..rng.random_range(0..12) {
            let (user, device) = (rng.random_range(0..60), rng.random_range(0..2));
            let core = rng.random_range(0..2_usize);
            match parked.remove(&(user, device)) {
                None if left.contains(&(user, device)) => {}
                None => {
                    let poll =
                        collectors[core].parked(&room("r"), visitor(user, device), None, 0, sandbox.now_ms());
                    parked.insert((user, device), (core, poll));
                }
                Some((core, poll)) if left.insert((user, device)) && rng.random_bool(0.5) => {
                    collectors[core].closed(poll, sandbox.now_ms())
                }
                Some((core, poll)) => {
                    collectors[core].left(&room("r"), &visitor(user, device), sandbox.now_ms());
                    collectors[core].ended(poll);
                }
            }
        }
        // One node at a time dies, and is back, empty, once the others have had time to take its part over.
        if rng.random_bool(0.05) && sandbox.now_ms() > lost_at_ms + 20_000 {
            let dies = rng.random_range(0..sandbox.nodes.len());
            let id = sandbox.nodes[dies].0.clone();
            let clock = sandbox.stats.clock().clone();
            sandbox.nodes[dies].1 = Statsvr::new(id.clone(), settings, clock, false, None);
            sandbox.stats.goes(&id);
            sandbox.settle();
            if rng.random_bool(0.5) {
                sandbox.wait(7_000, &mut collectors);
            }
            sandbox.stats.comes(&id, sandbox.now_ms());
            lost_at_ms = sandbox.now_ms();
        }
        // Until all that was said has arrived, without time for anything to expire.
        sandbox.wait(1_250, &mut collectors);
        let users: std::collections::HashSet<u64> = parked.keys().map(|(user, _)| *user).collect();
        let expect = (users.len() as u64, parked.len() as u64);
        assert_eq!(sandbox.seen("r"), expect, "seed {seed}, step {step}");
    }
    for (_, (core, poll)) in parked {
        collectors[core].ended(poll);
    }
}

#[test]
fn counts_are_right_while_nodes_come_and_go() {
    (0..8).for_each(cluster_run);
}

#[test]
fn level_changes_without_a_jump() {
    let settings =
        StatsSettings { window: Duration::from_secs(5), names_per_room_max: 100, ..Default::default() };
    let sandbox = Sandbox::new(2, settings);
    let mut collectors = [sandbox.collector()];
    let users: Vec<Visitor> = (0..70_000)
        .map(|user| Visitor { user: UserHash(crate::identity::mix(user)), id: None, ..visitor(0, 1) })
        .collect();
    let mut levels = Vec::new();
    for second in 0..24 {
        let online = if second < 12 { &users[..] } else { &users[..4_000] };
        // Everybody polls every two seconds.
        for visitor in online.iter().skip(second % 2).step_by(2) {
            collectors[0].seen(&room("r"), visitor, None, sandbox.now_ms());
        }
        sandbox.hand.fetch_add(1_000, Ordering::Relaxed);
        sandbox.deliver(&mut collectors[0]);
        sandbox.settle();
        let (snapshot, _) = sandbox.stats.room(&room("r")).unwrap();
        if (2..12).contains(&second) {
            assert_eq!(snapshot.num_users, 70_000, "second {second}, {:?}", snapshot.layout);
            assert_eq!(snapshot.joins, 70_000, "second {second}");
        } else if second > 18 {
            assert_eq!(snapshot.num_users, 4_000, "second {second}, {:?}", snapshot.layout);
            assert_eq!((snapshot.joins, snapshot.leaves), (70_000, 66_000), "second {second}");
        }
        levels.push(snapshot.layout.level);
    }
    assert!(levels.contains(&1), "{levels:?}");
    assert_eq!(Nodes::live(&sandbox.stats.nodes()).len(), 2);
}
