//! Directories that must not be opened, and those that must be in spite of a crash.
#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use room::{List, Seq};
use store::{Range, RocksStore, RoomLog as _, Store, StoreError, StoreOptions};
use support::{all, copy, message, named, open, room, seqs};

/// Messages in table files, and then as many in the write-ahead log.
const EACH: u64 = 40;

/// A directory as a crash leaves it.
async fn crashed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store).await;
    store.close().await;
    let store = open(dir.path());
    fill(&store).await;
    let image = tempfile::tempdir().unwrap();
    copy(dir.path(), image.path());
    image
}

async fn fill(store: &Arc<RocksStore>) {
    for _ in 0..EACH {
        // Of different bytes, so that none of them is a likely length or type.
        let text: String = (0..300).map(|_| rand_char()).collect();
        store.append(message(&room("r"), List::Normal, &text)).await.unwrap();
    }
}

fn rand_char() -> char {
    use std::hash::{BuildHasher, RandomState};
    char::from(b'a' + (RandomState::new().hash_one(0) % 26) as u8)
}

/// The files of RocksDB whose name begins and ends so, largest first.
fn files(dir: &Path, begin: &str, end: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(begin) && name.ends_with(end)
        })
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    found
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn wal(dir: &Path) -> PathBuf {
    files(dir, "", ".log").remove(0)
}

/// Where the records of a write-ahead log begin, by their lengths.
fn records(bytes: &[u8]) -> Vec<usize> {
    let mut begins = Vec::new();
    let mut at = 0;
    while at + 7 <= bytes.len() && bytes[at + 6] != 0 {
        assert_eq!(bytes[at + 6], 1, "the sample is small enough for records of one part");
        begins.push(at);
        at += 7 + usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
    }
    begins
}

enum Expect {
    /// Opens with this many messages, numbered from 1.
    Opens(u64),
    /// Is refused; the sentence has these words.
    Refused(&'static str),
}
use Expect::{Opens, Refused};

type Damage = fn(&Path);

#[tokio::test]
async fn damaged_directory_is_refused_and_torn_end_is_fine() {
    let cases: &[(&str, Damage, Expect)] = &[
        ("nothing wrong", |_| {}, Opens(2 * EACH)),
        ("marker without log", |dir| fs::remove_dir_all(dir.join("log")).unwrap(), Refused("no log")),
        (
            "log without marker",
            |dir| fs::remove_file(dir.join("bigroom.epoch")).unwrap(),
            Refused("no marker"),
        ),
        (
            "marker cut short",
            |dir| edit(&dir.join("bigroom.epoch"), |bytes| bytes.truncate(bytes.len() / 2)),
            Refused("marker bigroom.epoch is damaged"),
        ),
        (
            "marker empty",
            |dir| fs::write(dir.join("bigroom.epoch"), "").unwrap(),
            Refused("marker bigroom.epoch is damaged"),
        ),
        (
            "marker not a text",
            |dir| fs::write(dir.join("bigroom.epoch"), [0xff; 60]).unwrap(),
            Refused("marker bigroom.epoch is damaged"),
        ),
        (
            "marker a folder",
            |dir| {
                fs::remove_file(dir.join("bigroom.epoch")).unwrap();
                fs::create_dir(dir.join("bigroom.epoch")).unwrap();
            },
            Refused("can't be read"),
        ),
        (
            "log emptied",
            |dir| {
                fs::remove_dir_all(dir.join("log")).unwrap();
                fs::create_dir(dir.join("log")).unwrap();
            },
            Refused("write-ahead log is missing"),
        ),
        (
            "write-ahead log gone",
            |dir| fs::remove_file(wal(dir)).unwrap(),
            Refused("write-ahead log is missing"),
        ),
        (
            "last record cut short",
            |dir| {
                edit(&wal(dir), |bytes| {
                    let last = *records(bytes).last().unwrap();
                    bytes.truncate(last + 100);
                })
            },
            Opens(2 * EACH - 1),
        ),
        (
            "last header cut short",
            |dir| {
                edit(&wal(dir), |bytes| {
                    let last = *records(bytes).last().unwrap();
                    bytes.truncate(last + 3);
                })
            },
            Opens(2 * EACH - 1),
        ),
        (
            "last record half unwritten",
            |dir| {
                edit(&wal(dir), |bytes| {
                    let last = *records(bytes).last().unwrap();
                    bytes[last + 100..].fill(0);
                })
            },
            Opens(2 * EACH - 1),
        ),
        (
            "zeros behind the last record",
            |dir| edit(&wal(dir), |bytes| bytes.resize(bytes.len() + 100_000, 0)),
            Opens(2 * EACH),
        ),
        (
            "flipped byte in the middle",
            |dir| {
                edit(&wal(dir), |bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x10;
                })
            },
            Refused("before its last record"),
        ),
        (
            "flipped length in the middle",
            |dir| {
                edit(&wal(dir), |bytes| {
                    let at = records(bytes)[20];
                    bytes[at + 5] ^= 0x70;
                })
            },
            Refused("before its last record"),
        ),
        (
            "flipped type in the middle",
            |dir| {
                edit(&wal(dir), |bytes| {
                    let at = records(bytes)[20];
                    bytes[at + 6] = 0;
                })
            },
            Refused("before its last record"),
        ),
        (
            "zeroed record in the middle",
            |dir| {
                edit(&wal(dir), |bytes| {
                    let begins = records(bytes);
                    bytes[begins[20]..begins[21]].fill(0);
                })
            },
            Refused("before its last record"),
        ),
        (
            "beginning of the write-ahead log gone",
            |dir| {
                edit(&wal(dir), |bytes| {
                    bytes.drain(..50);
                })
            },
            Refused("before its last record"),
        ),
        ("table gone", |dir| fs::remove_file(&files(dir, "", ".sst")[0]).unwrap(), Refused("log is damaged")),
        (
            "table cut short",
            |dir| edit(&files(dir, "", ".sst")[0], |bytes| bytes.truncate(bytes.len() / 2)),
            Refused("log is damaged"),
        ),
        ("CURRENT gone", |dir| fs::remove_file(dir.join("log/CURRENT")).unwrap(), Refused("log is damaged")),
        ("CURRENT empty", |dir| fs::write(dir.join("log/CURRENT"), "").unwrap(), Refused("log is damaged")),
        (
            "CURRENT of nothing",
            |dir| fs::write(dir.join("log/CURRENT"), "MANIFEST-999999\n").unwrap(),
            Refused("log is damaged"),
        ),
        (
            "MANIFEST gone",
            |dir| fs::remove_file(&files(dir, "MANIFEST", "")[0]).unwrap(),
            Refused("log is damaged"),
        ),
        (
            "MANIFEST flipped",
            |dir| {
                edit(&files(dir, "MANIFEST", "")[0], |bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x10;
                })
            },
            Refused("log is damaged"),
        ),
        (
            "MANIFEST cut short",
            |dir| edit(&files(dir, "MANIFEST", "")[0], |bytes| bytes.truncate(bytes.len() / 2)),
            Refused("log is damaged"),
        ),
    ];
    let sample = crashed().await;
    for (name, damage, expect) in cases {
        let dir = tempfile::tempdir().unwrap();
        copy(sample.path(), dir.path());
        damage(dir.path());
        match (expect, RocksStore::open(dir.path(), StoreOptions::default())) {
            (Opens(count), Ok(store)) => {
                assert_eq!(
                    seqs(&all(&*store, &room("r"), List::Normal).await),
                    (1..=*count).collect::<Vec<_>>(),
                    "{name}"
                );
                let next = store.append(message(&room("r"), List::Normal, "next")).await.unwrap();
                assert_eq!(next.seq, Seq(count + 1), "{name}");
            }
            (Refused(words), Err(StoreError::Open(sentence))) => {
                assert!(sentence.contains(words), "{name}: {sentence}");
                assert!(sentence.contains(dir.path().to_str().unwrap()), "{name}: {sentence}");
                assert!(!sentence.contains('\n'), "{name}: {sentence}");
            }
            (_, Ok(_)) => panic!("{name}: was opened"),
            (_, Err(error)) => panic!("{name}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn log_of_another_epoch_is_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&one, &other] {
        let store = open(dir.path());
        fill(&store).await;
        store.close().await;
    }
    fs::copy(other.path().join("bigroom.epoch"), one.path().join("bigroom.epoch")).unwrap();
    let refused = RocksStore::open(one.path(), StoreOptions::default()).err().unwrap().to_string();
    assert!(refused.contains("is of epoch") && refused.contains(one.path().to_str().unwrap()), "{refused}");
}

#[tokio::test]
async fn directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let refused = RocksStore::open(dir.path(), StoreOptions::default()).err().unwrap().to_string();
    assert!(refused.contains("another bigroom runs on it"), "{refused}");
    store.append(message(&room("r"), List::Normal, "not disturbed")).await.unwrap();
    drop(store);
    open(dir.path());
}

#[test]
fn path_that_can_be_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    for (path, words) in [
        (file.clone(), "is a file"),
        (file.join("below"), "is a file"),
        // Nobody, root included, can make a folder there.
        (PathBuf::from("/proc/bigroom-test"), "can't be written"),
    ] {
        let refused = RocksStore::open(&path, StoreOptions::default()).err().unwrap().to_string();
        assert!(refused.contains(words) && refused.contains(path.to_str().unwrap()), "{refused}");
    }
}

#[tokio::test]
async fn interrupted_making_is_taken_up_again() {
    let sample = crashed().await;
    let unfinished =
        |dir: &Path| fs::rename(dir.join("bigroom.epoch"), dir.join("bigroom.epoch.new")).unwrap();
    type Prepare<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: Vec<(&str, Prepare<'_>, u64)> = vec![
        ("only a lock", Box::new(|dir| fs::write(dir.join("bigroom.lock"), "").unwrap()), 0),
        (
            "an empty marker in the making",
            Box::new(|dir| fs::write(dir.join("bigroom.epoch.new"), "").unwrap()),
            0,
        ),
        (
            "half a log",
            Box::new(|dir| {
                copy(sample.path(), dir);
                unfinished(dir);
                fs::rename(dir.join("log"), dir.join("log.new")).unwrap();
                fs::remove_file(dir.join("log.new/CURRENT")).unwrap();
            }),
            0,
        ),
        (
            "a log whose marker was not renamed",
            Box::new(|dir| {
                copy(sample.path(), dir);
                unfinished(dir);
            }),
            2 * EACH,
        ),
    ];
    for (name, prepare, kept) in cases {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let epoch = {
            let store = open(dir.path());
            assert_eq!(all(&*store, &room("r"), List::Normal).await.len() as u64, kept, "{name}");
            store.epoch()
        };
        assert_eq!(open(dir.path()).epoch(), epoch, "{name}");
        assert_ne!(epoch.0, 0);
    }
}

#[tokio::test]
async fn damage_met_while_reading_is_no_silent_hole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store).await;
    store.append(named(&room("other"), List::Normal, "1", "x")).await.unwrap();
    store.close().await;
    // Opening writes what it replays into tables.
    open(dir.path()).close().await;
    // Where the texts are: a table's blocks are only read when they are asked for.
    edit(&files(dir.path(), "", ".sst")[0], |bytes| bytes[2_000] ^= 1);
    let store = open(dir.path());
    assert!(store.health().is_ok());
    let read = store.read(&room("r"), List::Normal, Range::After(Seq(0)), 1_000).await;
    assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    assert!(matches!(store.health(), Err(StoreError::Corrupt(_))), "not ready until a restart");
}

#[tokio::test]
async fn manifest_cut_short_is_refused_before_anything_is_deleted() {
    let crashed = crashed().await;
    let closed = tempfile::tempdir().unwrap();
    let store = open(closed.path());
    fill(&store).await;
    fill(&store).await;
    store.close().await;
    for sample in [&crashed, &closed] {
        let bytes = fs::metadata(&files(sample.path(), "MANIFEST", "")[0]).unwrap().len() as usize;
        for cut in (0..bytes).step_by(5) {
            let dir = tempfile::tempdir().unwrap();
            copy(sample.path(), dir.path());
            edit(&files(dir.path(), "MANIFEST", "")[0], |manifest| manifest.truncate(cut));
            let tables = files(dir.path(), "", ".sst");
            match RocksStore::open(dir.path(), StoreOptions::default()) {
                // What was cut off was of no consequence.
                Ok(store) => {
                    assert_eq!(all(&*store, &room("r"), List::Normal).await.len() as u64, 2 * EACH, "{cut}")
                }
                Err(_) => assert_eq!(files(dir.path(), "", ".sst"), tables, "{cut}"),
            }
        }
    }
}
