//! Asks another node for the write path.

use std::{fmt::Display, time::Duration};

use async_trait::async_trait;
use proto::internal::{self as wire, send_service_client::SendServiceClient};
use room::{ErrorCode, List, Problem, RoomKey, Seq};
use store::{Retraction, RoomView};
use tonic::{Code, Request, Status, transport::Channel};
use tracing::warn;

use super::convert::{
    draft_result_to_wire, malformed, problem_in, retraction_from_wire, sent_result_from_wire, view_from_wire,
};
use crate::{Caller, Draft, SendService, Sent, SettingsPatch};

/// A [`SendService`] on another node.
#[derive(Clone, Debug)]
pub struct RemoteSendsvr {
    pub(super) client: SendServiceClient<Channel>,
    pub(super) deadline: Duration,
}

impl RemoteSendsvr {
    /// The write path behind `channel`; a call that is not answered by `deadline` is refused as
    /// `log_unavailable`. What it asked for may be done all the same: a repeat with the same id finds out.
    #[must_use]
    pub fn new(channel: Channel, deadline: Duration) -> Self {
        Self { client: SendServiceClient::new(channel), deadline }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        // Travels along, so that the other node gives up too.
        request.set_timeout(self.deadline);
        request
    }
}

/// The refusal in `status`, or what a failure of the call itself means to the client.
fn refusal(status: &Status) -> Problem {
    if let Some(problem) = problem_in(status) {
        return problem;
    }
    warn!(code = ?status.code(), message = status.message(), "sendsvr did not answer");
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => Problem::new(
            ErrorCode::LogUnavailable,
            "the message log can't be reached now: try again with the same id, which finds out",
        ),
        _ => fault(status.message()),
    }
}

fn fault(cause: impl Display) -> Problem {
    warn!(%cause, "sendsvr gave no proper answer");
    Problem::new(ErrorCode::Internal, "the server has a fault: its log says more")
}

#[async_trait]
impl SendService for RemoteSendsvr {
    async fn send(&self, caller: &Caller, room: &RoomKey, draft: Draft) -> Result<Sent, Problem> {
        let request = wire::SendRequest {
            caller: Some(caller.into()),
            room: Some(room.into()),
            draft: Some(draft.into()),
        };
        let sent =
            self.client.clone().send(self.request(request)).await.map_err(|status| refusal(&status))?;
        sent.into_inner().try_into().map_err(malformed)
    }

    async fn send_batch(
        &self,
        caller: &Caller,
        room: &RoomKey,
        drafts: Vec<Result<Draft, Problem>>,
    ) -> Vec<Result<Sent, Problem>> {
        let count = drafts.len();
        let request = wire::SendBatchRequest {
            caller: Some(caller.into()),
            room: Some(room.into()),
            drafts: drafts.into_iter().map(draft_result_to_wire).collect(),
        };
        let problem = match self.client.clone().send_batch(self.request(request)).await {
            Ok(answer) if answer.get_ref().results.len() == count => {
                return answer.into_inner().results.into_iter().map(sent_result_from_wire).collect();
            }
            Ok(_) => fault("a batch has another number of results"),
            Err(status) => refusal(&status),
        };
        vec![Err(problem); count]
    }

    async fn retract(
        &self,
        caller: &Caller,
        room: &RoomKey,
        list: List,
        seq: Seq,
    ) -> Result<Retraction, Problem> {
        let request = wire::RetractRequest {
            caller: Some(caller.into()),
            room: Some(room.into()),
            list: wire::List::from(list).into(),
            seq: seq.0,
        };
        let done =
            self.client.clone().retract(self.request(request)).await.map_err(|status| refusal(&status))?;
        Ok(retraction_from_wire(done.into_inner()))
    }

    async fn change_settings(
        &self,
        caller: &Caller,
        room: &RoomKey,
        patch: SettingsPatch,
    ) -> Result<RoomView, Problem> {
        let request = wire::ChangeSettingsRequest {
            caller: Some(caller.into()),
            room: Some(room.into()),
            patch: Some(patch.into()),
        };
        let view = self
            .client
            .clone()
            .change_settings(self.request(request))
            .await
            .map_err(|status| refusal(&status))?;
        view_from_wire(view.into_inner()).map_err(malformed)
    }

    async fn view(&self, room: &RoomKey) -> Result<RoomView, Problem> {
        let request = wire::ViewRequest { room: Some(room.into()) };
        let view =
            self.client.clone().view(self.request(request)).await.map_err(|status| refusal(&status))?;
        view_from_wire(view.into_inner()).map_err(malformed)
    }
}
