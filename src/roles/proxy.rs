//! `bigroom proxy`: the front door of a cluster. It serves clients as `serve` does, and follows their rooms on recvsvrs, each
//! room once, however many clients it has.

use std::sync::Arc;

use async_trait::async_trait;
use recvsvr::Rooms;
use room::{NoticeSink, RoomKey, Seq};
use rpc::{Address, Peer};
use sendsvr::{SendService, grpc::RemoteSendsvr};
use store::{
    RoomLog,
    grpc::{RemoteLog, RemoteLogSettings, Upstreams},
};
use tokio_util::sync::CancellationToken;

use crate::{
    canary::Probe,
    cluster::{Membership, MembershipSettings, Node, NodeRole, RemoteSects, Routes},
    config::Config,
    front_node::{Backend, FrontNode, Secrets, Sockets, recv_options, send_limits, worker_count},
    metrics,
    placement::SectService,
    pressure::Relief,
    proxy::{Front, FrontParts, Workers},
    reload::{RELOAD_INTERVAL, Reloader},
    shutdown::Shutdown,
    statistics::{Audience, DEADLINE, Statistics},
};

/// Runs a proxy until it is told to stop.
///
/// # Errors
/// What keeps it from starting: a key or certificate file, an address.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let handle = metrics::install()?;
    recvsvr::describe_metrics();
    rpc::describe_metrics();
    store::grpc::describe_metrics();
    let secrets = Secrets::read(config)?;
    let security = config.cluster.tls.security()?;
    let workers = worker_count(config);
    let sockets = Sockets::bind(config, workers)?;
    let statistics = Statistics::of_cluster(config)?;
    // Other nodes are asked on this runtime, whose one thread also looks after the node.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().thread_name("background").build()?;
    let shutdown = Shutdown::on_signals(config.drain.grace)?;

    // Two proxies may have the same address, on two machines: the name must be nobody else's.
    let own = format!("proxy-{:016x}", rand::random::<u64>());
    let stop = CancellationToken::new();
    let (log, membership, routes, sender, sects) = runtime.block_on(async {
        let sendsvr = Peer::new(&Address::new(config.cluster.sendsvr.as_str()), &security)?;
        let node = Node {
            name: own.as_str().into(),
            role: NodeRole::Proxy,
            sect: "".into(),
            address: Address::new(&sockets.public[0].local_addr()?.to_string()),
            is_draining: false,
        };
        let membership = Membership::new(MembershipSettings { node }, Arc::clone(&sendsvr));
        let routes = Routes::new(&own, Arc::clone(statistics.stats()));
        let settings = RemoteLogSettings { node: own.as_str().into(), deadline: DEADLINE };
        let log = RemoteLog::new(settings, Arc::clone(&routes) as Arc<dyn Upstreams>);
        let sender = Arc::new(RemoteSendsvr::new(Arc::clone(&sendsvr), SEND_DEADLINE));
        let sects = Arc::new(RemoteSects::new(Arc::clone(&membership), sendsvr));
        anyhow::Ok((log, membership, routes, sender, sects))
    })?;
    let audience = Arc::new(Audience(Arc::clone(statistics.stats())));
    let canary = RoomKey::canary_of(&own);
    let options = recv_options(config, workers, canary.clone(), Arc::clone(&sects) as Arc<dyn SectService>);
    let rooms = Rooms::new(Arc::clone(&log) as Arc<dyn RoomLog>, options, audience);
    log.subscribe(Arc::clone(&rooms) as Arc<dyn NoticeSink>);
    let parts = FrontParts {
        log: Arc::clone(&log) as Arc<dyn RoomLog>,
        rooms: Arc::clone(&rooms),
        stats: Arc::clone(statistics.stats()),
        workers,
        sender: sender as Arc<dyn SendService>,
        send_limits: send_limits(config),
        sects: Arc::clone(&sects) as Arc<dyn SectService>,
        verifier: secrets.verifier,
    };
    let front = Front::new(parts, config);
    let _reloader = Reloader::start(secrets.watched, RELOAD_INTERVAL);
    let workers = Workers::start(&front, secrets.tls.as_ref(), sockets.public)?;
    let behind = Behind { log: Arc::clone(&log), membership, sects, rooms: Arc::clone(&rooms), canary, stop };
    let behind = Arc::new(behind);
    let relief = Relief::new(Arc::clone(&rooms), config.pressure.enabled);
    let node = FrontNode {
        front,
        rooms,
        relief,
        statistics,
        backend: Arc::clone(&behind) as Arc<dyn Backend>,
        shutdown,
        handle,
    };
    runtime.block_on(async {
        let (membership, stop) = (Arc::clone(&behind.membership), behind.stop.clone());
        tokio::spawn(async move {
            tokio::join!(
                log.run(&stop),
                Arc::clone(&membership).run(&stop),
                routes.run(&membership, &security, &stop)
            );
        });
        node.live(sockets.ops, workers).await
    })
}

/// How long a send may take: as long as the sendsvr waits for its log, and what the way takes.
const SEND_DEADLINE: std::time::Duration = std::time::Duration::from_secs(16);

/// The nodes behind a proxy.
struct Behind {
    log: Arc<RemoteLog>,
    membership: Arc<Membership>,
    sects: Arc<RemoteSects>,
    rooms: Arc<Rooms>,
    canary: RoomKey,
    stop: CancellationToken,
}

/// The canary's way through the cluster: to the sendsvr, into the log, by a recvsvr to this proxy, and to every worker.
#[async_trait]
impl Probe for Behind {
    async fn send(&self) -> anyhow::Result<Seq> {
        Ok(self.sects.probe(&self.canary).await?)
    }

    async fn poll_until(&self, seq: Seq) -> anyhow::Result<()> {
        self.rooms.canary_reached(seq).await;
        Ok(())
    }
}

#[async_trait]
impl Backend for Behind {
    fn health(&self) -> Result<(), String> {
        self.log.health().map_err(|error| error.to_string())
    }

    fn drain(&self) {
        self.membership.drain();
    }

    /// Those under way are requests of clients, whom the workers wait for.
    async fn finish_sends(&self) {}

    async fn close(&self) {
        self.stop.cancel();
    }
}
