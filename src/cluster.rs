//! How the nodes of a cluster find each other: who there is, and which room lives where.
//!
//! The sendsvr keeps that ([`Registry`], behind [`ClusterServer`]). Every other node joins it for as long as it lives
//! ([`Membership`]) and is told of every change; what it was told last holds while the sendsvr is away. A proxy finds the
//! recvsvrs of a room by it ([`Routes`]).

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod membership;
mod registry;
mod remote_sects;
mod routes;
mod server;

use std::sync::Arc;

pub use membership::{Membership, MembershipSettings};
use proto::internal as wire;
pub use registry::{Lease, Registry, RegistryFull};
pub use remote_sects::RemoteSects;
use room::Routing;
pub use routes::{OneUpstream, Routes};
use rpc::Address;
pub use server::ClusterServer;

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NodeRole {
    /// It serves clients.
    Proxy,
    /// It passes a sect's rooms on to proxies.
    Recvsvr,
}

/// A node of the cluster, as it says itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Node {
    /// Its name: no other has it.
    pub name: Box<str>,
    /// What it does.
    pub role: NodeRole,
    /// A recvsvr's sect.
    pub sect: Box<str>,
    /// Where other nodes reach it.
    pub address: Address,
    /// It is going down.
    pub is_draining: bool,
}

/// The cluster, as a node knows it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Which room lives in which sect.
    pub routing: Arc<Routing>,
    /// The sect table, as its file has it.
    pub text: Arc<str>,
    /// All nodes, by name.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// The recvsvrs that may serve the sect that they name: a table that came after a node may list others for it.
    pub fn recvsvrs(&self) -> impl Iterator<Item = &Node> {
        let table = &self.routing.table;
        let is_admitted = |node: &&Node| table.admit(&node.sect, node.address.as_str()).is_ok();
        self.nodes.iter().filter(|node| node.role == NodeRole::Recvsvr).filter(is_admitted)
    }
}

impl From<NodeRole> for wire::NodeRole {
    fn from(role: NodeRole) -> Self {
        match role {
            NodeRole::Proxy => Self::Proxy,
            NodeRole::Recvsvr => Self::Recvsvr,
        }
    }
}

impl TryFrom<wire::NodeRole> for NodeRole {
    type Error = proto::Malformed;

    fn try_from(role: wire::NodeRole) -> Result<Self, proto::Malformed> {
        match role {
            wire::NodeRole::Proxy => Ok(Self::Proxy),
            wire::NodeRole::Recvsvr => Ok(Self::Recvsvr),
            wire::NodeRole::Unspecified => Err(proto::Malformed("role")),
        }
    }
}

impl From<&Node> for wire::ClusterNode {
    fn from(node: &Node) -> Self {
        Self {
            name: node.name.to_string(),
            role: wire::NodeRole::from(node.role).into(),
            sect: node.sect.to_string(),
            address: node.address.to_string(),
            is_draining: node.is_draining,
        }
    }
}

impl TryFrom<wire::ClusterNode> for Node {
    type Error = proto::Malformed;

    fn try_from(node: wire::ClusterNode) -> Result<Self, proto::Malformed> {
        if node.name.is_empty() {
            return Err(proto::Malformed("name"));
        }
        Ok(Self {
            role: node.role().try_into()?,
            name: node.name.into(),
            sect: node.sect.into(),
            address: Address::new(&node.address),
            is_draining: node.is_draining,
        })
    }
}

#[cfg(test)]
mod tests;
