//! Ids: app, room, user, device, message.

use std::{fmt, sync::Arc};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The room of the canary; clients can't name it.
const CANARY_ROOM: &str = "_canary";

/// Longest id (characters, all of them ASCII).
const ID_CHARS_MAX: usize = 64;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than 64 characters.
    #[error("an id has 1 to 64 characters, this one has {0}")]
    Length(usize),
    /// Something outside `A-Z a-z 0-9 _ - . :`.
    #[error("an id is made of A-Z a-z 0-9 _ - . : only")]
    Character,
    /// `.`, `..` and the like: they would be folders in a path.
    #[error("an id may not consist of dots only")]
    DotsOnly,
    /// A leading `_`, which is kept for rooms and users of the service itself.
    #[error("ids that begin with _ are reserved for the service")]
    Reserved,
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > ID_CHARS_MAX {
        return Err(IdError::Length(text.chars().count()));
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':')) {
        return Err(IdError::Character);
    }
    if text.bytes().all(|b| b == b'.') {
        return Err(IdError::DotsOnly);
    }
    if text.starts_with('_') {
        return Err(IdError::Reserved);
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1-64 characters of `A-Z a-z 0-9 _ - . :`, not only dots, no leading `_`. Cloning shares the text.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a client's text.
            ///
            /// # Errors
            /// The rule that `text` breaks.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// Takes a text that the service made or has checked before, reserved ids included.
            #[must_use]
            pub fn internal(text: &str) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

id! {
    /// A tenant: rooms, limits and numbers of one app never show in another.
    AppId
}
id! {
    /// A conversation within an app.
    RoomId
}
id! {
    /// A person, as the token or `?user=` names them.
    UserId
}
id! {
    /// One of a person's devices.
    DeviceId
}
id! {
    /// A client's name for a message: what makes sending it twice harmless.
    MessageId
}

impl Default for AppId {
    /// The app of a token without an `app` claim, and of a server without keys.
    fn default() -> Self {
        Self::internal("default")
    }
}

/// A room of an app: the key of everything that bigroom keeps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RoomKey {
    /// The tenant.
    pub app: AppId,
    /// The room within it.
    pub room: RoomId,
}

/// 48 bits of a room's name, the same on every machine and in every version: what a cursor carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RoomHash(pub(crate) u64);

impl RoomKey {
    /// A key from its two parts.
    #[must_use]
    pub fn new(app: AppId, room: RoomId) -> Self {
        Self { app, room }
    }

    /// The room that the service itself sends to and polls, to see whether it works.
    #[must_use]
    pub fn canary() -> Self {
        Self::new(AppId::default(), RoomId::internal(CANARY_ROOM))
    }

    /// The same of one of several nodes that send to one log: each hears of its own messages alone.
    #[must_use]
    pub fn canary_of(node: &str) -> Self {
        let hash = xxh3_64_with_seed(node.as_bytes(), 0);
        Self::new(AppId::default(), RoomId::internal(&format!("{CANARY_ROOM}.{hash:016x}")))
    }

    /// Whether this is a room of the service's own, whose messages are nobody's and show in no count of clients' messages.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        self.room.as_str().starts_with(CANARY_ROOM)
    }

    /// The hash that cursors of this room carry (xxh3, fixed seed).
    #[must_use]
    pub fn hash48(&self) -> RoomHash {
        const SEED: u64 = 0x6269_6772_6f6f_6d31; // "bigroom1"
        let app = xxh3_64_with_seed(self.app.as_str().as_bytes(), SEED);
        RoomHash(xxh3_64_with_seed(self.room.as_str().as_bytes(), app) & 0xffff_ffff_ffff)
    }
}

impl fmt::Display for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_their_rule() {
        let long = "x".repeat(64);
        let longer = "x".repeat(65);
        for (text, expect) in [
            ("a", Ok(())),
            ("live:42.en_US-x", Ok(())),
            (long.as_str(), Ok(())),
            (longer.as_str(), Err(IdError::Length(65))),
            ("", Err(IdError::Length(0))),
            ("a b", Err(IdError::Character)),
            ("é", Err(IdError::Character)),
            ("a/b", Err(IdError::Character)),
            ("..", Err(IdError::DotsOnly)),
            ("..a", Ok(())),
            ("_canary", Err(IdError::Reserved)),
        ] {
            assert_eq!(RoomId::new(text).map(|_| ()), expect, "{text:?}");
        }
    }

    #[test]
    fn room_hash_depends_on_app_and_room() {
        let key = |app: &str, room: &str| RoomKey::new(AppId::internal(app), RoomId::internal(room)).hash48();
        assert_eq!(key("a", "b"), key("a", "b"));
        assert_ne!(key("a", "b"), key("b", "a"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
    }
}
