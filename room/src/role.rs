//! Who is asking, and what they may do.

use std::fmt;

use crate::{AppId, DeviceId, RoomId, UserId};

/// What a token entitles to. Ordered: a later role may do all that an earlier one may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Role {
    /// Polls, history, a room's public numbers.
    #[default]
    Viewer,
    /// Sends `normal` and `low` messages.
    Speaker,
    /// Sends `high` messages; not bound by slow mode or a room's mute.
    Broadcaster,
    /// Room settings, retraction, mutes, bans, kick; the same exemptions.
    Moderator,
    /// Everything in its app.
    Ops,
}

impl Role {
    /// All roles, least first.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Speaker, Self::Broadcaster, Self::Moderator, Self::Ops];

    /// The word for it in tokens and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Speaker => "speaker",
            Self::Broadcaster => "broadcaster",
            Self::Moderator => "moderator",
            Self::Ops => "ops",
        }
    }

    /// May send to the normal list.
    #[must_use]
    pub fn may_send(self) -> bool {
        self >= Self::Speaker
    }

    /// May send to the priority list.
    #[must_use]
    pub fn may_send_priority(self) -> bool {
        self >= Self::Broadcaster
    }

    /// Is not bound by slow mode or by a room's mute.
    #[must_use]
    pub fn is_exempt_from_mute(self) -> bool {
        self >= Self::Broadcaster
    }

    /// May change a room's settings and retract messages.
    #[must_use]
    pub fn may_moderate(self) -> bool {
        self >= Self::Moderator
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {0:?}: the roles are viewer, speaker, broadcaster, moderator, ops")]
pub struct UnknownRole(pub String);

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// A glob over room ids: `*` stands for any run of characters, everything else for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomPattern(Box<str>);

impl RoomPattern {
    /// A pattern from a token's `rooms` claim.
    #[must_use]
    pub fn new(glob: &str) -> Self {
        Self(glob.into())
    }

    /// The pattern, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `room` is one of those meant. Linear in the lengths times the number of `*`s' retries at worst.
    #[must_use]
    pub fn matches(&self, room: &RoomId) -> bool {
        let (glob, text) = (self.0.as_bytes(), room.as_str().as_bytes());
        let (mut g, mut t) = (0, 0);
        let mut retry: Option<(usize, usize)> = None; // after the last '*': where in the glob, where in the text
        while t < text.len() {
            if g < glob.len() && glob[g] == b'*' {
                g += 1;
                retry = Some((g, t));
            } else if g < glob.len() && glob[g] == text[t] {
                g += 1;
                t += 1;
            } else if let Some((after_star, from)) = retry {
                g = after_star;
                t = from + 1;
                retry = Some((after_star, t));
            } else {
                return false;
            }
        }
        glob[g..].iter().all(|b| *b == b'*')
    }
}

/// A caller, as the token or the query of a server without keys names them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The tenant.
    pub app: AppId,
    /// The person; `None` for an anonymous caller, who is counted by connection.
    pub user: Option<UserId>,
    /// The device, if the caller tells.
    pub device: Option<DeviceId>,
    /// The role that messages show, and that mute, slow mode and bans go by.
    pub role: Role,
    /// The rights; more than `role`'s only on a server without keys, where every request has all.
    pub rights: Role,
    /// The rooms that the rights are good for.
    pub rooms: Vec<RoomPattern>,
}

impl Identity {
    /// The id that messages of this caller show: the user's, or `anonymous`.
    #[must_use]
    pub fn sender_id(&self) -> UserId {
        self.user.clone().unwrap_or_else(|| UserId::internal("anonymous"))
    }

    /// Whether the rights are good for `room`.
    #[must_use]
    pub fn may_enter(&self, room: &RoomId) -> bool {
        self.rooms.iter().any(|pattern| pattern.matches(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_like_a_shell() {
        for (glob, room, expect) in [
            ("*", "anything", true),
            ("live-*", "live-1", true),
            ("live-*", "alive-1", false),
            ("live-*", "live-", true),
            ("*-vip", "a-b-vip", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("exact", "exact", true),
            ("exact", "exact1", false),
            ("", "a", false),
            ("**", "a", true),
        ] {
            assert_eq!(RoomPattern::new(glob).matches(&RoomId::internal(room)), expect, "{glob} ~ {room}");
        }
    }

    #[test]
    fn rights_grow_with_the_role() {
        assert!(!Role::Viewer.may_send());
        assert!(Role::Speaker.may_send() && !Role::Speaker.may_send_priority());
        assert!(Role::Broadcaster.may_send_priority() && !Role::Broadcaster.may_moderate());
        assert!(Role::Moderator.may_moderate());
        assert_eq!("ops".parse(), Ok(Role::Ops));
        assert_eq!("root".parse::<Role>(), Err(UnknownRole("root".into())));
    }
}
