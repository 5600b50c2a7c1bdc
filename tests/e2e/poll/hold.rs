//! Holding a poll: what ends it, how long it lasts, how many there may be.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{cursor_of, fill};
use crate::harness::{DEADLINE, Options, Request, Server, config, eventually, seqs, texts};

#[tokio::test]
async fn parked_poll_gets_the_message() {
    let server = Server::start(Options::default()).await;
    for (round, priority) in ["normal", "high", "low"].into_iter().enumerate() {
        let cursor = server.cursor_now("r").await;
        let parked = server.park(Request::poll("r", &format!("cursor={cursor}&timeout_ms=30000"))).await;
        server.sent("r", &json!({ "text": round.to_string(), "priority": priority })).await;
        let got = parked.answer().await;
        let list = if priority == "high" { "priority" } else { "messages" };
        assert_eq!(texts(&got[list]), [round.to_string()]);
        assert!(got.get("gap").is_none(), "{got}");
    }
}

#[tokio::test]
async fn poll_with_something_waiting_is_answered_at_once() {
    let server = Server::start(Options::default()).await;
    let cursor = server.cursor_now("r").await;
    fill(&server, "r", 1, 1).await;
    let mut hourglass = server.hourglass().await;
    let got = server.poll("r", &format!("cursor={cursor}&timeout_ms=30000")).await;
    assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (vec![1], vec![1]));
    hourglass.expect_running("what was waiting").await;
}

#[tokio::test]
async fn all_parked_polls_of_a_room_get_the_message() {
    let server = Server::start(Options::default()).await;
    let other = server.park(Request::poll("other", "timeout_ms=30000")).await;
    let mut conns = Vec::new();
    for at in 0..100 {
        let mut conn = server.conn().await;
        conn.send(&Request::poll("r", &format!("timeout_ms=30000&user=u{at}"))).await;
        conns.push(conn);
    }
    server.await_parked(101.0).await;
    server.say("r", "to all").await;
    for conn in &mut conns {
        let got = conn.answer().await.expect_json(200);
        assert_eq!(texts(&got["messages"]), ["to all"]);
    }
    server.say("other", "to one").await;
    assert_eq!(texts(&other.answer().await["messages"]), ["to one"], "a room's messages stay in the room");
}

/// How late is a question of how busy the machine is: a poll that lasts longer is there still.
#[tokio::test]
async fn timeout_is_answered_in_its_last_tenth() {
    let server = Server::start(Options::default()).await;
    let mut hourglass = server.hourglass().await;
    let polls = (0..40).map(|at| {
        let (timeout_ms, server) = ([500, 1_000, 2_000, 4_000][at % 4], &server);
        async move {
            let mut conn = server.conn().await;
            let asked = Instant::now();
            let answer = conn.call(&Request::poll("r", &format!("timeout_ms={timeout_ms}"))).await;
            (timeout_ms, asked.elapsed(), answer.expect_json(200))
        }
    });
    for (timeout_ms, elapsed, got) in futures_util::future::join_all(polls).await {
        assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (vec![], vec![]));
        assert_eq!(got["up_to_date"], true);
        assert!(elapsed >= Duration::from_millis(timeout_ms * 9 / 10), "{timeout_ms} ms took {elapsed:?}");
    }
    hourglass.expect_running("polls of 4 s and less").await;
}

#[tokio::test]
async fn timed_out_polls_cursor_goes_on() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 1, 1).await;
    let timed_out = server.poll("r", "cursor=now&timeout_ms=200").await;
    fill(&server, "r", 1, 1).await;
    let got = server.poll("r", &format!("cursor={}", cursor_of(&timed_out))).await;
    assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (vec![2], vec![2]));
}

#[tokio::test]
async fn closing_answers_parked_polls() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 0, 1).await;
    let parked = server.park(Request::poll("r", "timeout_ms=30000")).await;
    server.call(Request::new("DELETE", "/v1/rooms/r")).await.expect(204);
    let got = parked.answer().await;
    assert_eq!((&got["room"]["state"], seqs(&got["messages"])), (&json!("closed"), vec![]));

    let mut hourglass = server.hourglass().await;
    let again = server.poll("r", &format!("cursor={}&timeout_ms=30000", cursor_of(&got))).await;
    assert_eq!(again["room"]["state"], "closed");
    hourglass.expect_running("the answer of a closed room").await;
    drop(hourglass);
    let behind = server.poll("r", "cursor=-1").await;
    assert_eq!((&behind["room"]["state"], seqs(&behind["messages"])), (&json!("closed"), vec![1]));

    server.patch_room("r", &json!({ "state": "live" })).await;
    let parked = server.park(Request::poll("r", "timeout_ms=30000")).await;
    server.say("r", "back").await;
    assert_eq!(parked.answer().await["room"]["state"], "live");
}

#[tokio::test]
async fn client_that_hangs_up_frees_its_place() {
    let server = Server::start(Options::default()).await;
    let fin = server.park(Request::poll("r", "timeout_ms=30000")).await;
    let dropped = server.park(Request::poll("r", "timeout_ms=30000")).await;
    server.await_parked(2.0).await;
    let mut conn = fin.into_conn();
    conn.finish().await;
    server.await_unparked(1.0).await;
    drop(dropped);
    server.await_unparked(0.0).await;
}

#[tokio::test]
async fn user_has_so_many_parked_polls() {
    let server = Server::start(config("[limits]\npolls_per_user = 3\n")).await;
    let poll = |user: &str| Request::poll("r", &format!("timeout_ms=30000&user={user}"));
    let mut parked = Vec::new();
    for _ in 0..3 {
        parked.push(server.park(poll("u1")).await);
    }
    let problem = server.call(poll("u1")).await.expect_problem(429, "rate_limited");
    assert_eq!(problem["scope"], "user");
    let other = server.park(poll("u2")).await;
    drop(parked.pop());
    server.await_unparked(3.0).await;
    let again = server.park(poll("u1")).await;
    server.say("r", "to all").await;
    for poll in parked.into_iter().chain([other, again]) {
        assert_eq!(texts(&poll.answer().await["messages"]), ["to all"]);
    }
}

#[tokio::test]
async fn full_node_sheds_polls() {
    let server = Server::start(config("[limits]\nparked_polls_max = 3\n")).await;
    let mut parked = Vec::new();
    for _ in 0..3 {
        parked.push(server.park(Request::poll("r", "timeout_ms=30000")).await);
    }
    server.call(Request::poll("r", "timeout_ms=30000")).await.expect_problem(503, "node_full");
    server.say("r", "makes place").await;
    for poll in parked {
        assert_eq!(texts(&poll.answer().await["messages"]), ["makes place"]);
    }
    server.await_unparked(0.0).await;
    server.park(Request::poll("r", "timeout_ms=30000")).await;
    assert!(server.metric("bigroom_refused_total", &[("code", "node_full")]).await >= 1.0);
}

#[tokio::test]
async fn polls_are_counted_by_outcome() {
    let server = Server::start(Options::default()).await;
    let total = |server: &Server| {
        let addr = server.ops;
        async move {
            let mut ops = crate::harness::Conn::open(addr).await;
            let text = ops.call(&Request::get("/metrics")).await.expect(200).text();
            crate::harness::Metrics::parse(&text).sum("bigroom_polls_total", &[])
        }
    };
    let before = total(&server).await;
    server.poll("r", "timeout_ms=0").await;
    server.poll("r", "timeout_ms=100").await;
    server.say("r", "x").await;
    server.poll("r", "cursor=-1").await;
    eventually(DEADLINE, "three polls counted", || async {
        let count = total(&server).await - before;
        if count >= 3.0 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
}
