//! What the crate's tests share: a real store on a temporary directory, and one that can be made to fail.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use room::{
    AppId, Epoch, List, MessageId, MessageType, NoticeSink, Priority, Role, RoomId, RoomKey, Seq, UserId,
};
use store::{
    Append, Appended, Page, Range, Retraction, RocksStore, RoomLog, RoomView, SettingsChange, Store,
    StoreError, StoreOptions,
};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::{Caller, CountedAs, Draft};

pub(crate) fn room(name: &str) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal(name))
}

pub(crate) fn caller(user: &str, role: Role) -> Caller {
    let id = UserId::internal(user);
    Caller { sender: id.clone(), role, rights: role, counted_as: CountedAs::User(id) }
}

pub(crate) fn speaker(user: &str) -> Caller {
    caller(user, Role::Speaker)
}

pub(crate) fn text(text: &str) -> Draft {
    Draft {
        id: None,
        kind: MessageType::default(),
        priority: Priority::Normal,
        text: Some(text.to_owned()),
        data: None,
    }
}

pub(crate) fn with_id(id: &str, words: &str) -> Draft {
    Draft { id: Some(MessageId::internal(id)), ..text(words) }
}

/// A real store whose writes can be held up or refused.
pub(crate) struct TestStore {
    store: Arc<RocksStore>,
    gate: Semaphore,
    refuses: AtomicBool,
    writes: AtomicUsize,
    _dir: TempDir,
}

impl TestStore {
    pub(crate) fn open() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
        Arc::new(Self {
            store,
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            refuses: AtomicBool::new(false),
            writes: AtomicUsize::new(0),
            _dir: dir,
        })
    }

    /// From now on, writes wait until [`TestStore::release`].
    pub(crate) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets so many writes go on.
    pub(crate) fn release(&self, writes: usize) {
        self.gate.add_permits(writes);
    }

    /// From now on, writes fail, or no longer do.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// How many writes have been begun.
    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// What every write begins with.
    async fn write(&self) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.expect("never closed").forget();
        if self.refuses.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("told to".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl RoomLog for TestStore {
    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    async fn view(&self, room: &RoomKey) -> Result<RoomView, StoreError> {
        self.store.view(room).await
    }

    async fn read(&self, room: &RoomKey, list: List, range: Range, limit: usize) -> Result<Page, StoreError> {
        self.store.read(room, list, range, limit).await
    }

    fn subscribe(&self, sink: Arc<dyn NoticeSink>) {
        self.store.subscribe(sink);
    }

    fn health(&self) -> Result<(), StoreError> {
        self.store.health()
    }
}

#[async_trait]
impl Store for TestStore {
    async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        self.write().await?;
        self.store.append(append).await
    }

    async fn find(
        &self,
        room: &RoomKey,
        sender: &UserId,
        id: &MessageId,
    ) -> Result<Option<(Appended, u64)>, StoreError> {
        self.store.find(room, sender, id).await
    }

    async fn retract(&self, room: &RoomKey, list: List, seq: Seq) -> Result<Retraction, StoreError> {
        self.write().await?;
        self.store.retract(room, list, seq).await
    }

    async fn change_settings(&self, room: &RoomKey, change: SettingsChange) -> Result<RoomView, StoreError> {
        self.write().await?;
        self.store.change_settings(room, change).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
