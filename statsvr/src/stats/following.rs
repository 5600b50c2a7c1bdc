//! Which statsvrs answer, and what they say.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Member, RETRY_AFTER, Stats};
use crate::{NodeId, Nodes, Update};

/// A node that says nothing for so long is taken for dead; it speaks once a second.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long the last word of a node that is dead holds for rooms that no other speaks of (milliseconds).
const LAST_WORD_HOLDS_MS: u64 = 10_000;

impl Stats {
    pub(super) async fn follow(&self, member: &Member) {
        let mut wait = RETRY_AFTER.0;
        let mut was_lost = false;
        let mut heard_at_ms = None;
        // Why it could not be asked last time: told once.
        let mut refused: Option<String> = None;
        loop {
            match self.within(member.service.subscribe()).await {
                Ok(mut updates) => {
                    while let Ok(Some(update)) = timeout(SILENCE_MAX, updates.next()).await {
                        self.heard(member, &update, was_lost);
                        (was_lost, refused) = (false, None);
                        heard_at_ms = Some(self.clock.now_ms());
                        wait = RETRY_AFTER.0;
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    if refused.as_ref() != Some(&why) {
                        warn!(node = %member.id, why, "statsvr can't be asked");
                        refused = Some(why);
                    }
                }
            }
            was_lost |= self.lost(member);
            let now_ms = self.clock.now_ms();
            if heard_at_ms.take_if(|at_ms| now_ms > *at_ms + LAST_WORD_HOLDS_MS).is_some() {
                self.forget_words(member);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_AFTER.1);
        }
    }

    pub(super) fn heard(&self, member: &Member, update: &Update, was_lost: bool) {
        self.snapshots.apply(update);
        let now_ms = self.clock.now_ms();
        let started_ms = now_ms.saturating_sub(update.uptime_ms);
        let live = self.live.lock();
        // What was sent while it was lost went elsewhere, so it is as good as new.
        let since_ms = if was_lost { now_ms } else { started_ms };
        let restarted = live.get(&member.id).is_some_and(|since_ms| started_ms > since_ms + 2_000);
        if restarted || !live.contains_key(&member.id) {
            drop(live);
            info!(node = %member.id, since_ms, "statsvr answers");
            self.comes(&member.id, since_ms);
        }
    }

    /// Gives back whether it was there before.
    pub(super) fn lost(&self, member: &Member) -> bool {
        let was_there = self.goes(&member.id);
        if was_there {
            warn!(node = %member.id, "statsvr does not answer");
        }
        was_there
    }

    /// From now on a node is one of those that keep splits.
    pub(crate) fn comes(&self, node: &NodeId, since_ms: u64) {
        let mut live = self.live.lock();
        live.insert(node.clone(), since_ms);
        self.nodes.store(Arc::new(Nodes::new(live.clone())));
    }

    /// From now on it is none. Gives back whether it was one.
    pub(crate) fn goes(&self, node: &NodeId) -> bool {
        let mut live = self.live.lock();
        let was_there = live.remove(node).is_some();
        self.nodes.store(Arc::new(Nodes::new(live.clone())));
        was_there
    }

    /// Nobody is in the rooms any more that only a node that is gone has spoken of.
    pub(super) fn forget_words(&self, member: &Member) {
        let as_of_ms = self.clock.now_ms();
        let node = member.id.clone();
        let nothing = Update { node, uptime_ms: 0, as_of_ms, is_full: true, changed: vec![], gone: vec![] };
        self.snapshots.apply(&nothing);
        self.snapshots.forget_source(&member.id);
    }
}
