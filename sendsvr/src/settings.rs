//! The room settings document: reading a change to it, applying the change, writing the whole.

use std::time::Duration;

use bytes::Bytes;
use room::{List, PerList, Problem, Retention, RoomId, RoomSettings, RoomState};
use serde_json::{Value, json};

use crate::{
    SendLimits,
    draft::checked,
    limits::{room_rate, user_rate},
    object::{Member, Members, invalid},
};

const COOLDOWN_MS_MAX: u64 = 24 * 3600 * 1000;
const RATE_MAX: u64 = 1_000_000;
const COUNT_MAX: u64 = 10_000_000;
const AGE_S_MAX: u64 = 365 * 24 * 3600;

/// What becomes of one setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Setting<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes back to the server's default.
    Reset,
    /// It becomes this.
    Set(T),
}

impl<T> Setting<T> {
    /// What comes of `now`, where `None` means the default.
    fn apply(self, now: Option<T>) -> Option<T> {
        match self {
            Self::Keep => now,
            Self::Reset => None,
            Self::Set(value) => Some(value),
        }
    }

    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> Setting<U> {
        match self {
            Self::Keep => Setting::Keep,
            Self::Reset => Setting::Reset,
            Self::Set(value) => Setting::Set(with(value)),
        }
    }
}

/// What becomes of a list's retention.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetentionPatch {
    /// Most messages kept.
    pub count: Setting<u64>,
    /// How long they are kept.
    pub age: Setting<Duration>,
}

impl RetentionPatch {
    fn apply(self, now: Option<Retention>, default: Retention) -> Option<Retention> {
        let count = self.count.apply(now.map(|now| now.count));
        let age = self.age.apply(now.map(|now| now.age));
        // One of the two alone pins the other at what is the default now.
        (count.is_some() || age.is_some())
            .then(|| Retention { count: count.unwrap_or(default.count), age: age.unwrap_or(default.age) })
    }
}

/// A change to a room's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SettingsPatch {
    /// Live or closed; live by default.
    pub state: Setting<RoomState>,
    /// Muted or not; not by default.
    pub muted: Setting<bool>,
    /// Slow mode; off by default.
    pub cooldown: Setting<Duration>,
    /// Messages a second in the room.
    pub room_rate: Setting<u32>,
    /// Messages a second by one user.
    pub user_rate: Setting<u32>,
    /// How much of each list is kept.
    pub retention: PerList<RetentionPatch>,
}

/// How a document becomes a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PatchMode {
    /// `PATCH`, by RFC 7386: what is absent stays, what is `null` goes back to the default.
    Merge,
    /// `PUT`: what is absent goes back to the default, nothing may be `null`.
    Replace,
}

impl SettingsPatch {
    /// The change that closes a room and leaves the rest.
    #[must_use]
    pub fn closing() -> Self {
        Self { state: Setting::Set(RoomState::Closed), ..Self::default() }
    }

    /// Everything back to the defaults.
    fn resetting() -> Self {
        let retention = RetentionPatch { count: Setting::Reset, age: Setting::Reset };
        Self {
            state: Setting::Reset,
            muted: Setting::Reset,
            cooldown: Setting::Reset,
            room_rate: Setting::Reset,
            user_rate: Setting::Reset,
            retention: PerList { priority: retention, normal: retention },
        }
    }

    /// Reads the settings document of `room`, or part of it.
    ///
    /// A client may send back the whole as it got it: `room` is accepted if it names this room, `sect` if it is
    /// the one that the room is in; neither can be changed here.
    ///
    /// # Errors
    /// `invalid_json`, or `invalid_message` with the field and its rule.
    pub fn from_json(body: &Bytes, mode: PatchMode, room: &RoomId, sect: &str) -> Result<Self, Problem> {
        let mut patch = match mode {
            PatchMode::Merge => Self::default(),
            PatchMode::Replace => Self::resetting(),
        };
        Members::of(checked(body, "the body")?, "a room's settings")?.each("", |name, member| {
            match name {
                "state" => patch.state = setting(member, mode, state)?,
                "muted" => patch.muted = setting(member, mode, |member| member.read("true or false"))?,
                "cooldown_ms" => {
                    patch.cooldown = number(member, mode, 0, COOLDOWN_MS_MAX)?.map(Duration::from_millis);
                }
                "limits" => patch.read_limits(member, mode)?,
                "retention" => patch.read_retention(member, mode)?,
                "room" => same(member, room.as_str())?,
                "sect" => same(member, sect)?,
                _ => {
                    return Err(member.unknown("room, state, muted, cooldown_ms, limits, retention, sect"));
                }
            }
            Ok(())
        })?;
        Ok(patch)
    }

    fn read_limits(&mut self, limits: Member<'_>, mode: PatchMode) -> Result<(), Problem> {
        if limits.is_null() && mode == PatchMode::Merge {
            (self.room_rate, self.user_rate) = (Setting::Reset, Setting::Reset);
            return Ok(());
        }
        Members::of(limits.json, limits.path)?.each(limits.path, |name, member| {
            match name {
                "room_rate" => self.room_rate = rate(member, mode)?,
                "user_rate" => self.user_rate = rate(member, mode)?,
                _ => return Err(member.unknown("limits.room_rate, limits.user_rate")),
            }
            Ok(())
        })
    }

    fn read_retention(&mut self, retention: Member<'_>, mode: PatchMode) -> Result<(), Problem> {
        if retention.is_null() && mode == PatchMode::Merge {
            self.retention = Self::resetting().retention;
            return Ok(());
        }
        Members::of(retention.json, retention.path)?.each(retention.path, |name, member| {
            let Some(list) = List::parse(name) else {
                return Err(member.unknown("retention.normal, retention.priority"));
            };
            self.retention[list].read(member, mode)
        })
    }

    /// The settings that come of `now`, where the server's defaults are `defaults`.
    #[must_use]
    pub fn apply(&self, now: &RoomSettings, defaults: &SendLimits) -> RoomSettings {
        RoomSettings {
            state: self.state.apply(Some(now.state)).unwrap_or_default(),
            muted: self.muted.apply(Some(now.muted)).unwrap_or_default(),
            cooldown: self.cooldown.apply(Some(now.cooldown)).unwrap_or_default(),
            room_rate: self.room_rate.apply(now.room_rate),
            user_rate: self.user_rate.apply(now.user_rate),
            retention: PerList::from_fn(|list| {
                self.retention[list].apply(now.retention[list], defaults.retention[list])
            }),
        }
    }
}

impl RetentionPatch {
    fn read(&mut self, retention: Member<'_>, mode: PatchMode) -> Result<(), Problem> {
        if retention.is_null() && mode == PatchMode::Merge {
            (self.count, self.age) = (Setting::Reset, Setting::Reset);
            return Ok(());
        }
        Members::of(retention.json, retention.path)?.each(retention.path, |name, member| {
            match name {
                "count" => self.count = number(member, mode, 1, COUNT_MAX)?,
                "age_s" => self.age = number(member, mode, 1, AGE_S_MAX)?.map(Duration::from_secs),
                _ => return Err(member.unknown("count, age_s")),
            }
            Ok(())
        })
    }
}

fn setting<T>(
    member: Member<'_>,
    mode: PatchMode,
    read: impl FnOnce(Member<'_>) -> Result<T, Problem>,
) -> Result<Setting<T>, Problem> {
    if member.is_null() && mode == PatchMode::Merge {
        return Ok(Setting::Reset);
    }
    read(member).map(Setting::Set)
}

fn state(member: Member<'_>) -> Result<RoomState, Problem> {
    const RULE: &str = "live or closed";
    match member.read::<String>(RULE)?.as_str() {
        "live" => Ok(RoomState::Live),
        "closed" => Ok(RoomState::Closed),
        _ => Err(invalid(format!("{} must be {RULE}", member.path))),
    }
}

fn number(member: Member<'_>, mode: PatchMode, min: u64, max: u64) -> Result<Setting<u64>, Problem> {
    setting(member, mode, |member| {
        let rule = format!("a whole number from {min} to {max}");
        let number = member.read(&rule)?;
        if (min..=max).contains(&number) {
            Ok(number)
        } else {
            Err(invalid(format!("{} must be {rule}", member.path)))
        }
    })
}

fn rate(member: Member<'_>, mode: PatchMode) -> Result<Setting<u32>, Problem> {
    Ok(number(member, mode, 0, RATE_MAX)?.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)))
}

fn same(member: Member<'_>, expect: &str) -> Result<(), Problem> {
    let rule = format!("{expect:?}, or left out: it can't be changed here");
    if member.read::<String>(&rule)? == expect {
        Ok(())
    } else {
        Err(invalid(format!("{} must be {rule}", member.path)))
    }
}

/// The whole settings document of `room`, the server's `defaults` filled in.
#[must_use]
pub fn settings_json(room: &RoomId, settings: &RoomSettings, defaults: &SendLimits, sect: &str) -> Value {
    let retention = |list| {
        let retention: Retention = settings.retention[list].unwrap_or(defaults.retention[list]);
        json!({ "count": retention.count, "age_s": retention.age.as_secs() })
    };
    json!({
        "room": room.as_str(),
        "state": if settings.is_closed() { "closed" } else { "live" },
        "muted": settings.muted,
        "cooldown_ms": u64::try_from(settings.cooldown.as_millis()).unwrap_or(u64::MAX),
        "limits": {
            "room_rate": room_rate(settings, defaults),
            "user_rate": user_rate(settings, defaults),
        },
        "retention": { "normal": retention(List::Normal), "priority": retention(List::Priority) },
        "sect": sect,
    })
}

#[cfg(test)]
mod tests;
