//! What others ask a statsvr.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use room::{RoomKey, UserId};
use tokio::sync::broadcast;

use super::Statsvr;
use crate::{
    Batch, Report, RoomShare, Series, SeriesRange, ShareError, SplitId, SplitReach, Standing, StatsError,
    StatsService, Taken, Updates, UserHash, Viewer, ViewersQuery,
};

/// Beats that are taken before other work of the thread has its turn: about a millisecond.
const BEATS_AT_ONCE: usize = 8_192;

/// Shares that are taken in before other work of the thread has its turn: about a millisecond.
const SHARES_AT_ONCE: usize = 8;

#[async_trait]
impl StatsService for Arc<Statsvr> {
    async fn ingest(&self, batch: Batch) -> Result<Taken, StatsError> {
        let mut taken = Taken::default();
        let Batch { age_ms, runs, mut signals } = batch;
        let begun_at_ms = self.clock.now_ms();
        let mut runs = runs.into_iter().peekable();
        loop {
            let mut part = Vec::new();
            let mut beats = 0;
            while beats < BEATS_AT_ONCE
                && let Some(run) = runs.next()
            {
                beats += run.beats.len();
                part.push(run);
            }
            let waited_ms = self.clock.now_ms().saturating_sub(begun_at_ms);
            let part =
                Batch { age_ms: age_ms + waited_ms, runs: part, signals: std::mem::take(&mut signals) };
            taken.wanted.append(&mut self.take(part).wanted);
            if runs.peek().is_none() {
                taken.wanted.truncate(Taken::WANTED_MAX);
                return Ok(taken);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn report(&self, report: Report) -> Result<(), StatsError> {
        self.aggregator.lock().take(report, self.clock.now_ms());
        Ok(())
    }

    async fn subscribe(&self) -> Result<Updates, StatsError> {
        let receiver = self.updates.subscribe();
        let first = self.full_update();
        let this = Arc::clone(self);
        let rest = stream::unfold((receiver, this), |(mut receiver, this)| async {
            let update = match receiver.recv().await {
                Ok(update) => update,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    receiver = receiver.resubscribe();
                    this.full_update()
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((update, (receiver, this)))
        });
        Ok(Box::pin(stream::once(async { first }).chain(rest)))
    }

    async fn viewers(&self, query: ViewersQuery) -> Result<Vec<Viewer>, StatsError> {
        let mut viewers = Vec::new();
        for kept in self.splits_of(&query.room, &query.splits) {
            viewers.append(&mut kept.split.lock().viewers(query.after.as_ref(), query.limit));
        }
        viewers.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        viewers.truncate(query.limit);
        Ok(viewers)
    }

    async fn viewer(
        &self,
        room: &RoomKey,
        split: SplitId,
        user: UserHash,
        id: &UserId,
    ) -> Result<Option<Viewer>, StatsError> {
        let kept = self.splits_of(room, &[split]);
        Ok(kept.first().and_then(|kept| kept.split.lock().viewer(id, user)))
    }

    async fn reach(
        &self,
        room: &RoomKey,
        splits: Vec<SplitId>,
        seq: u64,
    ) -> Result<Option<SplitReach>, StatsError> {
        let mut sum = SplitReach::default();
        for kept in self.splits_of(room, &splits) {
            let Some(part) = kept.split.lock().reach(seq) else { return Ok(None) };
            sum.merge(&part);
        }
        Ok(Some(sum))
    }

    async fn series(&self, room: &RoomKey, range: SeriesRange) -> Result<Series, StatsError> {
        self.history()?.series(room, range).await.map_err(|error| StatsError::Store(error.to_string()))
    }

    async fn standing(&self, room: &RoomKey) -> Result<Standing, StatsError> {
        self.history()?.standing(room).await.map_err(|error| StatsError::Store(error.to_string()))
    }

    async fn adopt(&self, shares: Vec<RoomShare>) -> Result<(), StatsError> {
        let history = self.history()?;
        let mut refused = None;
        for (at, RoomShare { room, bytes }) in shares.into_iter().enumerate() {
            match history.adopt(&room, &bytes, self.clock.now_ms()) {
                Ok(()) => {}
                Err(error @ ShareError::Full) => refused = Some(StatsError::Store(error.to_string())),
                Err(error) => refused = Some(StatsError::Malformed(format!("{room}: {error}"))),
            }
            if at % SHARES_AT_ONCE == SHARES_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        refused.map_or(Ok(()), Err)
    }

    async fn opened(&self, room: &RoomKey, at_ms: u64) -> Result<(), StatsError> {
        if let Some(history) = &self.history {
            history.opened(room, at_ms);
        }
        // Who is there already is a viewer of what begins.
        if let Some(room) = self.rooms.get(room).map(|room| Arc::clone(&room)) {
            room.splits.read().values().for_each(|kept| kept.split.lock().retell_joined());
        }
        Ok(())
    }
}
