//! `bigroom sendsvr`: owns the log, takes what clients send, tells recvsvrs, and keeps who there is and which room lives where.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use room::{NoticeSink, RoomKey, Seq};
use sendsvr::{SendService, Sendsvr, grpc::SendServer};
use store::{
    RocksStore, RoomLog, Store,
    grpc::{Followers, LogServer},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{info, warn};

use super::inner_node::{InnerSockets, Serving, runtime, serve_ops};
use crate::{
    canary::{self, Probe},
    cluster::{ClusterServer, Registry},
    config::Config,
    front_node::{CLOSE_RESERVE, send_limits, store_options},
    metrics,
    ops::Readiness,
    placement::Placements,
    reload::{RELOAD_INTERVAL, Reloader},
    shutdown::Shutdown,
    statistics::{self, Signals, Statistics},
};

/// Runs a sendsvr until it is told to stop.
///
/// # Errors
/// What keeps it from starting: the data directory, an address, a certificate.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let handle = metrics::install()?;
    rpc::describe_metrics();
    store::grpc::describe_metrics();
    let security = config.cluster.tls.security()?;
    let store = RocksStore::open(&config.data_dir, store_options(config))?;
    let sockets = InnerSockets::bind(config)?;
    let statistics = Statistics::of_cluster(config)?;
    let runtime = runtime("sendsvr")?;
    let shutdown = Shutdown::on_signals(config.drain.grace)?;

    let sendsvr = Sendsvr::new(Arc::clone(&store) as Arc<dyn Store>, send_limits(config));
    let followers = Followers::new();
    let signals: Arc<dyn NoticeSink> = Arc::new(Signals(Arc::clone(statistics.stats())));
    sendsvr.add_recvsvr(&(Arc::clone(&followers) as Arc<dyn NoticeSink>));
    sendsvr.add_recvsvr(&signals);

    runtime.block_on(async {
        let stop = CancellationToken::new();
        let placements = Placements::start(
            config,
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(statistics.stats()),
            &stop,
        )
        .await?;
        let _reloader = Reloader::start(placements.watched(config).into_iter().collect(), RELOAD_INTERVAL);
        let registry = Registry::new();
        let health = Arc::clone(&store);
        let readiness = Arc::new(Readiness::new(move || health.health().map_err(|error| error.to_string())));
        let stats = Arc::clone(statistics.stats());
        let shown = Arc::clone(&placements);
        let refresh =
            Arc::new(move |text: &mut String| statistics::append_online_users(text, &stats, &*shown));
        let ops = serve_ops(sockets.ops, handle, refresh, &readiness)?;

        let mut services = Routes::builder();
        let sender = Arc::clone(&sendsvr) as Arc<dyn SendService>;
        services.add_service(SendServer::service(Arc::clone(&sender)));
        let log = Arc::clone(&store) as Arc<dyn RoomLog>;
        services.add_service(LogServer::service(log, Arc::clone(&followers)));
        services.add_service(ClusterServer::service(registry, placements, Arc::clone(&sender)));
        let serving =
            Serving::start(sockets.listen, &security, services, &readiness, shutdown.token()).await?;

        let probe = Own { sendsvr: Arc::clone(&sendsvr), store: Arc::clone(&store) };
        canary::run(&probe, &readiness, &shutdown.token()).await;

        let deadline = Instant::now() + shutdown.grace().saturating_sub(CLOSE_RESERVE);
        readiness.set_draining();
        if tokio::time::timeout_at(deadline.into(), sendsvr.drain()).await.is_err() {
            warn!("sends were still under way at the end of the grace");
        }
        serving.stop();
        stop.cancel();
        tokio::task::spawn_blocking(move || statistics.stop()).await.context("stop the statistics")?;
        if tokio::time::timeout(CLOSE_RESERVE, store.close()).await.is_err() {
            warn!("the log took too long to close: nothing is lost, the next start reads it again");
        }
        ops.abort();
        drop(signals);
        info!("stopped");
        Ok(())
    })
}

/// The canary's way through a sendsvr: into the log, and read back.
struct Own {
    sendsvr: Arc<Sendsvr>,
    store: Arc<RocksStore>,
}

#[async_trait]
impl Probe for Own {
    async fn send(&self) -> anyhow::Result<Seq> {
        Ok(canary::send(&*self.sendsvr, &RoomKey::canary()).await?)
    }

    async fn poll_until(&self, seq: Seq) -> anyhow::Result<()> {
        let before = store::Range::After(Seq(seq.0 - 1));
        let page = self.store.read(&RoomKey::canary(), room::List::Normal, before, 1).await?;
        anyhow::ensure!(page.messages.first().is_some_and(|m| m.seq == seq), "the message is not in the log");
        Ok(())
    }
}
