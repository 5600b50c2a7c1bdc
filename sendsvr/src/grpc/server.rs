//! Offers the write path to other nodes.

use std::sync::Arc;

use proto::{
    internal::{self as wire, send_service_server as generated},
    log::needed,
};
use room::{List, Problem, RoomKey, Seq};
use tonic::{Request, Response, Status};

use super::{
    MESSAGE_BYTES_MAX,
    convert::{
        draft_result_from_wire, malformed, retraction_to_wire, sent_result_to_wire, status_of, view_to_wire,
    },
};
use crate::{Caller, Draft, SendService, SettingsPatch};

/// The gRPC face of a [`SendService`].
pub struct SendServer(Arc<dyn SendService>);

impl SendServer {
    /// A tonic service over `service`, for `tonic::transport::Server::add_service`.
    #[must_use]
    pub fn service(service: Arc<dyn SendService>) -> generated::SendServiceServer<Self> {
        generated::SendServiceServer::new(Self(service))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(outcome: Result<T, Problem>) -> Answer<T> {
    outcome.map(Response::new).map_err(|problem| status_of(&problem))
}

fn refuse(error: proto::Malformed) -> Status {
    status_of(&malformed(error))
}

#[tonic::async_trait]
impl generated::SendService for SendServer {
    async fn send(&self, request: Request<wire::SendRequest>) -> Answer<wire::Sent> {
        let request = request.into_inner();
        let caller: Caller = needed(request.caller, "caller").map_err(refuse)?;
        let room: RoomKey = needed(request.room, "room").map_err(refuse)?;
        let draft: Draft = needed(request.draft, "draft").map_err(refuse)?;
        answer(self.0.send(&caller, &room, draft).await.map(Into::into))
    }

    async fn send_batch(&self, request: Request<wire::SendBatchRequest>) -> Answer<wire::SendBatchAnswer> {
        let request = request.into_inner();
        let caller: Caller = needed(request.caller, "caller").map_err(refuse)?;
        let room: RoomKey = needed(request.room, "room").map_err(refuse)?;
        let drafts = request.drafts.into_iter().map(draft_result_from_wire).collect();
        let results = self.0.send_batch(&caller, &room, drafts).await;
        answer(Ok(wire::SendBatchAnswer { results: results.into_iter().map(sent_result_to_wire).collect() }))
    }

    async fn retract(&self, request: Request<wire::RetractRequest>) -> Answer<wire::Retraction> {
        let request = request.into_inner();
        let list = List::try_from(request.list()).map_err(refuse)?;
        let caller: Caller = needed(request.caller, "caller").map_err(refuse)?;
        let room: RoomKey = needed(request.room, "room").map_err(refuse)?;
        answer(self.0.retract(&caller, &room, list, Seq(request.seq)).await.map(retraction_to_wire))
    }

    async fn change_settings(&self, request: Request<wire::ChangeSettingsRequest>) -> Answer<wire::RoomView> {
        let request = request.into_inner();
        let caller: Caller = needed(request.caller, "caller").map_err(refuse)?;
        let room: RoomKey = needed(request.room, "room").map_err(refuse)?;
        let patch: SettingsPatch = needed(request.patch, "patch").map_err(refuse)?;
        answer(self.0.change_settings(&caller, &room, patch).await.map(|view| view_to_wire(&view)))
    }

    async fn view(&self, request: Request<wire::ViewRequest>) -> Answer<wire::RoomView> {
        let room: RoomKey = needed(request.into_inner().room, "room").map_err(refuse)?;
        answer(self.0.view(&room).await.map(|view| view_to_wire(&view)))
    }
}
