//! A log on other nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use proto::{
    internal::{self as wire, log_read_request::Range as WireRange, log_service_client::LogServiceClient},
    log::{messages, view_parts},
};
use room::{Change, Epoch, List, Notice, NoticeSink, RoomKey};
use rpc::{Address, Idempotence, Peer, RetryBudget, call};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::warn;

use super::{metrics, places::Places, server::MESSAGE_BYTES_MAX, status};
use crate::{Page, Range, RoomLog, RoomView, StoreError};

/// Which nodes have which room's log.
pub trait Upstreams: Send + Sync + 'static {
    /// The nodes on which the room may be followed and read, the best first; empty while none is known.
    fn ranked(&self, room: &RoomKey) -> Vec<Arc<Peer>>;

    /// All nodes that [`Upstreams::ranked`] may name.
    fn peers(&self) -> Vec<Arc<Peer>>;

    /// Counts up whenever [`Upstreams::ranked`] may name others than before.
    fn changes(&self) -> watch::Receiver<u64>;

    /// How long after such a change the room moves: different rooms and nodes at different times, so that no crowd does.
    fn move_after(&self, room: &RoomKey) -> Duration;
}

/// How a [`RemoteLog`] asks.
#[derive(Clone, Debug)]
pub struct RemoteLogSettings {
    /// This node's name, for the logs of others.
    pub node: Arc<str>,
    /// How long a read may take.
    pub deadline: Duration,
}

/// What comes in from other nodes, for everybody here.
#[derive(Default)]
pub(super) struct Incoming {
    epoch: AtomicU32,
    sinks: ArcSwap<Vec<Arc<dyn NoticeSink>>>,
    given: AtomicU64,
    pub(super) followed: DashMap<RoomKey, Arc<Followed>>,
}

/// A room that is followed.
#[derive(Default)]
pub(super) struct Followed {
    /// Each [`RoomLog::follow`] that was not taken back.
    count: AtomicUsize,
    /// On which node.
    pub(super) on: ArcSwapOption<Peer>,
    /// Whether that node has begun to tell of it.
    pub(super) is_told: AtomicBool,
    /// Woken when it has.
    pub(super) told: Notify,
}

impl Incoming {
    /// Takes the epoch that a node tells. A recvsvr that has just started knows none yet, and says 0: that is no other log.
    pub(super) fn set_epoch(&self, epoch: Epoch) {
        if epoch.0 == 0 {
            return;
        }
        let before = self.epoch.swap(epoch.0, Ordering::AcqRel);
        if before != 0 && before != epoch.0 {
            warn!(before = %Epoch(before), now = %epoch, "the log is another one: rooms begin anew in it");
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Takes notice of what a node says.
    pub(super) fn notice(&self, from: &Address, notice: &Notice) {
        // While a room moves, two nodes tell of it. Messages may come twice; settings are taken from the node that counts, so
        // that an old word never comes after a new one.
        if matches!(notice.change, Change::Settings { .. }) {
            let counts = self
                .followed
                .get(&notice.room)
                .is_some_and(|followed| followed.on.load().as_ref().is_none_or(|on| on.address() == from));
            if !counts {
                return;
            }
        }
        self.give(notice);
    }

    /// Tells everybody here.
    pub(super) fn give(&self, notice: &Notice) {
        metrics::notices(1);
        for sink in self.sinks.load().iter() {
            sink.notice(notice);
        }
        self.given.fetch_add(1, Ordering::AcqRel);
    }
}

/// A [`RoomLog`] that asks other nodes, and follows rooms there. [`RemoteLog::run`] does the following.
pub struct RemoteLog {
    settings: RemoteLogSettings,
    upstreams: Arc<dyn Upstreams>,
    incoming: Arc<Incoming>,
    budget: RetryBudget,
    /// Rooms that are to be followed (true) or no more (false), in the order in which that was said.
    wanted: Mutex<Vec<(RoomKey, bool)>>,
    has_wanted: Notify,
    links_up: Arc<AtomicUsize>,
}

impl RemoteLog {
    /// A log on the nodes that `upstreams` names.
    #[must_use]
    pub fn new(settings: RemoteLogSettings, upstreams: Arc<dyn Upstreams>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            upstreams,
            incoming: Arc::default(),
            budget: RetryBudget::default(),
            wanted: Mutex::default(),
            has_wanted: Notify::new(),
            links_up: Arc::default(),
        })
    }

    /// Follows rooms until `stop`. Run it once; all connections are made on the runtime that it runs on.
    pub async fn run(self: Arc<Self>, stop: &CancellationToken) {
        let own = Arc::clone(&self.settings.node);
        let (incoming, links_up) = (Arc::clone(&self.incoming), Arc::clone(&self.links_up));
        let mut places = Places::new(own, Arc::clone(&self.upstreams), incoming, links_up);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.has_wanted.notified() => {
                    let wanted = std::mem::take(&mut *self.wanted.lock());
                    for (room, follow) in wanted {
                        if follow { places.add(room) } else { places.remove(&room) }
                    }
                }
                () = places.next() => {}
            }
        }
    }

    /// Waits, but not for ever, until the node on which the room is followed tells of it: then whatever a read lacks comes as a
    /// notice.
    async fn told(&self, room: &RoomKey) {
        let followed = self.incoming.followed.get(room).map(|followed| Arc::clone(&followed));
        let Some(followed) = followed else { return };
        let is_told = async {
            loop {
                let told = followed.told.notified();
                if followed.is_told.load(Ordering::Acquire) {
                    return;
                }
                told.await;
            }
        };
        // Without it the read is good, too: a node that takes over tells how the room is.
        let _ = tokio::time::timeout(self.settings.deadline / 2, is_told).await;
    }

    /// Whom to ask about a room: the node on which it is followed, then the others.
    fn peers(&self, room: &RoomKey) -> Vec<Arc<Peer>> {
        let mut peers = self.upstreams.ranked(room);
        let on = self.incoming.followed.get(room).and_then(|followed| followed.on.load_full());
        if let Some(on) = on {
            peers.retain(|peer| peer.address() != on.address());
            peers.insert(0, on);
        }
        peers
    }

    async fn ask<Message, T, F>(
        &self,
        name: &'static str,
        room: &RoomKey,
        message: Message,
        ask: impl Fn(LogServiceClient<tonic::transport::Channel>, tonic::Request<Message>) -> F,
    ) -> Result<T, StoreError>
    where
        Message: Clone,
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        metrics::request(name);
        let peers = self.peers(room);
        let ask = |peer: &Peer, request| {
            let client = LogServiceClient::new(peer.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
            ask(client, request)
        };
        let deadline = self.settings.deadline;
        let asked = call(&peers, &self.budget, deadline, Idempotence::Idempotent, message, ask).await;
        asked.map(tonic::Response::into_inner).map_err(|status| status::to_error(&status))
    }
}

#[async_trait]
impl RoomLog for RemoteLog {
    /// As the nodes told last; [`Epoch`] 0 before any did.
    fn epoch(&self) -> Epoch {
        self.incoming.epoch()
    }

    async fn view(&self, room: &RoomKey) -> Result<RoomView, StoreError> {
        self.told(room).await;
        let request = wire::LogViewRequest { room: Some(room.into()) };
        let ask = async |mut client: LogServiceClient<_>, request| client.view(request).await;
        let seen = self.ask("view", room, request, ask).await?;
        self.incoming.set_epoch(Epoch(seen.epoch));
        let view = seen.view.ok_or_else(|| status::bad_answer(proto::Malformed("view")))?;
        let (settings, bounds) = view_parts(view).map_err(status::bad_answer)?;
        Ok(RoomView { settings, bounds })
    }

    async fn read(&self, room: &RoomKey, list: List, range: Range, limit: usize) -> Result<Page, StoreError> {
        self.told(room).await;
        let request = wire::LogReadRequest {
            room: Some(room.into()),
            list: wire::List::from(list).into(),
            range: Some(match range {
                Range::After(seq) => WireRange::After(seq.0),
                Range::Before(seq) => WireRange::Before(seq.0),
            }),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let ask = async |mut client: LogServiceClient<_>, request| client.read(request).await;
        let page = self.ask("read", room, request, ask).await?;
        let epoch = Epoch(page.epoch);
        self.incoming.set_epoch(epoch);
        let bounds = page.bounds.ok_or_else(|| status::bad_answer(proto::Malformed("bounds")))?.into();
        Ok(Page { epoch, messages: messages(page.messages).map_err(status::bad_answer)?, bounds })
    }

    fn subscribe(&self, sink: Arc<dyn NoticeSink>) {
        self.incoming.sinks.rcu(|sinks| sinks.iter().cloned().chain([Arc::clone(&sink)]).collect::<Vec<_>>());
    }

    fn follow(&self, room: &RoomKey) {
        let followed = self.incoming.followed.entry(room.clone()).or_default();
        if followed.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.wanted.lock().push((room.clone(), true));
            self.has_wanted.notify_one();
        }
    }

    fn unfollow(&self, room: &RoomKey) {
        let Entry::Occupied(followed) = self.incoming.followed.entry(room.clone()) else { return };
        if followed.get().count.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Under the entry's lock, as above: what was said last is last in line.
            self.wanted.lock().push((room.clone(), false));
            followed.remove();
            self.has_wanted.notify_one();
        }
    }

    /// A node that misses notices is told how each room is, so there is nothing to look for.
    fn notices(&self) -> Option<u64> {
        Some(self.incoming.given.load(Ordering::Acquire))
    }

    fn health(&self) -> Result<(), StoreError> {
        if self.links_up.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        Err(StoreError::Unavailable("no node that has the log is reached".to_owned()))
    }
}
