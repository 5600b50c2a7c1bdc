//! The marker: a small text file beside RocksDB that names the log's epoch.
//!
//! RocksDB alone can't tell an empty log from one whose files were lost or swapped. With the marker a start either
//! has the log that it had before, or is refused.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use room::Epoch;
use xxhash_rust::xxh3::xxh3_64;

/// The marker of a finished directory.
pub(super) const MARKER: &str = "bigroom.epoch";
/// The marker while the directory is being made: renamed to [`MARKER`] as the last step.
pub(super) const UNFINISHED: &str = "bigroom.epoch.new";

const FORMAT: u32 = 1;

/// Why a file is no marker.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MarkerError {
    /// The text does not have a marker's three lines, or its checksum is wrong.
    #[error("is damaged")]
    Damaged,
    /// Of a later bigroom.
    #[error("has format {0}, this bigroom knows format {FORMAT}")]
    Format(u32),
    /// The file can't be read.
    #[error("can't be read: {0}")]
    Io(String),
}

/// The marker's text: format, epoch, and a checksum of these two lines.
fn text(epoch: Epoch) -> String {
    let body = format!("format {FORMAT}\nepoch {epoch}\n");
    format!("{body}check {:016x}\n", xxh3_64(body.as_bytes()))
}

pub(super) fn parse(text: &str) -> Result<Epoch, MarkerError> {
    let body_bytes = text.find("check ").ok_or(MarkerError::Damaged)?;
    let (body, check) = text.split_at(body_bytes);
    if check != format!("check {:016x}\n", xxh3_64(body.as_bytes())) {
        return Err(MarkerError::Damaged);
    }
    let mut lines = body.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let format: u32 = field("format").and_then(|value| value.parse().ok()).ok_or(MarkerError::Damaged)?;
    if format != FORMAT {
        return Err(MarkerError::Format(format));
    }
    let epoch: Epoch = field("epoch").and_then(|value| value.parse().ok()).ok_or(MarkerError::Damaged)?;
    if epoch.0 == 0 { Err(MarkerError::Damaged) } else { Ok(epoch) }
}

/// The epoch that the marker `name` in `folder` gives; `None` if there is no such file.
pub(super) fn read(folder: &Path, name: &str) -> Result<Option<Epoch>, MarkerError> {
    match fs::read(folder.join(name)) {
        Ok(bytes) => parse(&String::from_utf8(bytes).map_err(|_| MarkerError::Damaged)?).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(MarkerError::Io(error.to_string())),
    }
}

/// Writes the marker `name` and waits until it is on the disk.
pub(super) fn write(folder: &Path, name: &str, epoch: Epoch) -> io::Result<()> {
    let mut file = fs::File::create(folder.join(name))?;
    file.write_all(text(epoch).as_bytes())?;
    file.sync_all()?;
    sync_folder(folder)
}

/// Waits until the names in `folder` are on the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), MARKER), Ok(None));
        write(folder.path(), MARKER, Epoch(0xfeed_beef)).unwrap();
        assert_eq!(read(folder.path(), MARKER), Ok(Some(Epoch(0xfeed_beef))));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let good = text(Epoch(12345));
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            let found =
                String::from_utf8(bytes).map_err(|_| MarkerError::Damaged).and_then(|text| parse(&text));
            assert_eq!(found, Err(MarkerError::Damaged), "byte {at}");
        }
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), Err(MarkerError::Damaged), "{length} bytes");
        }
    }

    #[test]
    fn later_format_is_named() {
        let body = "format 2\nepoch abc\n";
        let later = format!("{body}check {:016x}\n", xxh3_64(body.as_bytes()));
        assert_eq!(parse(&later), Err(MarkerError::Format(2)));
    }
}
