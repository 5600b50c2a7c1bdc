//! A statsvr of two is killed under a crowd: real processes, fed over gRPC by the collectors that bigroom's own workers use.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use room::{AppId, RoomId, RoomKey, UserId};
use rpc::Security;
use statsvr::{
    Clock, Collector, CollectorSettings, DeviceHash, NodeId, Parked, SeriesRange, Stats, StatsService,
    StatsSettings, Step, TICK_EVERY, UserHash, Visitor, grpc::RemoteStatsvr,
};
use tokio_util::sync::CancellationToken;

use crate::harness::{DEADLINE, Server, config, free_addr};

const VIEWERS: u64 = 50_000;
/// Those whom the count may be off by: one in a hundred.
const OFF_MAX: u64 = VIEWERS / 100;
/// Short, so that a restarted node is soon warm.
const WINDOW: Duration = Duration::from_secs(5);

fn room() -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::new("final").unwrap())
}

/// Workers with parked polls, as far as statistics see them.
struct Crowd {
    stats: Arc<Stats>,
    collectors: Vec<Collector>,
    parked: Vec<Parked>,
}

impl Crowd {
    fn new(stats: &Arc<Stats>) -> Self {
        let collector = || Collector::new(Arc::clone(stats), CollectorSettings::default());
        Self { stats: Arc::clone(stats), collectors: vec![collector(), collector()], parked: Vec::new() }
    }

    fn park(&mut self) {
        let now_ms = self.stats.clock().now_ms();
        for viewer in 0..VIEWERS {
            let id = UserId::new(&format!("u{viewer}")).unwrap();
            let user = UserHash::new(&AppId::default(), &id);
            let visitor =
                Visitor { user, device: DeviceHash::new(None), id: Some(id), role: room::Role::Viewer };
            let collector = &mut self.collectors[viewer as usize % 2];
            self.parked.push(collector.parked(&room(), visitor, None, viewer as u32, now_ms));
        }
    }

    fn num_users(&self) -> u64 {
        self.stats.room(&room()).map_or(0, |(snapshot, _)| snapshot.num_users)
    }

    /// Lets time pass as workers do, and looks at the count at every step.
    async fn watch(&mut self, time: Duration, mut look: impl FnMut(u64)) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let now_ms = self.stats.clock().now_ms();
            self.collectors.iter_mut().for_each(|collector| collector.tick(now_ms));
            look(self.num_users());
            tokio::time::sleep(TICK_EVERY).await;
        }
    }

    async fn watch_until(&mut self, count: u64) {
        let began = Instant::now();
        while self.num_users() != count {
            assert!(began.elapsed() < DEADLINE, "{} of {count} after {DEADLINE:?}", self.num_users());
            self.watch(TICK_EVERY, |_| {}).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_statsvr_of_two_changes_no_count() {
    let addresses = [(); 2].map(|()| free_addr().to_string());
    let nodes = addresses.join(",");
    let node = |own: &str| {
        let options = config("[online]\nwindow = \"5s\"\n").statsvr();
        Server::start(options.args(&["--listen", own, "--nodes", &nodes]))
    };
    let (first, _second) = tokio::join!(node(&addresses[0]), node(&addresses[1]));

    let settings = StatsSettings { window: WINDOW, ..StatsSettings::default() };
    let members = addresses.each_ref().map(|address| {
        let statsvr = RemoteStatsvr::new(address, &Security::none(), Duration::from_secs(2)).unwrap();
        let service: Arc<dyn StatsService> = Arc::new(statsvr);
        (NodeId::new(address), service)
    });
    let stats = Stats::new(Clock::system(), &settings, Duration::from_secs(2), members);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (stats, stop) = (Arc::clone(&stats), stop.clone());
        async move { stats.run(&stop).await }
    });

    let mut crowd = Crowd::new(&stats);
    crowd.park();
    crowd.watch_until(VIEWERS).await;
    let whole_ms = stats.clock().now_ms();
    // Both nodes have had all of it for a window.
    crowd.watch(WINDOW + Duration::from_secs(2), |_| {}).await;
    let unique = stats.standing(&room()).await.unwrap().unique_viewers;

    let off = |count: u64| {
        let off = count.abs_diff(VIEWERS);
        assert!(off <= OFF_MAX, "{count} of {VIEWERS}");
    };
    let stopped = first.kill9();
    crowd.watch(2 * WINDOW, off).await;
    let revived = stopped.start().await;
    crowd.watch(2 * WINDOW, off).await;
    // Two intervals of history have ended since the crowd was whole, and a second more for the last one's point.
    let from_ms = whole_ms.next_multiple_of(10_000);
    while stats.clock().now_ms() < from_ms + 21_000 {
        crowd.watch(TICK_EVERY, off).await;
    }
    assert_eq!(crowd.num_users(), VIEWERS);

    let standing = stats.standing(&room()).await.unwrap();
    assert!(standing.unique_viewers >= unique, "{} were {unique}", standing.unique_viewers);
    assert_eq!(standing.peak_num_users, VIEWERS);
    // Every interval since the crowd was whole has its point.
    let now_ms = stats.clock().now_ms();
    let to_ms = now_ms - now_ms % 10_000;
    let range = SeriesRange { from_ms, to_ms, step: Step::TenSeconds };
    let series = stats.series(&room(), range).await.unwrap();
    let starts: Vec<u64> = series.points.iter().map(|point| point.t_ms).collect();
    let whole: Vec<u64> = (from_ms..to_ms).step_by(10_000).collect();
    assert!(whole.len() >= 2 && starts == whole, "a hole: {series:?}");
    assert!(series.points.iter().all(|point| point.max.abs_diff(VIEWERS) <= OFF_MAX), "{series:?}");

    stop.cancel();
    running.await.unwrap();
    revived.stop().await;
}
