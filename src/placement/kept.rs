//! Rooms that live elsewhere than the sect table says, as the store keeps them over restarts.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use prost::Message as _;
use proto::{internal as wire, log::needed};
use room::{MOVED_ROOMS_MAX, Placed, PlacedBy, RoomKey, SectName};
use store::{RecordBatch, RecordChange, RecordFamily, RecordRange, RecordRefused, Store, StoreError};
use tracing::warn;

use super::Change;

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
            let page = self.0.read_records(range.clone(), PAGE.min(MOVED_ROOMS_MAX - rooms.len())).await?;
            if !page.damaged.is_empty() {
                warn!(
                    records = page.damaged.len(),
                    "records of where rooms live are damaged, and passed over"
                );
            }
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

    /// Keeps where rooms live, or forgets them: all of as many as fit into one batch, or none. Of more, the first batches may be kept and
    /// the others not; to write them again does no harm.
    pub(super) async fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut batch = RecordBatch::default();
        for change in changes {
            let record = record(change);
            match batch.push(record.clone()) {
                Err(RecordRefused::BatchFull) => {
                    self.0.write_records(std::mem::take(&mut batch)).await?;
                    batch.push(record).expect("an empty batch has a place");
                }
                pushed => pushed.expect("two ids and a name fit into a record"),
            }
        }
        if batch.is_empty() { Ok(()) } else { self.0.write_records(batch).await }
    }
}

fn record(Change { room, placed, .. }: &Change) -> RecordChange {
    let key = Bytes::from(format!("{}\0{}", room.app.as_str(), room.room.as_str()));
    let Some(placed) = placed else {
        return RecordChange::Delete(RecordRange::only(RecordFamily::Placement, &key));
    };
    let value = Bytes::from(value(room, placed));
    RecordChange::Put { family: RecordFamily::Placement, key, value, expires_at_ms: None }
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

#[cfg(test)]
mod tests {
    use room::{AppId, RoomId};
    use store::{RocksStore, StoreOptions};

    use super::*;

    fn change(room: &str, sect: Option<(&str, PlacedBy)>) -> Change {
        let placed =
            sect.map(|(sect, by)| Placed { sect: SectName::internal(sect), by, since_ms: 1_795_316_486_767 });
        Change { room: RoomKey::new(AppId::default(), RoomId::internal(room)), placed, why: "test" }
    }

    fn expected(changes: &[Change]) -> HashMap<RoomKey, Placed> {
        changes.iter().filter_map(|it| Some((it.room.clone(), it.placed.clone()?))).collect()
    }

    #[tokio::test]
    async fn places_are_there_after_a_restart_until_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let open = || RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
        let store = open();
        let both =
            [change("a", Some(("vip", PlacedBy::Api))), change("b", Some(("vip-2", PlacedBy::Promotion)))];
        let kept = Kept::new(Arc::clone(&store) as Arc<dyn Store>);
        assert!(kept.read().await.unwrap().is_empty());
        kept.write(&both).await.unwrap();
        store.close().await;
        drop((kept, store));
        let kept = Kept::new(open());
        assert_eq!(kept.read().await.unwrap(), expected(&both));
        // One is moved on, and one forgotten, together.
        let moved_on = change("b", Some(("vip", PlacedBy::Api)));
        kept.write(&[change("a", None), moved_on.clone()]).await.unwrap();
        assert_eq!(kept.read().await.unwrap(), expected(&[moved_on]));
    }

    #[tokio::test]
    async fn more_than_a_batch_or_a_page_holds_is_written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
        let kept = Kept::new(store);
        let many: Vec<_> =
            (0..3_210).map(|at| change(&format!("r{at}"), Some(("vip", PlacedBy::Promotion)))).collect();
        kept.write(&many).await.unwrap();
        assert_eq!(kept.read().await.unwrap(), expected(&many));
        let none: Vec<_> = (0..3_210).map(|at| change(&format!("r{at}"), None)).collect();
        kept.write(&none).await.unwrap();
        assert!(kept.read().await.unwrap().is_empty());
        kept.write(&[]).await.unwrap();
    }

    #[tokio::test]
    async fn record_that_is_not_understood_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
        let mut batch = RecordBatch::default();
        for (key, value) in [("x", &b"\xff\xff"[..]), ("y", b"")] {
            let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(value));
            let family = RecordFamily::Placement;
            batch.push(RecordChange::Put { family, key, value, expires_at_ms: None }).unwrap();
        }
        store.write_records(batch).await.unwrap();
        let kept = Kept::new(store);
        let good = [change("a", Some(("vip", PlacedBy::Api)))];
        kept.write(&good).await.unwrap();
        assert_eq!(kept.read().await.unwrap(), expected(&good));
    }
}
