//! What a node tells a second one about a room, so that its end loses nothing.
//!
//! A share is all that memory has of a room: summary, both sets of viewers, the newest blocks. Merging it is idempotent and
//! free of order. Blocks stay the work of the node that wrote them, under its number, so that the second node
//! may write points of its own beside them, of the same time or after it.

use ::room::RoomKey;

use super::{
    History, Step,
    block::{Block, BlockError, number, push},
    summary::Summary,
    tally::Tally,
};
use crate::unique::{UniqueError, UniqueViewers};

const VERSION: u8 = 1;
/// Most blocks in a share (count).
const BLOCKS_MAX: u64 = 64;

/// Why a share was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Not what a node sends.
    #[error("the share of a room's history is damaged")]
    Damaged,
    /// Of a later bigroom.
    #[error("the share of a room's history has version {0}, this bigroom knows {VERSION}")]
    Version(u8),
    /// Of a later bigroom, or counted by another hash.
    #[error(transparent)]
    Viewers(UniqueError),
    /// Memory has as many rooms as it may.
    #[error("there is no place for another room")]
    Full,
}

impl From<BlockError> for ShareError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Damaged => Self::Damaged,
            BlockError::Version(version) => Self::Version(version),
        }
    }
}

impl From<UniqueError> for ShareError {
    fn from(error: UniqueError) -> Self {
        match error {
            UniqueError::Damaged => Self::Damaged,
            UniqueError::Unknown { .. } => Self::Viewers(error),
        }
    }
}

/// A block of a share.
pub(super) struct SharedBlock {
    /// The node that wrote it: the sharing one or, after a takeover, one before it.
    pub(super) node: u64,
    pub(super) step: Step,
    /// Its first interval.
    pub(super) base: u64,
    /// By interval, ascending, never empty.
    pub(super) points: Vec<(u64, Tally)>,
}

/// A share, taken apart.
pub(super) struct Share {
    /// The node that it comes from.
    pub(super) node: u64,
    pub(super) summary: Summary,
    pub(super) session: UniqueViewers,
    pub(super) total: UniqueViewers,
    /// Blocks by step and first interval.
    pub(super) blocks: Vec<SharedBlock>,
}

impl Share {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ShareError> {
        let mut rest = match bytes {
            [VERSION, rest @ ..] => rest,
            [] => return Err(ShareError::Damaged),
            [version, ..] => return Err(ShareError::Version(*version)),
        };
        let (node, after) = rest.split_first_chunk::<8>().ok_or(ShareError::Damaged)?;
        rest = after;
        let summary = Summary::decode(part(&mut rest)?).ok_or(ShareError::Damaged)?;
        let session = UniqueViewers::decode(part(&mut rest)?)?;
        let total = UniqueViewers::decode(part(&mut rest)?)?;
        let count = number(&mut rest).filter(|count| *count <= BLOCKS_MAX).ok_or(ShareError::Damaged)?;
        let mut blocks = Vec::new();
        for _ in 0..count {
            let (node, after) = rest.split_first_chunk::<8>().ok_or(ShareError::Damaged)?;
            let (seconds, after) = after.split_first().ok_or(ShareError::Damaged)?;
            rest = after;
            let step = Step::ALL.into_iter().find(|step| step.seconds() == *seconds);
            let step = step.ok_or(ShareError::Damaged)?;
            let points = Block::decode(step, part(&mut rest)?)?;
            if let Some((interval, _)) = points.first() {
                let (node, base) = (u64::from_be_bytes(*node), Block::base_of(step, *interval));
                blocks.push(SharedBlock { node, step, base, points });
            }
        }
        let share = Self { node: u64::from_be_bytes(*node), summary, session, total, blocks };
        if rest.is_empty() { Ok(share) } else { Err(ShareError::Damaged) }
    }
}

/// Takes a part with its length before it off the front.
fn part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], ShareError> {
    let length = number(bytes).and_then(|length| usize::try_from(length).ok()).ok_or(ShareError::Damaged)?;
    let (part, rest) = bytes.split_at_checked(length).ok_or(ShareError::Damaged)?;
    *bytes = rest;
    Ok(part)
}

fn push_part(bytes: &mut Vec<u8>, part: &[u8]) {
    push(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

impl History {
    /// What a second node has to know of a room, for its [`Self::adopt`]; `None` if memory does not have the room. Takes from
    /// 100 bytes for a small room to 200 KB for one with many viewers: once a takeover will do.
    #[must_use]
    pub fn share(&self, room: &RoomKey) -> Option<Vec<u8>> {
        let kept = self.rooms.get(room)?;
        let (summary, session, total) = kept.shared();
        let blocks = kept.shared_blocks(self.keep.node());
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.keep.node().to_be_bytes());
        push_part(&mut bytes, &summary.encode());
        push_part(&mut bytes, &session.encode());
        push_part(&mut bytes, &total.encode());
        push(&mut bytes, blocks.len() as u64);
        for (node, step, block) in blocks {
            bytes.extend_from_slice(&node.to_be_bytes());
            bytes.push(step.seconds());
            push_part(&mut bytes, &block);
        }
        Some(bytes)
    }

    /// Takes in what another node shares of a room. Later ones of the same node contain earlier ones; one that comes twice
    /// or late changes nothing.
    ///
    /// # Errors
    /// [`ShareError`]; then nothing of it is taken.
    pub fn adopt(&self, room: &RoomKey, bytes: &[u8], now_ms: u64) -> Result<(), ShareError> {
        let share = Share::decode(bytes)?;
        if share.node == self.keep.node() {
            // Its own, from before a restart: the store has as much.
            return Ok(());
        }
        let node = self.keep.node();
        self.with(room, |kept| kept.adopt(share, node, now_ms)).ok_or(ShareError::Full)
    }
}
