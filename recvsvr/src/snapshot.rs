//! A room at one moment: what readers load, without a lock, and never see change.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use room::{Epoch, PerList, RoomHash, RoomSettings, pressure::PressureStep};

use crate::{
    encode::{Encoded, Form},
    online::Online,
    slice::Slice,
    tail::Tail,
};

/// Encodings kept with a snapshot: more readers than this at different places are encoded each by itself.
const ENCODINGS_MAX: usize = 64;

/// Bytes of encodings kept with a snapshot, besides the newest one.
const ENCODINGS_BYTES_MAX: usize = 1 << 20;

/// How long an encoding is handed out (milliseconds): its `Date`, `stats` and cursor time are at most so old.
pub(crate) const ENCODING_AGE_MAX_MS: u64 = 1_000;

/// A room at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) epoch: Epoch,
    pub(crate) room: RoomHash,
    pub(crate) settings: Arc<RoomSettings>,
    pub(crate) lists: PerList<Tail>,
    /// When the newest message was accepted (Unix microseconds); 0 before the first notice.
    pub(crate) accepted_at_us: PerList<u64>,
    pub(crate) online: Arc<Online>,
    encodings: Encodings,
}

/// What makes two answers from one snapshot the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AnswerKey {
    pub(crate) slice: Slice,
    pub(crate) form: Form,
    pub(crate) poll_after_ms: u64,
    pub(crate) served: Served,
    pub(crate) step: PressureStep,
}

/// The time that goes into the cursor of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Served {
    /// The reader was served now: its next poll is held for the interval.
    Now,
    /// As before (Unix milliseconds); 0 is never held.
    At(u64),
}

/// The encodings of one snapshot, each made once and shared.
#[derive(Debug, Default)]
struct Encodings(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    key: AnswerKey,
    made_at_ms: u64,
    encoded: Arc<OnceLock<Arc<Encoded>>>,
}

impl Entry {
    /// Memory that it takes: the body, and the body once more within the response to HTTP/1.1.
    fn bytes(&self) -> usize {
        self.encoded.get().map_or(0, |encoded| 2 * encoded.body.len())
    }
}

impl Snapshot {
    pub(crate) fn new(
        epoch: Epoch,
        room: RoomHash,
        settings: Arc<RoomSettings>,
        lists: PerList<Tail>,
        accepted_at_us: PerList<u64>,
        online: Arc<Online>,
    ) -> Self {
        Self { epoch, room, settings, lists, accepted_at_us, online, encodings: Encodings::default() }
    }

    /// Memory of its messages (bytes).
    pub(crate) fn bytes(&self) -> usize {
        self.lists.priority.bytes() + self.lists.normal.bytes()
    }

    /// Lets go of encodings that are no longer handed out.
    pub(crate) fn drop_old_encodings(&self, now_ms: u64) {
        self.encodings
            .0
            .lock()
            .retain(|entry| now_ms.saturating_sub(entry.made_at_ms) <= ENCODING_AGE_MAX_MS);
    }

    /// The encoding for `key`, made by `encode` if there is none of the last second. Whoever comes while it is
    /// being made waits for it: that is shorter than to make it again.
    pub(crate) fn encoding(
        &self,
        key: AnswerKey,
        now_ms: u64,
        encode: impl FnOnce() -> Encoded,
    ) -> Arc<Encoded> {
        let cell = {
            let mut entries = self.encodings.0.lock();
            match entries.iter().position(|entry| entry.key == key) {
                Some(at) if now_ms.saturating_sub(entries[at].made_at_ms) <= ENCODING_AGE_MAX_MS => {
                    Arc::clone(&entries[at].encoded)
                }
                found => {
                    if let Some(old) = found {
                        entries.remove(old);
                    }
                    let mut bytes: usize = entries.iter().map(Entry::bytes).sum();
                    while entries.len() >= ENCODINGS_MAX
                        || (bytes > ENCODINGS_BYTES_MAX && !entries.is_empty())
                    {
                        bytes -= entries.remove(0).bytes();
                    }
                    let encoded = Arc::default();
                    entries.push(Entry { key, made_at_ms: now_ms, encoded: Arc::clone(&encoded) });
                    encoded
                }
            }
        };
        Arc::clone(cell.get_or_init(|| Arc::new(encode())))
    }
}
