//! The protobuf of answers: `bigroom.v1.PollAnswer`.

use prost::Message as _;
use proto::v1;
use room::{CursorText, List};

use super::{Messages, Parts};

/// An answer as protobuf.
pub(super) fn answer(parts: &Parts<'_>, cursor: &CursorText) -> Vec<u8> {
    let messages = |messages: Messages<'_>| (0..messages.len()).map(|at| messages.get(at).into()).collect();
    let answer = v1::PollAnswer {
        epoch: parts.epoch.to_string(),
        priority: messages(parts.messages.priority),
        messages: messages(parts.messages.normal),
        next_cursor: std::str::from_utf8(cursor).expect("cursor text is ASCII").to_owned(),
        up_to_date: parts.up_to_date,
        gap: parts.gap.map(|gap| v1::Gap {
            normal: gap.missing.normal,
            priority: gap.missing.priority,
            first_seq: gap.first[List::Normal].0,
            first_priority_seq: (gap.missing.priority > 0).then_some(gap.first[List::Priority].0),
            reason: gap.reason.as_str().to_owned(),
        }),
        poll_after_ms: parts.poll_after_ms,
        stats: parts.online.map(|online| v1::Stats {
            num_users: online.num_users,
            num_clients: online.num_clients,
            as_of_ms: online.as_of_ms,
        }),
        room: Some(v1::Room {
            state: parts.settings.state_shown().to_owned(),
            cooldown_ms: parts.settings.cooldown.as_millis() as u64,
            degraded: parts.degraded.iter().map(|word| (*word).to_owned()).collect(),
        }),
    };
    answer.encode_to_vec()
}
