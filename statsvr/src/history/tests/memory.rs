//! A store of records in memory that can be told to fail.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ::room::{Epoch, List, MessageId, NoticeSink, RoomKey, Seq, UserId};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use store::{
    Append, Appended, Page, Range, Record, RecordBatch, RecordChange, RecordFamily, RecordPage, RecordRange,
    Retraction, RoomLog, RoomView, SettingsChange, Store, StoreError,
};

#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) records: Mutex<BTreeMap<(RecordFamily, Bytes), Bytes>>,
    /// Writes and reads fail from now on.
    pub(crate) refuses: AtomicBool,
    /// How many reads there were.
    pub(crate) reads: AtomicUsize,
}

fn refused() -> StoreError {
    StoreError::Unavailable("told to".to_owned())
}

impl MemoryStore {
    fn check(&self) -> Result<(), StoreError> {
        if self.refuses.load(Ordering::SeqCst) { Err(refused()) } else { Ok(()) }
    }
}

#[async_trait]
impl RoomLog for MemoryStore {
    fn epoch(&self) -> Epoch {
        Epoch(1)
    }

    async fn view(&self, _: &RoomKey) -> Result<RoomView, StoreError> {
        Err(refused())
    }

    async fn read(&self, _: &RoomKey, _: List, _: Range, _: usize) -> Result<Page, StoreError> {
        Err(refused())
    }

    fn subscribe(&self, _: std::sync::Arc<dyn NoticeSink>) {}

    fn health(&self) -> Result<(), StoreError> {
        self.check()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn write_records(&self, batch: RecordBatch) -> Result<(), StoreError> {
        self.check()?;
        let mut records = self.records.lock();
        for change in batch.changes() {
            match change {
                RecordChange::Put { family, key, value, .. } => {
                    records.insert((*family, key.clone()), value.clone());
                }
                RecordChange::Delete(range) => records.retain(|(family, key), _| {
                    *family != range.family || *key < range.from || *key >= range.to
                }),
            }
        }
        Ok(())
    }

    async fn read_records(&self, range: RecordRange, limit: usize) -> Result<RecordPage, StoreError> {
        self.check()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        let records = self.records.lock();
        let mut page = RecordPage::default();
        for ((family, key), value) in records.iter() {
            if *family == range.family && range.from <= *key && *key < range.to {
                if page.records.len() == limit {
                    page.next = Some(key.clone());
                    break;
                }
                page.records.push(Record { key: key.clone(), value: value.clone() });
            }
        }
        Ok(page)
    }

    async fn append(&self, _: Append) -> Result<Appended, StoreError> {
        Err(refused())
    }

    async fn find(
        &self,
        _: &RoomKey,
        _: &UserId,
        _: &MessageId,
    ) -> Result<Option<(Appended, u64)>, StoreError> {
        Err(refused())
    }

    async fn retract(&self, _: &RoomKey, _: List, _: Seq) -> Result<Retraction, StoreError> {
        Err(refused())
    }

    async fn change_settings(&self, _: &RoomKey, _: SettingsChange) -> Result<RoomView, StoreError> {
        Err(refused())
    }

    async fn close(&self) {}
}
