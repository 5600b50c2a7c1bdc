//! `bigroom serve`: all roles in one process, over RocksDB.

use std::sync::Arc;

use async_trait::async_trait;
use recvsvr::Rooms;
use room::{NoticeSink, RoomKey, Seq};
use sendsvr::{SendService, Sendsvr};
use store::{RocksStore, RoomLog, Store};
use tokio_util::sync::CancellationToken;

use crate::{
    canary::{self, Probe},
    config::Config,
    front_node::{
        Backend, FrontNode, Secrets, Sockets, recv_options, send_limits, store_options, worker_count,
    },
    metrics,
    placement::{Placements, SectService},
    pressure::Relief,
    proxy::{Front, FrontParts, Workers},
    reload::{RELOAD_INTERVAL, Reloader},
    shutdown::Shutdown,
    statistics::{Audience, Signals, Statistics},
};

/// Runs a node until it is told to stop.
///
/// # Errors
/// What keeps it from starting: a key or certificate file, the data directory, an address.
pub fn run(config: Config) -> anyhow::Result<()> {
    let handle = metrics::install()?;
    recvsvr::describe_metrics();

    // Everything that can be wrong is looked at before a socket opens.
    let secrets = Secrets::read(&config)?;
    let store = RocksStore::open(&config.data_dir, store_options(&config))?;
    let workers = worker_count(&config);
    let sockets = Sockets::bind(&config, workers)?;

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().thread_name("background").build()?;
    let statistics = Statistics::start(&config, Arc::clone(&store) as Arc<dyn Store>)?;
    let audience = Arc::new(Audience(Arc::clone(statistics.stats())));
    let signals: Arc<dyn NoticeSink> = Arc::new(Signals(Arc::clone(statistics.stats())));
    let limits = send_limits(&config);
    let sendsvr = Sendsvr::new(Arc::clone(&store) as Arc<dyn Store>, limits);
    let stop = CancellationToken::new();
    let placements = runtime.block_on(Placements::start(
        &config,
        Arc::clone(&store) as Arc<dyn Store>,
        Arc::clone(statistics.stats()),
        &stop,
    ))?;
    let options =
        recv_options(&config, workers, RoomKey::canary(), Arc::clone(&placements) as Arc<dyn SectService>);
    let rooms = Rooms::new(Arc::clone(&store) as Arc<dyn RoomLog>, options, audience);
    sendsvr.add_recvsvr(&(Arc::clone(&rooms) as Arc<dyn NoticeSink>));
    sendsvr.add_recvsvr(&signals);
    let parts = FrontParts {
        log: Arc::clone(&store) as Arc<dyn RoomLog>,
        rooms: Arc::clone(&rooms),
        stats: Arc::clone(statistics.stats()),
        workers,
        sender: Arc::clone(&sendsvr) as Arc<dyn SendService>,
        send_limits: limits,
        sects: Arc::clone(&placements) as Arc<dyn SectService>,
        verifier: secrets.verifier,
    };
    let front = Front::new(parts, &config);
    let shutdown = Shutdown::on_signals(config.drain.grace)?;
    let watched = secrets.watched.into_iter().chain(placements.watched(&config)).collect();
    let _reloader = Reloader::start(watched, RELOAD_INTERVAL);
    let workers = Workers::start(&front, secrets.tls.as_ref(), sockets.public)?;

    let backend = Arc::new(Own { store, sendsvr, rooms: Arc::clone(&rooms), stop });
    let relief = Relief::new(Arc::clone(&rooms), config.pressure.enabled);
    let node = FrontNode { front, rooms, relief, statistics, backend, shutdown, handle };
    runtime.block_on(node.live(sockets.ops, workers))
}

/// The log and the write path of this process.
struct Own {
    store: Arc<RocksStore>,
    sendsvr: Arc<Sendsvr>,
    rooms: Arc<Rooms>,
    /// Ends what looks after the places of rooms.
    stop: CancellationToken,
}

/// The canary's way through this process: sent as clients' messages are, into the log, by notice to the cache, and to
/// every worker.
#[async_trait]
impl Probe for Own {
    async fn send(&self) -> anyhow::Result<Seq> {
        Ok(canary::send(&*self.sendsvr, &RoomKey::canary()).await?)
    }

    async fn poll_until(&self, seq: Seq) -> anyhow::Result<()> {
        self.rooms.canary_reached(seq).await;
        Ok(())
    }
}

#[async_trait]
impl Backend for Own {
    fn health(&self) -> Result<(), String> {
        self.store.health().map_err(|error| error.to_string())
    }

    fn drain(&self) {}

    async fn finish_sends(&self) {
        self.sendsvr.drain().await;
    }

    async fn close(&self) {
        self.stop.cancel();
        self.store.close().await;
    }
}
