//! The data directory: made once, locked while in use, and refused unless it holds the log that it held before.
//!
//! ```text
//! data/bigroom.lock    locked by the process that uses the directory
//! data/bigroom.epoch   the marker: this directory is finished, its log has this epoch
//! data/log/            RocksDB
//! ```
//!
//! A directory is made in this order: `bigroom.epoch.new`; the log, as `log.new`; its name `log`; the marker's name
//! `bigroom.epoch`. Nothing is acknowledged before the last step. So a start that finds `bigroom.epoch.new` and no
//! `bigroom.epoch` knows that an earlier one was interrupted, and takes up from there.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rocksdb::WriteBatch;
use room::Epoch;
use rustix::fs::{FlockOperation, flock};
use tracing::{info, warn};

use super::{
    columns::{Column, Log},
    manifest,
    marker::{self, MARKER, UNFINISHED},
    recovery::WAL_COPY,
    wal,
};
use crate::StoreError;

const LOCK: &str = "bigroom.lock";
const LOG: &str = "log";
const LOG_UNFINISHED: &str = "log.new";

const EPOCH_KEY: &[u8] = b"epoch";
const SCHEMA_KEY: &[u8] = b"schema";
/// Version of the keys and column families; the records have their own.
const SCHEMA: u32 = 1;

/// A data directory that this process holds.
pub(crate) struct Directory {
    path: PathBuf,
    epoch: Epoch,
    idempotency_window: Duration,
    /// Held for its lock, which ends with the file's closing.
    _lock: File,
}

impl Directory {
    /// Takes the data directory `path`, making it where there is none, and opens its log.
    ///
    /// # Errors
    /// [`StoreError::Open`] with a sentence that names the directory and says what to do.
    pub(crate) fn open(path: &Path, idempotency_window: Duration) -> Result<(Self, Log), StoreError> {
        let refuse = |why: String| StoreError::Open(format!("data directory {}: {why}", path.display()));
        let lock = take(path).map_err(refuse)?;
        let epoch = match marked(path).map_err(refuse)? {
            Some(epoch) => epoch,
            None => finish_making(path, idempotency_window).map_err(refuse)?,
        };
        let directory = Self { path: path.to_owned(), epoch, idempotency_window, _lock: lock };
        // Left by a crash, if it is there: the original is still in its place.
        let _ = fs::remove_file(directory.log_path().join(WAL_COPY));
        let log = directory.open_log().map_err(refuse)?;
        check_identity(&log, epoch).map_err(refuse)?;
        // What was replayed goes to tables: then the write-ahead log is one file, which can't get lost unnoticed.
        log.flush().and_then(|()| log.write_mark()).map_err(|error| refuse(explain(&error)))?;
        Ok((directory, log))
    }

    /// The epoch of its log.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// RocksDB's folder.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Opens the log, also again after a failure.
    ///
    /// # Errors
    /// What is wrong and what to do, without the directory's name.
    pub(crate) fn open_log(&self) -> Result<Log, String> {
        let folder = self.log_path();
        let cannot =
            |error: io::Error| format!("the log can't be read ({error}): check permissions and the disk");
        if wal::list(&folder).map_err(cannot)?.is_empty() {
            return Err(damaged("its write-ahead log is missing"));
        }
        let wal::Repaired { cut_bytes, first_write } =
            wal::repair(&folder).map_err(cannot)?.map_err(|damage| damaged(&damage))?;
        if cut_bytes > 0 {
            warn!(cut_bytes, "cut off a record that a crash had left unfinished; it was never acknowledged");
        }
        if let (Some(first), Some(newest)) = (first_write, manifest::newest_write(&folder).map_err(cannot)?)
            && first > newest + 1
        {
            return Err(damaged("its manifest has lost its end"));
        }
        Log::open(&folder, self.idempotency_window).map_err(|error| explain(&error))
    }

    /// Opens the log for reading only, which works on a full disk.
    ///
    /// # Errors
    /// RocksDB's.
    pub(crate) fn open_log_read_only(&self) -> Result<Log, rocksdb::Error> {
        Log::open_read_only(&self.log_path(), self.idempotency_window)
    }
}

/// Makes the folder if there is none, and locks it.
fn take(path: &Path) -> Result<File, String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "it or a folder above it is a file: name a folder as data_dir".to_owned()
        }
        _ => format!("can't be written ({error}): make it writable for this user, or name another data_dir"),
    };
    fs::create_dir_all(path).map_err(cannot)?;
    let lock =
        File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(cannot)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(in_use()),
        Err(error) => Err(cannot(error.into())),
    }
}

fn in_use() -> String {
    "another bigroom runs on it: stop that one, or name another data_dir".to_owned()
}

/// The epoch of a finished directory; `None` if it is empty or was not finished.
fn marked(path: &Path) -> Result<Option<Epoch>, String> {
    let log_exists = path.join(LOG).exists();
    let epoch = marker::read(path, MARKER).map_err(|error| {
        format!(
            "its marker {MARKER} {error}: restore the directory from a backup, or, if you are sure that {LOG} belongs \
             here, restore the marker alone"
        )
    })?;
    match epoch {
        Some(_) if !log_exists => Err(format!(
            "there is the marker {MARKER} but no log: restore {LOG} from a backup, or remove {MARKER} to begin with an \
             empty log"
        )),
        None if log_exists && !path.join(UNFINISHED).exists() => Err(format!(
            "there is a log but no marker {MARKER}: restore the marker from a backup, or move {LOG} away to begin \
             with an empty log"
        )),
        Some(epoch) => Ok(Some(epoch)),
        None => Ok(None),
    }
}

/// Makes the log and the marker, from wherever an interrupted start left off.
fn finish_making(path: &Path, idempotency_window: Duration) -> Result<Epoch, String> {
    let cannot = |error: io::Error| {
        format!(
            "a new log can't be made ({error}): make the directory writable and check that the disk has space"
        )
    };
    let log = path.join(LOG);
    if log.exists() {
        // Only the marker's renaming was left.
        let epoch = marker::read(path, UNFINISHED)
            .map_err(|error| {
                format!("its unfinished marker {UNFINISHED} {error}: restore the directory from a backup")
            })?
            .ok_or_else(|| format!("the marker {UNFINISHED} went away: start again"))?;
        finish_marker(path).map_err(cannot)?;
        return Ok(epoch);
    }
    let unfinished = path.join(LOG_UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(cannot)?;
    }
    let epoch = Epoch(rand::random_range(1..=u32::MAX));
    marker::write(path, UNFINISHED, epoch).map_err(cannot)?;
    create_log(&unfinished, epoch, idempotency_window).map_err(|error| explain(&error))?;
    marker::sync_folder(&unfinished).and_then(|()| fs::rename(&unfinished, &log)).map_err(cannot)?;
    marker::sync_folder(path).and_then(|()| finish_marker(path)).map_err(cannot)?;
    info!(%epoch, path = %path.display(), "made a new log");
    Ok(epoch)
}

fn finish_marker(path: &Path) -> io::Result<()> {
    fs::rename(path.join(UNFINISHED), path.join(MARKER))?;
    marker::sync_folder(path)
}

fn create_log(folder: &Path, epoch: Epoch, idempotency_window: Duration) -> Result<(), rocksdb::Error> {
    let log = Log::create(folder, idempotency_window)?;
    let mut batch = WriteBatch::default();
    batch.put_cf(log.column(Column::Meta), EPOCH_KEY, epoch.0.to_be_bytes());
    batch.put_cf(log.column(Column::Meta), SCHEMA_KEY, SCHEMA.to_be_bytes());
    log.write(batch)?;
    log.flush()
}

/// Whether the log is the marker's, and one that this bigroom understands.
fn check_identity(log: &Log, epoch: Epoch) -> Result<(), String> {
    let number = |key: &[u8]| match log.get(Column::Meta, key) {
        Ok(Some(value)) => {
            value.as_ref().try_into().map(u32::from_be_bytes).map_err(|_| damaged("its epoch is damaged"))
        }
        Ok(None) => Err(damaged("it has no epoch")),
        Err(error) => Err(explain(&error)),
    };
    let found = Epoch(number(EPOCH_KEY)?);
    if found != epoch {
        return Err(format!(
            "{LOG} is of epoch {found}, but {MARKER} says {epoch}: they are not of one directory, restore both from \
             one backup"
        ));
    }
    match number(SCHEMA_KEY)? {
        SCHEMA => Ok(()),
        other => Err(format!(
            "the log has schema {other}, this bigroom knows {SCHEMA}: run the version that wrote it"
        )),
    }
}

fn damaged(what: &str) -> String {
    format!(
        "the log is damaged ({what}): restore the directory from a backup, or move it away to begin with an empty log"
    )
}

/// RocksDB's reason not to open, as a sentence that says what to do.
fn explain(error: &rocksdb::Error) -> String {
    let text = error.to_string().replace('\n', " ");
    if text.contains("While lock file") || text.contains("lock hold by current process") {
        return in_use();
    }
    match error.kind() {
        rocksdb::ErrorKind::IOError if text.contains("No space left on device") => {
            "the disk is full: free some space and start again".to_owned()
        }
        rocksdb::ErrorKind::IOError if !text.contains("No such file") => {
            format!("the log can't be opened ({text}): check permissions and the disk")
        }
        // InvalidArgument is what RocksDB calls a folder without its CURRENT file or without our column families.
        _ => damaged(&text),
    }
}
