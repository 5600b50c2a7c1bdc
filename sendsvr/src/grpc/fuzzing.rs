//! Fuzz target of what nodes say to each other.

use prost::Message as _;
use proto::internal as wire;
use room::RoomKey;
use tonic::{Code, Status};

use super::convert::{
    draft_result_from_wire, draft_result_to_wire, problem_in, retraction_from_wire, retraction_to_wire,
    sent_result_from_wire, sent_result_to_wire, status_of, view_from_wire, view_to_wire,
};
use crate::{Caller, SettingsPatch};

/// Every request and answer of the inner protocol, and the details of a status. The first byte says which.
///
/// # Panics
/// If something that was understood is not understood the same once more.
pub fn wire(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 6 {
        0 => {
            let Ok(request) = wire::SendBatchRequest::decode(data) else { return };
            check_asker(request.caller, request.room);
            for item in request.drafts {
                let draft = draft_result_from_wire(item);
                assert_eq!(draft_result_from_wire(draft_result_to_wire(draft.clone())), draft);
            }
        }
        1 => {
            let Ok(request) = wire::ChangeSettingsRequest::decode(data) else { return };
            check_asker(request.caller, request.room);
            if let Some(Ok(patch)) = request.patch.map(SettingsPatch::try_from) {
                assert_eq!(wire::SettingsPatch::from(patch).try_into(), Ok(patch));
            }
        }
        2 => {
            let Ok(answer) = wire::SendBatchAnswer::decode(data) else { return };
            for item in answer.results {
                let sent = sent_result_from_wire(item);
                assert_eq!(sent_result_from_wire(sent_result_to_wire(sent.clone())), sent);
            }
        }
        3 => {
            let Ok(view) = wire::RoomView::decode(data) else { return };
            if let Ok(view) = view_from_wire(view) {
                let again = view_from_wire(view_to_wire(&view)).expect("our own");
                assert_eq!((again.settings, again.bounds), (view.settings, view.bounds));
            }
        }
        4 => {
            let Ok(request) = wire::RetractRequest::decode(data) else { return };
            let _ = room::List::try_from(request.list());
            check_asker(request.caller, request.room);
            let Ok(retraction) = wire::Retraction::decode(data) else { return };
            let retraction = retraction_from_wire(retraction);
            assert_eq!(retraction_from_wire(retraction_to_wire(retraction)), retraction);
        }
        _ => {
            let status = Status::with_details(Code::Internal, "", data.to_vec().into());
            if let Some(problem) = problem_in(&status) {
                assert_eq!(problem_in(&status_of(&problem)), Some(problem));
            }
        }
    }
}

fn check_asker(caller: Option<wire::Caller>, room: Option<wire::RoomKey>) {
    if let Some(Ok(caller)) = caller.map(Caller::try_from) {
        assert_eq!(Caller::try_from(wire::Caller::from(&caller)), Ok(caller));
    }
    if let Some(Ok(room)) = room.map(RoomKey::try_from) {
        assert_eq!(RoomKey::try_from(wire::RoomKey::from(&room)), Ok(room));
    }
}
