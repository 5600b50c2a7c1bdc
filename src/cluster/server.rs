//! Offers the registry to other nodes.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use proto::{
    Malformed,
    internal::{self as wire, cluster_service_server as generated},
    log::needed,
};
use room::{ErrorCode, Problem, RoomKey};
use sendsvr::{
    Caller, SendService,
    grpc::{problem_in, status_of},
};
use tokio::{sync::mpsc, time};
use tonic::{Request, Response, Status, Streaming};

use super::{Node, NodeRole, Registry, registry::Lease};
use crate::{
    canary,
    placement::{Placements, SectService as _},
};

/// A node that says nothing for so long has left: it speaks once a second.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Changes within this are told together.
const TOGETHER: Duration = Duration::from_millis(50);

/// Largest state: 100,000 rooms that live elsewhere than the table says, and 10,000 nodes.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The gRPC face of who there is and where rooms live.
pub struct ClusterServer {
    registry: Arc<Registry>,
    placements: Arc<Placements>,
    sender: Arc<dyn SendService>,
}

impl ClusterServer {
    /// A tonic service, for `tonic::transport::Server::add_service`. Probes go to `sender`.
    #[must_use]
    pub fn service(
        registry: Arc<Registry>,
        placements: Arc<Placements>,
        sender: Arc<dyn SendService>,
    ) -> generated::ClusterServiceServer<Self> {
        generated::ClusterServiceServer::new(Self { registry, placements, sender })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn refuse(error: Malformed) -> Status {
    status_of(&Problem::new(ErrorCode::Internal, error.to_string()))
}

fn node(report: wire::NodeReport) -> Result<Node, Malformed> {
    wire::ClusterNode {
        role: report.role,
        name: report.name,
        sect: report.sect,
        address: report.address,
        is_draining: report.is_draining,
    }
    .try_into()
}

/// Refuses a recvsvr that may not serve its sect.
fn admit(registry: &Registry, placements: &Placements, node: &Node) -> Result<(), Status> {
    if node.role != NodeRole::Recvsvr {
        return Ok(());
    }
    let table = Arc::clone(&placements.routing().table);
    table.admit(&node.sect, node.address.as_str()).map_err(|refused| {
        let why = refused.to_string();
        registry.refused(node, &why);
        Status::failed_precondition(why)
    })
}

/// The cluster as it is now.
fn state(registry: &Registry, placements: &Placements, version: u64) -> wire::ClusterState {
    let routing = placements.routing();
    let moved = routing.moved.iter().map(|(room, placed)| wire::MovedRoom {
        room: Some(room.into()),
        sect: placed.sect.as_str().to_owned(),
        by: wire::PlacedBy::from(placed.by).into(),
        since_ms: placed.since_ms,
    });
    wire::ClusterState {
        version,
        sects_toml: placements.table_text().to_string(),
        moved: moved.collect(),
        nodes: registry.nodes().iter().map(Into::into).collect(),
        knows_all: registry.knows_all(),
    }
}

#[tonic::async_trait]
impl generated::ClusterService for ClusterServer {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<wire::ClusterState, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<wire::NodeReport>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let mut reports = request.into_inner();
        let first = reports.message().await?.ok_or_else(|| refuse(Malformed("name")))?;
        let first = node(first).map_err(refuse)?;
        admit(&self.registry, &self.placements, &first)?;
        let lease = self.registry.join(first).map_err(|full| Status::resource_exhausted(full.to_string()))?;
        let (states, outgoing) = mpsc::channel(1);
        tokio::spawn(live(lease, reports, Arc::clone(&self.registry), Arc::clone(&self.placements), states));
        let outgoing = stream::unfold(outgoing, async |mut outgoing| {
            outgoing.recv().await.map(|state| (state, outgoing))
        });
        Ok(Response::new(outgoing.boxed()))
    }

    async fn set_sect(
        &self,
        request: Request<wire::SetSectRequest>,
    ) -> Result<Response<wire::SectPlaced>, Status> {
        let request = request.into_inner();
        let caller: Caller = needed(request.caller, "caller").map_err(refuse)?;
        let room: RoomKey = needed(request.room, "room").map_err(refuse)?;
        let placed = self.placements.set_sect(&caller, &room, request.sect.as_deref()).await;
        placed
            .map(|placed| Response::new(super::remote_sects::placed_to_wire(&placed)))
            .map_err(|problem| status_of(&problem))
    }

    async fn probe(
        &self,
        request: Request<wire::ProbeRequest>,
    ) -> Result<Response<wire::ProbeAnswer>, Status> {
        let room: RoomKey = needed(request.into_inner().room, "room").map_err(refuse)?;
        if !room.is_canary() {
            return Err(refuse(Malformed("room")));
        }
        let seq = canary::send(&*self.sender, &room).await.map_err(|problem| status_of(&problem))?;
        Ok(Response::new(wire::ProbeAnswer { seq: seq.0 }))
    }
}

type States = mpsc::Sender<Result<wire::ClusterState, Status>>;

/// A node's stream, until the node or its reader goes.
async fn live(
    lease: Lease,
    mut reports: Streaming<wire::NodeReport>,
    registry: Arc<Registry>,
    placements: Arc<Placements>,
    states: States,
) {
    let hear = async {
        while let Ok(Ok(Some(report))) = time::timeout(SILENCE_MAX, reports.message()).await {
            match node(report) {
                // The table may have changed since it joined.
                Ok(node) => match admit(&registry, &placements, &node) {
                    Ok(()) => lease.renew(node),
                    Err(refused) => return Some(refused),
                },
                Err(malformed) => return Some(refuse(malformed)),
            }
        }
        None
    };
    let tell = async {
        let (mut nodes, mut rooms) = (registry.changes(), placements.watch());
        let mut knowing = Box::pin(registry.until_knows_all());
        let mut knows_all = registry.knows_all();
        for version in 1.. {
            nodes.mark_unchanged();
            rooms.mark_unchanged();
            if states.send(Ok(state(&registry, &placements, version))).await.is_err() {
                return None;
            }
            tokio::select! {
                Ok(()) = nodes.changed() => {}
                Ok(()) = rooms.changed() => {}
                () = &mut knowing, if !knows_all => knows_all = true,
                else => return None,
            }
            time::sleep(TOGETHER).await;
        }
        None
    };
    let end: Option<Status> = tokio::select! {
        end = hear => end,
        end = tell => end,
    };
    if let Some(status) = end {
        let _ = states.try_send(Err(status));
    }
}

/// What a status of the cluster service means to a client.
pub(super) fn refusal(status: &Status) -> Problem {
    problem_in(status).unwrap_or_else(|| {
        Problem::new(ErrorCode::LogUnavailable, "the sendsvr can't be reached now: try again")
    })
}
