//! Bounds: of rooms, parked polls and memory.

use std::time::Duration;

use recvsvr::{Follower, RecvOptions, Start, Started};
use room::{ErrorCode, List, PerList};
use store::Store as _;

use crate::harness::{LONG_MS, Node, Reader, ask_at, message, on_node, options, room, until, within};

async fn visit(node: &Node, name: &str) -> Reader {
    let mut reader = Reader::new(node.worker(), &room(name), Start::Now { tail: Some(1) });
    reader.poll(0).await;
    reader
}

#[test]
fn idle_room_makes_way_and_followed_rooms_stay() {
    on_node(RecvOptions { rooms_max: 2, ..options() }, async |node| {
        let _followed = visit(&node, "followed").await;
        for name in ["a", "b", "c", "a"] {
            drop(visit(&node, name).await);
            assert_eq!(node.metric("bigroom_rooms_cached", ""), 2.0);
        }
        assert_eq!(node.metric("bigroom_pulls_total", "fill"), 5.0);
        drop(visit(&node, "followed").await);
        assert_eq!(node.metric("bigroom_pulls_total", "fill"), 5.0);
    });
}

#[test]
fn node_full_of_followed_rooms_refuses_another() {
    on_node(RecvOptions { rooms_max: 2, ..options() }, async |node| {
        let _a = visit(&node, "a").await;
        let b = visit(&node, "b").await;
        let mut late = Reader::new(node.worker(), &room("c"), Start::Now { tail: Some(1) });
        let problem = late.try_poll(0).await.err().expect("no room is free");
        assert_eq!(problem.code, ErrorCode::NodeFull);
        assert!(problem.retry_after_s() >= Some(1));
        drop(b);
        // Whether a room can go is looked at once a second.
        within("a room is free", async {
            while late.try_poll(0).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    });
}

#[test]
fn follower_that_moves_on_frees_its_room() {
    on_node(RecvOptions { rooms_max: 2, ..options() }, async |node| {
        let mut follower = Follower::new(node.worker());
        for name in ["a", "b", "c", "d"] {
            let started = follower.ask(&room(name), &ask_at(Start::Oldest, 1, 0)).unwrap();
            let Started::Later(fill) = started else { panic!("a cold room is read first") };
            assert!(fill.await.unwrap().is_none());
        }
        assert_eq!(node.metric("bigroom_rooms_cached", ""), 2.0);
    });
}

#[test]
fn poll_beyond_the_places_is_refused_until_one_is_free() {
    on_node(RecvOptions { parked_polls_max: 3, ..options() }, async |node| {
        let room = room("full");
        drop(visit(&node, "full").await);
        let park = || {
            let mut follower = Follower::new(node.worker());
            let ask = ask_at(Start::Now { tail: None }, 10, LONG_MS);
            follower.ask(&room, &ask).map(|started| {
                assert!(matches!(started, Started::Parked));
                follower
            })
        };
        let mut parked: Vec<_> = (0..3).map(|_| park().unwrap()).collect();
        for _ in 0..20 {
            let problem = park().err().expect("no place is left");
            assert_eq!(problem.code, ErrorCode::NodeFull);
            assert!((1..=5).contains(&problem.retry_after_s().unwrap()));
        }
        assert_eq!(node.rooms.parked_polls(), 3);
        // A poll that need not wait takes no place.
        assert!(Reader::new(node.worker(), &room, Start::Now { tail: Some(1) }).try_poll(0).await.is_ok());
        parked.pop();
        parked.push(park().unwrap());
        assert!(park().is_err());
    });
}

#[test]
fn memory_beyond_its_bound_is_given_back_and_nothing_is_lost() {
    const BYTES_MAX: usize = 20_000;
    on_node(RecvOptions { cache_bytes_max: BYTES_MAX, ..options() }, async |node| {
        let names = ["a", "b", "c"];
        let mut readers = Vec::new();
        for name in names {
            node.send(&room(name), List::Priority, 40).await;
            node.send(&room(name), List::Normal, 40).await;
            readers.push(visit(&node, name).await);
        }
        drop(visit(&node, "idle").await);
        until("memory is given back", || {
            let bytes = node.metric("bigroom_cache_bytes", "");
            bytes > 0.0 && bytes <= BYTES_MAX as f64 && node.metric("bigroom_rooms_cached", "") == 3.0
        })
        .await;
        for (reader, name) in readers.iter_mut().zip(names) {
            reader.at = Start::At(node.cursor(&room(name), 0, 0, 0));
            let got = reader.poll(LONG_MS).await;
            assert_eq!(got.gap_reason(), None);
            assert_eq!(got.seqs, PerList::from_fn(|_| (1..=40).collect()));
        }
        assert!(node.metric("bigroom_pulls_total", "catch_up") >= 1.0);
    });
}

#[test]
fn parked_poll_outlives_the_shrinking_of_its_room() {
    on_node(RecvOptions { cache_bytes_max: 1, ..options() }, async |node| {
        let room = room("shrunk");
        node.send(&room, List::Normal, 50).await;
        let mut reader = Reader::new(node.worker(), &room, Start::Now { tail: None });
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            node.until_parked(1).await;
            until("the room is shrunk", || (1.0..2_000.0).contains(&node.metric("bigroom_cache_bytes", "")))
                .await;
            node.send(&room, List::Normal, 1).await;
        });
        assert_eq!(got.seqs.normal, [51]);
    });
}

#[test]
fn messages_noticed_ahead_of_a_slow_log_are_within_the_bound_and_none_is_lost() {
    const BYTES_MAX: usize = 20_000;
    for is_filled in [false, true] {
        on_node(RecvOptions { cache_bytes_max: BYTES_MAX, ..options() }, async |node| {
            let room = room("burst");
            let mut reader = Reader::new(node.worker(), &room, Start::Oldest);
            if is_filled {
                node.send(&room, List::Priority, 1).await;
                reader.poll(LONG_MS).await;
            }
            node.store.hold_reads();
            // Not filled: it is read now. Filled: it will be, for what is lost.
            let (first, count) = if is_filled { (2, 102) } else { (1, 100) };
            let taken = tokio::task::spawn_local(async move { reader.take(List::Priority, count).await });
            if is_filled {
                node.notices.lose();
                node.send(&room, List::Priority, 1).await;
                node.notices.pass();
                node.send(&room, List::Priority, 1).await;
            }
            until("the log is read", || node.store.held_reads() == 1).await;
            for _ in 0..100 {
                node.store.append(message(&room, List::Priority, &"x".repeat(2_000))).await.unwrap();
            }
            // What is kept is counted, and is most of what may be.
            until("memory is bounded", || {
                let bytes = node.metric("bigroom_cache_bytes", "") as usize;
                (BYTES_MAX / 2..=BYTES_MAX).contains(&bytes)
            })
            .await;
            assert_eq!(node.store.held_reads(), 1);
            node.store.release_reads();
            assert_eq!(taken.await.unwrap(), (first..first + count as u64).collect::<Vec<_>>());
        });
    }
}
