//! Two nodes and more in one process, over real sockets.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use parking_lot::Mutex;
use room::{
    AppId, Change, List, MessageType, Notice, NoticeSink, Post, Role, RoomId, RoomKey, Sender, Seq, UserId,
};
use rpc::{Address, Peer, Security};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::{Append, Range, RocksStore, RoomLog as _, Store as _, StoreOptions};

/// A log with a node in front of it, which can be killed and started again.
struct Origin {
    store: Arc<RocksStore>,
    followers: Arc<Followers>,
    address: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Origin {
    async fn start(store: &Arc<RocksStore>) -> Self {
        let followers = Followers::new();
        store.subscribe(Arc::clone(&followers) as Arc<dyn NoticeSink>);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut origin = Self { store: Arc::clone(store), followers, address, serving: None };
        origin.serve(listener);
        origin
    }

    fn serve(&mut self, listener: TcpListener) {
        let log = Arc::clone(&self.store) as Arc<dyn crate::RoomLog>;
        let service = LogServer::service(log, Arc::clone(&self.followers));
        let mut server = Security::none().server().unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let serving = server.add_service(service).serve_with_incoming(incoming);
        self.serving = Some(tokio::spawn(async move { serving.await.unwrap() }));
    }

    /// Ends the node as a crash does: its connections break.
    async fn kill(&mut self) {
        let serving = self.serving.take().unwrap();
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        self.followers.cut_all();
        until("the node is gone", async || TcpStream::connect(self.address).await.is_err()).await;
    }
}

/// Nodes in an order that tests change.
struct Order {
    peers: Mutex<Vec<Arc<Peer>>>,
    changes: watch::Sender<u64>,
}

impl Order {
    fn of(origins: &[&Origin]) -> Arc<Self> {
        let peer = |origin: &&Origin| {
            Peer::new(&Address::new(&origin.address.to_string()), &Security::none()).unwrap()
        };
        Arc::new(Self {
            peers: Mutex::new(origins.iter().map(peer).collect()),
            changes: watch::Sender::new(0),
        })
    }

    fn reverse(&self) {
        self.peers.lock().reverse();
        self.changes.send_modify(|version| *version += 1);
    }
}

impl Upstreams for Order {
    fn ranked(&self, _: &RoomKey) -> Vec<Arc<Peer>> {
        self.peers.lock().clone()
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().clone()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn move_after(&self, _: &RoomKey) -> Duration {
        Duration::ZERO
    }
}

/// What a node was told, and what it has of one list by that.
#[derive(Default)]
struct Heard(Mutex<Vec<Notice>>);

impl NoticeSink for Heard {
    fn notice(&self, notice: &Notice) {
        self.0.lock().push(notice.clone());
    }
}

impl Heard {
    /// Where the list ends, by what was heard of the room.
    fn last(&self, room: &RoomKey, list: List) -> Seq {
        let last = |notice: &Notice| match &notice.change {
            Change::Appended { list: of, messages, .. } if *of == list => messages.last().map(|m| m.seq),
            Change::Viewed { bounds, .. } => Some(bounds[list].last),
            _ => None,
        };
        let heard = self.0.lock();
        heard.iter().filter(|n| n.room == *room).filter_map(last).max().unwrap_or_default()
    }

    /// Checks that whoever pulls what a view tells of has everything: messages may come more than once, and before the view
    /// that explains what lies before them.
    fn assert_contiguous(&self, room: &RoomKey, list: List) {
        let (mut end, mut hole_until) = (Seq(0), Seq(0));
        for notice in self.0.lock().iter().filter(|n| n.room == *room) {
            match &notice.change {
                Change::Appended { list: of, prev, messages, .. } if *of == list => {
                    if *prev > end {
                        hole_until = *prev;
                    }
                    end = end.max(messages.last().unwrap().seq);
                }
                Change::Viewed { bounds, .. } => {
                    end = end.max(bounds[list].last);
                    if bounds[list].last >= hole_until {
                        hole_until = Seq(0);
                    }
                }
                _ => {}
            }
        }
        assert_eq!(hole_until, Seq(0), "messages before this are missing");
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn store() -> (Arc<RocksStore>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (RocksStore::open(dir.path(), StoreOptions::default()).unwrap(), dir)
}

fn room(name: &str) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal(name))
}

async fn send(store: &RocksStore, room: &RoomKey, text: &str) -> Seq {
    let sender = Sender { id: UserId::internal("u"), role: Role::Speaker };
    let post = Post { kind: MessageType::default(), sender, text: Some(text.to_owned()), data: None };
    let append = Append {
        room: room.clone(),
        list: List::Normal,
        id: None,
        content_hash: 0,
        post,
        accepted_at_us: UNIX_EPOCH.elapsed().unwrap().as_micros() as u64,
    };
    store.append(append).await.unwrap().seq
}

fn remote(order: &Arc<Order>) -> (Arc<RemoteLog>, Arc<Heard>, DropGuard) {
    let settings = RemoteLogSettings { node: "reader".into(), deadline: Duration::from_secs(2) };
    let log = RemoteLog::new(settings, Arc::clone(order) as Arc<dyn Upstreams>);
    let heard = Arc::new(Heard::default());
    log.subscribe(Arc::clone(&heard) as Arc<dyn NoticeSink>);
    let stop = CancellationToken::new();
    let running = (Arc::clone(&log), stop.clone());
    tokio::spawn(async move { running.0.run(&running.1).await });
    (log, heard, stop.drop_guard())
}

#[tokio::test]
async fn pages_and_views_are_those_of_the_log() {
    let (store, _dir) = store();
    let origin = Origin::start(&store).await;
    let (log, _heard, _stop) = remote(&Order::of(&[&origin]));
    let room = room("r");
    for at in 0..7 {
        send(&store, &room, &format!("{at}")).await;
    }
    store.retract(&room, List::Normal, Seq(3)).await.unwrap();
    for range in
        [Range::After(Seq(0)), Range::After(Seq(6)), Range::Before(Seq(5)), Range::Before(Seq(u64::MAX))]
    {
        for list in List::ALL {
            let (here, there) = (
                log.read(&room, list, range, 3).await.unwrap(),
                store.read(&room, list, range, 3).await.unwrap(),
            );
            assert_eq!((here.messages, here.bounds), (there.messages, there.bounds), "{range:?}");
        }
    }
    let (here, there) = (log.view(&room).await.unwrap(), store.view(&room).await.unwrap());
    assert_eq!((here.settings, here.bounds, log.epoch()), (there.settings, there.bounds, store.epoch()));
}

#[tokio::test]
async fn notices_come_of_followed_rooms_and_of_no_others() {
    let (store, _dir) = store();
    let origin = Origin::start(&store).await;
    let (log, heard, _stop) = remote(&Order::of(&[&origin]));
    let (followed, other) = (room("followed"), room("other"));
    log.follow(&followed);
    log.view(&followed).await.unwrap();
    for at in 0..100 {
        send(&store, &followed, &format!("{at}")).await;
        send(&store, &other, "x").await;
    }
    until("all are heard", async || heard.last(&followed, List::Normal) == Seq(100)).await;
    heard.assert_contiguous(&followed, List::Normal);
    assert_eq!(heard.last(&other, List::Normal), Seq(0));
    assert_eq!(log.notices(), Some(heard.0.lock().len() as u64));
    // Followed twice, it takes two to end it.
    log.follow(&followed);
    log.unfollow(&followed);
    send(&store, &followed, "y").await;
    until("it is followed still", async || heard.last(&followed, List::Normal) == Seq(101)).await;
    log.unfollow(&followed);
    until("nobody follows it", async || origin.followers.num_rooms() == 0).await;
}

#[tokio::test]
async fn node_that_is_killed_is_replaced_and_nothing_is_missed() {
    let (store, _dir) = store();
    let (mut first, second) = (Origin::start(&store).await, Origin::start(&store).await);
    let (log, heard, _stop) = remote(&Order::of(&[&first, &second]));
    let room = room("r");
    log.follow(&room);
    until("the first tells of it", async || first.followers.num_rooms() == 1).await;
    send(&store, &room, "before").await;
    first.kill().await;
    send(&store, &room, "meanwhile").await;
    until("the second tells of it", async || second.followers.num_rooms() == 1).await;
    until("all is heard", async || heard.last(&room, List::Normal) == Seq(2)).await;
    assert_eq!(log.read(&room, List::Normal, Range::After(Seq(0)), 9).await.unwrap().messages.len(), 2);
    // Back where it belongs once its node is there again.
    let listener = TcpListener::bind(first.address).await.unwrap();
    first.serve(listener);
    until("the first tells of it again", async || {
        first.followers.num_rooms() == 1 && second.followers.num_rooms() == 0
    })
    .await;
    send(&store, &room, "after").await;
    until("all is heard again", async || heard.last(&room, List::Normal) == Seq(3)).await;
    heard.assert_contiguous(&room, List::Normal);
}

#[tokio::test]
async fn room_moves_without_missing_anything() {
    let (store, _dir) = store();
    let (first, second) = (Origin::start(&store).await, Origin::start(&store).await);
    let order = Order::of(&[&first, &second]);
    let (log, heard, _stop) = remote(&order);
    let room = room("r");
    log.follow(&room);
    log.view(&room).await.unwrap();
    let sending = {
        let (store, room) = (Arc::clone(&store), room.clone());
        tokio::spawn(async move {
            for at in 0..400 {
                send(&store, &room, &format!("{at}")).await;
            }
        })
    };
    for (to, from) in [(&second, &first), (&first, &second), (&second, &first)] {
        order.reverse();
        until("it has moved", async || to.followers.num_rooms() == 1 && from.followers.num_rooms() == 0)
            .await;
    }
    sending.await.unwrap();
    until("all is heard", async || heard.last(&room, List::Normal) == Seq(400)).await;
    heard.assert_contiguous(&room, List::Normal);
}

#[tokio::test]
async fn node_that_drains_is_left() {
    let (store, _dir) = store();
    let (first, second) = (Origin::start(&store).await, Origin::start(&store).await);
    let (log, heard, _stop) = remote(&Order::of(&[&first, &second]));
    let room = room("r");
    log.follow(&room);
    until("the first tells of it", async || first.followers.num_rooms() == 1).await;
    first.followers.drain();
    until("the second alone tells of it", async || {
        second.followers.num_rooms() == 1 && first.followers.num_rooms() == 0
    })
    .await;
    send(&store, &room, "x").await;
    until("it is heard", async || heard.last(&room, List::Normal) == Seq(1)).await;
    assert!(log.health().is_ok());
}

#[tokio::test]
async fn node_that_says_nothing_is_taken_for_gone() {
    let (store, _dir) = store();
    let second = Origin::start(&store).await;
    // Takes connections, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = Origin { address: mute.local_addr().unwrap(), ..Origin::start(&store).await };
    let (log, _heard, _stop) = remote(&Order::of(&[&first, &second]));
    let room = room("r");
    log.follow(&room);
    until("the second tells of it", async || second.followers.num_rooms() == 1).await;
    assert!(log.view(&room).await.is_ok());
    drop(mute);
}

#[tokio::test]
async fn without_a_node_reads_are_refused_and_health_says_so() {
    let (store, _dir) = store();
    let mut origin = Origin::start(&store).await;
    origin.kill().await;
    let (log, _heard, _stop) = remote(&Order::of(&[&origin]));
    let room = room("r");
    log.follow(&room);
    assert!(matches!(log.view(&room).await, Err(crate::StoreError::Unavailable(_))));
    assert!(log.health().is_err());
    assert_eq!(log.notices(), Some(0));
}

#[test]
fn node_without_an_epoch_yet_is_no_other_log() {
    let incoming = client::Incoming::default();
    incoming.set_epoch(room::Epoch(7));
    incoming.set_epoch(room::Epoch(0));
    assert_eq!(incoming.epoch(), room::Epoch(7));
    incoming.set_epoch(room::Epoch(8));
    assert_eq!(incoming.epoch(), room::Epoch(8));
}
