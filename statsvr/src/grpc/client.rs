//! Asks another node for statistics.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, future::ready};
use proto::internal::{self as wire, stats_service_client::StatsServiceClient};
use room::{RoomKey, UserId};
use rpc::{Security, SecurityError, explain};
use tonic::{Request, Status, transport::Channel};
use tracing::warn;

use super::{
    convert::{error_of, needed, series_query, wire_shares},
    server::MESSAGE_BYTES_MAX,
};
use crate::{
    Batch, Report, RoomShare, Series, SeriesRange, SplitId, SplitReach, Standing, StatsError, StatsService,
    Taken, Update, Updates, UserHash, Viewer, ViewersQuery,
};

/// A [`StatsService`] on another node.
#[derive(Clone, Debug)]
pub struct RemoteStatsvr {
    client: StatsServiceClient<Channel>,
    security: Security,
    deadline: Duration,
}

impl RemoteStatsvr {
    /// The statsvr at an address; what is not answered by `deadline` counts as unavailable. It is connected to when it is first
    /// asked, and again when the connection broke. Must be called on the runtime that will use it.
    ///
    /// # Errors
    /// [`SecurityError`] if the address is none.
    pub fn new(address: &str, security: &Security, deadline: Duration) -> Result<Self, SecurityError> {
        let channel = security.endpoint(address)?.connect_lazy();
        let client = StatsServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { client, security: security.clone(), deadline })
    }

    fn client(&self) -> StatsServiceClient<Channel> {
        self.client.clone()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        // Travels along, so that the other node gives up too.
        request.set_timeout(self.deadline);
        request
    }
}

fn refused(status: Status) -> StatsError {
    error_of(&status)
}

#[async_trait]
impl StatsService for RemoteStatsvr {
    async fn ingest(&self, batch: Batch) -> Result<Taken, StatsError> {
        let request = self.request(wire::HeartbeatBatch::from(batch));
        let taken = self.client().ingest(request).await.map_err(refused)?;
        Ok(taken.into_inner().try_into()?)
    }

    async fn report(&self, report: Report) -> Result<(), StatsError> {
        let request = self.request(wire::StatsReport::from(report));
        self.client().report(request).await.map_err(refused)?;
        Ok(())
    }

    async fn subscribe(&self) -> Result<Updates, StatsError> {
        // No deadline: the stream goes on for as long as both nodes do. Whoever reads it knows how long silence may last.
        let subscribed = self.client().subscribe(wire::StatsSubscription {}).await;
        // Every node begins with this, so it is what tells of a connection that can't be made.
        let updates = subscribed.map_err(|status| match refused(status.clone()) {
            StatsError::Unavailable(_) => StatsError::Unavailable(explain(&status, &self.security)),
            error => error,
        })?;
        let updates = updates.into_inner().scan((), |(), update| {
            let update = update.map_err(refused).and_then(|update| Ok(Update::try_from(update)?));
            if let Err(error) = &update {
                warn!(%error, "statsvr's updates ended");
            }
            ready(update.ok().map(Arc::new))
        });
        Ok(Box::pin(updates))
    }

    async fn viewers(&self, query: ViewersQuery) -> Result<Vec<Viewer>, StatsError> {
        let request = self.request(wire::ViewersQuery::from(query));
        let viewers = self.client().viewers(request).await.map_err(refused)?.into_inner().viewers;
        Ok(viewers.into_iter().map(Viewer::try_from).collect::<Result<_, _>>()?)
    }

    async fn viewer(
        &self,
        room: &RoomKey,
        split: SplitId,
        user: UserHash,
        id: &UserId,
    ) -> Result<Option<Viewer>, StatsError> {
        let query = wire::ViewerQuery {
            room: Some(room.into()),
            split: Some(split.into()),
            user: user.0,
            id: id.as_str().to_owned(),
        };
        let answer = self.client().viewer(self.request(query)).await.map_err(refused)?;
        Ok(answer.into_inner().viewer.map(Viewer::try_from).transpose()?)
    }

    async fn reach(
        &self,
        room: &RoomKey,
        splits: Vec<SplitId>,
        seq: u64,
    ) -> Result<Option<SplitReach>, StatsError> {
        let splits = splits.into_iter().map(Into::into).collect();
        let query = wire::ReachQuery { room: Some(room.into()), splits, seq };
        let answer = self.client().reach(self.request(query)).await.map_err(refused)?;
        Ok(answer.into_inner().reach.map(SplitReach::try_from).transpose()?)
    }

    async fn series(&self, room: &RoomKey, range: SeriesRange) -> Result<Series, StatsError> {
        let request = self.request(series_query(room, range));
        let answer = self.client().series(request).await.map_err(refused)?;
        Ok(needed(Some(answer.into_inner()), "series")?)
    }

    async fn standing(&self, room: &RoomKey) -> Result<Standing, StatsError> {
        let request = self.request(wire::StandingQuery { room: Some(room.into()) });
        Ok(self.client().standing(request).await.map_err(refused)?.into_inner().into())
    }

    async fn adopt(&self, shares: Vec<RoomShare>) -> Result<(), StatsError> {
        let request = self.request(wire_shares(shares));
        self.client().adopt(request).await.map_err(refused)?;
        Ok(())
    }

    async fn opened(&self, room: &RoomKey, at_ms: u64) -> Result<(), StatsError> {
        let request = self.request(wire::RoomOpened { room: Some(room.into()), at_ms });
        self.client().opened(request).await.map_err(refused)?;
        Ok(())
    }
}
