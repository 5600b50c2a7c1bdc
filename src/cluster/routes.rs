//! From a room to the nodes that have it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use room::{RoomKey, move_after, ranked_nodes};
use rpc::{Address, Peer, Security};
use statsvr::Stats;
use store::grpc::Upstreams;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Cluster, Membership, Node};

/// How often rooms are looked at that have grown or shrunk since they got their nodes.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The one node behind a recvsvr: the sendsvr.
pub struct OneUpstream {
    peer: Arc<Peer>,
    changes: watch::Sender<u64>,
}

impl OneUpstream {
    /// All rooms are there.
    #[must_use]
    pub fn new(peer: Arc<Peer>) -> Self {
        Self { peer, changes: watch::Sender::new(0) }
    }
}

impl Upstreams for OneUpstream {
    fn ranked(&self, _: &RoomKey) -> Vec<Arc<Peer>> {
        self.peers()
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        vec![Arc::clone(&self.peer)]
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn move_after(&self, _: &RoomKey) -> Duration {
        Duration::ZERO
    }
}

/// The recvsvrs behind a proxy: those of the room's sect.
///
/// In a sect a room is followed on few nodes while it is small, on all when it is big, and each proxy takes one of them. Nodes
/// that drain come behind all others of the sect, and nodes of other sects last: they can serve any room, and a sect without a
/// node would be a room without a voice. A node that the table does not admit to its sect serves nothing.
pub struct Routes {
    /// This proxy's name.
    own: Box<str>,
    stats: Arc<Stats>,
    known: ArcSwap<Known>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    cluster: Option<Arc<Cluster>>,
    peers: HashMap<Address, Arc<Peer>>,
    /// Addresses of recvsvrs by sect, sorted, those that drain apart.
    sects: HashMap<Box<str>, Vec<Address>>,
    draining: HashMap<Box<str>, Vec<Address>>,
}

impl AsRef<str> for NodeAddress<'_> {
    fn as_ref(&self) -> &str {
        self.0.as_str()
    }
}

struct NodeAddress<'a>(&'a Address);

impl Routes {
    /// Nobody is known yet; `stats` knows how many are in a room.
    #[must_use]
    pub fn new(own: &str, stats: Arc<Stats>) -> Arc<Self> {
        Arc::new(Self { own: own.into(), stats, known: ArcSwap::default(), changes: watch::Sender::new(0) })
    }

    /// Follows the cluster as `membership` hears of it, until `stop`. Connections are made on the runtime that this runs on.
    pub async fn run(&self, membership: &Membership, security: &Security, stop: &CancellationToken) {
        let mut cluster = membership.watch();
        let mut looks = time::interval(LOOK_AGAIN);
        loop {
            let now = cluster.borrow_and_update().clone();
            if let Some(now) = now {
                self.learn(now, security);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = cluster.changed() => if changed.is_err() { return },
                _ = looks.tick() => {}
            }
        }
    }

    fn learn(&self, cluster: Arc<Cluster>, security: &Security) {
        let before = self.known.load();
        let mut known = Known { cluster: Some(Arc::clone(&cluster)), ..Known::default() };
        for Node { sect, address, is_draining, .. } in cluster.recvsvrs() {
            let peer = match before.peers.get(address) {
                Some(peer) => Ok(Arc::clone(peer)),
                None => Peer::new(address, security),
            };
            match peer {
                Ok(peer) => drop(known.peers.insert(address.clone(), peer)),
                Err(error) => {
                    warn!(%address, %error, "node can't be used");
                    continue;
                }
            }
            let by_sect = if *is_draining { &mut known.draining } else { &mut known.sects };
            by_sect.entry(sect.clone()).or_default().push(address.clone());
        }
        for addresses in known.sects.values_mut().chain(known.draining.values_mut()) {
            addresses.sort_unstable();
        }
        self.known.store(Arc::new(known));
        self.changes.send_modify(|version| *version += 1);
    }

    /// Learns of a cluster without hearing of it.
    #[cfg(test)]
    pub(super) fn learn_for_tests(&self, cluster: Cluster) {
        self.learn(Arc::new(cluster), &Security::none());
    }
}

impl Upstreams for Routes {
    fn ranked(&self, room: &RoomKey) -> Vec<Arc<Peer>> {
        let known = self.known.load();
        let Some(cluster) = &known.cluster else { return Vec::new() };
        let users = self.stats.room(room).map_or(0, |(snapshot, _)| snapshot.num_users);
        let home = cluster.routing.sect_of(room);
        let mut sects: Vec<_> = cluster.routing.table.sects().iter().collect();
        // The room's own sect, then those of its kind, then the others.
        sects.sort_by_key(|sect| (sect.name != home.name, sect.kind != home.kind));
        let mut ranked = Vec::new();
        let mut add = |addresses: Option<&Vec<Address>>| {
            let Some(addresses) = addresses else { return };
            let nodes: Vec<_> = addresses.iter().map(NodeAddress).collect();
            let order = ranked_nodes(room, &self.own, &nodes, users);
            ranked.extend(order.into_iter().filter_map(|at| known.peers.get(&addresses[at]).cloned()));
        };
        for sect in sects {
            add(known.sects.get(sect.name.as_str()));
            add(known.draining.get(sect.name.as_str()));
        }
        ranked
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        self.known.load().peers.values().cloned().collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn move_after(&self, room: &RoomKey) -> Duration {
        move_after(room, &self.own, *self.changes.borrow())
    }
}
