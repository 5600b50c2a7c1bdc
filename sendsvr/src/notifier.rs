//! The store's word to the write path and on to the recvsvrs.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use room::{Change, Notice, NoticeSink};

use crate::{Clock, metrics::Metrics, rooms::Rooms};

/// Takes notice of every durable change: keeps the settings that sends go by current, then tells the recvsvrs.
///
/// Runs on the store's thread, in commit order and before the writer is answered, so a send that begins after a
/// change of settings was answered goes by it.
pub(crate) struct Notifier {
    rooms: Arc<Rooms>,
    recvsvrs: ArcSwap<Vec<Arc<dyn NoticeSink>>>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Notifier {
    pub(crate) fn new(rooms: Arc<Rooms>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { rooms, recvsvrs: ArcSwap::default(), clock, metrics }
    }

    pub(crate) fn add(&self, recvsvr: &Arc<dyn NoticeSink>) {
        self.recvsvrs.rcu(|recvsvrs| {
            let mut recvsvrs = Vec::clone(recvsvrs);
            recvsvrs.push(Arc::clone(recvsvr));
            recvsvrs
        });
    }
}

impl NoticeSink for Notifier {
    fn notice(&self, notice: &Notice) {
        let lag = match &notice.change {
            Change::Settings { settings, .. } | Change::Viewed { settings, .. } => {
                self.rooms.settings_changed(&notice.room, settings);
                None
            }
            Change::Appended { accepted_at_us, .. } => {
                Some(Duration::from_micros(self.clock.unix_us().saturating_sub(*accepted_at_us)))
            }
        };
        self.metrics.noticed(lag);
        for recvsvr in self.recvsvrs.load().iter() {
            recvsvr.notice(notice);
        }
    }
}
