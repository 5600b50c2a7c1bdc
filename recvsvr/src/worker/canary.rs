//! The canary's reader: every worker hears of the canary's messages the way it hears of all others.
//!
//! It is no poll, and so shows in no count of polls; what it proves is that news of the log reaches this thread.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use room::{List, Seq};
use tracing::warn;

use super::{LocalRoom, Worker};

/// How long a canary that can't read its room waits before it tries again.
const RETRY: Duration = Duration::from_secs(1);

impl Worker {
    /// Follows the canary's room from now on. Returns once it does.
    pub async fn follow_canary(self: Rc<Self>) {
        let room = loop {
            match self.join(&self.rooms.options.canary) {
                Ok(room) => break room,
                Err(problem) => warn!(%problem, "canary has no room"),
            }
            tokio::time::sleep(RETRY).await;
        };
        while self.rooms.fill(&room.room).await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        // As if a poll were parked, for good.
        room.listener(self.index).parked.store(1, Ordering::SeqCst);
        self.show_canary(&room);
        self.canary.replace(Some(room));
    }

    /// Tells whoever waits for the canary how far this worker has heard of it.
    pub(super) fn show_canary(&self, room: &LocalRoom) {
        let last =
            room.room.with_snapshot(|snapshot| snapshot.map_or(Seq(0), |s| s.lists[List::Normal].last()));
        self.rooms.canaries[self.index].send_replace(last);
    }
}
