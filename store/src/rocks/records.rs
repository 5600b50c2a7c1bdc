//! Records in their column family: each value with its expiry and a checksum over its key and itself.

use bytes::Bytes;
use rocksdb::{ReadOptions, WriteBatch, compaction_filter::Decision};
use tracing::warn;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    columns::{Column, Log},
    reader::read_failed,
};
use crate::{
    RECORD_PAGE_BYTES_MAX, Record, RecordBatch, RecordChange, RecordFamily, RecordPage, RecordRange,
    StoreError, metrics,
};

/// Version of the stored form: version (1 byte), expiry (8, Unix milliseconds, all ones for never), value, checksum (8).
const VERSION: u8 = 1;
const NEVER: u64 = u64::MAX;
const HEAD_BYTES: usize = 1 + 8;
const CHECK_BYTES: usize = 8;

const fn family_byte(family: RecordFamily) -> u8 {
    match family {
        RecordFamily::History => 1,
        RecordFamily::Unique => 2,
        RecordFamily::RoomStats => 3,
        RecordFamily::Placement => 4,
    }
}

/// The key in the column family: the family's byte, then the record's own.
fn stored_key(family: RecordFamily, key: &[u8]) -> Vec<u8> {
    [&[family_byte(family)], key].concat()
}

/// Xxh3 of the value, seeded with that of the key: a value under another's key is damage, too.
fn checksum(stored_key: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64(stored_key))
}

pub(super) fn encode(stored_key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEAD_BYTES + value.len() + CHECK_BYTES);
    stored.push(VERSION);
    stored.extend_from_slice(&expires_at_ms.unwrap_or(NEVER).to_be_bytes());
    stored.extend_from_slice(value);
    let check = checksum(stored_key, &stored);
    stored.extend_from_slice(&check.to_be_bytes());
    stored
}

/// The value and when it expires; `None` if this is not what was written.
pub(super) fn decode<'a>(stored_key: &[u8], stored: &'a [u8]) -> Option<(&'a [u8], u64)> {
    let (body, check) = stored.split_last_chunk::<CHECK_BYTES>()?;
    let (head, value) = body.split_first_chunk::<HEAD_BYTES>()?;
    let (version, expiry) = head.split_first()?;
    let is_whole = *version == VERSION && checksum(stored_key, body) == u64::from_be_bytes(*check);
    is_whole.then_some((value, u64::from_be_bytes(expiry.try_into().ok()?)))
}

/// Adds changes to a write.
pub(super) fn stage(log: &Log, writes: &mut WriteBatch, batch: &RecordBatch) {
    let column = log.column(Column::Records);
    for change in batch.changes() {
        match change {
            RecordChange::Put { family, key, value, expires_at_ms } => {
                let key = stored_key(*family, key);
                let stored = encode(&key, value, *expires_at_ms);
                writes.put_cf(column, key, stored);
            }
            RecordChange::Delete(range) if range.from < range.to => {
                let (from, to) = (stored_key(range.family, &range.from), stored_key(range.family, &range.to));
                // A range of one key leaves no range tombstone for readers to sort.
                if to.strip_prefix(from.as_slice()) == Some(&[0]) {
                    writes.delete_cf(column, from);
                } else {
                    writes.delete_range_cf(column, from, to);
                }
            }
            RecordChange::Delete(_) => {}
        }
    }
}

/// Reads at most `limit` records of a range that have not expired at `now_ms`.
///
/// # Errors
/// RocksDB's. A single damaged record is none.
pub(super) fn page(
    log: &Log,
    range: &RecordRange,
    limit: usize,
    now_ms: u64,
) -> Result<RecordPage, StoreError> {
    let mut page = RecordPage::default();
    if range.from >= range.to {
        return Ok(page);
    }
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(stored_key(range.family, &range.to));
    let mut iterator = log.db().raw_iterator_cf_opt(log.column(Column::Records), options);
    iterator.seek(stored_key(range.family, &range.from));
    let mut bytes = 0;
    while let Some((stored_key, stored)) = iterator.item() {
        let key = Bytes::copy_from_slice(&stored_key[1..]);
        if page.records.len() + page.damaged.len() == limit || bytes >= RECORD_PAGE_BYTES_MAX {
            page.next = Some(key);
            return Ok(page);
        }
        match decode(stored_key, stored) {
            Some((_, expires_at_ms)) if expires_at_ms <= now_ms => {}
            Some((value, _)) => {
                bytes += stored_key.len() + stored.len();
                page.records.push(Record { key, value: Bytes::copy_from_slice(value) });
            }
            None => {
                warn!(family = ?range.family, key = %key.escape_ascii(), "a record is damaged and passed over");
                metrics::record_damaged();
                page.damaged.push(key);
            }
        }
        iterator.next();
    }
    iterator.status().map_err(|error| read_failed(&error))?;
    Ok(page)
}

/// For compaction: what has expired goes, what can't be read stays for a reader to report.
pub(super) fn keep_until_expiry(stored: &[u8], now_ms: u64) -> Decision {
    match stored {
        [VERSION, rest @ ..] => match rest.first_chunk::<8>() {
            Some(expiry) if u64::from_be_bytes(*expiry) <= now_ms => Decision::Remove,
            _ => Decision::Keep,
        },
        _ => Decision::Keep,
    }
}

#[cfg(test)]
mod tests;
