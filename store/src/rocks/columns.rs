//! The column families, and how RocksDB is set up for them.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBPinnableSlice, DBRecoveryMode,
    LogLevel, Options, ReadOptions, ReadTier, WriteBatch, WriteBufferManager, WriteOptions,
    compaction_filter::Decision,
};

use super::{record::IdRecord, records};

/// A column family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Column {
    /// Messages, by room, list and sequence.
    Messages,
    /// One head a list, by room and list.
    Heads,
    /// Settings, by room.
    Rooms,
    /// What is remembered about clients' ids, by room, sender and id.
    Ids,
    /// Records, by family and key.
    Records,
    /// The log's epoch and the version of all this.
    Meta,
}

impl Column {
    const ALL: [Self; 6] = [Self::Messages, Self::Heads, Self::Rooms, Self::Ids, Self::Records, Self::Meta];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Messages => "log",
            Self::Heads => "heads",
            Self::Rooms => "rooms",
            Self::Ids => "ids",
            Self::Records => "records",
            Self::Meta => "meta",
        }
    }
}

const MIB: usize = 1 << 20;
/// Memory for what is not in a table file yet, all column families together (bytes).
const WRITE_BUFFERS_BYTES: usize = 64 * MIB;
/// Messages fill most of the write buffers; the other columns hold a few bytes a message.
const MESSAGES_BUFFER_BYTES: usize = 32 * MIB;
const OTHER_BUFFER_BYTES: usize = 8 * MIB;
/// Memory for blocks, indexes and filters that were read (bytes).
const BLOCK_CACHE_BYTES: usize = 64 * MIB;
/// How much write-ahead log may be waiting to be replayed at the next start (bytes): about half a second of it.
const WAL_BYTES_MAX: u64 = 64 * MIB as u64;
/// Table files kept open; the process needs its file descriptors for connections.
const OPEN_FILES_MAX: i32 = 512;
/// Bloom filter bits a key: about 1 % of the ids never seen cost a look into a file.
const BLOOM_BITS: f64 = 10.0;

/// How often table files are looked through for records that have expired.
const RECORDS_COMPACTED_EVERY: Duration = Duration::from_secs(3_600);

const MARK_KEY: &[u8] = b"mark";

/// An open RocksDB with our column families.
pub(crate) struct Log {
    db: DB,
    /// What becomes of the next write.
    #[cfg(test)]
    fault: parking_lot::Mutex<Option<Fault>>,
}

/// A failure that tests bring about.
#[cfg(test)]
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The record gets as far as the page cache, and the sync fails.
    Sync,
    /// The writing thread panics.
    Panic,
}

impl Log {
    fn new(db: DB) -> Self {
        Self {
            db,
            #[cfg(test)]
            fault: parking_lot::Mutex::default(),
        }
    }

    /// Makes a new one at `path`, which must not exist.
    pub(crate) fn create(path: &Path, idempotency_window: Duration) -> Result<Self, rocksdb::Error> {
        let mut options = database();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_error_if_exists(true);
        DB::open_cf_descriptors(&options, path, descriptors(idempotency_window)).map(Self::new)
    }

    /// Opens the one at `path`. One from before there were records gets the column family for them.
    pub(crate) fn open(path: &Path, idempotency_window: Duration) -> Result<Self, rocksdb::Error> {
        let mut options = database();
        options.create_missing_column_families(lacks_records_only(path));
        DB::open_cf_descriptors(&options, path, descriptors(idempotency_window)).map(Self::new)
    }

    /// Opens the one at `path` for reading, which needs no space on the disk.
    pub(crate) fn open_read_only(path: &Path, idempotency_window: Duration) -> Result<Self, rocksdb::Error> {
        DB::open_cf_descriptors_read_only(&database(), path, descriptors(idempotency_window), false)
            .map(Self::new)
    }

    /// RocksDB itself, for iterators and snapshots.
    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    pub(crate) fn column(&self, column: Column) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(column.name()).expect("all column families are opened with the log")
    }

    pub(crate) fn get(
        &self,
        column: Column,
        key: &[u8],
    ) -> Result<Option<DBPinnableSlice<'_>>, rocksdb::Error> {
        self.db.get_pinned_cf(self.column(column), key)
    }

    /// What is under `key`, without waiting for the disk: `None` if only the disk can tell.
    #[expect(clippy::option_option, reason = "whether it is known, and whether it is there")]
    pub(crate) fn get_in_memory(
        &self,
        column: Column,
        key: &[u8],
    ) -> Result<Option<Option<DBPinnableSlice<'_>>>, rocksdb::Error> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        match self.db.get_pinned_cf_opt(self.column(column), key, &options) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == rocksdb::ErrorKind::Incomplete => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes all of `batch` or nothing, and returns when it is on the disk.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        self.put(batch, true)
    }

    /// The same without waiting for the disk: a crash of the process loses nothing of it, one of the machine may, until the
    /// next [`Self::write`] or [`Self::sync`].
    pub(crate) fn write_unsynced(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        self.put(batch, false)
    }

    /// Returns when all that was written is on the disk.
    pub(crate) fn sync(&self) -> Result<(), rocksdb::Error> {
        self.db.flush_wal(true)
    }

    fn put(&self, batch: WriteBatch, is_synced: bool) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::default();
        options.set_sync(is_synced);
        #[cfg(test)]
        match self.fault.lock().take() {
            Some(Fault::Sync) => {
                options.set_sync(false);
                self.db.write_opt(batch, &options)?;
                return Err(Options::default().get_options_from_string("sync=failed").err().unwrap());
            }
            Some(Fault::Panic) => panic!("as the test wants it"),
            None => {}
        }
        self.db.write_opt(batch, &options)
    }

    /// Makes the next write fail.
    #[cfg(test)]
    pub(crate) fn fail_next_write(&self, fault: Fault) {
        *self.fault.lock() = Some(fault);
    }

    /// Writes something without a meaning, to see whether that works, and so that no write-ahead log stays empty: its
    /// first write shows that nothing before it is missing.
    pub(crate) fn write_mark(&self) -> Result<(), rocksdb::Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.column(Column::Meta), MARK_KEY, unix_ms().to_be_bytes());
        self.write(batch)
    }

    /// How often background work has failed since the log was opened.
    pub(crate) fn background_errors(&self) -> u64 {
        self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS).ok().flatten().unwrap_or(0)
    }

    /// Writes everything into table files, so that the next start has nothing to replay.
    pub(crate) fn flush(&self) -> Result<(), rocksdb::Error> {
        Column::ALL.into_iter().try_for_each(|column| self.db.flush_cf(self.column(column)))
    }
}

/// Options that the crate has no functions for.
///
/// - Opening leaves the write-ahead log as it is instead of writing its content into tables, so it needs hardly any
///   space: a log that ran out of it can be opened again.
/// - Range deletions are kept in an unsorted pile that readers sort again after every new one. Many of them bring on a
///   flush, which ends that.
const MORE_OPTIONS: &str = "avoid_flush_during_recovery=true;memtable_max_range_deletions=512";

fn options() -> Options {
    Options::default().get_options_from_string(MORE_OPTIONS).expect("RocksDB knows these options")
}

fn database() -> Options {
    let mut options = options();
    // A record cut short at the end was never acknowledged; any other damage is refused. `wal` looks closer.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    // A write-ahead log that is missing or shorter than it was when the next one began is noticed.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_recycle_log_file_num(0);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options
        .set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(WRITE_BUFFERS_BYTES, false));
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    // Table files go to the disk as they are written: one big write at their end would hold up the log's syncs.
    options.set_bytes_per_sync(MIB as u64);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 * MIB);
    options.set_stats_dump_period_sec(0);
    options
}

fn descriptors(idempotency_window: Duration) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    Column::ALL
        .into_iter()
        .map(|column| ColumnFamilyDescriptor::new(column.name(), family(column, &cache, idempotency_window)))
        .collect()
}

fn family(column: Column, cache: &Cache, idempotency_window: Duration) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = options();
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(match column {
        Column::Messages => MESSAGES_BUFFER_BYTES,
        Column::Heads | Column::Rooms | Column::Ids | Column::Records | Column::Meta => OTHER_BUFFER_BYTES,
    });
    match column {
        Column::Messages | Column::Records | Column::Meta => {}
        // Most rooms have no settings, most ids were never seen: the filter says so without a look into a file.
        Column::Heads | Column::Rooms | Column::Ids => {
            blocks.set_bloom_filter(BLOOM_BITS, false);
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(0.02);
        }
    }
    if column == Column::Ids {
        options.set_compaction_filter("bigroom-idempotency-window", move |_level, _key, value: &[u8]| {
            keep_while_in_window(value, unix_ms(), idempotency_window)
        });
        options.set_periodic_compaction_seconds(idempotency_window.as_secs().max(60));
    }
    if column == Column::Records {
        options.set_compaction_filter("bigroom-records", |_level, _key, value: &[u8]| {
            records::keep_until_expiry(value, unix_ms())
        });
        options.set_periodic_compaction_seconds(RECORDS_COMPACTED_EVERY.as_secs());
    }
    options.set_block_based_table_factory(&blocks);
    options
}

/// Whether all column families are there but the one for records. Any other that is missing is a loss, which opening must
/// refuse instead of making it anew.
fn lacks_records_only(path: &Path) -> bool {
    let Ok(there) = DB::list_cf(&database(), path) else { return false };
    let is_there = |column: Column| there.iter().any(|name| name == column.name());
    Column::ALL.into_iter().all(|column| is_there(column) != (column == Column::Records))
}

/// What a reader would no longer accept is removed; what can't be read is left for a reader to complain about.
fn keep_while_in_window(value: &[u8], now_ms: u64, window: Duration) -> Decision {
    match IdRecord::decode(value) {
        Ok(record) if record.is_over(now_ms, window) => Decision::Remove,
        Ok(_) | Err(_) => Decision::Keep,
    }
}

/// The time of day (Unix milliseconds).
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use room::List;

    use super::*;

    #[test]
    fn compaction_drops_ids_past_their_window() {
        let folder = tempfile::tempdir().unwrap();
        let window = Duration::from_secs(120);
        let log = Log::create(&folder.path().join("log"), window).unwrap();
        let now = unix_ms();
        let mut batch = WriteBatch::default();
        for (key, written_at_ms) in [("old", now - 121_000), ("young", now - 60_000)] {
            let record = IdRecord::new(List::Normal, 1, 0, 0, written_at_ms);
            batch.put_cf(log.column(Column::Ids), key, record.encode());
        }
        log.write(batch).unwrap();
        log.flush().unwrap();
        log.db().compact_range_cf(log.column(Column::Ids), None::<&[u8]>, None::<&[u8]>);
        assert!(log.get(Column::Ids, b"old").unwrap().is_none());
        assert!(log.get(Column::Ids, b"young").unwrap().is_some());
    }

    #[test]
    fn filter_leaves_what_it_cannot_read() {
        assert!(matches!(keep_while_in_window(b"", 0, Duration::ZERO), Decision::Keep));
        assert!(matches!(keep_while_in_window(b"\xffrubbish", 0, Duration::ZERO), Decision::Keep));
    }
}
