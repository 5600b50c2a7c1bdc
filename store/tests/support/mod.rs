//! What the tests of the store share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use room::{
    AppId, Change, Content, List, Message, MessageId, MessageType, Notice, NoticeSink, Post, Role, RoomId,
    RoomKey, RoomSettings, Sender, Seq, UserId,
};
use store::{Append, Range, RocksStore, Store, StoreOptions};

pub fn open(dir: &Path) -> Arc<RocksStore> {
    RocksStore::open(dir, StoreOptions::default()).unwrap()
}

pub fn room(name: &str) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::new(name).unwrap())
}

pub fn now_us() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// A message of user `u`, without an id.
pub fn message(room: &RoomKey, list: List, text: &str) -> Append {
    Append {
        room: room.clone(),
        list,
        id: None,
        content_hash: text.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into())),
        post: Post {
            kind: MessageType::default(),
            sender: Sender { id: UserId::new("u").unwrap(), role: Role::Speaker },
            text: Some(text.to_owned()),
            data: None,
        },
        accepted_at_us: now_us(),
    }
}

/// A message of user `u` under an id.
pub fn named(room: &RoomKey, list: List, id: &str, text: &str) -> Append {
    Append { id: Some(MessageId::new(id).unwrap()), ..message(room, list, text) }
}

/// All that a list keeps, page by page.
pub async fn all(store: &dyn Store, room: &RoomKey, list: List) -> Vec<Arc<Message>> {
    let mut messages: Vec<Arc<Message>> = Vec::new();
    loop {
        let after = messages.last().map_or(Seq(0), |message| message.seq);
        let page = store.read(room, list, Range::After(after), 1_000).await.unwrap();
        if page.messages.is_empty() {
            return messages;
        }
        messages.extend(page.messages);
    }
}

pub fn text_of(message: &Message) -> &str {
    match &message.content {
        Content::Post(post) => post.text.as_deref().unwrap_or(""),
        Content::Redact { .. } => "redact",
        Content::Retracted { .. } => "retracted",
    }
}

pub fn seqs(messages: &[Arc<Message>]) -> Vec<u64> {
    messages.iter().map(|message| message.seq.0).collect()
}

/// A change of settings that keeps `count` messages of `list` for `age`.
pub fn keep(list: List, count: u64, age: Duration) -> store::SettingsChange {
    Box::new(move |settings: &RoomSettings| {
        let mut settings = settings.clone();
        settings.retention[list] = Some(room::Retention { count, age });
        settings
    })
}

/// Waits until `is_so` says so; fails with its last word after ten seconds, or as many as given.
pub async fn eventually<F: Future<Output = Result<(), String>>>(seconds: u64, mut is_so: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    while let Err(last) = is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "not within {seconds} s: {last}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Copies a directory that a store may have open: what a crash at this moment would leave. Background work may get in
/// between; then it starts over.
pub fn copy(from: &Path, to: &Path) {
    for _ in 0..100 {
        std::fs::remove_dir_all(to).unwrap();
        std::fs::create_dir(to).unwrap();
        let before = files_of(from);
        let copied = before.iter().all(|(path, _)| {
            let target = to.join(path.strip_prefix(from).unwrap());
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(path, target).is_ok()
        });
        if copied && files_of(from) == before {
            return;
        }
    }
    panic!("{} never comes to rest", from.display());
}

/// All files below a directory with their sizes.
fn files_of(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match std::fs::metadata(&path) {
            Ok(data) if data.is_dir() => files.extend(files_of(&path)),
            Ok(data) => drop(files.insert(path, data.len())),
            Err(_) => {} // gone already
        }
    }
    files
}

/// A sink that keeps what it is told.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<Notice>>);

impl NoticeSink for Heard {
    fn notice(&self, notice: &Notice) {
        self.0.lock().unwrap().push(notice.clone());
    }
}

impl Heard {
    pub fn on(store: &dyn Store) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        store.subscribe(Arc::clone(&heard) as Arc<dyn NoticeSink>);
        heard
    }

    /// The sequences told of a list, after checking that each notice continues the one before.
    pub fn appended(&self, room: &RoomKey, list: List) -> Vec<u64> {
        let mut told = Vec::new();
        for notice in self.0.lock().unwrap().iter().filter(|notice| notice.room == *room) {
            if let Change::Appended { list: of, prev, messages, .. } = &notice.change
                && *of == list
            {
                assert_eq!(told.last().copied().unwrap_or(prev.0), prev.0, "notice out of order");
                assert!(!messages.is_empty());
                told.extend(messages.iter().map(|message| message.seq.0));
            }
        }
        told
    }
}
