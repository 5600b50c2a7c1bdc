//! Gives a target every file of its committed corpus, so that a test run finds again what fuzzing once found. Included
//! by the tests of each crate that has targets.

use std::{fs, path::Path};

/// Calls `target` with each file of `fuzz/corpus/NAME`; what it panics on is named.
pub(crate) fn replay(name: &str, target: fn(&[u8])) {
    /// Names the file if the target panics.
    struct Reading(String);

    impl Drop for Reading {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the target panicked on {}", self.0);
            }
        }
    }

    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The workspace's root is the root package's own folder, and the one above for the others.
    let corpus = [manifest.join("fuzz"), manifest.join("../fuzz")]
        .into_iter()
        .map(|fuzz| fuzz.join("corpus").join(name))
        .find(|corpus| corpus.is_dir())
        .unwrap_or_else(|| panic!("fuzz/corpus/{name} is missing"));
    let mut files = 0;
    for entry in fs::read_dir(corpus).expect("the corpus can be listed") {
        let path = entry.expect("the corpus can be listed").path();
        let reading = Reading(path.display().to_string());
        target(&fs::read(&path).expect("the corpus can be read"));
        drop(reading);
        files += 1;
    }
    assert!(files > 0, "fuzz/corpus/{name} is empty");
}
