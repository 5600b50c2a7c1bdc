//! `bigroom recvsvr`: the memory of a sect's rooms, between the log and the proxies. It can be killed at any time: another one
//! has the same to say.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use recvsvr::{PassedOn, RecvOptions, Rooms};
use room::{NobodyCounts, NoticeSink, RoomKey, Seq};
use rpc::{Address, Peer};
use store::{
    RoomLog,
    grpc::{Followers, LogServer, RemoteLog, RemoteLogSettings},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{info, warn};

use super::inner_node::{InnerSockets, Serving, runtime, serve_ops};
use crate::{
    canary::{self, Probe},
    cluster::{Membership, MembershipSettings, Node, NodeRole, OneUpstream},
    config::Config,
    front_node::store_options,
    metrics,
    ops::Readiness,
    shutdown::Shutdown,
    statistics::DEADLINE,
};

/// How often a node that drains looks whether others have left it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs a recvsvr until it is told to stop.
///
/// # Errors
/// What keeps it from starting: an address, a certificate.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let handle = metrics::install()?;
    recvsvr::describe_metrics();
    rpc::describe_metrics();
    store::grpc::describe_metrics();
    let security = config.cluster.tls.security()?;
    let sockets = InnerSockets::bind(config)?;
    let runtime = runtime("recvsvr")?;
    let shutdown = Shutdown::on_signals(config.drain.grace)?;

    runtime.block_on(async {
        let sendsvr = Peer::new(&Address::new(config.cluster.sendsvr.as_str()), &security)?;
        let own = sockets.address.as_str();
        let settings = RemoteLogSettings { node: own.into(), deadline: DEADLINE };
        let log = RemoteLog::new(settings, Arc::new(OneUpstream::new(Arc::clone(&sendsvr))));
        // Without workers: nobody polls here.
        let own_room = RoomKey::canary_of(own);
        let options = RecvOptions {
            workers: 0,
            rooms_max: config.limits.rooms_cached_max,
            cache_bytes_max: usize::try_from(config.cache.bytes_max.0).unwrap_or(usize::MAX),
            store: store_options(config),
            ..RecvOptions::default()
        };
        let rooms = Rooms::new(Arc::clone(&log) as Arc<dyn RoomLog>, options, Arc::new(NobodyCounts));
        let followers = Followers::new();
        // In this order: whoever is told of something finds it in memory.
        log.subscribe(Arc::clone(&rooms) as Arc<dyn NoticeSink>);
        log.subscribe(Arc::clone(&followers) as Arc<dyn NoticeSink>);

        // A room in which nothing happens: whether the sendsvr is reached is known before a proxy asks for one.
        log.follow(&own_room);

        let node = Node {
            name: own.into(),
            role: NodeRole::Recvsvr,
            sect: config.cluster.sect.as_str().into(),
            address: sockets.address.clone(),
            is_draining: false,
        };
        let membership = Membership::new(MembershipSettings { node }, sendsvr);
        let health = Arc::clone(&log);
        let readiness = Arc::new(Readiness::new(move || health.health().map_err(|error| error.to_string())));
        let shown = Arc::clone(&rooms);
        let ops = serve_ops(
            sockets.ops,
            handle,
            Arc::new(move |_: &mut String| shown.refresh_metrics()),
            &readiness,
        )?;

        let mut services = Routes::builder();
        let passed_on = Arc::new(PassedOn::new(Arc::clone(&rooms)));
        services.add_service(LogServer::service(passed_on, Arc::clone(&followers)));
        let serving =
            Serving::start(sockets.listen, &security, services, &readiness, shutdown.token()).await?;

        let end = CancellationToken::new();
        let background = {
            let (log, membership, rooms) = (Arc::clone(&log), Arc::clone(&membership), Arc::clone(&rooms));
            let end = end.clone();
            tokio::spawn(async move {
                let upkeep = async {
                    tokio::select! { () = end.cancelled() => {}, () = rooms.maintain() => {} }
                };
                tokio::join!(log.run(&end), membership.run(&end), upkeep);
            })
        };
        canary::run(&Joined(Arc::clone(&membership)), &readiness, &shutdown.token()).await;

        // Proxies go elsewhere, each room in its time; then nobody is left to be told anything.
        readiness.set_draining();
        membership.drain();
        followers.drain();
        let deadline = Instant::now() + shutdown.grace();
        while followers.num_rooms() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if followers.num_rooms() > 0 {
            warn!(rooms = followers.num_rooms(), "rooms were still followed here at the end of the grace");
        }
        serving.stop();
        end.cancel();
        if background.await.is_err() {
            warn!("what follows rooms ended by a panic");
        }
        ops.abort();
        info!("stopped");
        Ok(())
    })
}

/// A recvsvr works when the sendsvr counts it as there.
struct Joined(Arc<Membership>);

#[async_trait]
impl Probe for Joined {
    async fn send(&self) -> anyhow::Result<Seq> {
        anyhow::ensure!(self.0.is_joined(), "the node is not in its cluster: is the sendsvr there?");
        Ok(Seq(0))
    }

    async fn poll_until(&self, _: Seq) -> anyhow::Result<()> {
        Ok(())
    }
}
