//! A node's part in the cluster: it says how it is, and hears what there is.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::stream;
use proto::{
    Malformed,
    internal::{self as wire, cluster_service_client::ClusterServiceClient},
    log::needed,
};
use rand::RngExt as _;
use room::{Placed, RoomKey, Routing, SectName, SectTable};
use rpc::Peer;
use tokio::{
    sync::watch,
    time::{self, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{info, warn};

use super::{Cluster, Node, server::MESSAGE_BYTES_MAX};
use crate::sects;

/// How often a node says how it is.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How long the sendsvr may take to open a stream.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// Waits between attempts to reach the sendsvr: doubled from the first to the last, then half to all of it at random.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct MembershipSettings {
    /// The node. Its draining is told by [`Membership::drain`].
    pub node: Node,
}

/// A node's place in the cluster, kept by [`Membership::run`].
pub struct Membership {
    settings: MembershipSettings,
    sendsvr: Arc<Peer>,
    cluster: watch::Sender<Option<Arc<Cluster>>>,
    is_draining: AtomicBool,
    is_joined: AtomicBool,
}

impl Membership {
    /// A node that has not joined yet, of the cluster of this sendsvr.
    #[must_use]
    pub fn new(settings: MembershipSettings, sendsvr: Arc<Peer>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            sendsvr,
            cluster: watch::Sender::new(None),
            is_draining: AtomicBool::new(false),
            is_joined: AtomicBool::new(false),
        })
    }

    /// The cluster as it was told last; `None` before that.
    #[must_use]
    pub fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.borrow().clone()
    }

    /// Hears of changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Cluster>>> {
        self.cluster.subscribe()
    }

    /// Whether the sendsvr counts this node as there.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_joined.load(Ordering::Relaxed)
    }

    /// From now on the node says that it goes down.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
    }

    /// Keeps the node's place until `stop`.
    pub async fn run(self: Arc<Self>, stop: &CancellationToken) {
        let mut attempts = 0u32;
        let mut said: Option<String> = None;
        let stay = async {
            loop {
                let ended = match self.join().await {
                    Ok(never) => match never {},
                    Err(ended) => ended,
                };
                let was_joined = self.is_joined.swap(false, Ordering::Relaxed);
                attempts = if was_joined { 0 } else { attempts.saturating_add(1) };
                let why = self.sendsvr.explain(&ended);
                if was_joined || said.as_ref() != Some(&why) {
                    warn!(sendsvr = %self.sendsvr.address(), code = ?ended.code(), why, "node is not in its cluster");
                    said = Some(why);
                }
                let longest = RETRY_AFTER.0.saturating_mul(1 << attempts.min(8)).min(RETRY_AFTER.1);
                let pause = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
                time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            never = stay => match never {},
        }
    }

    async fn join(self: &Arc<Self>) -> Result<Infallible, Status> {
        let mut client = ClusterServiceClient::new(self.sendsvr.channel())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let opened = timeout(OPEN_MAX, client.join(self.reports())).await;
        let late = |_| Status::deadline_exceeded("the sendsvr did not answer in time");
        let mut states = opened.map_err(late)??.into_inner();
        loop {
            let state = states.message().await?;
            let state = state.ok_or_else(|| Status::aborted("the sendsvr ended the stream"))?;
            let cluster = told(state, self.cluster().as_deref())
                .map_err(|malformed| Status::internal(malformed.to_string()))?;
            if !self.is_joined.swap(true, Ordering::Relaxed) {
                info!(sendsvr = %self.sendsvr.address(), nodes = cluster.nodes.len(), "node is in its cluster");
            }
            self.cluster.send_replace(Some(Arc::new(cluster)));
        }
    }

    /// What this node says, once a second.
    fn reports(self: &Arc<Self>) -> impl futures_util::Stream<Item = wire::NodeReport> + use<> {
        let mut ticks = time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        stream::unfold((Arc::clone(self), ticks), async |(membership, mut ticks)| {
            ticks.tick().await;
            let node = &membership.settings.node;
            let report = wire::NodeReport {
                name: node.name.to_string(),
                role: wire::NodeRole::from(node.role).into(),
                sect: node.sect.to_string(),
                address: node.address.to_string(),
                is_draining: membership.is_draining.load(Ordering::Relaxed),
            };
            Some((report, (membership, ticks)))
        })
    }
}

/// The cluster by a word of the sendsvr's, for a node that knows this much of it.
pub(super) fn told(state: wire::ClusterState, known: Option<&Cluster>) -> Result<Cluster, Malformed> {
    let table = match known {
        Some(known) if known.text.as_ref() == state.sects_toml => Arc::clone(&known.routing.table),
        _ => Arc::new(table(&state.sects_toml)?),
    };
    let moved = state.moved.into_iter().map(|moved| {
        let by = moved.by().try_into()?;
        let placed = Placed { sect: SectName::internal(&moved.sect), by, since_ms: moved.since_ms };
        Ok((needed(moved.room, "room")?, placed))
    });
    let moved = moved.collect::<Result<HashMap<RoomKey, Placed>, Malformed>>()?;
    let told = state.nodes.into_iter().map(Node::try_from).collect::<Result<Vec<_>, _>>()?;
    let mut nodes: BTreeMap<_, _> = BTreeMap::new();
    if let Some(known) = known.filter(|_| !state.knows_all) {
        // A sendsvr that has just started hears of its nodes one by one: those that are not back yet mostly are there.
        nodes.extend(known.nodes.iter().map(|node| (node.name.clone(), node.clone())));
    }
    nodes.extend(told.into_iter().map(|node| (node.name.clone(), node)));
    Ok(Cluster {
        routing: Arc::new(Routing { version: state.version, table, moved }),
        text: state.sects_toml.into(),
        nodes: nodes.into_values().collect(),
    })
}

/// The sect table by the text of its file.
fn table(text: &str) -> Result<SectTable, Malformed> {
    if text.is_empty() {
        return Ok(SectTable::single());
    }
    sects::parse(text, "sects").map_err(|error| {
        warn!(error, "the sendsvr's sect table is not understood");
        Malformed("sects_toml")
    })
}
