//! A statsvr's past: what it writes to the store and reads from there, and what it tells other nodes of it.

use std::sync::atomic::Ordering;

use tracing::{debug, warn};

use super::Statsvr;
use crate::{
    History, NodeId, Nodes, RoomShare, StatsError,
    takeover::{MESSAGES_AT_ONCE, SHARES_BYTES_MAX, SHARES_ROOMS_MAX},
};

/// Rounds between two writes of history to the store.
const FLUSH_ROUNDS: u64 = 5;

impl Statsvr {
    /// Tells other nodes what they may have missed of rooms' past ([`crate::takeover`]). `send` says whether it has taken a message;
    /// what it has not is told in the next round.
    pub(crate) fn share(&self, nodes: &Nodes, mut send: impl FnMut(&NodeId, Vec<RoomShare>) -> bool) {
        let Some(history) = &self.history else { return };
        let max = MESSAGES_AT_ONCE * SHARES_ROOMS_MAX;
        let due = self.aggregator.lock().due_shares(nodes, self.clock.now_ms(), max);
        for (node, due) in due {
            let mut rest = due.as_slice();
            for _ in 0..MESSAGES_AT_ONCE {
                let (mut shares, mut bytes, mut taken) = (Vec::new(), 0, 0);
                for due in rest.iter().take(SHARES_ROOMS_MAX) {
                    if bytes >= SHARES_BYTES_MAX {
                        break;
                    }
                    taken += 1;
                    if let Some(share) = history.share(&due.room) {
                        bytes += share.len();
                        shares.push(RoomShare { room: due.room.clone(), bytes: share.into() });
                    }
                }
                if shares.is_empty() || !send(&node, shares) {
                    break;
                }
                let (told, later) = rest.split_at(taken);
                self.aggregator.lock().told(&node, told);
                rest = later;
            }
        }
    }

    /// Reads what the store knows of new rooms and, every few rounds, writes what is new.
    pub(crate) async fn keep_history(&self) {
        let Some(history) = &self.history else { return };
        match history.load_pending().await {
            Ok(rooms) => self.metrics.history.loaded(rooms),
            Err(error) => {
                self.metrics.history.failed();
                debug!(%error, "history not loaded yet");
            }
        }
        if (self.rounds.load(Ordering::Relaxed) as u64).is_multiple_of(FLUSH_ROUNDS) {
            self.flush(history).await;
        }
    }

    pub(super) async fn flush(&self, history: &History) {
        let flushed = history.flush(self.clock.now_ms()).await;
        self.metrics.history.flushed(&flushed);
        if let Some(error) = flushed.error {
            warn!(%error, "history could not be written: it is tried again");
        }
    }

    pub(super) fn history(&self) -> Result<&History, StatsError> {
        self.history.as_deref().ok_or_else(|| StatsError::Store("this statsvr keeps no history".into()))
    }
}
