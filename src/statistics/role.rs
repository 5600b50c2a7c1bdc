//! `bigroom statsvr`: counts the viewers of other nodes.

use std::{net::TcpListener as StdListener, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use room::{ErrorCode, Problem, RoomKey, Routing};
use sendsvr::Caller;
use statsvr::{Clock, History, HistorySettings, NodeId, Stats, StatsService, Statsvr, grpc::StatsServer};
use store::{RocksStore, RoomLog as _, Store, StoreOptions};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tracing::{info, warn};

use super::{DEADLINE, append_online_users, remote, settings, work};
use crate::{
    canary::CANARY_INTERVAL,
    config::Config,
    metrics,
    ops::{self, Readiness},
    placement::{SectPlaced, SectService},
    shutdown::Shutdown,
};

/// How long the store may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a statsvr until it is told to stop.
///
/// # Errors
/// What keeps it from starting: the data directory, an address, a list of nodes without itself.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let handle = metrics::install()?;
    let security = config.cluster.tls.security()?;
    let listen = StdListener::bind(config.stats.listen)
        .with_context(|| format!("stats.listen on {}", config.stats.listen))?;
    listen.set_nonblocking(true)?;
    let ops = StdListener::bind(config.ops_listen)
        .with_context(|| format!("ops_listen on {}", config.ops_listen))?;
    ops.set_nonblocking(true)?;
    let address = listen.local_addr()?;
    let own = NodeId::new(&address.to_string());
    let is_alone = config.stats.nodes.is_empty();
    ensure!(
        is_alone || config.stats.nodes.iter().any(|node| node == own.as_str()),
        "stats.nodes: must have this node's own address {own} (stats.listen): the nodes find each other by it"
    );
    let store = RocksStore::open(&config.data_dir, StoreOptions::default())?;
    info!(stats_listen = %address, ops_listen = %ops.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
    if !address.ip().to_canonical().is_loopback() && !security.is_mutual() {
        warn!(%address, "whoever reaches stats.listen can tell and read who is online: keep it within the cluster, or set cluster.tls");
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("statsvr").build()?;
    let shutdown = Shutdown::on_signals(config.drain.grace)?;
    runtime.block_on(async {
        let clock = Clock::system();
        // Another number than any other node's: by it a node knows its own records among those that it is told of.
        let numbered = HistorySettings { node: own.number() };
        let history = History::new(Arc::clone(&store) as Arc<dyn Store>, numbered);
        let settings = settings(config);
        let statsvr = Statsvr::new(own.clone(), settings, clock.clone(), is_alone, Some(Arc::new(history)));
        let service: Arc<dyn StatsService> = Arc::new(Arc::clone(&statsvr));
        let others = config.stats.nodes.iter().filter(|node| *node != own.as_str());
        let mut members =
            others.map(|address| remote(address, &security)).collect::<anyhow::Result<Vec<_>>>()?;
        members.push((own.clone(), Arc::clone(&service)));
        let stats = Stats::new(clock, &settings, DEADLINE, members);

        let health = Arc::clone(&store);
        let readiness = Arc::new(Readiness::new(move || health.health().map_err(|error| error.to_string())));
        let stop = shutdown.token();
        let shown = Arc::clone(&stats);
        let one_sect = OneSect(Arc::new(Routing::single()));
        let ops = tokio::spawn(ops::serve(
            TcpListener::from_std(ops)?,
            handle,
            Arc::new(move |text: &mut String| append_online_users(text, &shown, &one_sect)),
            Arc::clone(&readiness),
            stop.clone().cancelled_owned(),
        ));
        let serving =
            security.server()?.add_service(StatsServer::service(service)).serve_with_incoming_shutdown(
                TcpListenerStream::new(TcpListener::from_std(listen)?),
                // Streams of updates never end by themselves: they are cut, and whoever reads them goes to the other copy.
                std::future::pending(),
            );
        tokio::select! {
            served = serving => served.context("serve other nodes")?,
            () = hear(&own, &stats, &readiness) => {}
            () = work(&stats, Some(&statsvr), &stop) => {}
        }
        readiness.set_draining();
        if tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await.is_err() {
            warn!("the store took too long to close: nothing is lost, the next start reads it again");
        }
        ops.abort();
        info!("stopped");
        Ok(())
    })
}

/// A statsvr counts rooms, and does not know where they live: its own metrics show all under one name.
struct OneSect(Arc<Routing>);

#[async_trait]
impl SectService for OneSect {
    async fn set_sect(&self, _: &Caller, _: &RoomKey, _: Option<&str>) -> Result<SectPlaced, Problem> {
        Err(Problem::new(ErrorCode::NotFound, "a statsvr moves no rooms: ask a proxy"))
    }

    fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.0)
    }
}

/// Looks once a second whether the node's own word comes to be known, as it must to those who ask.
async fn hear(own: &NodeId, stats: &Stats, readiness: &Readiness) {
    let mut ticks = tokio::time::interval(CANARY_INTERVAL);
    loop {
        ticks.tick().await;
        if stats.nodes().has(own) {
            readiness.canary_succeeded();
        } else {
            readiness.canary_failed("the node does not hear what it counts".to_owned());
        }
    }
}
