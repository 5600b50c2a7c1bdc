//! What appending costs: [`RocksStore`] against a bare RocksDB behind the same kind of writing thread.
//!
//! ```text
//! cargo run --release -p bigroom-store --example append_bench [FOLDER [CONTENDER [PRODUCERS]]]
//! ```
//!
//! Both make one batch of what is queued, write it with one sync and answer; the bare one knows no rooms, heads, ids,
//! notices or limits. Runs alternate, since the speed of a shared disk changes by the minute: only the ratio of neighbours
//! counts. FOLDER (default: the system's folder for temporary files) must be on a disk, not in memory. CONTENDER (`bare`, `store`
//! or `store-with-ids`) and PRODUCERS leave only those runs, for a caller that alternates them with others of its own.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use rocksdb::{DB, Options, WriteBatch, WriteOptions};
use room::{AppId, List, MessageId, MessageType, Post, Role, RoomId, RoomKey, UserId};
use store::{Append, RocksStore, Store, StoreOptions};
use tokio::sync::oneshot;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

const RUN: Duration = Duration::from_secs(3);
const PRODUCERS: [usize; 3] = [1, 16, 128];
const TEXT_BYTES: usize = 200;
const BATCH_MAX: usize = 1_024;

#[derive(Clone, Copy)]
enum Contender {
    Bare,
    Store,
    StoreWithIds,
}

impl Contender {
    const ALL: [Self; 3] = [Self::Bare, Self::Store, Self::StoreWithIds];

    const fn argument(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Store => "store",
            Self::StoreWithIds => "store-with-ids",
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bare => "bare RocksDB",
            Self::Store => "store",
            Self::StoreWithIds => "store, with ids",
        })
    }
}

fn main() -> Result<(), AnyError> {
    let folder = env::args_os().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let contenders = match env::args().nth(2) {
        None => Contender::ALL.to_vec(),
        Some(wanted) => {
            let found = Contender::ALL.into_iter().find(|contender| contender.argument() == wanted);
            vec![
                found
                    .ok_or_else(|| format!("CONTENDER is {wanted}, must be bare, store or store-with-ids"))?,
            ]
        }
    };
    let counts = match env::args().nth(3) {
        None => PRODUCERS.to_vec(),
        Some(count) => vec![count.parse().map_err(|error| format!("PRODUCERS is {count}: {error}"))?],
    };
    println!(
        "{TEXT_BYTES}-byte texts to 10 rooms, each answered after its sync, {RUN:?} a run, in {}",
        folder.display()
    );
    println!(
        "{:<16} {:>9} {:>11} {:>9} {:>9} {:>7}",
        "", "producers", "appends/s", "p50 ms", "p99 ms", "ratio"
    );
    for producers in counts {
        // Without a run of the bare one there is nothing to compare with.
        let mut bare_rate = f64::NAN;
        for &contender in &contenders {
            let dir = tempfile::tempdir_in(&folder)?;
            let mut times = run(contender, dir.path(), producers)?;
            times.sort_unstable();
            let rate = times.len() as f64 / RUN.as_secs_f64();
            if matches!(contender, Contender::Bare) {
                bare_rate = rate;
            }
            let ms = |part: f64| {
                let index = (times.len() as f64 * part) as usize;
                times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
            };
            println!(
                "{contender:<16} {producers:>9} {rate:>11.0} {:>9.3} {:>9.3} {:>7.2}",
                ms(0.5),
                ms(0.99),
                rate / bare_rate
            );
        }
    }
    Ok(())
}

/// How long each append took.
fn run(contender: Contender, dir: &Path, producers: usize) -> Result<Vec<Duration>, AnyError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    match contender {
        Contender::Bare => {
            let bare = Arc::new(Bare::open(&dir.join("bare"))?);
            runtime.block_on(produce(producers, move |producer, number| {
                let bare = Arc::clone(&bare);
                async move { bare.append(producer, number).await }
            }))
        }
        Contender::Store | Contender::StoreWithIds => {
            let store = RocksStore::open(dir, StoreOptions::default())?;
            let with_ids = matches!(contender, Contender::StoreWithIds);
            runtime.block_on(produce(producers, move |producer, number| {
                let store = Arc::clone(&store);
                async move {
                    store.append(message(producer, number, with_ids)?).await?;
                    Ok(())
                }
            }))
        }
    }
}

async fn produce<F: Future<Output = Result<(), AnyError>> + Send>(
    producers: usize,
    append: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> Result<Vec<Duration>, AnyError> {
    let end = Instant::now() + RUN;
    let mut tasks = Vec::new();
    for producer in 0..producers {
        let append = append.clone();
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            let mut began = Instant::now();
            while began < end {
                append(producer, times.len() as u64).await?;
                let now = Instant::now();
                times.push(now - began);
                began = now;
            }
            Ok::<_, AnyError>(times)
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

fn message(producer: usize, number: u64, with_id: bool) -> Result<Append, AnyError> {
    let id = with_id.then(|| MessageId::new(&format!("{producer}-{number}"))).transpose()?;
    Ok(Append {
        room: RoomKey::new(AppId::default(), RoomId::new(&format!("room-{}", producer % 10))?),
        list: List::Normal,
        id,
        content_hash: number,
        post: Post {
            kind: MessageType::default(),
            sender: room::Sender { id: UserId::new(&format!("user-{producer}"))?, role: Role::Speaker },
            text: Some("x".repeat(TEXT_BYTES)),
            data: None,
        },
        accepted_at_us: u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?,
    })
}

/// A RocksDB with one column family and one writing thread.
struct Bare {
    entries: Sender<Entry>,
}

struct Entry {
    key: [u8; 16],
    value: Vec<u8>,
    done: oneshot::Sender<()>,
}

impl Bare {
    fn open(path: &Path) -> Result<Self, AnyError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(rocksdb::DBCompressionType::None);
        let db = DB::open(&options, path)?;
        let (entries, queued) = bounded(4_096);
        thread::spawn(move || write(&db, &queued));
        Ok(Self { entries })
    }

    async fn append(&self, producer: usize, number: u64) -> Result<(), AnyError> {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&(producer as u64).to_be_bytes());
        key[8..].copy_from_slice(&number.to_be_bytes());
        let (done, answer) = oneshot::channel();
        // As many bytes as the store writes for a message.
        self.entries.send(Entry { key, value: vec![b'x'; TEXT_BYTES + 50], done })?;
        Ok(answer.await?)
    }
}

fn write(db: &DB, queued: &Receiver<Entry>) {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    while let Ok(first) = queued.recv() {
        let mut batch = WriteBatch::default();
        let mut answers = Vec::new();
        for entry in std::iter::once(first).chain(queued.try_iter().take(BATCH_MAX - 1)) {
            batch.put(entry.key, entry.value);
            answers.push(entry.done);
        }
        // Without an answer the run ends with an error.
        if db.write_opt(batch, &synced).is_ok() {
            for answer in answers {
                let _ = answer.send(());
            }
        }
    }
}
