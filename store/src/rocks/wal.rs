//! Looks through the write-ahead log before RocksDB replays it.
//!
//! A crash may cut the last record short, or leave a part of it unwritten: it was never acknowledged, and its
//! remains are cut off. Damage anywhere before it means that acknowledged messages are at stake, and is refused.
//! RocksDB does not tell the two apart in every case: where a length is damaged in the last 32 KiB, or a stretch reads
//! as zeros, it takes what follows for the end, and a complete last record with a wrong checksum for damage.
//!
//! The format is RocksDB's `db/log_format.h`: blocks of 32 KiB, in them physical records of checksum (4 bytes),
//! length (2), type (1) and payload; a logical record is one of type full, or first, middle…, last.

use std::{fs, io, ops::Range, path::Path};

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// What a write-ahead log ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Its last record, and zeros at most.
    Whole,
    /// A record that was not written to its end; it begins at this byte.
    Torn(usize),
    /// Something is wrong at this byte, and there are records after it.
    Damaged(usize),
}

/// What was found in the write-ahead logs of a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Repaired {
    /// How much of an unfinished record was cut off (bytes).
    pub(crate) cut_bytes: usize,
    /// The number of the oldest write, if there is any.
    pub(crate) first_write: Option<u64>,
}

/// A physical record in which nothing is wrong.
struct Physical {
    kind: u8,
    end: usize,
}

/// Looks through the write-ahead logs in `folder`; a torn record at the end of the newest is cut off.
///
/// Gives back what is there, or what is damaged.
///
/// # Errors
/// The file system's.
pub(crate) fn repair(folder: &Path) -> io::Result<Result<Repaired, String>> {
    let mut repaired = Repaired { cut_bytes: 0, first_write: None };
    // Where an older one breaks off, and which write should have come next.
    let mut broken_off: Option<(String, Option<u64>)> = None;
    // The number after the newest whole write so far.
    let mut next_write = None;
    let files = list(folder)?;
    for (index, path) in files.iter().enumerate() {
        let bytes = fs::read(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut writes: Option<Range<u64>> = None;
        let ending = look_through(&bytes, |parts| {
            if let Some(new) = parts.first().and_then(|part| writes_in(&bytes[part.clone()])) {
                writes = Some(writes.as_ref().map_or(new.start, |writes| writes.start)..new.end);
            }
        });
        next_write = writes.as_ref().map(|writes| writes.end).or(next_write);
        repaired.first_write = repaired.first_write.or(writes.as_ref().map(|writes| writes.start));
        // A full disk may have left an unfinished record behind before the next file was begun: then that goes on with
        // the number that the unfinished write had. If it goes on later, what is missing had been written.
        if let (Some((earlier, Some(next))), Some(writes)) = (&broken_off, &writes)
            && writes.start > *next
        {
            return Ok(Err(format!("{earlier} breaks off before its end")));
        }
        match ending {
            Ending::Damaged(at) => {
                return Ok(Err(format!("{name} is damaged at byte {at}, before its last record")));
            }
            Ending::Torn(at) if index + 1 == files.len() => {
                let file = fs::OpenOptions::new().write(true).open(path)?;
                file.set_len(at as u64)?;
                file.sync_all()?;
                repaired.cut_bytes = bytes.len() - at;
            }
            Ending::Torn(_) => broken_off = Some((name, next_write)),
            Ending::Whole if writes.is_some() => broken_off = None,
            Ending::Whole => {}
        }
    }
    Ok(Ok(repaired))
}

/// The write-ahead logs in `folder`, oldest first.
///
/// # Errors
/// The file system's.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    files.sort_by_key(|path| {
        path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok()).unwrap_or(0)
    });
    Ok(files)
}

/// Looks through a file in the write-ahead log's format; gives each whole record's parts to `found`.
pub(super) fn look_through(bytes: &[u8], mut found: impl FnMut(&[Range<usize>])) -> Ending {
    let mut at = 0;
    let mut parts: Vec<Range<usize>> = Vec::new(); // of the record whose last part has not come yet
    let begin_of = |parts: &[Range<usize>]| parts.first().map(|part| part.start - HEADER_BYTES);
    while at < bytes.len() {
        let block_left = BLOCK_BYTES - at % BLOCK_BYTES;
        if block_left < HEADER_BYTES {
            at += block_left;
            continue;
        }
        let Some(physical) = physical_at(bytes, at) else {
            return if bytes[at..].iter().all(|byte| *byte == 0) {
                begin_of(&parts).map_or(Ending::Whole, Ending::Torn)
            } else if has_record_after(bytes, at + 1) {
                Ending::Damaged(at)
            } else {
                Ending::Torn(begin_of(&parts).unwrap_or(at))
            };
        };
        // Other types are notes about the log itself, such as the kind of compression.
        if matches!(physical.kind, FULL | FIRST | MIDDLE | LAST) {
            if parts.is_empty() != matches!(physical.kind, FULL | FIRST) {
                return Ending::Damaged(begin_of(&parts).unwrap_or(at)); // parts of a record without the others
            }
            parts.push(at + HEADER_BYTES..physical.end);
            if matches!(physical.kind, FULL | LAST) {
                found(&parts);
                parts.clear();
            }
        }
        at = physical.end;
    }
    begin_of(&parts).map_or(Ending::Whole, Ending::Torn)
}

/// The numbers of a record's writes: it begins with the first and how many it has (`db/write_batch.cc`).
fn writes_in(payload: &[u8]) -> Option<Range<u64>> {
    let first = u64::from_le_bytes(*payload.first_chunk()?);
    let count = u32::from_le_bytes(*payload[8..].first_chunk()?);
    Some(first..first.saturating_add(count.into()))
}

fn physical_at(bytes: &[u8], at: usize) -> Option<Physical> {
    let header = bytes.get(at..at + HEADER_BYTES)?;
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let kind = header[6];
    let end = at + HEADER_BYTES + length;
    if kind == 0 || at % BLOCK_BYTES + HEADER_BYTES + length > BLOCK_BYTES {
        return None;
    }
    let checked = bytes.get(at + 6..end)?; // the type is part of what is checked
    let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    (stored == masked(crc32c(checked))).then_some(Physical { kind, end })
}

/// Whether a logical record begins at `from` or later. Every byte is tried: after a damaged length nothing else
/// tells where the next one is.
fn has_record_after(bytes: &[u8], from: usize) -> bool {
    (from..bytes.len()).any(|at| {
        matches!(bytes.get(at + 6), Some(&(FULL | FIRST)))
            && physical_at(bytes, at).is_some_and(|physical| physical.end > at + HEADER_BYTES)
    })
}

/// RocksDB never stores a checksum as it is, lest a checksum of data with checksums in it be weak.
const fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), as in RFC 3720 section 12.1.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| (crc >> 8) ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

static CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// Writes a physical record, without regard to where blocks end.
#[cfg(any(test, fuzzing))]
pub(super) fn push_physical(log: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let checked = [&[kind], payload].concat();
    log.extend_from_slice(&masked(crc32c(&checked)).to_le_bytes());
    log.extend_from_slice(&u16::try_from(payload.len()).expect("a part of a block").to_le_bytes());
    log.extend_from_slice(&checked);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn ending(bytes: &[u8]) -> Ending {
        look_through(bytes, |_| {})
    }

    /// Three records of one part, then one over three blocks, then one of one part. Gives the places they begin at.
    fn sample() -> (Vec<u8>, Vec<usize>) {
        let mut log = Vec::new();
        let mut begins = Vec::new();
        for payload in [&[1u8; 100][..], &[2; 200], &[3; 50]] {
            begins.push(log.len());
            push_physical(&mut log, FULL, payload);
        }
        begins.push(log.len());
        let first = BLOCK_BYTES - log.len() - HEADER_BYTES;
        push_physical(&mut log, FIRST, &vec![4; first]);
        push_physical(&mut log, MIDDLE, &vec![5; BLOCK_BYTES - HEADER_BYTES]);
        push_physical(&mut log, LAST, &[6; 300]);
        begins.push(log.len());
        push_physical(&mut log, FULL, &[7; 80]);
        (log, begins)
    }

    #[test]
    fn checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn whole_log_ends_whole_with_or_without_zeros() {
        let (mut log, _) = sample();
        assert_eq!(ending(&log), Ending::Whole);
        log.resize(log.len() + 3 * BLOCK_BYTES, 0);
        assert_eq!(ending(&log), Ending::Whole);
        assert_eq!(ending(&[]), Ending::Whole);
    }

    #[test]
    fn log_cut_anywhere_is_torn_or_whole_but_never_damaged() {
        let (log, begins) = sample();
        let block_ends = [BLOCK_BYTES - 50..BLOCK_BYTES + 50, 2 * BLOCK_BYTES - 50..2 * BLOCK_BYTES + 50];
        for length in (0..500).chain(block_ends.into_iter().flatten()).chain(log.len() - 500..log.len()) {
            let begun = begins.iter().rev().find(|begin| **begin <= length).copied().unwrap();
            let expect = if begins.contains(&length) { Ending::Whole } else { Ending::Torn(begun) };
            let found = ending(&log[..length]);
            // A few leading zero bytes of a header look like preallocated space: nothing is lost either way.
            assert!(
                found == expect || (found == Ending::Whole && log[begun..length].iter().all(|b| *b == 0))
            );
        }
    }

    #[test]
    fn flipped_byte_is_damage_unless_in_the_last_record() {
        let (log, begins) = sample();
        let last = *begins.last().unwrap();
        for at in (0..2_000).chain(BLOCK_BYTES - 20..BLOCK_BYTES + 20).chain(log.len() - 400..log.len()) {
            let mut flipped = log.clone();
            flipped[at] ^= 0x55;
            match ending(&flipped) {
                Ending::Damaged(_) => assert!(at < last, "byte {at}"),
                Ending::Torn(began) => assert!(at >= last && began == last, "byte {at}"),
                Ending::Whole => panic!("byte {at} went unnoticed"),
            }
        }
    }

    #[test]
    fn zeroed_stretch_before_the_last_record_is_damage() {
        let (mut log, begins) = sample();
        log[begins[1]..begins[2]].fill(0);
        assert_eq!(ending(&log), Ending::Damaged(begins[1]));
    }

    #[test]
    fn part_without_its_beginning_is_damage() {
        let (mut log, begins) = sample();
        log.drain(begins[3]..BLOCK_BYTES);
        assert!(matches!(ending(&log), Ending::Damaged(_)));
    }

    #[test]
    fn torn_record_of_the_newest_log_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let (log, begins) = sample();
        let torn = &log[..log.len() - 10];
        fs::write(folder.path().join("000009.log"), torn).unwrap();
        fs::write(folder.path().join("000010.log"), torn).unwrap();
        assert_eq!(repair(folder.path()).unwrap().unwrap().cut_bytes, torn.len() - begins[4]);
        let bytes_of = |name: &str| fs::read(folder.path().join(name)).unwrap().len();
        assert_eq!((bytes_of("000009.log"), bytes_of("000010.log")), (torn.len(), begins[4]));
    }

    #[test]
    fn older_log_may_break_off_only_where_the_next_goes_on() {
        let record = |first: u64, count: u32| {
            let mut log = Vec::new();
            let payload = [&first.to_le_bytes()[..], &count.to_le_bytes(), &[9; 40]].concat();
            push_physical(&mut log, FULL, &payload);
            log
        };
        let torn = record(4, 2)[..20].to_vec();
        let one = [[record(1, 3), torn.clone()].concat(), Vec::new()];
        // Nothing of the second is whole: where the first ended is what the third must go on from.
        let two = [record(1, 3), torn];
        for (first, second) in [one, two].map(|[first, second]| (first, second)) {
            for (next, expect) in [(4, true), (6, false)] {
                let folder = tempfile::tempdir().unwrap();
                fs::write(folder.path().join("000009.log"), &first).unwrap();
                fs::write(folder.path().join("000011.log"), &second).unwrap();
                fs::write(folder.path().join("000012.log"), record(next, 1)).unwrap();
                assert_eq!(repair(folder.path()).unwrap().is_ok(), expect, "goes on with {next}");
            }
        }
    }
}
