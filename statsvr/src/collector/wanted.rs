//! Names that statsvrs have asked for.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use room::RoomKey;

use crate::UserHash;

/// Most that wait; the statsvrs ask again.
const WANTED_MAX: usize = 65_536;

/// Questions on their way from the thread that sends to the one that collects.
#[derive(Default, Debug)]
pub(crate) struct Wanted {
    has_any: AtomicBool,
    users: Mutex<Vec<(RoomKey, UserHash)>>,
}

impl Wanted {
    pub(crate) fn add(&self, mut users: Vec<(RoomKey, UserHash)>) {
        let mut waiting = self.users.lock();
        users.truncate(WANTED_MAX.saturating_sub(waiting.len()));
        waiting.append(&mut users);
        self.has_any.store(true, Ordering::Release);
    }

    pub(super) fn take(&self) -> Vec<(RoomKey, UserHash)> {
        if !self.has_any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut waiting = self.users.lock();
        self.has_any.store(false, Ordering::Release);
        std::mem::take(&mut waiting)
    }
}
