use std::{sync::Arc, time::Duration};

use room::{AppId, Role, RoomId, RoomKey, Seq, UserId};
use rpc::Security;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::*;
use crate::{
    Batch, Beat, Clock, Collector, CollectorSettings, DeviceHash, NodeId, Run, Signal, SplitId, Stats,
    StatsError, StatsService, StatsSettings, Statsvr, UserHash, Visitor,
};

const PATIENT: Duration = Duration::from_secs(5);

fn room() -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal("r"))
}

fn visitor(id: &str) -> Visitor {
    let user = UserId::internal(id);
    Visitor {
        user: UserHash::new(&AppId::default(), &user),
        device: DeviceHash::ABSENT,
        id: Some(user),
        role: Role::Speaker,
    }
}

/// A statsvr behind a socket of its own.
async fn served(id: &str, clock: Clock) -> (Arc<Statsvr>, RemoteStatsvr, CancellationToken) {
    let node = Statsvr::new(NodeId::new(id), StatsSettings::default(), clock, false, None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = StatsServer::service(Arc::new(Arc::clone(&node)));
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let server = Server::builder().add_service(service);
    tokio::spawn(async move {
        tokio::select! {
            served = server.serve_with_incoming(TcpListenerStream::new(listener)) => served.unwrap(),
            () = stopped => {}
        }
    });
    (node, RemoteStatsvr::new(&address.to_string(), &Security::none(), PATIENT).unwrap(), stop)
}

/// Waits for `what`, for 20 s at most.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} never came");
}

#[tokio::test]
async fn everything_travels_there_and_back() {
    let (clock, hand) = Clock::manual(1_000_000_000);
    let (node, remote, _stop) = served("a", clock.clone()).await;
    let members: [(NodeId, Arc<dyn StatsService>); 1] = [(NodeId::new("a"), Arc::new(remote))];
    let stats = Stats::new(clock, &StatsSettings::default(), PATIENT, members);
    let following = Arc::clone(&stats);
    tokio::spawn(async move { following.run(&CancellationToken::new()).await });
    until("the node", || !stats.nodes().live().is_empty()).await;

    let now_ms = 1_000_000_000;
    let mut collector = Collector::new(Arc::clone(&stats), CollectorSettings::default());
    stats.signal(&room(), Signal { seq: 7, sent_at_ms: now_ms - 100 });
    collector.seen(&room(), &visitor("bob"), Some(Seq(6)), now_ms);
    collector.seen(&room(), &visitor("amy"), Some(Seq(6)), now_ms);
    collector.flush(now_ms);
    until("both", || {
        node.round(&stats.nodes());
        stats.room(&room()).is_some_and(|(room, _)| room.num_users == 2 && room.has_all_names)
    })
    .await;
    let (snapshot, _) = stats.room(&room()).unwrap();
    assert_eq!((snapshot.num_clients, snapshot.joins, snapshot.leaves), (2, 2, 0));

    until("the message", || !stats.has_signals_waiting()).await;
    hand.store(now_ms + 1_000, std::sync::atomic::Ordering::Relaxed);
    collector.seen(&room(), &visitor("bob"), Some(Seq(7)), now_ms + 1_000);
    collector.flush(now_ms + 1_000);
    let mut reached = None;
    for _ in 0..500 {
        reached = stats.reach(&room(), 7).await.unwrap();
        if reached.as_ref().is_some_and(|reached| reached.reached == 1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reached = reached.unwrap();
    assert_eq!((reached.num_users, reached.reached, reached.p90_ms), (2, 1, None));
    assert!(reached.p50_ms.is_some_and(|ms| (1_100..1_400).contains(&ms)), "{reached:?}");

    let page = stats.viewers(&room(), None, 1).await.unwrap();
    assert_eq!((page.viewers[0].user.as_str(), page.viewers[0].role), ("amy", Some(Role::Speaker)));
    let page = stats.viewers(&room(), page.next_after.as_ref(), 5).await.unwrap();
    assert_eq!((page.viewers.len(), page.next_after, page.is_complete), (1, None, true));
    let bob = stats.viewer(&room(), &UserId::internal("bob")).await.unwrap().unwrap();
    assert_eq!((bob.num_clients, bob.last_seen_ms), (1, now_ms + 1_000));
    assert_eq!(stats.viewer(&room(), &UserId::internal("eve")).await.unwrap(), None);
    let range = crate::SeriesRange { from_ms: 0, to_ms: 1, step: crate::Step::Minute };
    assert!(matches!(stats.series(&room(), range).await, Err(StatsError::Store(_))), "no history here");

    collector.left(&room(), &visitor("bob"), now_ms + 1_000);
    collector.tick(now_ms + 1_000);
    until("bob's leave", || {
        node.round(&stats.nodes());
        stats.room(&room()).is_some_and(|(room, _)| room.num_users == 1)
    })
    .await;
}

#[tokio::test]
async fn beats_of_another_split_are_refused() {
    let (_node, remote, _stop) = served("a", Clock::system()).await;
    let split = SplitId { level: 1, index: 1 };
    let beats = vec![Beat::presence(UserHash(1), DeviceHash::ABSENT, 0)];
    let run = Run { room: room(), split, base: 0, beats, names: vec![] };
    let batch = Batch { runs: vec![run], ..Batch::default() };
    assert!(matches!(remote.ingest(batch).await, Err(StatsError::Malformed(_))));
    let run =
        Run { room: room(), split: SplitId { level: 99, index: 0 }, base: 0, beats: vec![], names: vec![] };
    let batch = Batch { runs: vec![run], ..Batch::default() };
    assert!(matches!(remote.ingest(batch).await, Err(StatsError::Malformed(_))));
}

#[tokio::test]
async fn shares_beyond_the_bounds_are_refused() {
    let (_node, remote, _stop) = served("a", Clock::system()).await;
    let share = |length| crate::RoomShare { room: room(), bytes: vec![1; length].into() };
    assert!(matches!(remote.adopt(vec![share((1 << 20) + 1)]).await, Err(StatsError::Malformed(_))));
    assert!(matches!(remote.adopt(vec![share(1); 4_097]).await, Err(StatsError::Malformed(_))));
    assert!(
        matches!(remote.adopt(vec![share(1); 4_096]).await, Err(StatsError::Store(_))),
        "no history here"
    );
}

#[tokio::test]
async fn node_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let remote = RemoteStatsvr::new(&address.to_string(), &Security::none(), PATIENT).unwrap();
    assert!(matches!(remote.standing(&room()).await, Err(StatsError::Unavailable(_))));
    assert!(matches!(remote.subscribe().await, Err(StatsError::Unavailable(_))));
}

#[tokio::test]
async fn second_node_answers_when_the_first_dies() {
    let (clock, _) = Clock::manual(1_000_000_000);
    let (a, remote_a, stop_a) = served("a", clock.clone()).await;
    let (b, remote_b, stop_b) = served("b", clock.clone()).await;
    let members = |remotes: [RemoteStatsvr; 2]| {
        let [a, b] = remotes.map(|remote| Arc::new(remote) as Arc<dyn StatsService>);
        [(NodeId::new("a"), a), (NodeId::new("b"), b)]
    };
    let stats = Stats::new(clock, &StatsSettings::default(), PATIENT, members([remote_a, remote_b]));
    let following = Arc::clone(&stats);
    tokio::spawn(async move { following.run(&CancellationToken::new()).await });
    until("both nodes", || stats.nodes().live().len() == 2).await;
    let mut collector = Collector::new(Arc::clone(&stats), CollectorSettings::default());
    for user in 0..100 {
        collector.seen(&room(), &visitor(&format!("u{user}")), None, 1_000_000_000);
    }
    collector.flush(1_000_000_000);
    let tell = |nodes: &crate::Nodes| {
        for node in [&a, &b] {
            node.round(nodes).into_iter().for_each(|(to, report)| stats.send_report(&to, report));
        }
    };
    until("all users", || {
        tell(&stats.nodes());
        stats.room(&room()).is_some_and(|(room, _)| room.num_users == 100)
    })
    .await;
    let speaks = stats.nodes().owners(&room(), 1_000_000_000)[0].unwrap().id.clone();
    let (dies, lives) = if speaks.as_str() == "a" { (stop_a, &b) } else { (stop_b, &a) };
    dies.cancel();
    until("the loss", || {
        lives.round(&stats.nodes());
        assert_eq!(stats.room(&room()).unwrap().0.num_users, 100, "no dip");
        stats.nodes().live().len() == 1
    })
    .await;
    let gone = visitor("u7");
    collector.left(&room(), &gone, 1_000_000_000);
    collector.tick(1_000_000_000);
    until("the next leave", || {
        lives.round(&stats.nodes());
        stats.room(&room()).is_some_and(|(room, _)| room.num_users == 99)
    })
    .await;
}
