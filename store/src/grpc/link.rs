//! The stream from one node on which rooms are followed.

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use parking_lot::Mutex;
use prost::Message as _;
use proto::{
    Malformed,
    internal::{self as wire, follow_event::Event, log_service_client::LogServiceClient},
    log::{needed, view_parts},
};
use rand::RngExt as _;
use room::{Change, Notice, RoomKey};
use rpc::{Address, Peer};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tonic::Status;
use tracing::{info, warn};

use super::{
    client::Incoming,
    metrics,
    server::{MESSAGE_BYTES_MAX, TICK_EVERY},
};
use crate::RoomView;

/// A node that says nothing for so long is taken for gone: it speaks four times a second.
const SILENCE_MAX: Duration = Duration::from_millis(6 * TICK_EVERY.as_millis() as u64);

/// How long a node may take to open a stream.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// Waits between attempts to reach a node: doubled from the first to the last, then half to all of it at random.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Rooms that are named in one request.
const ROOMS_AT_ONCE: usize = 512;

/// What a link tells whoever decides where rooms are followed.
pub(super) enum Told {
    /// The node tells of its rooms from now on.
    Up(Address),
    /// It is gone: nothing that it was asked for holds. It is tried again once [`Link::resume`] was called.
    Down(Address),
    /// It asks to be followed no more.
    Draining(Address),
    /// It tells of the room from now on, which was so when its notices had begun.
    Followed(Address, RoomKey, Option<RoomView>),
}

/// One node, and what it is asked to tell of.
pub(super) struct Link {
    pub(super) peer: Arc<Peer>,
    /// Rooms to follow, or to follow no more, that the node was not told of yet.
    wanted: Mutex<Vec<(RoomKey, bool)>>,
    has_wanted: Notify,
    resumed: Notify,
}

impl Link {
    pub(super) fn new(peer: Arc<Peer>) -> Arc<Self> {
        Arc::new(Self { peer, wanted: Mutex::default(), has_wanted: Notify::new(), resumed: Notify::new() })
    }

    /// Asks the node to tell of a room, or to stop. Bounded by the rooms that there are.
    pub(super) fn want(&self, room: &RoomKey, follow: bool) {
        self.wanted.lock().push((room.clone(), follow));
        self.has_wanted.notify_one();
    }

    /// The node was down, and its rooms are followed elsewhere: it may be tried again.
    pub(super) fn resume(&self) {
        self.wanted.lock().clear();
        self.resumed.notify_one();
    }

    /// Keeps the stream open, for ever.
    pub(super) async fn run(
        self: Arc<Self>,
        own: Arc<str>,
        incoming: Arc<Incoming>,
        told: mpsc::Sender<Told>,
    ) {
        let address = self.peer.address().clone();
        let mut attempts = 0;
        let mut said: Option<String> = None;
        loop {
            let was_up = match self.stream(&own, &incoming, &told).await {
                Ok(never) => match never {},
                Err(Ended { status, was_up }) => {
                    let why = self.peer.explain(&status);
                    if was_up || said.as_ref() != Some(&why) {
                        warn!(node = %address, code = ?status.code(), why, "rooms can't be followed on the node");
                        said = Some(why);
                    }
                    was_up
                }
            };
            metrics::link_failed();
            attempts = if was_up { 0 } else { attempts + 1 };
            if told.send(Told::Down(address.clone())).await.is_err() {
                return;
            }
            self.resumed.notified().await;
            let longest = RETRY_AFTER.0.saturating_mul(1 << attempts.min(8)).min(RETRY_AFTER.1);
            let pause = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
            tokio::time::sleep(pause).await;
        }
    }

    async fn stream(
        self: &Arc<Self>,
        own: &Arc<str>,
        incoming: &Incoming,
        told: &mpsc::Sender<Told>,
    ) -> Result<std::convert::Infallible, Ended> {
        let mut client = LogServiceClient::new(self.peer.channel())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let down = |status| Ended { status, was_up: false };
        let too_late = |_| down(Status::deadline_exceeded("the node did not open a stream in time"));
        let opened = timeout(OPEN_MAX, client.follow(self.requests(own))).await.map_err(too_late)?;
        let mut events = opened.map_err(down)?.into_inner();
        let _counted = Counted::new();
        let mut state =
            Reading { told, address: self.peer.address(), notices: 0, is_draining: false, is_up: false };
        loop {
            let ended = |status| Ended { status, was_up: state.is_up };
            let message = timeout(SILENCE_MAX, events.message())
                .await
                .map_err(|_| ended(Status::deadline_exceeded("the node says nothing any more")))?;
            let message = message.map_err(ended)?;
            let events = message.ok_or_else(|| ended(Status::aborted("the node ended the stream")))?.events;
            for event in events {
                let was_up = state.is_up;
                state.take(event, incoming).await.map_err(|status| Ended { status, was_up })?;
            }
        }
    }

    /// What the node is asked, for as long as the stream is open.
    fn requests(
        self: &Arc<Self>,
        own: &Arc<str>,
    ) -> impl futures_util::Stream<Item = wire::FollowRequest> + use<> {
        let hello = wire::FollowRequest { node: own.to_string(), ..Default::default() };
        stream::unfold((Arc::clone(self), Some(hello)), async |(link, first)| {
            if let Some(first) = first {
                return Some((first, (link, None)));
            }
            loop {
                let wanted: Vec<_> = {
                    let mut wanted = link.wanted.lock();
                    let count = wanted.len().min(ROOMS_AT_ONCE);
                    wanted.drain(..count).collect()
                };
                if wanted.is_empty() {
                    link.has_wanted.notified().await;
                    continue;
                }
                // Among themselves in their order: what is last said of a room holds.
                let mut request = wire::FollowRequest::default();
                for (room, follow) in wanted {
                    let wire_room = wire::RoomKey::from(&room);
                    request.follow.retain(|other| *other != wire_room);
                    request.unfollow.retain(|other| *other != wire_room);
                    if follow { &mut request.follow } else { &mut request.unfollow }.push(wire_room);
                }
                return Some((request, (link, None)));
            }
        })
    }
}

struct Ended {
    status: Status,
    was_up: bool,
}

/// Counts the stream while it is open.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::links(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::links(-1.0);
    }
}

/// A stream that is being read.
struct Reading<'a> {
    told: &'a mpsc::Sender<Told>,
    address: &'a Address,
    notices: u64,
    is_draining: bool,
    is_up: bool,
}

fn malformed(error: Malformed) -> Status {
    Status::internal(error.to_string())
}

impl Reading<'_> {
    async fn take(&mut self, event: wire::FollowEvent, incoming: &Incoming) -> Result<(), Status> {
        match event.event.ok_or_else(|| malformed(Malformed("event")))? {
            Event::Hello(hello) => {
                incoming.set_epoch(room::Epoch(hello.epoch));
                self.is_up = true;
                info!(node = %self.address, "rooms can be followed on the node");
                self.tell(Told::Up(self.address.clone())).await
            }
            Event::Notice(notice) => {
                self.notices += 1;
                let notice = wire::LogNotice::decode(notice).map_err(|_| malformed(Malformed("notice")))?;
                let notice = Notice::try_from(notice).map_err(malformed)?;
                incoming.notice(self.address, &notice);
                Ok(())
            }
            Event::Followed(followed) => {
                let room: RoomKey = needed(followed.room, "room").map_err(malformed)?;
                let view = followed.view.map(view_parts).transpose().map_err(malformed)?;
                let view = view.map(|(settings, bounds)| RoomView { settings, bounds });
                self.tell(Told::Followed(self.address.clone(), room, view)).await
            }
            Event::Tick(tick) => {
                if tick.notices != self.notices {
                    return Err(Status::data_loss("notices are missing"));
                }
                if tick.is_draining && !std::mem::replace(&mut self.is_draining, true) {
                    self.tell(Told::Draining(self.address.clone())).await?;
                }
                Ok(())
            }
        }
    }

    async fn tell(&self, told: Told) -> Result<(), Status> {
        self.told.send(told).await.map_err(|_| Status::cancelled("nobody follows rooms any more"))
    }
}

/// The notice by which everybody finds out what they lack of a room.
pub(super) fn viewed(room: RoomKey, epoch: room::Epoch, view: RoomView) -> Notice {
    Notice { room, epoch, change: Change::Viewed { settings: view.settings, bounds: view.bounds } }
}
