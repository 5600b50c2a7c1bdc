//! Who follows which room here, and what waits to be told to them.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use prost::{Message as _, bytes::Bytes};
use proto::internal as wire;
use room::{Notice, NoticeSink, RoomKey};
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use super::metrics;

/// Notices that wait for one node (count). At 1 kB each 16 MiB; a node that is so far behind is cut, and begins anew.
const WAITING_MAX: usize = 16_384;

/// Where notices go on to other nodes: a [`NoticeSink`] behind the log.
///
/// A notice is encoded once for all who follow its room. Whoever does not take them as fast as they come is cut off.
#[derive(Default)]
pub struct Followers {
    rooms: DashMap<RoomKey, Vec<Arc<Line>>>,
    next_line: AtomicU64,
    is_draining: AtomicBool,
    /// Woken when the node begins to drain.
    drained: Notify,
}

/// The way to one node.
pub(super) struct Line {
    number: u64,
    node: Box<str>,
    waiting: mpsc::Sender<Bytes>,
    rooms: Mutex<HashSet<RoomKey>>,
    pub(super) is_cut: AtomicBool,
}

impl Followers {
    /// Nobody follows anything yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on all who follow are told to do so elsewhere.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.drained.notify_waiters();
    }

    /// Whether the node is going down.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// Waits until the node begins to drain. Cancel-safe.
    pub(super) async fn drains(&self) {
        let drained = self.drained.notified();
        if !self.is_draining() {
            drained.await;
        }
    }

    /// Rooms that somebody follows.
    #[must_use]
    pub fn num_rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Opens a way to a node; what comes out of it is to be sent there.
    pub(super) fn open(&self, node: &str) -> (Arc<Line>, mpsc::Receiver<Bytes>) {
        let (waiting, taken) = mpsc::channel(WAITING_MAX);
        let line = Line {
            number: self.next_line.fetch_add(1, Ordering::Relaxed),
            node: node.into(),
            waiting,
            rooms: Mutex::default(),
            is_cut: AtomicBool::new(false),
        };
        metrics::followers(1.0);
        (Arc::new(line), taken)
    }

    /// The line has the room's notices from now on. Returns false if it had them already.
    pub(super) fn follow(&self, line: &Arc<Line>, room: &RoomKey) -> bool {
        if !line.rooms.lock().insert(room.clone()) {
            return false;
        }
        self.rooms.entry(room.clone()).or_default().push(Arc::clone(line));
        metrics::followed_rooms(1.0);
        true
    }

    /// Ends that. Returns false if the line did not have them.
    pub(super) fn unfollow(&self, line: &Line, room: &RoomKey) -> bool {
        if !line.rooms.lock().remove(room) {
            return false;
        }
        self.remove(line, room);
        true
    }

    /// Ends all that the line has; returns which rooms those were.
    pub(super) fn close(&self, line: &Line) -> HashSet<RoomKey> {
        let rooms = std::mem::take(&mut *line.rooms.lock());
        for room in &rooms {
            self.remove(line, room);
        }
        metrics::followers(-1.0);
        rooms
    }

    /// Ends all ways, as the death of the process does.
    #[cfg(test)]
    pub(super) fn cut_all(&self) {
        for lines in &self.rooms {
            lines.iter().for_each(|line| line.is_cut.store(true, Ordering::Release));
        }
    }

    fn remove(&self, line: &Line, room: &RoomKey) {
        if let Entry::Occupied(mut lines) = self.rooms.entry(room.clone()) {
            lines.get_mut().retain(|other| other.number != line.number);
            if lines.get().is_empty() {
                lines.remove();
            }
        }
        metrics::followed_rooms(-1.0);
    }
}

impl NoticeSink for Followers {
    fn notice(&self, notice: &Notice) {
        let Some(lines) = self.rooms.get(&notice.room) else { return };
        let encoded = Bytes::from(wire::LogNotice::from(notice).encode_to_vec());
        for line in lines.iter() {
            if line.waiting.try_send(encoded.clone()).is_err() && !line.is_cut.swap(true, Ordering::AcqRel) {
                warn!(node = %line.node, "node does not keep up with its rooms: cut off, to begin anew");
                metrics::follower_cut();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use room::{AppId, Bounds, Change, Epoch, PerList, RoomId};

    use super::*;

    fn notice(room: &str) -> Notice {
        let change = Change::Viewed { settings: Arc::default(), bounds: PerList::from_fn(|_| Bounds::EMPTY) };
        let room = RoomKey::new(AppId::default(), RoomId::internal(room));
        Notice { room, epoch: Epoch(1), change }
    }

    #[test]
    fn notices_go_to_those_who_follow_the_room() {
        let followers = Followers::new();
        let (a, mut to_a) = followers.open("a");
        let (b, mut to_b) = followers.open("b");
        let (one, two) = (notice("one"), notice("two"));
        assert!(followers.follow(&a, &one.room) && !followers.follow(&a, &one.room));
        assert!(followers.follow(&b, &one.room) && followers.follow(&b, &two.room));
        followers.notice(&one);
        followers.notice(&two);
        assert!(to_a.try_recv().is_ok() && to_a.try_recv().is_err());
        assert!(to_b.try_recv().is_ok() && to_b.try_recv().is_ok());
        assert!(followers.unfollow(&b, &one.room) && !followers.unfollow(&b, &one.room));
        followers.notice(&one);
        assert!(to_a.try_recv().is_ok() && to_b.try_recv().is_err());
        assert_eq!(followers.close(&b).into_iter().collect::<Vec<_>>(), [two.room]);
        followers.close(&a);
        assert_eq!(followers.num_rooms(), 0);
    }

    #[test]
    fn node_that_does_not_keep_up_is_cut_and_nobody_else() {
        let followers = Followers::new();
        let (slow, _to_slow) = followers.open("slow");
        let (fast, mut to_fast) = followers.open("fast");
        let notice = notice("r");
        followers.follow(&slow, &notice.room);
        followers.follow(&fast, &notice.room);
        for _ in 0..=WAITING_MAX {
            followers.notice(&notice);
            to_fast.try_recv().unwrap();
        }
        assert!(slow.is_cut.load(Ordering::Acquire) && !fast.is_cut.load(Ordering::Acquire));
    }
}
