//! Rooms that live elsewhere than the sect table says, as the store keeps them over restarts.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use prost::Message as _;
use proto::{internal as wire, log::needed};
use room::{MOVED_ROOMS_MAX, Placed, PlacedBy, RoomKey, SectName};
use store::{RecordBatch, RecordChange, RecordFamily, RecordRange, Store, StoreError};
use tracing::warn;

/// Records read at a time.
const PAGE: usize = 1_000;

/// The records of where rooms live.
pub(super) struct Kept(Arc<dyn Store>);

impl Kept {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// All that is kept. A record that is damaged is passed over: its room lives where the table has it.
    pub(super) async fn read(&self) -> Result<HashMap<RoomKey, Placed>, StoreError> {
        let mut rooms = HashMap::new();
        let mut range = RecordRange::beginning_with(RecordFamily::Placement, &[]);
        while rooms.len() < MOVED_ROOMS_MAX {
            let page = self.0.read_records(range.clone(), PAGE).await?;
            for record in &page.records {
                match placed(&record.value) {
                    Some((room, placed)) => drop(rooms.insert(room, placed)),
                    None => warn!("a record of where a room lives is not understood, and passed over"),
                }
            }
            match page.next {
                Some(next) => range.from = next,
                None => break,
            }
        }
        Ok(rooms)
    }

    /// Keeps where a room lives, or forgets it.
    pub(super) async fn write(&self, room: &RoomKey, placed: Option<&Placed>) -> Result<(), StoreError> {
        let key = Bytes::from(format!("{}\0{}", room.app.as_str(), room.room.as_str()));
        let change = match placed {
            None => RecordChange::Delete(RecordRange::only(RecordFamily::Placement, &key)),
            Some(placed) => {
                let value = Bytes::from(value(room, placed));
                RecordChange::Put { family: RecordFamily::Placement, key, value, expires_at_ms: None }
            }
        };
        let mut batch = RecordBatch::default();
        batch.push(change).expect("two ids and a name fit into a record");
        self.0.write_records(batch).await
    }
}

fn value(room: &RoomKey, placed: &Placed) -> Vec<u8> {
    let moved = wire::MovedRoom {
        room: Some(room.into()),
        sect: placed.sect.as_str().to_owned(),
        by: wire::PlacedBy::from(placed.by).into(),
        since_ms: placed.since_ms,
    };
    moved.encode_to_vec()
}

fn placed(value: &[u8]) -> Option<(RoomKey, Placed)> {
    let moved = wire::MovedRoom::decode(value).ok()?;
    let by = PlacedBy::try_from(moved.by()).ok()?;
    let placed = Placed { sect: SectName::internal(&moved.sect), by, since_ms: moved.since_ms };
    Some((needed(moved.room, "room").ok()?, placed))
}

/// Fuzz target of the records of where rooms live.
///
/// # Panics
/// If what was read is not what comes of writing it and reading it again.
#[cfg(any(test, fuzzing))]
pub fn fuzz_placed(data: &[u8]) {
    if let Some((room, known)) = placed(data) {
        assert_eq!(placed(&value(&room, &known)), Some((room, known)));
    }
}
