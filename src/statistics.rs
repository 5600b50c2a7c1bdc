//! How a process counts viewers: by itself, or with the statsvrs of its cluster.

mod role;

use std::{
    fmt::Write as _,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, ensure};
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

/// Appends the gauge of who is online to a Prometheus text. It has the sects of the table and no others: those of an earlier table go
/// with it, which a recorder's gauges would not.
pub(crate) fn append_online_users(text: &mut String, stats: &Stats, sects: &dyn SectService) {
    let by_sect = stats.sect_totals(&sects.routing());
    let head = format!("# HELP {ONLINE_USERS} Users who are online, by sect\n# TYPE {ONLINE_USERS} gauge\n");
    text.push_str(&head);
    for (sect, sum) in by_sect {
        writeln!(text, "{ONLINE_USERS}{{sect=\"{sect}\"}} {}", sum.num_users)
            .expect("writing to a String does not fail");
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use room::{PollPolicy, Problem, Promotions, Routing, Sect, SectKind, SectName, SectTable};
    use sendsvr::Caller;

    use super::*;
    use crate::placement::SectPlaced;

    struct Replaceable(Mutex<Arc<Routing>>);

    #[async_trait]
    impl SectService for Replaceable {
        async fn set_sect(&self, _: &Caller, _: &RoomKey, _: Option<&str>) -> Result<SectPlaced, Problem> {
            unreachable!("nobody moves rooms here")
        }

        fn routing(&self) -> Arc<Routing> {
            Arc::clone(&self.0.lock())
        }
    }

    fn routing(names: &[&str]) -> Arc<Routing> {
        let sect = |name: &&str| Sect {
            name: SectName::internal(name),
            kind: SectKind::Ordinary,
            weight: 1,
            policy: PollPolicy::default(),
            nodes: Vec::new(),
        };
        let sects = names.iter().map(sect).collect();
        let table = SectTable::new(sects, Vec::new(), Promotions::default()).unwrap();
        Arc::new(Routing { table: Arc::new(table), ..Routing::single() })
    }

    #[test]
    fn gauge_has_the_sects_of_the_table_and_no_others() {
        let settings = StatsSettings { window: Duration::from_secs(30), rooms_max: 9, names_per_room_max: 9 };
        let stats = Stats::new(Clock::system(), &settings, DEADLINE, []);
        let sects = Replaceable(Mutex::new(routing(&["a", "b"])));
        let samples = || {
            let mut text = String::new();
            append_online_users(&mut text, &stats, &sects);
            let declared = "# HELP bigroom_online_users Users who are online, by sect\n# TYPE bigroom_online_users gauge\n";
            text.strip_prefix(declared).expect("help and type").to_owned()
        };
        assert_eq!(samples(), "bigroom_online_users{sect=\"a\"} 0\nbigroom_online_users{sect=\"b\"} 0\n");
        *sects.0.lock() = routing(&["b"]);
        assert_eq!(samples(), "bigroom_online_users{sect=\"b\"} 0\n");
    }
}
