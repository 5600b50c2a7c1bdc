//! What the write path offers, wherever it runs.

use async_trait::async_trait;
use room::{Epoch, Identity, List, MessageId, Problem, Role, RoomKey, Seq, UserId};
use store::{Retraction, RoomView};

use crate::{Draft, SettingsPatch};

/// Whom limits and slow mode count.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CountedAs {
    /// A user, over all of their connections and devices.
    User(UserId),
    /// A connection whose caller names nobody.
    Connection(u64),
}

/// Who sends or moderates: what of an [`Identity`] matters to the write path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The id that messages show. Ids of messages are remembered under it, also where it is `anonymous`: a
    /// repeat comes over a new connection when the old one broke.
    pub sender: UserId,
    /// What messages show, and what mute and slow mode go by.
    pub role: Role,
    /// What the caller may do.
    pub rights: Role,
    /// Whom limits count.
    pub counted_as: CountedAs,
}

impl Caller {
    /// The caller on `connection` (any number that no other connection of this process has at the time).
    #[must_use]
    pub fn new(identity: &Identity, connection: u64) -> Self {
        Self {
            sender: identity.sender_id(),
            role: identity.role,
            rights: identity.rights,
            counted_as: identity.user.clone().map_or(CountedAs::Connection(connection), CountedAs::User),
        }
    }
}

/// A message that is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The client's id for it, or the one that was made.
    pub id: MessageId,
    /// Its list.
    pub list: List,
    /// Its place there.
    pub seq: Seq,
    /// The log's generation.
    pub epoch: Epoch,
    /// When it was accepted (Unix milliseconds).
    pub sent_at_ms: u64,
    /// Whether it was sent before: everything else is then as it was the first time.
    pub is_duplicate: bool,
}

/// The write path, in process or across nodes.
///
/// Whether the caller may enter the room at all is for its edge to check, before.
#[async_trait]
pub trait SendService: Send + Sync {
    /// Sends one message. Answered once it is durable; finished also when the future is dropped, as all that change
    /// something are.
    ///
    /// # Errors
    /// `forbidden`, `id_reused`, `room_closed`, `muted`, `slow_mode`, `rate_limited`: it is not there, and its
    /// id is free. `log_unavailable`, `internal`: a repeat with the same id finds out; it may be done yet.
    async fn send(&self, caller: &Caller, room: &RoomKey, draft: Draft) -> Result<Sent, Problem>;

    /// Sends several, in their order as far as they are accepted; a draft that is a refusal keeps its place. As
    /// many results as drafts.
    async fn send_batch(
        &self,
        caller: &Caller,
        room: &RoomKey,
        drafts: Vec<Result<Draft, Problem>>,
    ) -> Vec<Result<Sent, Problem>>;

    /// Replaces a message by its tombstone and tells the readers.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `log_unavailable`, `internal`.
    async fn retract(
        &self,
        caller: &Caller,
        room: &RoomKey,
        list: List,
        seq: Seq,
    ) -> Result<Retraction, Problem>;

    /// Changes a room's settings; gives back what they are then.
    ///
    /// # Errors
    /// `forbidden`, `log_unavailable`, `internal`.
    async fn change_settings(
        &self,
        caller: &Caller,
        room: &RoomKey,
        patch: SettingsPatch,
    ) -> Result<RoomView, Problem>;

    /// A room's settings and what its lists keep. A room that was never used has the defaults.
    ///
    /// # Errors
    /// `log_unavailable`, `internal`.
    async fn view(&self, room: &RoomKey) -> Result<RoomView, Problem>;
}

#[cfg(test)]
mod tests {
    use room::{AppId, RoomPattern};

    use super::*;

    #[test]
    fn caller_without_a_name_counts_by_connection() {
        let named = Identity {
            app: AppId::default(),
            user: Some(UserId::internal("u1")),
            device: None,
            role: Role::Speaker,
            rights: Role::Ops,
            rooms: vec![RoomPattern::new("*")],
        };
        let caller = Caller::new(&named, 7);
        assert_eq!((caller.sender.as_str(), caller.role, caller.rights), ("u1", Role::Speaker, Role::Ops));
        assert_eq!(caller.counted_as, CountedAs::User(UserId::internal("u1")));
        let caller = Caller::new(&Identity { user: None, ..named }, 7);
        assert_eq!((caller.sender.as_str(), caller.counted_as), ("anonymous", CountedAs::Connection(7)));
    }
}
