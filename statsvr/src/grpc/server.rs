//! Offers statistics to other nodes.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use proto::{
    Malformed,
    internal::{self as wire, stats_service_server as generated},
};
use room::RoomKey;
use tonic::{Request, Response, Status};

use super::convert::{needed, room_shares, series_range, status_of};
use crate::{Batch, Report, SplitId, StatsError, StatsService, UserHash, ViewersQuery};

/// Largest message: everything that a node with a million rooms has to say to a new subscriber.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// The gRPC face of a [`StatsService`].
pub struct StatsServer(Arc<dyn StatsService>);

impl StatsServer {
    /// A tonic service over `service`, for `tonic::transport::Server::add_service`.
    #[must_use]
    pub fn service(service: Arc<dyn StatsService>) -> generated::StatsServiceServer<Self> {
        generated::StatsServiceServer::new(Self(service))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn refuse(error: Malformed) -> Status {
    status_of(&error.into())
}

fn answer<T, U: From<T>>(outcome: Result<T, StatsError>) -> Answer<U> {
    outcome.map(|done| Response::new(done.into())).map_err(|error| status_of(&error))
}

fn done(outcome: Result<(), StatsError>) -> Answer<wire::StatsDone> {
    outcome.map(|()| Response::new(wire::StatsDone {})).map_err(|error| status_of(&error))
}

fn splits(splits: Vec<wire::SplitId>) -> Result<Vec<SplitId>, Status> {
    splits.into_iter().map(SplitId::try_from).collect::<Result<_, _>>().map_err(refuse)
}

#[tonic::async_trait]
impl generated::StatsService for StatsServer {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<wire::StatsUpdate, Status>> + Send>>;

    async fn ingest(&self, request: Request<wire::HeartbeatBatch>) -> Answer<wire::HeartbeatsTaken> {
        let batch = Batch::try_from(request.into_inner()).map_err(refuse)?;
        answer(self.0.ingest(batch).await)
    }

    async fn report(&self, request: Request<wire::StatsReport>) -> Answer<wire::StatsDone> {
        let report = Report::try_from(request.into_inner()).map_err(refuse)?;
        done(self.0.report(report).await)
    }

    async fn subscribe(&self, _: Request<wire::StatsSubscription>) -> Answer<Self::SubscribeStream> {
        let updates = self.0.subscribe().await.map_err(|error| status_of(&error))?;
        Ok(Response::new(Box::pin(updates.map(|update| Ok((&*update).into())))))
    }

    async fn viewers(&self, request: Request<wire::ViewersQuery>) -> Answer<wire::ViewersAnswer> {
        let query = ViewersQuery::try_from(request.into_inner()).map_err(refuse)?;
        let viewers = self.0.viewers(query).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(wire::ViewersAnswer { viewers: viewers.into_iter().map(Into::into).collect() }))
    }

    async fn viewer(&self, request: Request<wire::ViewerQuery>) -> Answer<wire::ViewerAnswer> {
        let query = request.into_inner();
        let room: RoomKey = needed(query.room, "room").map_err(refuse)?;
        let split = needed(query.split, "split").map_err(refuse)?;
        let id = room::UserId::internal(&query.id);
        let viewer = self.0.viewer(&room, split, UserHash(query.user), &id).await;
        let viewer = viewer.map_err(|error| status_of(&error))?;
        Ok(Response::new(wire::ViewerAnswer { viewer: viewer.map(Into::into) }))
    }

    async fn reach(&self, request: Request<wire::ReachQuery>) -> Answer<wire::ReachAnswer> {
        let query = request.into_inner();
        let room: RoomKey = needed(query.room, "room").map_err(refuse)?;
        // Room for the next one.
        let seq = query.seq.min(u64::MAX - 1);
        let reach =
            self.0.reach(&room, splits(query.splits)?, seq).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(wire::ReachAnswer { reach: reach.map(Into::into) }))
    }

    async fn series(&self, request: Request<wire::SeriesQuery>) -> Answer<wire::SeriesAnswer> {
        let query = request.into_inner();
        let range = series_range(&query).map_err(refuse)?;
        let room: RoomKey = needed(query.room, "room").map_err(refuse)?;
        answer(self.0.series(&room, range).await)
    }

    async fn standing(&self, request: Request<wire::StandingQuery>) -> Answer<wire::RoomStanding> {
        let room: RoomKey = needed(request.into_inner().room, "room").map_err(refuse)?;
        answer(self.0.standing(&room).await)
    }

    async fn adopt(&self, request: Request<wire::RoomShares>) -> Answer<wire::StatsDone> {
        let shares = room_shares(request.into_inner()).map_err(refuse)?;
        done(self.0.adopt(shares).await)
    }

    async fn opened(&self, request: Request<wire::RoomOpened>) -> Answer<wire::StatsDone> {
        let opened = request.into_inner();
        let room: RoomKey = needed(opened.room, "room").map_err(refuse)?;
        done(self.0.opened(&room, opened.at_ms).await)
    }
}
