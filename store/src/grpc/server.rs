//! Offers a log to other nodes.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use prost::bytes::Bytes;
use proto::{
    Malformed,
    internal::{
        self as wire, follow_event::Event, log_read_request::Range as WireRange,
        log_service_server as generated,
    },
    log::{needed, view},
};
use room::{RoomKey, Seq};
use tokio::{
    sync::mpsc,
    time::{self, MissedTickBehavior},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::{
    followers::{Followers, Line},
    metrics, status,
};
use crate::{Range, RoomLog};

/// Largest message: a page of 1,000 messages of 1 MiB can't be asked for, one of 16 KiB can.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Most messages of one page, whatever was asked for.
const PAGE_MAX: usize = 4_096;

/// From one tick of a stream to the next.
pub(super) const TICK_EVERY: Duration = Duration::from_millis(250);

/// Most notices that go out together.
const TOGETHER_MAX: usize = 256;

/// Events that wait to be written: a stream that is not read holds up its own line, which is then cut.
const EVENTS_WAITING_MAX: usize = 16;

/// How long a stream may go unread before it is cut.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// Rooms whose first view is read at a time, for one stream.
const VIEWS_AT_ONCE: usize = 32;

/// The gRPC face of a [`RoomLog`].
pub struct LogServer {
    log: Arc<dyn RoomLog>,
    followers: Arc<Followers>,
}

impl LogServer {
    /// A tonic service over `log`, for `tonic::transport::Server::add_service`. `followers` must be told of the log's notices.
    #[must_use]
    pub fn service(log: Arc<dyn RoomLog>, followers: Arc<Followers>) -> generated::LogServiceServer<Self> {
        generated::LogServiceServer::new(Self { log, followers })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn event(event: Event) -> wire::FollowEvent {
    wire::FollowEvent { event: Some(event) }
}

#[tonic::async_trait]
impl generated::LogService for LogServer {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<wire::FollowEvents, Status>> + Send>>;

    async fn view(&self, request: Request<wire::LogViewRequest>) -> Result<Response<wire::LogView>, Status> {
        let room: RoomKey = needed(request.into_inner().room, "room").map_err(status::malformed)?;
        let seen = self.log.view(&room).await.map_err(|error| status::of(&error))?;
        let view = Some(view(&seen.settings, &seen.bounds));
        Ok(Response::new(wire::LogView { epoch: self.log.epoch().0, view }))
    }

    async fn read(&self, request: Request<wire::LogReadRequest>) -> Result<Response<wire::LogPage>, Status> {
        let request = request.into_inner();
        let list = request.list().try_into().map_err(status::malformed)?;
        let room: RoomKey = needed(request.room, "room").map_err(status::malformed)?;
        let range = match request.range.ok_or_else(|| status::malformed(Malformed("range")))? {
            WireRange::After(seq) => Range::After(Seq(seq)),
            WireRange::Before(seq) => Range::Before(Seq(seq)),
        };
        let limit = (request.limit as usize).min(PAGE_MAX);
        let page = self.log.read(&room, list, range, limit).await.map_err(|error| status::of(&error))?;
        Ok(Response::new(wire::LogPage {
            epoch: page.epoch.0,
            bounds: Some(page.bounds.into()),
            messages: page.messages.iter().map(|message| (&**message).into()).collect(),
        }))
    }

    async fn follow(
        &self,
        request: Request<Streaming<wire::FollowRequest>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.ok_or_else(|| status::malformed(Malformed("node")))?;
        let (line, notices) = self.followers.open(&first.node);
        info!(node = first.node, "node follows rooms here");
        let (log, followers) = (Arc::clone(&self.log), Arc::clone(&self.followers));
        let open = Open { line, log, followers, node: first.node.clone() };
        let (events, outgoing) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(open.serve(first, requests, notices, events));
        let outgoing = stream::unfold(outgoing, async |mut outgoing| {
            outgoing.recv().await.map(|events| (events, outgoing))
        });
        Ok(Response::new(outgoing.boxed()))
    }
}

type Outgoing = mpsc::Sender<Result<wire::FollowEvents, Status>>;

/// A stream of one node, until it or its reader goes.
struct Open {
    line: Arc<Line>,
    log: Arc<dyn RoomLog>,
    followers: Arc<Followers>,
    node: String,
}

impl Open {
    async fn serve(
        self,
        first: wire::FollowRequest,
        mut requests: Streaming<wire::FollowRequest>,
        notices: mpsc::Receiver<Bytes>,
        events: Outgoing,
    ) {
        let hello = event(Event::Hello(wire::FollowHello { epoch: self.log.epoch().0 }));
        if events.send(Ok(wire::FollowEvents { events: vec![hello] })).await.is_err() {
            return;
        }
        let asked = async {
            let mut request = Some(first);
            while let Some(asked) = request {
                if let Err(malformed) = self.change(asked, &events).await {
                    return Some(status::malformed(malformed));
                }
                request = requests.message().await.ok().flatten();
            }
            None
        };
        let end = tokio::select! {
            end = asked => end,
            end = self.tell(notices, &events) => end,
        };
        if let Some(status) = end {
            // Nobody may be left to be told.
            let _ = events.try_send(Err(status));
        }
    }

    /// Does what a request says.
    async fn change(&self, asked: wire::FollowRequest, events: &Outgoing) -> Result<(), Malformed> {
        for room in asked.unfollow {
            let room = RoomKey::try_from(room)?;
            if self.followers.unfollow(&self.line, &room) {
                self.log.unfollow(&room);
            }
        }
        let rooms = asked.follow.into_iter().map(RoomKey::try_from).collect::<Result<Vec<_>, _>>()?;
        stream::iter(rooms)
            .for_each_concurrent(VIEWS_AT_ONCE, async |room| {
                // In this order: whatever the view lacks comes as a notice.
                if self.followers.follow(&self.line, &room) {
                    self.log.follow(&room);
                }
                let seen = match self.log.view(&room).await {
                    Ok(seen) => Some(view(&seen.settings, &seen.bounds)),
                    Err(error) => {
                        debug!(%room, %error, "room that another node follows can't be looked at");
                        None
                    }
                };
                let followed = wire::RoomFollowed { room: Some((&room).into()), view: seen };
                // Fails if the stream is over, which ends this as well.
                let _ = events
                    .send(Ok(wire::FollowEvents { events: vec![event(Event::Followed(followed))] }))
                    .await;
            })
            .await;
        Ok(())
    }

    /// Tells of notices as they come, and now and then how many there have been.
    async fn tell(&self, mut notices: mpsc::Receiver<Bytes>, events: &Outgoing) -> Option<Status> {
        let mut told = 0;
        let mut together = Vec::with_capacity(TOGETHER_MAX);
        let mut ticks = time::interval(TICK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = Box::pin(self.followers.drains());
        let mut is_draining = false;
        loop {
            let count = tokio::select! {
                biased;
                () = &mut draining, if !is_draining => { is_draining = true; 0 }
                _ = ticks.tick() => 0,
                count = notices.recv_many(&mut together, TOGETHER_MAX) => count,
            };
            if self.line.is_cut.load(Ordering::Acquire) {
                return Some(Status::resource_exhausted("too far behind: follow anew"));
            }
            let events_now: Vec<_> = if count == 0 {
                vec![event(Event::Tick(wire::FollowTick { notices: told, is_draining }))]
            } else {
                told += count as u64;
                metrics::notices_sent(count as u64);
                together.drain(..).map(|notice| event(Event::Notice(notice))).collect()
            };
            let sent = events.send(Ok(wire::FollowEvents { events: events_now }));
            match time::timeout(WRITE_MAX, sent).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some(Status::resource_exhausted("the stream is not read: follow anew")),
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        for room in self.followers.close(&self.line) {
            self.log.unfollow(&room);
        }
        info!(node = self.node, "node no longer follows rooms here");
    }
}
