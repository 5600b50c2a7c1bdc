//! Checks tokens by the keys of the moment.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use room::{ErrorCode, Identity, Problem};
use tracing::{info, warn};

use super::{
    keys::{KeyFile, KeySet},
    token,
};
use crate::reload::Watched;

/// What a good token says.
#[derive(Clone, PartialEq, Debug)]
pub struct Verified {
    /// Who is asking, with which rights.
    pub identity: Identity,
    /// From this second on the token is refused (Unix seconds): its `exp` and the leeway.
    pub expires_at_s: u64,
    /// The keys that it was checked by: once [`Verifier::generation`] is another, check again.
    pub generation: u64,
}

/// Checks tokens. Keys can be replaced at any time; readers don't wait for that.
#[derive(Debug)]
pub struct Verifier {
    current: ArcSwap<Generation>,
    /// The number of the latest keys, for readers that only want to know whether they changed.
    number: AtomicU64,
}

#[derive(Debug)]
struct Generation {
    number: u64,
    keys: KeySet,
}

impl Verifier {
    /// A verifier with its first keys.
    #[must_use]
    pub fn new(keys: KeySet) -> Self {
        Self { current: ArcSwap::from_pointee(Generation { number: 1, keys }), number: AtomicU64::new(1) }
    }

    /// A verifier by the keys of a file, and the watch that replaces them when the file changes.
    #[must_use]
    pub fn of_file(file: KeyFile) -> (Arc<Self>, Watched) {
        log_notes(&file.path.display().to_string(), &file.keys);
        let verifier = Arc::new(Self::new(file.keys));
        let replaced = Arc::clone(&verifier);
        let name = file.path.display().to_string();
        let watched = Watched::new("auth_key_file", vec![(file.path, file.bytes)], move |contents| {
            let keys = KeySet::parse(contents[0])?;
            log_notes(&name, &keys);
            info!(keys = keys.summary(), "keys reloaded");
            replaced.replace(keys);
            Ok(())
        });
        (verifier, watched)
    }

    /// Checks a token at a time (Unix seconds).
    ///
    /// Costs a signature check, so callers keep the answer with the token's bytes and ask again only when
    /// [`Verified::expires_at_s`] has come or [`Verifier::generation`] has changed.
    ///
    /// # Errors
    /// `unauthorized`, with a sentence for the token's bearer.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Verified, Problem> {
        let current = self.current.load();
        let said = token::check(&current.keys, token, now_s)
            .map_err(|sentence| Problem::new(ErrorCode::Unauthorized, sentence))?;
        Ok(Verified { identity: said.identity, expires_at_s: said.good_before_s, generation: current.number })
    }

    /// The number of the keys in use; grows with each replacement.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Puts other keys in use: from now on tokens of the old ones are refused, unless they are among the new.
    pub fn replace(&self, keys: KeySet) {
        // Number first: whoever sees it before the keys are there checks by the old ones, is told the old number,
        // and so asks again.
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        self.current.store(Arc::new(Generation { number, keys }));
    }
}

fn log_notes(file: &str, keys: &KeySet) {
    for note in keys.notes() {
        warn!(file, "{note}");
    }
}
