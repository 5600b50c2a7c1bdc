//! Between the vocabulary and the inner package.

use std::time::Duration;

use room::{
    AppId, Bounds, ErrorCode, List, PerList, PlacedBy, Priority, Problem, Retention, Role, RoomId, RoomKey,
    RoomSettings, RoomState, Seq,
};

use crate::{Malformed, internal as wire};

/// A duration in whole milliseconds, as the wire has it.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

macro_rules! words {
    ($ours:ident, $wire:ident, $name:literal, $($variant:ident)+) => {
        impl From<$ours> for wire::$wire {
            fn from(value: $ours) -> Self {
                match value { $($ours::$variant => Self::$variant,)+ }
            }
        }

        impl TryFrom<wire::$wire> for $ours {
            type Error = Malformed;

            fn try_from(value: wire::$wire) -> Result<Self, Malformed> {
                match value {
                    $(wire::$wire::$variant => Ok(Self::$variant),)+
                    wire::$wire::Unspecified => Err(Malformed($name)),
                }
            }
        }
    };
}

words!(List, List, "list", Priority Normal);
words!(Role, Role, "role", Viewer Speaker Broadcaster Moderator Ops);
words!(Priority, Priority, "priority", High Normal Low);
words!(RoomState, RoomState, "state", Live Closed);
words!(PlacedBy, PlacedBy, "by", Api Promotion);

impl From<&RoomKey> for wire::RoomKey {
    fn from(key: &RoomKey) -> Self {
        Self { app: key.app.as_str().to_owned(), room: key.room.as_str().to_owned() }
    }
}

impl TryFrom<wire::RoomKey> for RoomKey {
    type Error = Malformed;

    /// The ids may be reserved ones: the service's own rooms are sent to like any other.
    fn try_from(key: wire::RoomKey) -> Result<Self, Malformed> {
        if key.app.is_empty() || key.room.is_empty() {
            return Err(Malformed("room"));
        }
        Ok(Self::new(AppId::internal(&key.app), RoomId::internal(&key.room)))
    }
}

impl From<Bounds> for wire::Bounds {
    fn from(bounds: Bounds) -> Self {
        Self { first: bounds.first.0, last: bounds.last.0 }
    }
}

impl From<wire::Bounds> for Bounds {
    fn from(bounds: wire::Bounds) -> Self {
        Self { first: Seq(bounds.first), last: Seq(bounds.last) }
    }
}

impl From<Retention> for wire::Retention {
    fn from(retention: Retention) -> Self {
        Self { count: retention.count, age_ms: millis(retention.age) }
    }
}

impl From<wire::Retention> for Retention {
    fn from(retention: wire::Retention) -> Self {
        Self { count: retention.count, age: Duration::from_millis(retention.age_ms) }
    }
}

impl From<&RoomSettings> for wire::RoomSettings {
    fn from(settings: &RoomSettings) -> Self {
        Self {
            state: wire::RoomState::from(settings.state).into(),
            muted: settings.muted,
            cooldown_ms: millis(settings.cooldown),
            room_rate: settings.room_rate,
            user_rate: settings.user_rate,
            priority: settings.retention.priority.map(Into::into),
            normal: settings.retention.normal.map(Into::into),
        }
    }
}

impl TryFrom<wire::RoomSettings> for RoomSettings {
    type Error = Malformed;

    fn try_from(settings: wire::RoomSettings) -> Result<Self, Malformed> {
        Ok(Self {
            state: settings.state().try_into()?,
            muted: settings.muted,
            cooldown: Duration::from_millis(settings.cooldown_ms),
            room_rate: settings.room_rate,
            user_rate: settings.user_rate,
            retention: PerList {
                priority: settings.priority.map(Into::into),
                normal: settings.normal.map(Into::into),
            },
        })
    }
}

impl From<&Problem> for wire::Problem {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code.as_str().to_owned(),
            detail: problem.detail.to_string(),
            retry_after_ms: problem.retry_after.map(millis),
            scope: problem.scope.map(str::to_owned),
            cooldown_ms: problem.cooldown_ms,
            until_ms: problem.until_ms,
        }
    }
}

impl TryFrom<wire::Problem> for Problem {
    type Error = Malformed;

    /// `allow` does not travel: the inner protocol has no methods to allow.
    fn try_from(problem: wire::Problem) -> Result<Self, Malformed> {
        const SCOPES: [&str; 4] = ["room", "user", "priority", "ip"];
        let code = ErrorCode::ALL.iter().copied().find(|code| code.as_str() == problem.code);
        Ok(Self {
            retry_after: problem.retry_after_ms.map(Duration::from_millis),
            scope: SCOPES.into_iter().find(|scope| Some(*scope) == problem.scope.as_deref()),
            cooldown_ms: problem.cooldown_ms,
            until_ms: problem.until_ms,
            ..Self::new(code.ok_or(Malformed("code"))?, problem.detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_equal() {
        let settings = RoomSettings {
            state: RoomState::Closed,
            muted: true,
            cooldown: Duration::from_millis(1_500),
            room_rate: Some(0),
            user_rate: None,
            retention: PerList {
                priority: Some(Retention { count: 5, age: Duration::from_secs(9) }),
                normal: None,
            },
        };
        assert_eq!(wire::RoomSettings::from(&settings).try_into(), Ok(settings));
    }

    #[test]
    fn problems_come_back_equal() {
        for code in ErrorCode::ALL {
            let problem = Problem::new(*code, "a sentence");
            assert_eq!(wire::Problem::from(&problem).try_into(), Ok(problem));
        }
        let problem = Problem {
            cooldown_ms: Some(3),
            until_ms: Some(4),
            ..Problem::rate_limited("priority", Duration::from_millis(1_234), "slower")
        };
        assert_eq!(wire::Problem::from(&problem).try_into(), Ok(problem));
    }

    #[test]
    fn unknown_words_are_malformed() {
        assert_eq!(List::try_from(wire::List::Unspecified), Err(Malformed("list")));
        let problem = wire::Problem { code: "no_such_code".into(), ..Default::default() };
        assert_eq!(Problem::try_from(problem), Err(Malformed("code")));
        assert_eq!(RoomKey::try_from(wire::RoomKey::default()), Err(Malformed("room")));
        assert_eq!(RoomSettings::try_from(wire::RoomSettings::default()), Err(Malformed("state")));
    }
}
