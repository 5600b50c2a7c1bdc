//! How a process counts viewers: by itself, or with the statsvrs of its cluster.

mod role;

use std::{
    collections::HashMap,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use metrics::gauge;
pub use role::run;
use room::{Change, List, Notice, NoticeSink, OnlineCounts, OnlineSource, RoomKey};
use rpc::Security;
use statsvr::{
    Clock, History, HistorySettings, NodeId, Signal, Stats, StatsService, StatsSettings, Statsvr,
    grpc::RemoteStatsvr,
};
use store::Store;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{config::Config, metrics::ONLINE_USERS, placement::SectService};

/// How long another node may take for an answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// The name of a statsvr within another role's process.
const WITHIN: &str = "within";

/// The statistics of a process, at work on a thread of their own until they are stopped.
pub struct Statistics {
    stats: Arc<Stats>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Statistics {
    /// Counts within this process, with its past in `store`; or asks the nodes of the configuration, if it names any.
    ///
    /// # Errors
    /// Why the thread could not be started, or an address not be used.
    pub fn start(config: &Config, store: Arc<dyn Store>) -> anyhow::Result<Self> {
        if !config.stats.nodes.is_empty() {
            return Self::of_cluster(config);
        }
        let settings = settings(config);
        let clock = Clock::system();
        let history = Arc::new(History::new(store, HistorySettings::default()));
        let statsvr = Statsvr::new(NodeId::new(WITHIN), settings, clock.clone(), true, Some(history));
        let service: Arc<dyn StatsService> = Arc::new(Arc::clone(&statsvr));
        let stats = Stats::new(clock, &settings, DEADLINE, [(NodeId::new(WITHIN), service)]);
        Self::work(runtime()?, stats, Some(statsvr))
    }

    /// Asks the statsvrs of the cluster.
    ///
    /// # Errors
    /// If the configuration names none, or an address that can't be used; why the thread could not be started.
    pub fn of_cluster(config: &Config) -> anyhow::Result<Self> {
        ensure!(
            !config.stats.nodes.is_empty(),
            "stats.nodes: must name the cluster's statsvrs: a node that is one of several can't count alone"
        );
        let runtime = runtime()?;
        let security = config.cluster.tls.security()?;
        let stats = {
            // Connections are made on the runtime that uses them.
            let _runtime = runtime.enter();
            let remote = |address| remote(address, &security);
            let nodes = config.stats.nodes.iter().map(remote).collect::<anyhow::Result<Vec<_>>>()?;
            Stats::new(Clock::system(), &settings(config), DEADLINE, nodes)
        };
        Self::work(runtime, stats, None)
    }

    fn work(runtime: Runtime, stats: Arc<Stats>, statsvr: Option<Arc<Statsvr>>) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let thread = {
            let (stats, stop) = (Arc::clone(&stats), stop.clone());
            thread::Builder::new()
                .name("statistics".into())
                .spawn(move || runtime.block_on(work(&stats, statsvr.as_ref(), &stop)))
                .context("start the statistics' thread")?
        };
        Ok(Self { stats, stop, thread })
    }

    /// The numbers, and the way to tell of who is here.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Ends counting, once what there is of the past is written. Blocks until then.
    pub fn stop(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            warn!("the statistics ended by a panic");
        }
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the statistics")
}

/// Does what statistics do, until `stop`.
async fn work(stats: &Arc<Stats>, statsvr: Option<&Arc<Statsvr>>, stop: &CancellationToken) {
    let counts = async {
        if let Some(statsvr) = statsvr {
            statsvr.run(stats, stop).await;
        }
    };
    tokio::join!(stats.run(stop), counts);
}

fn settings(config: &Config) -> StatsSettings {
    StatsSettings {
        window: config.online.window,
        rooms_max: config.stats.rooms_max,
        names_per_room_max: config.stats.names_per_room_max,
    }
}

/// The statsvr at an address.
fn remote(address: &str, security: &Security) -> anyhow::Result<(NodeId, Arc<dyn StatsService>)> {
    let statsvr =
        RemoteStatsvr::new(address, security, DEADLINE).with_context(|| format!("stats.nodes: {address}"))?;
    Ok((NodeId::new(address), Arc::new(statsvr)))
}

/// Brings the gauges of who is online up to date: call it before they are read.
pub(crate) fn refresh_metrics(stats: &Stats, sects: &dyn SectService) {
    let routing = sects.routing();
    let mut users: HashMap<&str, u64> =
        routing.table.sects().iter().map(|sect| (sect.name.as_str(), 0)).collect();
    stats.snapshots().for_each(|snapshot| {
        *users.entry(routing.sect_of(&snapshot.room).name.as_str()).or_default() += snapshot.num_users;
    });
    for (sect, users) in users {
        gauge!(ONLINE_USERS, "sect" => sect.to_owned()).set(users as f64);
    }
}

/// What recvsvrs go by: how many are in a room.
pub(crate) struct Audience(pub(crate) Arc<Stats>);

impl OnlineSource for Audience {
    fn online(&self, room: &RoomKey) -> Option<OnlineCounts> {
        let (snapshot, as_of_ms) = self.0.room(room)?;
        let (num_users, num_clients) = (snapshot.num_users, snapshot.num_clients);
        Some(OnlineCounts { num_users, num_clients, as_of_ms })
    }
}

/// Tells the statistics of priority messages, whose reach they measure.
pub(crate) struct Signals(pub(crate) Arc<Stats>);

impl NoticeSink for Signals {
    fn notice(&self, notice: &Notice) {
        let Change::Appended { list: List::Priority, messages, .. } = &notice.change else { return };
        if notice.room.is_canary() {
            return;
        }
        for message in messages {
            self.0.signal(&notice.room, Signal { seq: message.seq.0, sent_at_ms: message.sent_at_ms });
        }
    }
}
