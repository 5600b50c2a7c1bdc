//! What the write path tells the read path.

use std::sync::Arc;

use crate::{Epoch, List, Message, PerList, RoomKey, RoomSettings, Seq};

/// Which part of a list is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The oldest kept; `last + 1` when nothing is.
    pub first: Seq,
    /// The newest ever; 0 before the first.
    pub last: Seq,
}

impl Bounds {
    /// The bounds of a list that never had a message.
    pub const EMPTY: Self = Self { first: Seq(1), last: Seq(0) };

    /// Messages kept.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.last.next().since(self.first)
    }

    /// Whether nothing is kept.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Something that happened to a room and is durable. Per (room, list) notices come in the log's order.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Where.
    pub room: RoomKey,
    /// The log's epoch.
    pub epoch: Epoch,
    /// What.
    pub change: Change,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Change {
    /// Messages were appended to a list.
    Appended {
        /// The list.
        list: List,
        /// The sequence before the first of `messages`: whoever has less than that pulls the rest.
        prev: Seq,
        /// Ascending and contiguous, never empty. A [`crate::Content::Redact`] among them means that the message
        /// it names is now [`crate::Content::Retracted`].
        messages: Vec<Arc<Message>>,
        /// When the service took the oldest of them (Unix microseconds): what delivery time is measured from.
        accepted_at_us: u64,
    },
    /// The room's settings changed.
    Settings {
        /// All of them, as they are now.
        settings: Arc<RoomSettings>,
        /// What is kept now: a smaller retention takes effect with the change.
        bounds: PerList<Bounds>,
    },
    /// Nothing, as far as is known; but notices may have been missed before. Whoever has less than this pulls the rest.
    Viewed {
        /// The settings.
        settings: Arc<RoomSettings>,
        /// What is kept.
        bounds: PerList<Bounds>,
    },
}

/// Whoever must hear of changes: the recvsvrs of a room's sect, by way of the sendsvr.
pub trait NoticeSink: Send + Sync {
    /// Takes notice of something durable. Called in commit order, before the sender gets its answer, on the
    /// thread that commits: so it must not block, and a poll that begins after the answer sees the message.
    fn notice(&self, notice: &Notice);
}
