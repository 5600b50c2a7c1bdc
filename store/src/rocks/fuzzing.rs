//! Fuzz targets of what is read from the disk, for `fuzz/` and for the tests that repeat its corpora.

use bytes::Bytes;
use room::Seq;

use super::{
    keys, manifest, marker,
    record::{self, Head, IdRecord},
    records,
    wal::{self, Ending},
};

/// Everything that is written under a key: messages, heads of lists, ids, settings.
///
/// # Panics
/// If what was read is not what comes of writing it and reading it again.
pub fn record(data: &[u8]) {
    if let Ok(message) = record::decode_message(Seq(7), Bytes::copy_from_slice(data)) {
        assert_eq!(record::decode_sent_at(data), Ok(message.sent_at_ms));
        assert_eq!(record::decode_message(Seq(7), record::encode_message(&message).into()), Ok(message));
    }
    if let Ok(head) = Head::decode(data) {
        assert_eq!(Head::decode(&head.encode()), Ok(head));
        assert!(head.trimmed <= head.first && head.first <= head.last + 1);
    }
    if let Ok(id) = IdRecord::decode(data) {
        assert_eq!(IdRecord::decode(&id.encode()), Ok(id));
        let _ = id.list();
    }
    if let Ok(settings) = record::decode_settings(data) {
        assert_eq!(record::decode_settings(&record::encode_settings(&settings)), Ok(settings));
    }
}

/// Keys, and the values of records under theirs: the first byte says how much of the rest is key.
///
/// # Panics
/// If what was read is not what was written, or not under this key.
pub fn key(data: &[u8]) {
    if let Some((room, list)) = keys::parse_head(data) {
        assert_eq!(keys::head(&room, list), data);
        let message = keys::message(&room, list, 77);
        assert!(message.starts_with(data) && keys::seq_of(&message) == Some(77));
    }
    let _ = keys::seq_of(data);
    let Some((&key_bytes, rest)) = data.split_first() else { return };
    let (key, value) = rest.split_at(rest.len().min(key_bytes.into()));
    if let Some((value, expires_at_ms)) = records::decode(key, value) {
        let expiry = (expires_at_ms != u64::MAX).then_some(expires_at_ms);
        assert_eq!(records::decode(key, &records::encode(key, value, expiry)), Some((value, expires_at_ms)));
    }
    // The same bytes as a value that was written.
    let written = records::encode(key, value, None);
    assert_eq!(records::decode(key, &written), Some((value, u64::MAX)));
    assert_eq!(records::decode(&[key, &[0]].concat(), &written), None, "under another key");
}

/// The marker, the manifest and the write-ahead log: as they are, and with the bytes as the payloads of records whose
/// checksums are right.
///
/// # Panics
/// If a log is not whole up to where it is said to be torn, or a part lies outside it.
pub fn log(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = marker::parse(text);
    }
    log_file(data);
    let written = written(data);
    log_file(&written);
    // Damaged or cut off at a place that the last byte says, so that the fuzzer chooses.
    let Some(choice) = data.last() else { return };
    let at = usize::from(choice >> 1) * written.len() / 128;
    if at < written.len() {
        let mut damaged = written;
        if choice & 1 == 0 {
            damaged.truncate(at)
        } else {
            damaged[at] ^= 0x20
        }
        log_file(&damaged);
    }
}

/// A log of physical records, each of a byte for its type, one for its length (times 300, so that blocks fill), and
/// what is left of that in `data`, repeated.
fn written(mut data: &[u8]) -> Vec<u8> {
    // A little more than a block: looking for records behind damage is slow.
    const BYTES_MAX: usize = 34_000;
    let mut log = Vec::new();
    while let [kind, length, rest @ ..] = data
        && log.len() < BYTES_MAX
    {
        let (payload, rest) = rest.split_at(rest.len().min((*length).into()));
        let repeats = if length & 1 == 1 { 300 } else { 1 };
        wal::push_physical(
            &mut log,
            kind % 6,
            &payload.repeat(repeats)[..(payload.len() * repeats).min(30_000)],
        );
        data = rest;
    }
    log
}

fn log_file(bytes: &[u8]) {
    let parts = |bytes: &[u8]| {
        let mut records = Vec::new();
        let ending = wal::look_through(bytes, |parts| records.push(parts.to_vec()));
        (ending, records)
    };
    let (ending, records) = parts(bytes);
    let mut end = 0;
    for part in records.iter().flatten() {
        assert!(
            end <= part.start && part.start <= part.end && part.end <= bytes.len(),
            "{part:?} after {end}"
        );
        end = part.end;
    }
    match ending {
        Ending::Whole => {}
        Ending::Damaged(at) => assert!(at < bytes.len()),
        // What a start does with it: cut off, it is a whole log of the same records.
        Ending::Torn(at) => {
            assert!(at >= end && at < bytes.len());
            assert_eq!(parts(&bytes[..at]), (Ending::Whole, records));
        }
    }
    let _ = manifest::newest_in(bytes);
}

#[cfg(test)]
mod tests {
    use super::{key, log, record};
    use crate::replay::replay;

    #[test]
    fn corpora_are_read_without_a_finding() {
        replay("store_record", record);
        replay("store_key", key);
        replay("store_log", log);
    }
}
