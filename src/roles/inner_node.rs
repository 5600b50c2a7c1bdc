//! What nodes have in common that serve other nodes, not clients.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use rpc::{Address, Security};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::{info, warn};

use crate::{
    config::Config,
    front_node::bind_ops,
    ops::{self, Readiness, Refresh},
};

/// How often the health that other nodes may ask for is brought up to date.
const HEALTH_EVERY: Duration = Duration::from_millis(500);

/// The sockets of a node that serves others.
pub(super) struct InnerSockets {
    pub(super) listen: StdListener,
    pub(super) ops: StdListener,
    /// Where other nodes reach it.
    pub(super) address: Address,
}

impl InnerSockets {
    /// Binds them, and says what should be known at the start.
    ///
    /// # Errors
    /// Which address can't be had.
    pub(super) fn bind(config: &Config) -> anyhow::Result<Self> {
        let listen = StdListener::bind(config.cluster.listen)
            .with_context(|| format!("cluster.listen on {}", config.cluster.listen))?;
        listen.set_nonblocking(true)?;
        let ops = bind_ops(config)?;
        let bound = listen.local_addr()?;
        info!(cluster_listen = %bound, ops_listen = %ops.local_addr()?, version = env!("CARGO_PKG_VERSION"), "listening");
        if !is_private(config, bound) {
            warn!(%bound, "whoever reaches cluster.listen can read and write every room: keep it within the cluster, or set cluster.tls");
        }
        let address = match &config.cluster.advertise {
            Some(advertised) => Address::new(advertised.as_str()),
            None => Address::new(&bound.to_string()),
        };
        Ok(Self { listen, ops, address })
    }
}

fn is_private(config: &Config, bound: SocketAddr) -> bool {
    bound.ip().to_canonical().is_loopback() || config.cluster.tls.cert.is_some()
}

/// The runtime of a node that serves others: all cores.
pub(super) fn runtime(name: &str) -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name(name).build();
    runtime.context("start the runtime")
}

/// The gRPC server of a node, until it is cut.
pub(super) struct Serving {
    task: JoinHandle<()>,
    health: JoinHandle<()>,
}

impl Serving {
    /// Serves `services`, and the standard health service by `readiness`.
    ///
    /// # Errors
    /// If the certificates are no good.
    pub(super) async fn start(
        listen: StdListener,
        security: &Security,
        mut services: RoutesBuilder,
        readiness: &Arc<Readiness>,
        failed: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (reporter, health) = tonic_health::server::health_reporter();
        services.add_service(health);
        let mut server = security.server().context("cluster.tls")?;
        let serving = server
            .add_routes(services.routes())
            .serve_with_incoming(TcpListenerStream::new(TcpListener::from_std(listen)?));
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                warn!(%error, "other nodes can't be served any more");
                failed.cancel();
            }
        });
        let health = tokio::spawn(report_health(reporter, Arc::clone(readiness)));
        Ok(Self { task, health })
    }

    /// Ends it. Streams never end by themselves: they are cut, and their readers go elsewhere.
    pub(super) fn stop(self) {
        self.task.abort();
        self.health.abort();
    }
}

async fn report_health(reporter: HealthReporter, readiness: Arc<Readiness>) {
    let mut ticks = tokio::time::interval(HEALTH_EVERY);
    loop {
        ticks.tick().await;
        let status = if readiness.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
    }
}

/// Serves the ops listener until the handle is aborted.
pub(super) fn serve_ops(
    listener: StdListener,
    handle: PrometheusHandle,
    refresh: Refresh,
    readiness: &Arc<Readiness>,
) -> anyhow::Result<JoinHandle<()>> {
    let serving = ops::serve(
        TcpListener::from_std(listener)?,
        handle,
        refresh,
        Arc::clone(readiness),
        std::future::pending(),
    );
    Ok(tokio::spawn(async move {
        if let Err(error) = serving.await {
            warn!(%error, "the ops listener broke");
        }
    }))
}
