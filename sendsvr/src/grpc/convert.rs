//! Between the write path's types and the wire.

use std::time::Duration;

use prost::Message as _;
use proto::{Malformed, internal as wire};
use room::{
    Epoch, ErrorCode, JSON_DEPTH_MAX, List, MessageId, MessageType, PerList, Problem, RawJson, RoomState,
    Seq, UserId,
};
use store::{Retraction, RoomView};
use tonic::{Code, Status};

use crate::{Caller, CountedAs, Draft, RetentionPatch, Sent, Setting, SettingsPatch};

/// A refusal as a status. The status code is for whoever looks at the traffic; the details are what counts.
#[must_use]
pub fn status_of(problem: &Problem) -> Status {
    let details = wire::Problem::from(problem).encode_to_vec();
    Status::with_details(Code::from(problem.code.grpc_status()), problem.to_string(), details.into())
}

/// What a status refuses; `None` if it is not one of ours but gRPC's own.
#[must_use]
pub fn problem_in(status: &Status) -> Option<Problem> {
    if status.details().is_empty() {
        return None;
    }
    wire::Problem::decode(status.details()).ok()?.try_into().ok()
}

pub(super) fn malformed(error: Malformed) -> Problem {
    Problem::new(ErrorCode::Internal, error.to_string())
}

impl From<&Caller> for wire::Caller {
    fn from(caller: &Caller) -> Self {
        Self {
            sender_id: caller.sender.as_str().to_owned(),
            role: wire::Role::from(caller.role).into(),
            rights: wire::Role::from(caller.rights).into(),
            counted_as: Some(match &caller.counted_as {
                CountedAs::User(user) => wire::caller::CountedAs::User(user.as_str().to_owned()),
                CountedAs::Connection(number) => wire::caller::CountedAs::Connection(*number),
            }),
        }
    }
}

impl TryFrom<wire::Caller> for Caller {
    type Error = Malformed;

    /// Checked again, reserved ids included: the service's own users send past the write path.
    fn try_from(caller: wire::Caller) -> Result<Self, Malformed> {
        Ok(Self {
            sender: UserId::new(&caller.sender_id).map_err(|_| Malformed("sender_id"))?,
            role: caller.role().try_into()?,
            rights: caller.rights().try_into()?,
            counted_as: match caller.counted_as.ok_or(Malformed("counted_as"))? {
                wire::caller::CountedAs::User(user) => {
                    CountedAs::User(UserId::new(&user).map_err(|_| Malformed("counted_as"))?)
                }
                wire::caller::CountedAs::Connection(number) => CountedAs::Connection(number),
            },
        })
    }
}

impl From<Draft> for wire::Draft {
    fn from(draft: Draft) -> Self {
        Self {
            id: draft.id.map(|id| id.as_str().to_owned()),
            r#type: draft.kind.as_str().to_owned(),
            priority: wire::Priority::from(draft.priority).into(),
            text: draft.text,
            data: draft.data.map(|data| data.as_bytes().clone()),
        }
    }
}

impl TryFrom<wire::Draft> for Draft {
    type Error = Malformed;

    /// Checked again where a wrong value would reach every reader of the room.
    fn try_from(draft: wire::Draft) -> Result<Self, Malformed> {
        let priority = draft.priority().try_into()?;
        if let Some(data) = &draft.data {
            room::json::check(data, JSON_DEPTH_MAX).map_err(|_| Malformed("data"))?;
        }
        Ok(Self {
            id: draft.id.map(|id| MessageId::new(&id)).transpose().map_err(|_| Malformed("id"))?,
            kind: MessageType::new(&draft.r#type).map_err(|_| Malformed("type"))?,
            priority,
            text: draft.text,
            data: draft.data.map(RawJson::trusted),
        })
    }
}

pub(super) fn draft_result_to_wire(draft: Result<Draft, Problem>) -> wire::DraftResult {
    let result = match draft {
        Ok(draft) => wire::draft_result::Result::Draft(draft.into()),
        Err(problem) => wire::draft_result::Result::Problem((&problem).into()),
    };
    wire::DraftResult { result: Some(result) }
}

/// An item of a batch; a malformed one is a refusal in its place.
pub(super) fn draft_result_from_wire(item: wire::DraftResult) -> Result<Draft, Problem> {
    match item.result {
        Some(wire::draft_result::Result::Draft(draft)) => draft.try_into().map_err(malformed),
        Some(wire::draft_result::Result::Problem(problem)) => {
            Err(problem.try_into().unwrap_or_else(malformed))
        }
        None => Err(malformed(Malformed("draft"))),
    }
}

impl From<Sent> for wire::Sent {
    fn from(sent: Sent) -> Self {
        Self {
            id: sent.id.as_str().to_owned(),
            list: wire::List::from(sent.list).into(),
            seq: sent.seq.0,
            epoch: sent.epoch.0,
            sent_at_ms: sent.sent_at_ms,
            is_duplicate: sent.is_duplicate,
        }
    }
}

impl TryFrom<wire::Sent> for Sent {
    type Error = Malformed;

    fn try_from(sent: wire::Sent) -> Result<Self, Malformed> {
        Ok(Self {
            list: sent.list().try_into()?,
            id: MessageId::internal(&sent.id),
            seq: Seq(sent.seq),
            epoch: Epoch(sent.epoch),
            sent_at_ms: sent.sent_at_ms,
            is_duplicate: sent.is_duplicate,
        })
    }
}

pub(super) fn sent_result_to_wire(outcome: Result<Sent, Problem>) -> wire::SentResult {
    let result = match outcome {
        Ok(sent) => wire::sent_result::Result::Sent(sent.into()),
        Err(problem) => wire::sent_result::Result::Problem((&problem).into()),
    };
    wire::SentResult { result: Some(result) }
}

pub(super) fn sent_result_from_wire(outcome: wire::SentResult) -> Result<Sent, Problem> {
    match outcome.result {
        Some(wire::sent_result::Result::Sent(sent)) => sent.try_into().map_err(malformed),
        Some(wire::sent_result::Result::Problem(problem)) => {
            Err(problem.try_into().unwrap_or_else(malformed))
        }
        None => Err(malformed(Malformed("result"))),
    }
}

pub(super) fn retraction_to_wire(retraction: Retraction) -> wire::Retraction {
    wire::Retraction { redact_seq: retraction.redact_seq.0, is_duplicate: retraction.is_duplicate }
}

pub(super) fn retraction_from_wire(retraction: wire::Retraction) -> Retraction {
    Retraction { redact_seq: Seq(retraction.redact_seq), is_duplicate: retraction.is_duplicate }
}

pub(super) fn view_to_wire(view: &RoomView) -> wire::RoomView {
    proto::log::view(&view.settings, &view.bounds)
}

pub(super) fn view_from_wire(view: wire::RoomView) -> Result<RoomView, Malformed> {
    let (settings, bounds) = proto::log::view_parts(view)?;
    Ok(RoomView { settings, bounds })
}

/// A change as the wire has it: absent to keep, there but empty to reset.
trait Change<T>: Sized {
    fn with(set: Option<T>) -> Self;
    fn set(self) -> Option<T>;

    fn of(setting: Setting<T>) -> Option<Self> {
        match setting {
            Setting::Keep => None,
            Setting::Reset => Some(Self::with(None)),
            Setting::Set(value) => Some(Self::with(Some(value))),
        }
    }

    fn setting(change: Option<Self>) -> Setting<T> {
        match change.map(Self::set) {
            None => Setting::Keep,
            Some(None) => Setting::Reset,
            Some(Some(value)) => Setting::Set(value),
        }
    }
}

macro_rules! change {
    ($name:ident, $value:ty) => {
        impl Change<$value> for wire::$name {
            fn with(set: Option<$value>) -> Self {
                Self { set }
            }
            fn set(self) -> Option<$value> {
                self.set
            }
        }
    };
}

change!(FlagChange, bool);
change!(NumberChange, u64);
change!(StateChange, i32);

impl From<SettingsPatch> for wire::SettingsPatch {
    fn from(patch: SettingsPatch) -> Self {
        let list = |list: List| {
            let RetentionPatch { count, age } = patch.retention[list];
            Some(wire::RetentionPatch {
                count: Change::of(count),
                age_s: Change::of(age.map(|age| age.as_secs())),
            })
        };
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            state: Change::of(patch.state.map(|state| wire::RoomState::from(state).into())),
            muted: Change::of(patch.muted),
            cooldown_ms: Change::of(patch.cooldown.map(millis)),
            room_rate: Change::of(patch.room_rate.map(u64::from)),
            user_rate: Change::of(patch.user_rate.map(u64::from)),
            priority: list(List::Priority),
            normal: list(List::Normal),
        }
    }
}

impl TryFrom<wire::SettingsPatch> for SettingsPatch {
    type Error = Malformed;

    fn try_from(patch: wire::SettingsPatch) -> Result<Self, Malformed> {
        let rate = |change, name| match Change::setting(change) {
            Setting::Set(rate) => u32::try_from(rate).map(Setting::Set).map_err(|_| Malformed(name)),
            Setting::Reset => Ok(Setting::Reset),
            Setting::Keep => Ok(Setting::Keep),
        };
        let state = match Change::setting(patch.state) {
            Setting::Set(number) => {
                let state = wire::RoomState::try_from(number).map_err(|_| Malformed("state"))?;
                Setting::Set(RoomState::try_from(state)?)
            }
            Setting::Reset => Setting::Reset,
            Setting::Keep => Setting::Keep,
        };
        let list = |patch: Option<wire::RetentionPatch>| {
            let patch = patch.unwrap_or_default();
            RetentionPatch {
                count: Change::setting(patch.count),
                age: Change::setting(patch.age_s).map(Duration::from_secs),
            }
        };
        Ok(Self {
            state,
            muted: Change::setting(patch.muted),
            cooldown: Change::setting(patch.cooldown_ms).map(Duration::from_millis),
            room_rate: rate(patch.room_rate, "room_rate")?,
            user_rate: rate(patch.user_rate, "user_rate")?,
            retention: PerList { priority: list(patch.priority), normal: list(patch.normal) },
        })
    }
}

#[cfg(test)]
mod tests {
    use room::{Priority, Role};

    use super::*;

    #[test]
    fn patches_come_back_equal() {
        let set = SettingsPatch {
            state: Setting::Set(RoomState::Closed),
            muted: Setting::Set(false),
            cooldown: Setting::Set(Duration::from_millis(1)),
            room_rate: Setting::Set(0),
            user_rate: Setting::Set(u32::MAX),
            retention: PerList {
                priority: RetentionPatch {
                    count: Setting::Set(1),
                    age: Setting::Set(Duration::from_secs(2)),
                },
                normal: RetentionPatch { count: Setting::Keep, age: Setting::Reset },
            },
        };
        let mixed = SettingsPatch { muted: Setting::Reset, room_rate: Setting::Reset, ..Default::default() };
        for patch in [set, mixed, SettingsPatch::default(), SettingsPatch::closing()] {
            assert_eq!(wire::SettingsPatch::from(patch).try_into(), Ok(patch));
        }
    }

    #[test]
    fn drafts_and_callers_come_back_equal() {
        let draft = Draft {
            id: Some(MessageId::internal("m")),
            kind: MessageType::default(),
            priority: Priority::Low,
            text: None,
            data: Some(RawJson::trusted(bytes::Bytes::from_static(b"null"))),
        };
        assert_eq!(wire::Draft::from(draft.clone()).try_into(), Ok(draft));
        for counted_as in [CountedAs::Connection(7), CountedAs::User(UserId::internal("u"))] {
            let caller =
                Caller { sender: UserId::internal("u"), role: Role::Speaker, rights: Role::Ops, counted_as };
            assert_eq!(wire::Caller::from(&caller).try_into(), Ok(caller));
        }
    }

    #[test]
    fn callers_have_ids_that_users_may_have() {
        let caller = |sender: &str, counted_as: &str| {
            let caller = wire::Caller {
                sender_id: sender.into(),
                role: wire::Role::Speaker.into(),
                rights: wire::Role::Speaker.into(),
                counted_as: Some(wire::caller::CountedAs::User(counted_as.into())),
            };
            Caller::try_from(caller).map(|_| ())
        };
        assert_eq!(caller("u", "u"), Ok(()));
        assert_eq!(caller("anonymous", "u"), Ok(()));
        for id in ["", "_canary", "..", "a b", "a\n", &"x".repeat(65)] {
            assert_eq!(caller(id, "u"), Err(Malformed("sender_id")), "{id:?}");
            assert_eq!(caller("u", id), Err(Malformed("counted_as")), "{id:?}");
        }
    }

    #[test]
    fn what_readers_could_not_stand_is_malformed() {
        let draft = |change: fn(&mut wire::Draft)| {
            let mut draft = wire::Draft {
                r#type: "text".into(),
                priority: wire::Priority::Normal.into(),
                text: Some("x".into()),
                ..Default::default()
            };
            change(&mut draft);
            Draft::try_from(draft).map(|_| ())
        };
        assert_eq!(draft(|_| ()), Ok(()));
        assert_eq!(draft(|draft| draft.data = Some("{".into())), Err(Malformed("data")));
        assert_eq!(draft(|draft| draft.r#type = "redact".into()), Err(Malformed("type")));
        assert_eq!(draft(|draft| draft.id = Some(String::new())), Err(Malformed("id")));
        assert_eq!(draft(|draft| draft.priority = 9), Err(Malformed("priority")));
    }
}
