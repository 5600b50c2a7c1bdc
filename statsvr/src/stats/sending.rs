//! What goes to the statsvrs: batches, reports, shares and priority messages, each kind in line for each node.

use std::{sync::Arc, time::Duration};

use room::RoomKey;
use tokio::sync::mpsc;
use tracing::warn;

use super::{Member, RETRY_AFTER, Stats};
use crate::{Batch, NodeId, Report, RoomShare, Signal, StatsError, collector::Wanted, metrics::Dropped};

/// Priority messages that wait to be told to the statsvrs; the oldest gives way, and its spread is not measured.
const SIGNALS_MAX: usize = 16_384;

/// How long one waits for others: less than beats do, so that a statsvr hears of the message before those who have it.
const SIGNALS_WAIT: Duration = Duration::from_millis(10);

/// A batch on its way, and where the answer goes.
pub(crate) struct Outgoing {
    pub(crate) batch: Batch,
    pub(crate) made_at_ms: u64,
    pub(crate) wanted: Option<Arc<Wanted>>,
}

impl Stats {
    /// A priority message was accepted: its spread is measured from now on. Returns at once.
    pub fn signal(&self, room: &RoomKey, signal: Signal) {
        let mut signals = self.signals.lock();
        if signals.len() >= SIGNALS_MAX {
            signals.remove(0);
        }
        signals.push((room.clone(), signal));
        self.has_signals.notify_one();
    }
    /// Puts a batch in line for a node.
    pub(crate) fn send(&self, node: &NodeId, outgoing: Outgoing) {
        let Some(member) = self.members.get(node) else { return };
        if let Err(mpsc::error::TrySendError::Full(outgoing)) = member.batches.try_send(outgoing) {
            self.metrics.dropped(Dropped::Queue, outgoing.batch.num_beats());
        }
    }

    /// Puts a report in line for a node. One too many is dropped.
    pub(crate) fn send_report(&self, node: &NodeId, report: Report) {
        if let Some(member) = self.members.get(node)
            && member.reports.try_send(report).is_err()
        {
            warn!(%node, "statsvr is behind with reports");
        }
    }

    /// Puts shares in line for a node; says whether there was place for them.
    pub(crate) fn send_shares(&self, node: &NodeId, shares: Vec<RoomShare>) -> bool {
        self.members.get(node).is_some_and(|member| member.shares.try_send(shares).is_ok())
    }

    pub(super) async fn send_batches(&self, member: &Member, mut queue: mpsc::Receiver<Outgoing>) {
        while let Some(Outgoing { mut batch, made_at_ms, wanted }) = queue.recv().await {
            let mut wait = RETRY_AFTER.0;
            loop {
                batch.age_ms = self.clock.now_ms().saturating_sub(made_at_ms);
                if batch.age_ms > self.window_ms {
                    self.metrics.dropped(Dropped::Stale, batch.num_beats());
                    break;
                }
                match self.within(member.service.ingest(batch.clone())).await {
                    Ok(taken) => {
                        if let Some(wanted) = wanted.filter(|_| !taken.wanted.is_empty()) {
                            wanted.add(taken.wanted);
                        }
                        break;
                    }
                    // Nothing else will become of it, however often it is sent.
                    Err(StatsError::Malformed(error)) => {
                        warn!(node = %member.id, error, "statsvr refused a batch");
                        self.metrics.dropped(Dropped::Queue, batch.num_beats());
                        break;
                    }
                    Err(_) => {
                        self.metrics.batches_repeated.increment(1);
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(RETRY_AFTER.1);
                    }
                }
            }
        }
    }

    pub(super) async fn send_reports(&self, member: &Member, mut queue: mpsc::Receiver<Report>) {
        while let Some(report) = queue.recv().await {
            if let Err(error) = self.within(member.service.report(report)).await {
                warn!(node = %member.id, %error, "statsvr did not take a report");
            }
        }
    }

    pub(super) async fn send_queued_shares(
        &self,
        member: &Member,
        mut queue: mpsc::Receiver<Vec<RoomShare>>,
    ) {
        while let Some(shares) = queue.recv().await {
            let mut wait = RETRY_AFTER.0;
            // One that is gone is told anew when it is back.
            while self.nodes().has(&member.id) {
                match self.within(member.service.adopt(shares.clone())).await {
                    Ok(()) => break,
                    Err(StatsError::Unavailable(_)) => {
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(RETRY_AFTER.1);
                    }
                    Err(error) => {
                        warn!(node = %member.id, %error, "statsvr did not take all of what it has missed");
                        break;
                    }
                }
            }
        }
    }

    pub(super) async fn tell_signals(&self) {
        loop {
            self.has_signals.notified().await;
            tokio::time::sleep(SIGNALS_WAIT).await;
            let signals = std::mem::take(&mut *self.signals.lock());
            let made_at_ms = self.clock.now_ms();
            for node in self.nodes().live() {
                let batch = Batch { signals: signals.clone(), ..Batch::default() };
                self.send(&node.id, Outgoing { batch, made_at_ms, wanted: None });
            }
        }
    }

    /// Whether priority messages wait to be put in line before later batches.
    #[cfg(test)]
    pub(crate) fn has_signals_waiting(&self) -> bool {
        !self.signals.lock().is_empty()
    }
}
