//! Asks another node for the write path.

use std::{fmt::Display, sync::Arc, time::Duration};

use async_trait::async_trait;
use proto::internal::{self as wire, send_service_client::SendServiceClient};
use room::{ErrorCode, List, Problem, RoomKey, Seq};
use rpc::{Idempotence, Peer, RetryBudget};
use store::{Retraction, RoomView};
use tonic::{Code, Request, Response, Status, transport::Channel};
use tracing::warn;

use super::{
    MESSAGE_BYTES_MAX,
    convert::{
        draft_result_to_wire, malformed, problem_in, retraction_from_wire, sent_result_from_wire,
        view_from_wire,
    },
};
use crate::{Caller, Draft, SendService, Sent, SettingsPatch};

/// A [`SendService`] on another node.
///
/// What may be done twice is tried again when the node fails: all but sends without an id.
#[derive(Debug)]
pub struct RemoteSendsvr {
    peers: [Arc<Peer>; 1],
    budget: RetryBudget,
    deadline: Duration,
}

type Client = SendServiceClient<Channel>;

impl RemoteSendsvr {
    /// The write path of a node; a call that is not answered by `deadline` is refused as `log_unavailable`. What it asked for
    /// may be done all the same: a repeat with the same id finds out.
    #[must_use]
    pub fn new(peer: Arc<Peer>, deadline: Duration) -> Self {
        Self { peers: [peer], budget: RetryBudget::default(), deadline }
    }

    async fn call<Message: Clone, T, F>(
        &self,
        idempotence: Idempotence,
        message: Message,
        ask: impl Fn(Client, Request<Message>) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let ask = |peer: &Peer, request| {
            let client = Client::new(peer.channel())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            ask(client, request)
        };
        let asked = rpc::call(&self.peers, &self.budget, self.deadline, idempotence, message, ask).await;
        asked.map(Response::into_inner).map_err(|status| refusal(&status))
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
        let idempotence = if draft.id.is_some() { Idempotence::Idempotent } else { Idempotence::Once };
        let request = wire::SendRequest {
            caller: Some(caller.into()),
            room: Some(room.into()),
            draft: Some(draft.into()),
        };
        let ask = async |mut client: Client, request| client.send(request).await;
        let sent = self.call(idempotence, request, ask).await?;
        sent.try_into().map_err(malformed)
    }

    async fn send_batch(
        &self,
        caller: &Caller,
        room: &RoomKey,
        drafts: Vec<Result<Draft, Problem>>,
    ) -> Vec<Result<Sent, Problem>> {
        let count = drafts.len();
        let have_ids = drafts.iter().flatten().all(|draft| draft.id.is_some());
        let idempotence = if have_ids { Idempotence::Idempotent } else { Idempotence::Once };
        let request = wire::SendBatchRequest {
            caller: Some(caller.into()),
            room: Some(room.into()),
            drafts: drafts.into_iter().map(draft_result_to_wire).collect(),
        };
        let ask = async |mut client: Client, request| client.send_batch(request).await;
        let problem = match self.call(idempotence, request, ask).await {
            Ok(answer) if answer.results.len() == count => {
                return answer.results.into_iter().map(sent_result_from_wire).collect();
            }
            Ok(_) => fault("a batch has another number of results"),
            Err(problem) => problem,
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
        let ask = async |mut client: Client, request| client.retract(request).await;
        self.call(Idempotence::Idempotent, request, ask).await.map(retraction_from_wire)
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
        let ask = async |mut client: Client, request| client.change_settings(request).await;
        let view = self.call(Idempotence::Idempotent, request, ask).await?;
        view_from_wire(view).map_err(malformed)
    }

    async fn view(&self, room: &RoomKey) -> Result<RoomView, Problem> {
        let request = wire::ViewRequest { room: Some(room.into()) };
        let ask = async |mut client: Client, request| client.view(request).await;
        let view = self.call(Idempotence::Idempotent, request, ask).await?;
        view_from_wire(view).map_err(malformed)
    }
}
