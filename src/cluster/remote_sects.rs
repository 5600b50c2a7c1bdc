//! Where rooms live, for a node that hears of it from the sendsvr.

use std::sync::Arc;

use async_trait::async_trait;
use proto::internal::{self as wire, cluster_service_client::ClusterServiceClient};
use room::{ErrorCode, PlacedBy, Problem, RoomKey, Routing, Sect, SectName};
use rpc::{Idempotence, Peer, RetryBudget};
use sendsvr::Caller;
use tonic::Response;

use super::{Membership, server::refusal};
use crate::{
    placement::{SectNode, SectNodeState, SectPlaced, SectService},
    statistics::DEADLINE,
};

/// A [`SectService`] that asks the sendsvr.
pub struct RemoteSects {
    membership: Arc<Membership>,
    peers: [Arc<Peer>; 1],
    budget: RetryBudget,
    /// Until the sendsvr has told.
    unknown: Arc<Routing>,
}

impl RemoteSects {
    /// What `membership` hears of, and the sendsvr for changes.
    #[must_use]
    pub fn new(membership: Arc<Membership>, sendsvr: Arc<Peer>) -> Self {
        Self {
            membership,
            peers: [sendsvr],
            budget: RetryBudget::default(),
            unknown: Arc::new(Routing::single()),
        }
    }

    /// Puts a message into the room of this node's canary.
    ///
    /// # Errors
    /// As a send's.
    pub async fn probe(&self, room: &RoomKey) -> Result<room::Seq, Problem> {
        let request = wire::ProbeRequest { room: Some(room.into()) };
        let ask = |peer: &Peer, request| {
            let mut client = ClusterServiceClient::new(peer.channel());
            async move { client.probe(request).await }
        };
        let asked = rpc::call(&self.peers, &self.budget, DEADLINE, Idempotence::Once, request, ask);
        asked.await.map(|answer| room::Seq(answer.into_inner().seq)).map_err(|status| refusal(&status))
    }
}

pub(super) fn placed_to_wire(placed: &SectPlaced) -> wire::SectPlaced {
    wire::SectPlaced {
        sect: placed.sect.as_str().to_owned(),
        by: placed.by.map_or(wire::PlacedBy::Unspecified, Into::into).into(),
    }
}

#[async_trait]
impl SectService for RemoteSects {
    async fn set_sect(
        &self,
        caller: &Caller,
        room: &RoomKey,
        sect: Option<&str>,
    ) -> Result<SectPlaced, Problem> {
        let request = wire::SetSectRequest {
            caller: Some(caller.into()),
            room: Some(room.into()),
            sect: sect.map(str::to_owned),
        };
        let ask = |peer: &Peer, request| {
            let mut client = ClusterServiceClient::new(peer.channel());
            async move { client.set_sect(request).await }
        };
        let asked =
            rpc::call(&self.peers, &self.budget, DEADLINE, Idempotence::Idempotent, request, ask).await;
        let placed = asked.map(Response::into_inner).map_err(|status| refusal(&status))?;
        if placed.sect.is_empty() {
            return Err(Problem::new(ErrorCode::Internal, "the sendsvr gave no proper answer"));
        }
        Ok(SectPlaced { by: PlacedBy::try_from(placed.by()).ok(), sect: SectName::internal(&placed.sect) })
    }

    fn routing(&self) -> Arc<Routing> {
        let cluster = self.membership.cluster();
        Arc::clone(cluster.as_ref().map_or(&self.unknown, |cluster| &cluster.routing))
    }

    fn nodes_of(&self, sect: &Sect) -> Vec<SectNode> {
        let cluster = self.membership.cluster();
        let recvsvrs = cluster.iter().flat_map(|cluster| cluster.recvsvrs());
        let of_sect = recvsvrs.filter(|node| *node.sect == *sect.name.as_str());
        let present = of_sect.map(|node| SectNode {
            address: node.address.as_str().into(),
            state: if node.is_draining { SectNodeState::Draining } else { SectNodeState::Up },
        });
        SectNode::of(sect, present)
    }
}
