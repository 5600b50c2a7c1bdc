//! The cache behind polls: small, shared by many rooms, and never noticed.

use serde_json::json;

use super::{cursor_of, fill};
use crate::harness::{DEADLINE, Options, Request, Server, config, eventually, seqs, texts, within};

const TEN_ROOMS: &str = "[limits]\nroom_rate = 0\nuser_rate = 0\npriority_rate = 0\nrooms_cached_max = 10\n";

#[tokio::test]
async fn evicted_rooms_answer_from_the_log() {
    let server = Server::start(config(TEN_ROOMS)).await;
    let mut cursors = Vec::new();
    for at in 0..50 {
        let room = format!("r{at}");
        fill(&server, &room, 1, 2).await;
        cursors.push(cursor_of(&server.poll(&room, "cursor=-1").await));
        fill(&server, &room, 1, 1).await;
    }
    for (at, cursor) in cursors.iter().enumerate() {
        let got = server.poll(&format!("r{at}"), &format!("cursor={cursor}")).await;
        assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (vec![2], vec![3]), "room {at}");
        assert!(got.get("gap").is_none(), "{got}");
        let now = server.poll(&format!("r{at}"), "cursor=now&tail=1").await;
        assert_eq!(seqs(&now["messages"]), [3]);
    }
}

#[tokio::test]
async fn rooms_with_parked_polls_stay_whatever_comes() {
    let server = Server::start(config(TEN_ROOMS)).await;
    let mut conns = Vec::new();
    for at in 0..5 {
        let mut conn = server.conn().await;
        conn.send(&Request::poll(&format!("parked-{at}"), "timeout_ms=30000")).await;
        conns.push(conn);
    }
    server.await_parked(5.0).await;
    for at in 0..100 {
        server.poll(&format!("passing-{at}"), "timeout_ms=0").await;
    }
    for (at, conn) in conns.iter_mut().enumerate() {
        server.say(&format!("parked-{at}"), &at.to_string()).await;
        assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), [at.to_string()]);
    }
}

#[tokio::test]
async fn node_with_parked_polls_in_every_room_is_full() {
    let server = Server::start(config(TEN_ROOMS)).await;
    let mut held = Vec::new();
    for at in 0..15 {
        let mut conn = server.conn().await;
        conn.send(&Request::poll(&format!("room-{at}"), "timeout_ms=30000")).await;
        tokio::select! {
            () = server.await_parked(held.len() as f64 + 1.0) => held.push((at, conn)),
            () = conn.readable() => drop(conn.answer().await.expect_problem(503, "node_full")),
        }
    }
    // The server's own room takes one of the ten places.
    assert!((9..=10).contains(&held.len()), "{} rooms were held", held.len());
    for (at, conn) in &mut held {
        server.say(&format!("room-{at}"), "still here").await;
        assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), ["still here"]);
    }
    // A connection keeps its last room at hand for its next poll; without it the room makes place.
    drop(held);
    eventually(DEADLINE, "a place for another room", || async {
        let answer = server.call(Request::poll("room-14", "timeout_ms=0")).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test]
async fn number_of_cached_rooms_is_bounded() {
    let server = Server::start(config(TEN_ROOMS)).await;
    let mut conn = server.conn().await;
    for at in 0..500 {
        conn.call(&Request::poll(&format!("r{at}"), "timeout_ms=0")).await.expect(200);
    }
    eventually(DEADLINE, "rooms evicted", || async {
        let cached = server.metric("bigroom_rooms_cached", &[]).await;
        // The server's own room may come on top.
        if cached <= 11.0 { Ok(()) } else { Err(cached.to_string()) }
    })
    .await;
}

/// A notice that is lost costs until the next look at the log, a wake-up that is lost until the poll's time is over, unless the
/// next message comes before.
#[tokio::test]
async fn no_wake_up_is_lost_between_looking_and_parking() {
    const ROUNDS: u64 = 300;
    let server = Server::start(Options::default()).await;
    let start = server.cursor_now("r").await;
    let (sent, mut heard) = tokio::sync::mpsc::channel::<u64>(64);
    let readers = (0..8).map(|_| {
        let (server, sent, mut cursor) = (&server, sent.clone(), start.clone());
        async move {
            let mut conn = server.conn().await;
            let mut last = 0;
            while last < ROUNDS {
                let got = conn.call(&Request::poll("r", &format!("cursor={cursor}&timeout_ms=30000"))).await;
                let got = got.expect_json(200);
                for seq in seqs(&got["messages"]) {
                    assert_eq!(seq, last + 1);
                    last = seq;
                }
                cursor = cursor_of(&got);
                // Nobody listens any more once the last message was heard of.
                let _ = sent.send(last).await;
            }
        }
    });
    let sender = async {
        let mut conn = server.conn().await;
        let mut hourglass = server.hourglass().await;
        for round in 1..=ROUNDS {
            if round % 50 == 0 {
                hourglass.expect_running("fifty messages").await;
                hourglass = server.hourglass().await;
            }
            // As soon as one reader has the message the next one goes out, while others are about to park.
            conn.call(&Request::send("r", &json!({ "text": "x" }))).await.expect(201);
            while heard.recv().await.expect("a reader") < round {}
        }
        drop(heard);
        server.hourglass().await
    };
    let readers = futures_util::future::join_all(readers);
    let readers = within(DEADLINE, "all messages read", readers);
    let (mut hourglass, _) = tokio::join!(sender, readers);
    hourglass.expect_running("the last message at every reader").await;
    let looks = server.metric("bigroom_pulls_total", &[("reason", "look")]).await;
    assert!(looks <= (ROUNDS / 10) as f64, "{looks} looks at the log found what no notice had brought");
}

#[tokio::test]
async fn many_rooms_do_not_mix() {
    let server = Server::start(Options::default()).await;
    let mut conns = Vec::new();
    for at in 0..200 {
        let mut conn = server.conn().await;
        conn.send(&Request::poll(&format!("room-{at}"), "timeout_ms=30000")).await;
        conns.push(conn);
    }
    server.await_parked(200.0).await;
    let sends = (0..200).map(|at| {
        let server = &server;
        async move { server.say(&format!("room-{at}"), &format!("to {at}")).await }
    });
    futures_util::future::join_all(sends).await;
    for (at, conn) in conns.iter_mut().enumerate() {
        let got = conn.answer().await.expect_json(200);
        assert_eq!(texts(&got["messages"]), [format!("to {at}")]);
    }
}

#[tokio::test]
async fn poll_from_the_beginning_of_an_empty_room_waits() {
    let server = Server::start(Options::default()).await;
    let parked = server.park(Request::poll("r", "cursor=-1&timeout_ms=30000")).await;
    server.signal("r", "first").await;
    let got = parked.answer().await;
    assert_eq!((texts(&got["priority"]), got.get("gap")), (vec!["first"], None));
}
