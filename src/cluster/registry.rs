//! Who is there: kept by the sendsvr, by what the nodes say themselves.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use super::Node;

/// A registry that is younger than this does not know all nodes yet: each finds it within its longest wait between two attempts.
const KNOWS_ALL_AFTER: Duration = Duration::from_secs(5);

/// Nodes at the most (count). One more is refused.
const NODES_MAX: usize = 10_000;

/// The nodes that have joined, each for as long as its stream lives.
pub struct Registry {
    nodes: Mutex<BTreeMap<Box<str>, Joined>>,
    /// Nodes that may not join, and why: they try again and again, and the log has it once. At most [`NODES_MAX`].
    refused: Mutex<BTreeMap<Box<str>, Box<str>>>,
    leases: AtomicU64,
    began: Instant,
    changed: watch::Sender<u64>,
}

struct Joined {
    node: Node,
    /// The stream by which it joined: what an older one says no longer counts.
    lease: u64,
}

/// A node's place in the registry, for as long as it lives.
pub struct Lease {
    registry: Arc<Registry>,
    name: Box<str>,
    number: u64,
}

/// Why a node can't join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster has {NODES_MAX} nodes, as many as it may")]
pub struct RegistryFull;

impl Registry {
    /// Nobody has joined yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::default(),
            refused: Mutex::default(),
            leases: AtomicU64::new(1),
            began: Instant::now(),
            changed: watch::Sender::new(0),
        })
    }

    /// Takes a node in. If another stream speaks for it, that one no longer does: the node came back before its loss was noticed.
    ///
    /// # Errors
    /// [`RegistryFull`].
    pub fn join(self: &Arc<Self>, node: Node) -> Result<Lease, RegistryFull> {
        let number = self.leases.fetch_add(1, Ordering::Relaxed);
        let lease = Lease { registry: Arc::clone(self), name: node.name.clone(), number };
        let mut nodes = self.nodes.lock();
        if nodes.len() >= NODES_MAX && !nodes.contains_key(&node.name) {
            return Err(RegistryFull);
        }
        info!(node = %node.name, role = ?node.role, sect = %node.sect, address = %node.address, "node joined");
        self.refused.lock().remove(&node.name);
        nodes.insert(node.name.clone(), Joined { node, lease: number });
        drop(nodes);
        self.tell();
        Ok(lease)
    }

    /// A node may not join. It is logged once, until the reason is another one or the node has joined. Returns whether it was.
    pub fn refused(&self, node: &Node, why: &str) -> bool {
        let mut refused = self.refused.lock();
        if refused.get(&node.name).is_some_and(|said| **said == *why) {
            return false;
        }
        if refused.len() >= NODES_MAX {
            refused.clear();
        }
        refused.insert(node.name.clone(), why.into());
        drop(refused);
        warn!(node = %node.name, sect = %node.sect, address = %node.address, why, "node is refused");
        true
    }

    /// All nodes, by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        self.nodes.lock().values().map(|joined| joined.node.clone()).collect()
    }

    /// Whether every node that is there has had the time to join.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        self.began.elapsed() >= KNOWS_ALL_AFTER
    }

    /// Waits until [`Registry::knows_all`]. Cancel-safe.
    pub async fn until_knows_all(&self) {
        tokio::time::sleep_until(self.began + KNOWS_ALL_AFTER).await;
    }

    /// Counts up with every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}

impl Lease {
    /// What the node says of itself now.
    pub fn renew(&self, node: Node) {
        let mut nodes = self.registry.nodes.lock();
        let Some(joined) = nodes.get_mut(&self.name).filter(|joined| joined.lease == self.number) else {
            return;
        };
        let said = Node { name: self.name.clone(), ..node };
        if joined.node != said {
            joined.node = said;
            drop(nodes);
            self.registry.tell();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut nodes = self.registry.nodes.lock();
        if nodes.get(&self.name).is_some_and(|joined| joined.lease == self.number) {
            nodes.remove(&self.name);
            drop(nodes);
            warn!(node = %self.name, "node left");
            self.registry.tell();
        }
    }
}
