//! Getting a log to work again after a write has failed.
//!
//! RocksDB refuses all writes after one has failed, and some failures it never forgives while it is open. So the log
//! is closed and opened again, which also cuts off what the failed write left behind. Opening needs a little space, so
//! that is tried first, lest readers lose a log that they could still read.
//!
//! A record whose sync failed may be in the page cache and never get to the disk, and no later sync of that file tells.
//! Opening would replay it, and a repeat of its id be acknowledged. So the write-ahead log is first copied to a new file:
//! what that holds is durable, once its own sync has worked.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use tracing::error;

use super::{Shared, directory::Directory, marker, wal};

/// The file that stands for what opening will write.
const PROBE: &str = "bigroom.probe";
/// What must be free before opening is tried (bytes): its manifest and options take 100 kB, the rest is for some messages.
const SPACE_BYTES_MIN: u64 = 2 << 20;
/// The copy of a write-ahead log, until it takes the name of the original. RocksDB knows no files of such a name.
pub(super) const WAL_COPY: &str = "bigroom.wal.new";

/// Closes the log and opens it again; readers wait meanwhile, which is as long as a start takes.
///
/// With `in_doubt`, the write-ahead log is made durable before: a record may be in it whose sync failed.
///
/// # Errors
/// Why it can't be written yet. It can be read then, if that is possible in any way.
pub(super) fn reopen(shared: &Shared, directory: &Directory, in_doubt: bool) -> Result<(), String> {
    probe_space(directory).map_err(|error| format!("no space to write yet: {error}"))?;
    if in_doubt {
        copy_wal(&directory.log_path())
            .map_err(|error| format!("the write-ahead log can't be copied after a failed sync: {error}"))?;
    }
    let mut guard = shared.log.write();
    if let Some(log) = guard.take() {
        log.db().cancel_all_background_work(true);
    }
    match directory.open_log() {
        Ok(log) => {
            let tried = log.write_mark().map_err(|error| error.to_string());
            *guard = Some(log);
            tried
        }
        Err(why) => {
            *guard = directory
                .open_log_read_only()
                .inspect_err(
                    |error| error!(%error, "the log can't be read either until it can be opened again"),
                )
                .ok();
            Err(why)
        }
    }
}

/// Puts a synced copy in the place of each write-ahead log in `folder`, as it reads now.
fn copy_wal(folder: &Path) -> io::Result<()> {
    let copy = folder.join(WAL_COPY);
    for path in wal::list(folder)? {
        let bytes = match fs::read(&path) {
            // Its content had gone to tables.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        if let Err(error) = write_synced(&copy, &bytes).and_then(|()| fs::rename(&copy, &path)) {
            // It would take up space that may be what is missing.
            let _ = fs::remove_file(&copy);
            return Err(error);
        }
    }
    marker::sync_folder(folder)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether there is space for opening the log.
fn probe_space(directory: &Directory) -> io::Result<()> {
    let probe = directory.path().join(PROBE);
    let result = fill(&probe);
    let removed = fs::remove_file(&probe);
    result.and(removed)
}

fn fill(path: &Path) -> io::Result<()> {
    let file = fs::File::create(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, SPACE_BYTES_MIN) {
        // This file system can't say beforehand; opening will show.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}
