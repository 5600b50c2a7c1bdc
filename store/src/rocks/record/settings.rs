//! Settings of rooms as they are written.

use std::time::Duration;

use bytes::Bytes;
use room::{List, PerList, Retention, RoomSettings, RoomState};

use super::{RecordError, decode, encode};

#[derive(Clone, PartialEq, prost::Message)]
struct SettingsRecord {
    #[prost(bool, tag = "1")]
    is_closed: bool,
    #[prost(bool, tag = "2")]
    muted: bool,
    #[prost(uint64, tag = "3")]
    cooldown_ms: u64,
    #[prost(uint32, optional, tag = "4")]
    room_rate: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    user_rate: Option<u32>,
    #[prost(message, optional, tag = "6")]
    priority: Option<RetentionRecord>,
    #[prost(message, optional, tag = "7")]
    normal: Option<RetentionRecord>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RetentionRecord {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(uint64, tag = "2")]
    age_ms: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A room's settings as they are written.
pub(crate) fn encode_settings(settings: &RoomSettings) -> Vec<u8> {
    let retention = |list| {
        settings.retention[list]
            .map(|kept: Retention| RetentionRecord { count: kept.count, age_ms: millis(kept.age) })
    };
    encode(&SettingsRecord {
        is_closed: settings.is_closed(),
        muted: settings.muted,
        cooldown_ms: millis(settings.cooldown),
        room_rate: settings.room_rate,
        user_rate: settings.user_rate,
        priority: retention(List::Priority),
        normal: retention(List::Normal),
    })
}

/// The settings that were written.
pub(crate) fn decode_settings(bytes: &[u8]) -> Result<RoomSettings, RecordError> {
    let record: SettingsRecord = decode(Bytes::copy_from_slice(bytes))?;
    let retention = |kept: Option<RetentionRecord>| {
        kept.map(|kept| Retention { count: kept.count, age: Duration::from_millis(kept.age_ms) })
    };
    Ok(RoomSettings {
        state: if record.is_closed { RoomState::Closed } else { RoomState::Live },
        muted: record.muted,
        cooldown: Duration::from_millis(record.cooldown_ms),
        room_rate: record.room_rate,
        user_rate: record.user_rate,
        retention: PerList { priority: retention(record.priority), normal: retention(record.normal) },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn settings_round_trip(
            is_closed in any::<bool>(), muted in any::<bool>(), cooldown_ms in 0u64..1 << 40,
            rates in any::<(Option<u32>, Option<u32>)>(), kept in proptest::option::of((1u64..1 << 40, 1u64..1 << 40)),
        ) {
            let settings = RoomSettings {
                state: if is_closed { RoomState::Closed } else { RoomState::Live },
                muted,
                cooldown: Duration::from_millis(cooldown_ms),
                room_rate: rates.0,
                user_rate: rates.1,
                retention: PerList {
                    priority: None,
                    normal: kept.map(|(count, age)| Retention { count, age: Duration::from_millis(age) }),
                },
            };
            prop_assert_eq!(decode_settings(&encode_settings(&settings)), Ok(settings));
        }
    }
}
