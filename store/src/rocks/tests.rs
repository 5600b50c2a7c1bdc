//! Failures that only come about from within.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    sync::mpsc,
    time::{Duration, Instant},
};

use room::{AppId, MessageType, Notice, Post, Role, RoomId, Sender as Author};

use super::{columns::Fault, recovery::WAL_COPY, *};
use crate::{RecordChange, RecordFamily};

const PATIENCE: Duration = Duration::from_secs(20);

fn room() -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal("r"))
}

fn append(id: &str) -> Append {
    Append {
        room: room(),
        list: List::Normal,
        id: Some(MessageId::internal(id)),
        content_hash: 0,
        post: Post {
            kind: MessageType::default(),
            sender: Author { id: UserId::internal("u"), role: Role::Speaker },
            text: Some("x".to_owned()),
            data: None,
        },
        accepted_at_us: unix_ms() * 1_000,
    }
}

fn fail_next_write(store: &RocksStore, fault: Fault) {
    store.shared.log.read().as_ref().unwrap().fail_next_write(fault);
}

#[tokio::test]
async fn repeat_after_failed_sync_is_acknowledged_only_once_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
    store.append(append("1")).await.unwrap();
    let folder = dir.path().join("log");
    let wal = wal::list(&folder).unwrap().pop().unwrap();
    let inode = fs::metadata(&wal).unwrap().ino();
    // A disk on which nothing can be synced: where the copy is to be made, something is in the way.
    fs::create_dir(folder.join(WAL_COPY)).unwrap();
    fail_next_write(&store, Fault::Sync);
    let failed = store.append(append("2")).await;
    assert!(matches!(failed, Err(StoreError::Unknown(_))), "{failed:?}");

    let deadline = Instant::now() + PATIENCE;
    while !matches!(store.health(), Err(StoreError::Unavailable(why)) if why.contains("after a failed sync"))
    {
        assert!(Instant::now() < deadline, "{:?}", store.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = store.append(append("2")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(store.view(&room()).await.is_ok(), "reads go on");
    assert_eq!(fs::metadata(&wal).unwrap().ino(), inode);

    fs::remove_dir(folder.join(WAL_COPY)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let repeat = loop {
        match store.append(append("2")).await {
            Ok(appended) => break appended,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((repeat.seq, repeat.is_duplicate), (Seq(2), true));
    assert_ne!(fs::metadata(&wal).unwrap().ino(), inode, "what was replayed is a synced copy");
    assert!(store.health().is_ok());
    assert_eq!(store.append(append("3")).await.unwrap().seq, Seq(3));
    drop(store);
    let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
    assert!(store.append(append("2")).await.unwrap().is_duplicate);
    assert_eq!(store.append(append("4")).await.unwrap().seq, Seq(4));
}

/// Holds the writing thread up with the first notice, until told to go on.
struct Brake(Mutex<mpsc::Receiver<()>>);

impl NoticeSink for Brake {
    fn notice(&self, _: &Notice) {
        let _ = self.0.lock().recv();
    }
}

/// A store whose writing thread is held up, and more appends waiting than fit a batch.
async fn held_up(
    dir: &Path,
) -> (Arc<RocksStore>, mpsc::SyncSender<()>, tokio::task::JoinSet<Result<Appended, StoreError>>) {
    let store = RocksStore::open(dir, StoreOptions::default()).unwrap();
    let (release, held) = mpsc::sync_channel(0);
    store.subscribe(Arc::new(Brake(Mutex::new(held))));
    let begun = Arc::new(AtomicU64::new(0));
    let mut appends = tokio::task::JoinSet::new();
    for number in 0..WRITES_QUEUED_MAX + 500 {
        let store = Arc::clone(&store);
        let begun = Arc::clone(&begun);
        appends.spawn(async move {
            begun.fetch_add(1, Ordering::Relaxed);
            store.append(append(&number.to_string())).await
        });
    }
    let deadline = Instant::now() + PATIENCE;
    while store.notices() == Some(0) || begun.load(Ordering::Relaxed) < appends.len() as u64 {
        assert!(Instant::now() < deadline, "nothing is written");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (store, release, appends)
}

#[tokio::test]
async fn panic_of_the_writing_thread_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (store, release, appends) = held_up(dir.path()).await;
    fail_next_write(&store, Fault::Panic);
    drop(release);
    let answers = tokio::time::timeout(PATIENCE, appends.join_all()).await.unwrap();
    let unanswered = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Unknown(_)))).count();
    assert!(unanswered > WRITES_QUEUED_MAX / 2, "{unanswered}");
    tokio::time::timeout(PATIENCE, async {
        assert!(matches!(store.append(append("late")).await, Err(StoreError::Unavailable(_))));
        store.close().await;
    })
    .await
    .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while store.health().is_ok() {
        assert!(Instant::now() < deadline, "health does not show it");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn close_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (store, release, appends) = held_up(dir.path()).await;
    let closing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.close().await }
    });
    drop(release);
    let answers = tokio::time::timeout(PATIENCE, appends.join_all()).await.unwrap();
    tokio::time::timeout(PATIENCE, closing).await.unwrap().unwrap();
    let written = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(written > 0);
    let refused = |answer: &&Result<_, _>| matches!(answer, Err(StoreError::Unavailable(_)));
    assert_eq!(answers.iter().filter(refused).count(), answers.len() - written);
    drop(store);
    let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
    assert_eq!(store.view(&room()).await.unwrap().bounds.normal.last, Seq(written as u64));
}

#[tokio::test]
async fn panic_of_a_read_is_damage_and_ends_no_thread() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
    for _ in 0..2 * READ_THREADS {
        let read = store.read_on_thread(|_| -> Result<(), _> { panic!("as the test wants it") });
        let read = tokio::time::timeout(PATIENCE, read).await.unwrap();
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    }
    assert!(store.read(&room(), List::Normal, Range::After(Seq(0)), 1).await.is_ok());
    assert!(matches!(store.health(), Err(StoreError::Corrupt(_))));
}

#[tokio::test]
async fn close_leaves_the_newest_writes_to_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
        assert_eq!(store.view(&room()).await.unwrap().bounds.normal.last, Seq(round));
        assert_eq!(store.append(append(&round.to_string())).await.unwrap().seq, Seq(round + 1));
        let wal = wal::list(&dir.path().join("log")).unwrap().pop().unwrap();
        let written = fs::read(&wal).unwrap();
        store.close().await;
        assert!(fs::read(&wal).unwrap() == written, "no other file was begun, as a flush would");
        assert_eq!(wal::list(&dir.path().join("log")).unwrap().pop(), Some(wal));
    }
}

/// A batch of one record.
fn record() -> RecordBatch {
    let mut batch = RecordBatch::default();
    let (key, value) = ("k".into(), "v".into());
    let put = RecordChange::Put { family: RecordFamily::History, key, value, expires_at_ms: None };
    batch.push(put).unwrap();
    batch
}

fn has_record(shared: &Shared) -> bool {
    // The writing thread has it locked already while it tells of a commit.
    let log = shared.log.read_recursive();
    let range = RecordRange::beginning_with(RecordFamily::History, b"");
    !records::page(log.as_ref().unwrap(), &range, 1, 0).unwrap().records.is_empty()
}

/// Notes at each commit whether the record is there; holds up the first until it is let go.
struct Onlooker {
    shared: Arc<Shared>,
    release: Mutex<Option<mpsc::Receiver<()>>>,
    seen: Mutex<Vec<bool>>,
    /// Appends that are put in line at each commit until the record is there, so that somebody always waits.
    feed: Option<(Arc<Queue<Operation>>, usize)>,
}

impl NoticeSink for Onlooker {
    fn notice(&self, _: &Notice) {
        if let Some(release) = self.release.lock().take() {
            release.recv_timeout(PATIENCE).unwrap();
        }
        let is_there = has_record(&self.shared);
        let mut seen = self.seen.lock();
        seen.push(is_there);
        if let Some((queue, most)) = &self.feed
            && !is_there
            && seen.len() < *most
        {
            let append = append(&format!("fed {}", seen.len()));
            assert!(queue.try_push(Operation::Append { append, answer: answer::answer().0 }));
        }
    }
}

/// Has an append, records and a second append put in line while the writing thread is held up by one before them; gives what
/// was to be seen of the record at each commit.
async fn records_among_appends(dir: &Path, feed_max: Option<usize>) -> Vec<bool> {
    let store = RocksStore::open(dir, StoreOptions::default()).unwrap();
    let (release, released) = mpsc::sync_channel(1);
    let onlooker = Arc::new(Onlooker {
        shared: Arc::clone(&store.shared),
        release: Mutex::new(Some(released)),
        seen: Mutex::default(),
        feed: feed_max.map(|most| (Arc::clone(&store.writer), most)),
    });
    store.subscribe(Arc::clone(&onlooker) as Arc<dyn NoticeSink>);
    // In this order they get in line.
    let (first, records, second, ()) = tokio::time::timeout(PATIENCE, async {
        tokio::join!(
            store.append(append("1")),
            store.write_records(record()),
            store.append(append("2")),
            async {
                release.send(()).unwrap();
            }
        )
    })
    .await
    .unwrap();
    first.unwrap();
    records.unwrap();
    second.unwrap();
    assert!(has_record(&store.shared));
    store.close().await;
    std::mem::take(&mut *onlooker.seen.lock())
}

#[tokio::test]
async fn appends_go_before_records_that_were_there_first() {
    let dir = tempfile::tempdir().unwrap();
    // One commit or two, by when the writing thread woke up.
    let seen = records_among_appends(dir.path(), None).await;
    assert!(!seen.is_empty() && !seen.contains(&true), "{seen:?}");
}

#[tokio::test]
async fn records_get_in_though_appends_never_end() {
    let dir = tempfile::tempdir().unwrap();
    let most = 10 * writer::RECORDS_PASSED_MAX as usize;
    let seen = records_among_appends(dir.path(), Some(most)).await;
    let before = seen.iter().filter(|is_there| !**is_there).count();
    assert!(seen.contains(&true), "not within {before} commits");
    assert!(before <= writer::RECORDS_PASSED_MAX as usize + 2, "{before}");
}

#[tokio::test]
async fn records_that_cannot_be_written_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
    fail_next_write(&store, Fault::Sync);
    let failed = store.write_records(record()).await;
    assert!(matches!(failed, Err(StoreError::Unknown(_))), "{failed:?}");
    let refused = store.write_records(record()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let deadline = Instant::now() + PATIENCE;
    while store.write_records(record()).await.is_err() {
        assert!(Instant::now() < deadline, "{:?}", store.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
