//! Files that may change while the server runs: keys, certificates, the sect table.

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing::warn;

/// How often the files are looked at; the contract promises that a change takes effect within 5 s.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
const _: () = assert!(RELOAD_INTERVAL.as_secs() < 5);
/// Largest file taken (bytes): keys and certificates are a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a small file.
///
/// # Errors
/// If it can't be read, or is larger than a key or a certificate ever is.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Files that are good together only, and what to do when they change.
pub struct Watched {
    what: &'static str,
    /// Each with the contents that were tried last, good or bad.
    files: Vec<(PathBuf, Vec<u8>)>,
    apply: Apply,
    /// Whether the last look failed, so that an outage is logged once.
    is_unreadable: bool,
}

type Apply = Box<dyn FnMut(&[&[u8]]) -> anyhow::Result<()> + Send>;

impl Watched {
    /// Files, each with the contents that are in use. `apply` gets all contents, in the same order, when any has
    /// changed; if it fails, what was in use stays so until the next change.
    #[must_use]
    pub fn new(
        what: &'static str,
        files: Vec<(PathBuf, Vec<u8>)>,
        apply: impl FnMut(&[&[u8]]) -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        Self { what, files, apply: Box::new(apply), is_unreadable: false }
    }

    fn names(&self) -> String {
        self.files.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Looks at the files. Contents are compared rather than times, as those lie when files are copied or restored.
    pub(crate) fn look(&mut self) {
        let read: io::Result<Vec<_>> = self.files.iter().map(|(path, _)| read(path)).collect();
        let contents = match read {
            Ok(contents) => contents,
            Err(error) => {
                if !self.is_unreadable {
                    warn!(
                        what = self.what,
                        files = self.names(),
                        %error,
                        "file can't be read, keeping what was loaded"
                    );
                }
                self.is_unreadable = true;
                return;
            }
        };
        self.is_unreadable = false;
        if self.files.iter().map(|(_, last)| last).eq(&contents) {
            return;
        }
        let slices: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        // What was put in use is logged where that is known.
        if let Err(error) = (self.apply)(&slices) {
            let error = format!("{error:#}");
            warn!(
                what = self.what,
                files = self.names(),
                error,
                "files changed but are no good, keeping what was loaded"
            );
        }
        for ((_, last), now) in self.files.iter_mut().zip(contents) {
            *last = now;
        }
    }
}

/// A thread that looks at files until it is dropped.
#[derive(Debug)]
pub struct Reloader {
    /// Closing it wakes the thread.
    stop: Option<SyncSender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Reloader {
    /// Looks at the files every `interval`, [`RELOAD_INTERVAL`] in a server.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn start(mut watched: Vec<Watched>, interval: Duration) -> io::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel::<Infallible>(0);
        let thread = thread::Builder::new().name("reload".into()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                watched.iter_mut().for_each(Watched::look);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A watched pair of files, and the contents applied so far; `bad` anywhere is refused.
    fn pair(dir: &Path) -> (Watched, Arc<Mutex<Vec<String>>>) {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&applied);
        let files = ["a", "b"].map(|name| {
            std::fs::write(dir.join(name), name).unwrap();
            (dir.join(name), name.as_bytes().to_vec())
        });
        let watched = Watched::new("test", files.to_vec(), move |contents| {
            let text = String::from_utf8(contents.concat()).unwrap();
            anyhow::ensure!(!text.contains("bad"), "no good");
            seen.lock().unwrap().push(text);
            Ok(())
        });
        (watched, applied)
    }

    #[test]
    fn change_of_either_file_applies_both() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watched, applied) = pair(dir.path());
        watched.look();
        assert!(applied.lock().unwrap().is_empty(), "unchanged files are left alone");
        std::fs::write(dir.path().join("b"), "c").unwrap();
        watched.look();
        watched.look();
        assert_eq!(*applied.lock().unwrap(), ["ac"]);
    }

    #[test]
    fn bad_or_missing_file_keeps_the_old_until_it_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let (mut watched, applied) = pair(dir.path());
        std::fs::write(dir.path().join("a"), "bad").unwrap();
        watched.look();
        std::fs::remove_file(dir.path().join("a")).unwrap();
        watched.look();
        assert!(applied.lock().unwrap().is_empty());
        std::fs::write(dir.path().join("a"), "good").unwrap();
        watched.look();
        assert_eq!(*applied.lock().unwrap(), ["goodb"]);
    }

    #[test]
    fn oversized_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        std::fs::write(&path, vec![0; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn dropped_reloader_stops_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (watched, _) = pair(dir.path());
        drop(Reloader::start(vec![watched], Duration::from_secs(3600)).unwrap());
    }
}
