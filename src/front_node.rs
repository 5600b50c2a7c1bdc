//! A node that serves clients, alone or in front of others: what both need to start, to live and to stop.

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
use room::{PolicySource, PollPolicy, RoomKey};
use rustls::ServerConfig;
use sendsvr::SendLimits;
use store::StoreOptions;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    auth::{KeyFile, Verifier},
    canary::{self, Probe},
    config::{Config, PolicyName},
    nofile,
    ops::{self, Readiness},
    placement::SectService,
    pressure::{self, Relief},
    proxy::{Front, Workers, bind},
    reload::Watched,
    shutdown::Shutdown,
    statistics::{self, Statistics},
    tls,
};

/// A node that goes down says so to new requests for so long at the least: load balancers have to notice.
const DRAIN_NOTICE: Duration = Duration::from_secs(1);

/// What of the grace is kept for closing the log.
pub(crate) const CLOSE_RESERVE: Duration = Duration::from_secs(1);

/// Keys and certificates, read and checked.
pub(crate) struct Secrets {
    pub(crate) verifier: Option<Arc<Verifier>>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The files, to be read again when they change.
    pub(crate) watched: Vec<Watched>,
}

impl Secrets {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// Which of them is no good, and why.
    pub(crate) fn read(config: &Config) -> anyhow::Result<Self> {
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
        Ok(Self { verifier, tls, watched })
    }
}

/// The sockets of a node that serves clients.
pub(crate) struct Sockets {
    /// One a worker.
    pub(crate) public: Vec<StdListener>,
    pub(crate) ops: StdListener,
}

impl Sockets {
    /// Binds them, and says what should be known at the start.
    ///
    /// # Errors
    /// Which address can't be had.
    pub(crate) fn bind(config: &Config, workers: usize) -> anyhow::Result<Self> {
        let file_limit = nofile::raise();
        let public = bind(config.listen, workers).with_context(|| format!("listen on {}", config.listen))?;
        let ops = bind_ops(config)?;
        info!(listen = %public[0].local_addr()?, ops_listen = %ops.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
        for warning in config.warnings() {
            warn!("{warning}");
        }
        if let Some(shortfall) = nofile::shortfall(file_limit, config.limits.parked_polls_max) {
            warn!("{shortfall}");
        }
        Ok(Self { public, ops })
    }
}

/// Binds the ops listener.
///
/// # Errors
/// If the address can't be had.
pub(crate) fn bind_ops(config: &Config) -> anyhow::Result<StdListener> {
    let ops = StdListener::bind(config.ops_listen)
        .with_context(|| format!("ops_listen on {}", config.ops_listen))?;
    ops.set_nonblocking(true)?;
    Ok(ops)
}

/// How many threads serve clients.
pub(crate) fn worker_count(config: &Config) -> usize {
    match config.http.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

/// The limits that rooms have unless they are set otherwise.
pub(crate) fn send_limits(config: &Config) -> SendLimits {
    SendLimits {
        message_bytes_max: config.limits.message_bytes_max,
        room_rate: config.limits.room_rate,
        user_rate: config.limits.user_rate,
        user_burst: config.limits.user_burst,
        priority_rate: config.limits.priority_rate,
        retention: config.retention,
    }
}

/// What the log goes by.
pub(crate) fn store_options(config: &Config) -> StoreOptions {
    StoreOptions { retention: config.retention, idempotency_window: config.idempotency.window }
}

/// How the rooms in memory are bounded and polled.
pub(crate) fn recv_options(
    config: &Config,
    workers: usize,
    canary: RoomKey,
    sects: Arc<dyn SectService>,
) -> RecvOptions {
    let policy: Arc<dyn PolicySource> = match config.poll.policy {
        PolicyName::Off => Arc::new(PollPolicy::off()),
        PolicyName::Default => Arc::new(SectPolicies(sects)),
    };
    RecvOptions {
        workers,
        rooms_max: config.limits.rooms_cached_max,
        parked_polls_max: config.limits.parked_polls_max,
        cache_bytes_max: usize::try_from(config.cache.bytes_max.0).unwrap_or(usize::MAX),
        policy,
        wait: config.poll.wait,
        canary,
        store: store_options(config),
        ..RecvOptions::default()
    }
}

/// The policy of the sect that a room lives in.
struct SectPolicies(Arc<dyn SectService>);

impl PolicySource for SectPolicies {
    fn interval(&self, room: &RoomKey, users: u64) -> Duration {
        self.0.routing().sect_of(room).policy.interval(users)
    }
}

/// What is behind the front: the log in this process, or other nodes.
#[async_trait]
pub(crate) trait Backend: Probe + 'static {
    /// Whether it works, by its latest experience.
    fn health(&self) -> Result<(), String>;

    /// The node begins to go down.
    fn drain(&self);

    /// Waits until no send is under way.
    async fn finish_sends(&self);

    /// Finishes what is under way, and lets go of everything.
    async fn close(&self);
}

/// A node at work.
pub(crate) struct FrontNode {
    pub(crate) front: Arc<Front>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) relief: Arc<Relief>,
    pub(crate) statistics: Statistics,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) shutdown: Shutdown,
    pub(crate) handle: PrometheusHandle,
}

impl FrontNode {
    /// Looks after the node until it is told to stop, then lets it down gently.
    pub(crate) async fn live(self, ops: StdListener, workers: Workers) -> anyhow::Result<()> {
        let backend = Arc::clone(&self.backend);
        let readiness = Arc::new(Readiness::new(move || backend.health()));
        let (end_ops, ops_ended) = tokio::sync::oneshot::channel::<()>();
        let (rooms, stats) = (Arc::clone(&self.rooms), Arc::clone(self.statistics.stats()));
        let front = Arc::clone(&self.front);
        let serving = tokio::spawn(ops::serve_with(
            TcpListener::from_std(ops)?,
            self.handle.clone(),
            Arc::new(move |text: &mut String| {
                rooms.refresh_metrics();
                statistics::append_online_users(text, &stats, &*front.sects);
            }),
            Arc::clone(&readiness),
            pressure::routes(Arc::clone(&self.relief)),
            // Either way the listener ends: by word, or because the node is gone.
            async { drop(ops_ended.await) },
        ));
        let maintenance = tokio::spawn(Arc::clone(&self.rooms).maintain());
        let relief = tokio::spawn(Arc::clone(&self.relief).run());
        canary::run(&*self.backend, &readiness, &self.shutdown.token()).await;

        let deadline = Instant::now() + self.shutdown.grace().saturating_sub(CLOSE_RESERVE);
        readiness.set_draining();
        self.backend.drain();
        self.front.drain();
        tokio::time::sleep(DRAIN_NOTICE.min(self.shutdown.grace() / 4)).await;
        // Twice: sends run on the workers, so they must be done before those stop; and what a worker still served
        // until it stopped may have begun more.
        self.finish_sends(deadline).await;
        // Joining the threads blocks; the ops listener goes on meanwhile.
        tokio::task::spawn_blocking(move || workers.stop(deadline)).await?;
        self.finish_sends(deadline).await;
        // After the workers: what they gathered last is counted.
        let Self { statistics, backend, .. } = self;
        tokio::task::spawn_blocking(move || statistics.stop()).await?;
        maintenance.abort();
        relief.abort();
        if tokio::time::timeout(CLOSE_RESERVE, backend.close()).await.is_err() {
            warn!("the log took too long to close: nothing is lost, the next start reads it again");
        }
        let _ = end_ops.send(());
        if tokio::time::timeout(CLOSE_RESERVE / 4, serving).await.is_err() {
            warn!("a request on the ops listener was still under way");
        }
        info!("stopped");
        Ok(())
    }

    async fn finish_sends(&self, deadline: Instant) {
        if tokio::time::timeout_at(deadline.into(), self.backend.finish_sends()).await.is_err() {
            warn!("sends were still under way at the end of the grace");
        }
    }
}
