//! `bigroom serve`: all roles in one process, over RocksDB.

use std::{
    net::TcpListener as StdListener,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusHandle;
use recvsvr::{RecvOptions, Rooms};
use room::{MessageType, NoticeSink, Priority, Role, RoomKey, Seq, UserId};
use sendsvr::{Caller, CountedAs, Draft, SendLimits, SendService, Sendsvr};
use store::{RocksStore, RoomLog, Store, StoreOptions};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    auth::{KeyFile, Verifier},
    canary::{self, Probe},
    config::Config,
    metrics, nofile,
    ops::{self, Readiness},
    pressure::{self, Relief},
    proxy::{Front, FrontParts, Workers, bind},
    reload::{RELOAD_INTERVAL, Reloader},
    shutdown::Shutdown,
    statistics::{self, Audience, Signals, Statistics},
    tls,
};

/// A node that goes down says so to new requests for so long at the least: load balancers have to notice.
const DRAIN_NOTICE: Duration = Duration::from_secs(1);

/// What of the grace is kept for closing the store.
const CLOSE_RESERVE: Duration = Duration::from_secs(1);

/// Runs a node until it is told to stop.
///
/// # Errors
/// What keeps it from starting: a key or certificate file, the data directory, an address.
pub fn run(config: Config) -> anyhow::Result<()> {
    let handle = metrics::install()?;
    recvsvr::describe_metrics();
    let file_limit = nofile::raise();

    // Everything that can be wrong is looked at before a socket opens.
    let mut watched = Vec::new();
    let verifier = match &config.auth_key_file {
        None => None,
        Some(path) => {
            let (verifier, file) = Verifier::of_file(KeyFile::read(path)?);
            watched.push(file);
            Some(verifier)
        }
    };
    let tls = match config.tls.files() {
        None => None,
        Some((cert, key)) => {
            let (tls, files) = tls::server_config(cert, key)?;
            watched.push(files);
            Some(tls)
        }
    };
    let options = StoreOptions { retention: config.retention, idempotency_window: config.idempotency.window };
    let store = RocksStore::open(&config.data_dir, options)?;
    let workers = match config.http.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let listeners = bind(config.listen, workers).with_context(|| format!("listen on {}", config.listen))?;
    let ops = StdListener::bind(config.ops_listen)
        .with_context(|| format!("ops_listen on {}", config.ops_listen))?;
    ops.set_nonblocking(true)?;
    info!(listen = %listeners[0].local_addr()?, ops_listen = %ops.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
    for warning in config.warnings() {
        warn!("{warning}");
    }
    if let Some(shortfall) = nofile::shortfall(file_limit, config.limits.parked_polls_max) {
        warn!("{shortfall}");
    }

    let statistics = Statistics::start(&config, Arc::clone(&store) as Arc<dyn Store>)?;
    let audience = Arc::new(Audience(Arc::clone(statistics.stats())));
    let signals: Arc<dyn NoticeSink> = Arc::new(Signals(Arc::clone(statistics.stats())));
    let limits = send_limits(&config);
    let sendsvr = Sendsvr::new(Arc::clone(&store) as Arc<dyn Store>, limits);
    let rooms =
        Rooms::new(Arc::clone(&store) as Arc<dyn RoomLog>, recv_options(&config, workers, options), audience);
    sendsvr.add_recvsvr(&(Arc::clone(&rooms) as Arc<dyn NoticeSink>));
    sendsvr.add_recvsvr(&signals);
    let parts = FrontParts {
        log: Arc::clone(&store) as Arc<dyn RoomLog>,
        rooms: Arc::clone(&rooms),
        stats: Arc::clone(statistics.stats()),
        workers,
        sender: Arc::clone(&sendsvr) as Arc<dyn SendService>,
        send_limits: limits,
        verifier,
    };
    let front = Front::new(parts, &config);
    let shutdown = Shutdown::on_signals(config.drain.grace)?;
    let _reloader = Reloader::start(watched, RELOAD_INTERVAL);
    let workers = Workers::start(&front, tls.as_ref(), listeners)?;

    let relief = Relief::new(Arc::clone(&rooms), config.pressure.enabled);
    let node = Node { front, store, sendsvr, rooms, relief, statistics, _signals: signals, shutdown, handle };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().thread_name("background").build()?;
    runtime.block_on(node.live(ops, workers))
}

/// A node at work.
struct Node {
    front: Arc<Front>,
    store: Arc<RocksStore>,
    sendsvr: Arc<Sendsvr>,
    rooms: Arc<Rooms>,
    relief: Arc<Relief>,
    statistics: Statistics,
    /// Told for as long as it lives.
    _signals: Arc<dyn NoticeSink>,
    shutdown: Shutdown,
    handle: PrometheusHandle,
}

impl Node {
    /// Looks after the node until it is told to stop, then lets it down gently.
    async fn live(self, ops: StdListener, workers: Workers) -> anyhow::Result<()> {
        let health = Arc::clone(&self.store);
        let readiness = Arc::new(Readiness::new(move || health.health().map_err(|error| error.to_string())));
        let (end_ops, ops_ended) = tokio::sync::oneshot::channel::<()>();
        let (rooms, stats) = (Arc::clone(&self.rooms), Arc::clone(self.statistics.stats()));
        let serving = tokio::spawn(ops::serve_with(
            TcpListener::from_std(ops)?,
            self.handle.clone(),
            Arc::new(move || {
                rooms.refresh_metrics();
                statistics::refresh_metrics(&stats);
            }),
            Arc::clone(&readiness),
            pressure::routes(Arc::clone(&self.relief)),
            // Either way the listener ends: by word, or because the node is gone.
            async { drop(ops_ended.await) },
        ));
        let maintenance = tokio::spawn(Arc::clone(&self.rooms).maintain());
        let relief = tokio::spawn(Arc::clone(&self.relief).run());
        let probe = Canary { sender: Arc::clone(&self.sendsvr), rooms: Arc::clone(&self.rooms) };
        canary::run(&probe, &readiness, &self.shutdown.token()).await;

        let deadline = Instant::now() + self.shutdown.grace().saturating_sub(CLOSE_RESERVE);
        readiness.set_draining();
        self.front.drain();
        tokio::time::sleep(DRAIN_NOTICE.min(self.shutdown.grace() / 4)).await;
        // Twice: sends run on the workers, so they must be done before those stop; and what a worker still served
        // until it stopped may have begun more.
        Self::finish_sends(&self.sendsvr, deadline).await;
        // Joining the threads blocks; the ops listener goes on meanwhile.
        tokio::task::spawn_blocking(move || workers.stop(deadline)).await?;
        Self::finish_sends(&self.sendsvr, deadline).await;
        // After the workers: what they gathered last is counted.
        let statistics = self.statistics;
        tokio::task::spawn_blocking(move || statistics.stop()).await?;
        maintenance.abort();
        relief.abort();
        if tokio::time::timeout(CLOSE_RESERVE, self.store.close()).await.is_err() {
            warn!("the log took too long to close: nothing is lost, the next start reads it again");
        }
        let _ = end_ops.send(());
        if tokio::time::timeout(CLOSE_RESERVE / 4, serving).await.is_err() {
            warn!("a request on the ops listener was still under way");
        }
        info!("stopped");
        Ok(())
    }

    async fn finish_sends(sendsvr: &Sendsvr, deadline: Instant) {
        if tokio::time::timeout_at(deadline.into(), sendsvr.drain()).await.is_err() {
            warn!("sends were still under way at the end of the grace");
        }
    }
}

fn send_limits(config: &Config) -> SendLimits {
    SendLimits {
        message_bytes_max: config.limits.message_bytes_max,
        room_rate: config.limits.room_rate,
        user_rate: config.limits.user_rate,
        user_burst: config.limits.user_burst,
        priority_rate: config.limits.priority_rate,
        retention: config.retention,
    }
}

fn recv_options(config: &Config, workers: usize, store: StoreOptions) -> RecvOptions {
    RecvOptions {
        workers,
        rooms_max: config.limits.rooms_cached_max,
        parked_polls_max: config.limits.parked_polls_max,
        cache_bytes_max: usize::try_from(config.cache.bytes_max.0).unwrap_or(usize::MAX),
        policy: config.poll.policy(),
        store,
        ..RecvOptions::default()
    }
}

/// The canary's way through this process: sent as clients' messages are, into the log, by notice to the cache, and to
/// every worker.
struct Canary {
    sender: Arc<Sendsvr>,
    rooms: Arc<Rooms>,
}

#[async_trait]
impl Probe for Canary {
    async fn send(&self) -> anyhow::Result<Seq> {
        let user = UserId::internal("_canary");
        let caller = Caller {
            sender: user.clone(),
            role: Role::Ops,
            rights: Role::Ops,
            counted_as: CountedAs::User(user),
        };
        let draft = Draft {
            id: None,
            kind: MessageType::internal("room.canary"),
            priority: Priority::Normal,
            text: Some("tweet".to_owned()),
            data: None,
        };
        Ok(self.sender.send(&caller, &RoomKey::canary(), draft).await?.seq)
    }

    async fn poll_until(&self, seq: Seq) -> anyhow::Result<()> {
        self.rooms.canary_reached(seq).await;
        Ok(())
    }
}
