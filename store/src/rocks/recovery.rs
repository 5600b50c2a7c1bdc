//! Getting a log to work again after a write has failed.
//!
//! RocksDB refuses all writes after one has failed, and some failures it never forgives while it is open. So the log
//! is closed and opened again, which also cuts off what the failed write left behind. Opening needs a little space, so
//! that is tried first, lest readers lose a log that they could still read.

use std::{fs, io, path::Path};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use tracing::error;

use super::{Shared, directory::Directory};

/// The file that stands for what opening will write.
const PROBE: &str = "bigroom.probe";
/// What must be free before opening is tried (bytes): its manifest and options take 100 kB, the rest is for some messages.
const SPACE_BYTES_MIN: u64 = 2 << 20;

/// Closes the log and opens it again; readers wait meanwhile, which is as long as a start takes.
///
/// # Errors
/// Why it can't be written yet. It can be read then, if that is possible in any way.
pub(super) fn reopen(shared: &Shared, directory: &Directory) -> Result<(), String> {
    probe_space(directory).map_err(|error| format!("no space to write yet: {error}"))?;
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
