//! Checks that RocksDB's list of files, its manifest, has not lost its end.
//!
//! RocksDB takes a manifest that was cut short for one that a crash cut short: it goes back to an older state and deletes
//! the tables that this does not know. After a crash that is right, for then the write-ahead log still holds what is
//! in them. So the two must meet: the manifest notes the number of the newest write at the time of each of its records, and
//! the write-ahead log must go on from there, or from before.

use std::{fs, io, path::Path};

use super::wal;

/// Fields that come before the number of the newest write, or are it (`db/version_edit.h`): number, then value.
const COMPARATOR: u64 = 1;
const LOG_NUMBER: u64 = 2;
const NEXT_FILE_NUMBER: u64 = 3;
const LAST_SEQUENCE: u64 = 4;
const PREV_LOG_NUMBER: u64 = 9;
const MIN_LOG_NUMBER: u64 = 10;
const MAX_COLUMN_FAMILY: u64 = 203;
const DB_ID: u64 = 8193;

/// The number of the newest write that the manifest in `folder` knows of; `None` if there is no manifest to read it from.
///
/// # Errors
/// The file system's.
pub(super) fn newest_write(folder: &Path) -> io::Result<Option<u64>> {
    let missing_is_none = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => Ok(None),
        _ => Err(error),
    };
    let current = match fs::read_to_string(folder.join("CURRENT")) {
        Ok(current) => current,
        Err(error) => return missing_is_none(error),
    };
    match fs::read(folder.join(current.trim_end())) {
        Ok(bytes) => Ok(newest_in(&bytes)),
        Err(_) if current.trim_end().is_empty() => Ok(None),
        Err(error) => missing_is_none(error),
    }
}

pub(super) fn newest_in(manifest: &[u8]) -> Option<u64> {
    let mut newest = None;
    // Damage is RocksDB's to find.
    wal::look_through(manifest, |parts| {
        // The number comes early: a record of several parts has it in the first.
        let number = parts.first().and_then(|part| last_sequence(&manifest[part.clone()]));
        newest = newest.max(number);
    });
    newest
}

/// The number of the newest write at the time of a record.
fn last_sequence(mut record: &[u8]) -> Option<u64> {
    loop {
        match varint(&mut record)? {
            LAST_SEQUENCE => return varint(&mut record),
            LOG_NUMBER | NEXT_FILE_NUMBER | PREV_LOG_NUMBER | MIN_LOG_NUMBER | MAX_COLUMN_FAMILY => {
                varint(&mut record)?;
            }
            COMPARATOR | DB_ID => {
                let bytes = usize::try_from(varint(&mut record)?).ok()?;
                record = record.get(bytes..)?;
            }
            // What comes after it: this record has none.
            _ => return None,
        }
    }
}

/// A number of seven bits a byte, least first, the eighth saying that there is more.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_write_is_that_of_rocksdb() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest_write(folder.path()).unwrap(), None);
        let path = folder.path().join("log");
        let mut newest = None;
        for round in 1u64..4 {
            let db = rocksdb::DB::open_default(&path).unwrap();
            for key in 0..1_000 * round {
                db.put(key.to_be_bytes(), b"value").unwrap();
            }
            db.flush().unwrap();
            let found = newest_write(&path).unwrap();
            assert_eq!(found, Some(db.latest_sequence_number()), "round {round}");
            assert!(found > newest);
            newest = found;
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        for bytes in [&b""[..], &[0xff; 40], &[4], &[1, 0xff, 0xff, 0xff, 0x7f, 4, 9], &[9, 1, 3, 2, 4, 0x80]]
        {
            assert_eq!(last_sequence(bytes), None, "{bytes:?}");
        }
        assert_eq!(last_sequence(&[9, 1, 3, 2, 4, 0x81, 0x01, 200]), Some(129));
    }
}
