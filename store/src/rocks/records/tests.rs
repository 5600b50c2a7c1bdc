use std::{path::Path, sync::Arc};

use rocksdb::{DB, Options};
use room::{AppId, List, MessageType, Post, Role, RoomId, RoomKey, Sender, UserId};

use super::*;
use crate::{Append, RocksStore, RoomLog as _, Store, StoreOptions};

fn open(dir: &Path) -> Result<Arc<RocksStore>, StoreError> {
    RocksStore::open(dir, StoreOptions::default())
}

fn batch(changes: impl IntoIterator<Item = RecordChange>) -> RecordBatch {
    let mut batch = RecordBatch::default();
    changes.into_iter().for_each(|change| batch.push(change).unwrap());
    batch
}

fn put(key: &'static str, value: &'static str, expires_at_ms: Option<u64>) -> RecordChange {
    RecordChange::Put { family: RecordFamily::History, key: key.into(), value: value.into(), expires_at_ms }
}

fn all() -> RecordRange {
    RecordRange::beginning_with(RecordFamily::History, b"")
}

async fn append(store: &dyn Store) -> u64 {
    let append = Append {
        room: RoomKey::new(AppId::default(), RoomId::internal("r")),
        list: List::Normal,
        id: None,
        content_hash: 0,
        post: Post {
            kind: MessageType::default(),
            sender: Sender { id: UserId::internal("u"), role: Role::Speaker },
            text: Some("x".to_owned()),
            data: None,
        },
        accepted_at_us: crate::rocks::unix_ms() * 1_000,
    };
    store.append(append).await.unwrap().seq.0
}

/// Drops a column family of a closed store, as if its bigroom had not known it.
fn drop_column(dir: &Path, column: &str) {
    let path = dir.join("log");
    let names = DB::list_cf(&Options::default(), &path).unwrap();
    let mut db = DB::open_cf(&Options::default(), &path, names).unwrap();
    db.drop_cf(column).unwrap();
}

#[test]
fn every_damaged_byte_is_noticed() {
    let key = stored_key(RecordFamily::History, b"room");
    let good = encode(&key, b"some value", Some(77));
    assert_eq!(decode(&key, &good), Some((&b"some value"[..], 77)));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(decode(&key, &bad), None, "byte {at}");
        assert_eq!(decode(&key, &good[..at]), None, "{at} bytes");
    }
    assert_eq!(decode(&stored_key(RecordFamily::Unique, b"room"), &good), None, "under another key");
}

#[test]
fn compaction_takes_only_what_has_expired() {
    let removes = |stored: &[u8], now_ms| matches!(keep_until_expiry(stored, now_ms), Decision::Remove);
    let mortal = encode(b"k", b"v", Some(100));
    assert!(removes(&mortal, 100) && !removes(&mortal, 99));
    assert!(!removes(&encode(b"k", b"v", None), u64::MAX - 1));
    assert!(!removes(b"", 100) && !removes(b"\x01\x00", 100) && !removes(b"\x07rubbish..", 100));
}

#[tokio::test]
async fn directory_from_before_records_opens_and_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (epoch, seq) = (store.epoch(), append(&*store).await);
    store.close().await;
    drop(store);
    drop_column(dir.path(), Column::Records.name());

    for round in 1..3 {
        let store = open(dir.path()).unwrap();
        assert_eq!((store.epoch(), append(&*store).await), (epoch, seq + round));
        store.write_records(batch([put("k", "v", None)])).await.unwrap();
        assert_eq!(store.read_records(all(), 10).await.unwrap().records[0].value, "v");
        store.close().await;
    }
}

#[tokio::test]
async fn directory_that_lost_another_column_is_refused() {
    for lost in [Column::Heads, Column::Ids] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap().close().await;
        drop_column(dir.path(), lost.name());
        assert!(matches!(open(dir.path()), Err(StoreError::Open(_))), "{lost:?}");
        // Nor is it taken for an old one when it has lost both.
        drop_column(dir.path(), Column::Records.name());
        assert!(matches!(open(dir.path()), Err(StoreError::Open(_))), "{lost:?} and records");
    }
}

#[tokio::test]
async fn damaged_record_is_passed_over_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store
        .write_records(batch([put("a", "1", None), put("b", "2", None), put("c", "3", None)]))
        .await
        .unwrap();
    {
        let log = store.shared.log.read();
        let log = log.as_ref().unwrap();
        let mut writes = WriteBatch::default();
        let key = stored_key(RecordFamily::History, b"b");
        writes.put_cf(log.column(Column::Records), &key, encode(b"other", b"2", None));
        log.write(writes).unwrap();
    }
    let page = store.read_records(all(), 10).await.unwrap();
    let values: Vec<_> = page.records.iter().map(|record| &record.value[..]).collect();
    assert_eq!((values, page.damaged), (vec![&b"1"[..], b"3"], vec!["b".into()]));
    // Statistics are no reason to stop serving messages.
    store.health().unwrap();
    append(&*store).await;
    store.close().await;
}

#[tokio::test]
async fn expired_record_is_not_shown_and_goes_with_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let now_ms = crate::rocks::unix_ms();
    let writes = batch([put("a", "1", Some(now_ms - 1)), put("b", "2", Some(now_ms + 600_000))]);
    store.write_records(writes).await.unwrap();
    let page = store.read_records(all(), 10).await.unwrap();
    assert_eq!(page.records.iter().map(|record| &record.key[..]).collect::<Vec<_>>(), [b"b"]);
    {
        let log = store.shared.log.read();
        let log = log.as_ref().unwrap();
        log.flush().unwrap();
        log.db().compact_range_cf(log.column(Column::Records), None::<&[u8]>, None::<&[u8]>);
        assert!(log.get(Column::Records, &stored_key(RecordFamily::History, b"a")).unwrap().is_none());
        assert!(log.get(Column::Records, &stored_key(RecordFamily::History, b"b")).unwrap().is_some());
    }
    store.close().await;
    assert!(store.write_records(batch([put("a", "1", None)])).await.is_err(), "closed");
}
