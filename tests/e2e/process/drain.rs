//! Draining: a release makes no reconnect storm and loses nothing.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Conn, DEADLINE, H2, Options, Request, Server, cursor, eventually, seqs};

/// A send whose last byte is missing: it holds a drain open until the byte comes.
async fn begin_send(server: &Server) -> Conn {
    let mut conn = server.conn().await;
    let send = Request::send("r", &json!({ "text": "in flight" })).header("Expect", "100-continue");
    let bytes = send.encode();
    let body = send.body.as_ref().expect("a body").len();
    conn.write(&bytes[..bytes.len() - body]).await;
    assert_eq!(conn.answer().await.status, 100, "the server has begun to read the body");
    conn.write(&bytes[bytes.len() - body..bytes.len() - 1]).await;
    conn
}

#[tokio::test]
async fn shutdown_answers_parked_polls() {
    let server = Server::start(Options::default()).await;
    server.say("r", "before").await;
    let at = server.cursor_now("r").await;
    let mut conns = Vec::new();
    for user in 0..100 {
        let mut conn = server.conn().await;
        conn.send(&Request::poll("r", &format!("cursor={at}&timeout_ms=30000&user=u{user}"))).await;
        conns.push(conn);
    }
    server.await_parked(100.0).await;
    server.sigterm();
    let mut waits = BTreeSet::new();
    let mut last = String::new();
    for conn in &mut conns {
        let got = conn.answer().await.expect_json(200);
        assert_eq!((seqs(&got["messages"]), &got["room"]["state"]), (vec![], &json!("live")));
        // What only a drain tells clients: these did not just run out of time.
        waits.insert(got["poll_after_ms"].as_u64().expect("poll_after_ms"));
        last = cursor(&got);
    }
    let (least, most) = (waits.first().expect("waits"), waits.last().expect("waits"));
    assert!(*most <= 5_000 && most - least >= 1_000, "not spread over 0-5,000: {waits:?}");
    let (status, stopped) = server.exit(DEADLINE).await;
    assert_eq!(status.code(), Some(0));
    let server = stopped.start().await;
    server.say("r", "after").await;
    let got = server.poll("r", &format!("cursor={last}")).await;
    assert_eq!(seqs(&got["messages"]), [2], "the cursor of a drain goes on");
}

#[tokio::test]
async fn shutdown_answers_polls_of_every_form() {
    let server = Server::start(Options::default()).await;
    let mut several = server.conn().await;
    several.send(&Request::get("/v1/poll?rooms=a:now,b:now&timeout_ms=30000")).await;
    server.await_parked(1.0).await;
    let h2 = H2::open(server.addr).await;
    let by_http2 = (0..5).map(|user| {
        let h2 = h2.clone();
        async move { h2.call(&Request::poll("r", &format!("timeout_ms=30000&user=u{user}"))).await }
    });
    let drain = async {
        server.await_parked(6.0).await;
        server.sigterm();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(by_http2), drain);
    let several = several.answer().await.expect_json(200)["rooms"].take();
    let mut got = vec![several["a"].clone(), several["b"].clone()];
    got.extend(answers.into_iter().map(|answer| answer.expect_json(200)));
    for answer in got {
        assert!(answer["poll_after_ms"].as_u64().is_some_and(|wait| wait <= 5_000), "{answer}");
        assert_eq!(answer["messages"], json!([]));
    }
    drop(h2);
    assert_eq!(server.exit(DEADLINE).await.0.code(), Some(0));
}

#[tokio::test]
async fn sends_in_flight_finish_and_new_requests_are_refused() {
    let server = Server::start(Options::default()).await;
    let mut idle = server.conn().await;
    idle.call(&Request::poll("r", "timeout_ms=0")).await.expect(200);
    let mut idle_sender = server.conn().await;
    idle_sender.call(&Request::get("/v1/rooms/r/history")).await.expect(200);
    let mut in_flight = begin_send(&server).await;
    server.sigterm();
    eventually(DEADLINE, "readiness off", || async {
        let ready = server.ops_get("/readyz").await.status;
        if ready == 503 { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
    assert_eq!(server.ops_get("/healthz").await.status, 200, "it is alive still");
    for (conn, request) in [
        (&mut idle, Request::poll("r", "timeout_ms=30000")),
        (&mut idle_sender, Request::send("r", &json!({ "text": "too late" }))),
    ] {
        // An idle connection may have been closed instead: the client then tries the next node, too.
        if conn.try_write(&request.encode()).await.is_err() {
            continue;
        }
        if let Ok(answer) = conn.try_answer().await {
            assert!(answer.header_list("connection").contains(&"close".to_owned()), "{answer:?}");
            answer.expect_problem(503, "draining");
            conn.expect_close().await;
        }
    }
    if let Ok(mut new) = Conn::try_open(server.addr).await
        && new.try_write(&Request::poll("r", "timeout_ms=30000").encode()).await.is_ok()
        && let Ok(answer) = new.try_answer().await
    {
        answer.expect_problem(503, "draining");
    }
    in_flight.write(b"}").await;
    in_flight.answer().await.expect(201);
    let (status, stopped) = server.exit(DEADLINE).await;
    assert_eq!(status.code(), Some(0));
    let server = stopped.start().await;
    assert_eq!(seqs(&server.history("r", "").await["messages"]), [1]);
}

#[tokio::test]
async fn acknowledged_sends_survive_a_drain_under_load() {
    let server = Server::start(Options::default()).await;
    let addr = server.addr;
    let senders = (0..16).map(|sender| async move {
        let mut conn = Conn::open(addr).await;
        let mut acknowledged = 0u64;
        loop {
            let path = format!("/v1/rooms/r/messages?user=u{sender}");
            let send = Request::post(path).json(&json!({ "text": "x" }));
            if conn.try_write(&send.encode()).await.is_err() {
                return acknowledged;
            }
            match conn.try_answer().await {
                Ok(answer) if answer.status == 201 => acknowledged += 1,
                Ok(answer) => {
                    answer.expect_problem(503, "draining");
                    return acknowledged;
                }
                Err(_) => return acknowledged,
            }
        }
    });
    let drain = async {
        eventually(DEADLINE, "some messages", || async {
            let last = server.history("r", "").await["last_seq"].as_u64().unwrap();
            if last > 100 { Ok(()) } else { Err(last.to_string()) }
        })
        .await;
        server.sigterm();
    };
    let (acknowledged, ()) = tokio::join!(futures_util::future::join_all(senders), drain);
    let (status, stopped) = server.exit(DEADLINE).await;
    assert_eq!(status.code(), Some(0));
    let server = stopped.start().await;
    let kept = server.log_after("r", "normal", 0).await.len() as u64;
    let acknowledged: u64 = acknowledged.iter().sum();
    assert!(kept >= acknowledged && kept <= acknowledged + 16, "{acknowledged} acknowledged, {kept} kept");
}

#[tokio::test]
async fn second_sigterm_leaves_at_once() {
    let server = Server::start(Options::default()).await;
    let _in_flight = begin_send(&server).await;
    server.sigterm();
    eventually(DEADLINE, "readiness off", || async {
        let ready = server.ops_get("/readyz").await.status;
        if ready == 503 { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
    server.sigterm();
    // Not 0, as at the end of a drain.
    assert_eq!(server.exit(DEADLINE).await.0.code(), Some(128 + 15));
}

#[tokio::test]
async fn drain_ends_with_its_grace() {
    // Nothing else ends the wait for a send that is never whole.
    let options = Options::default().and("[drain]\ngrace = \"1s\"\n[http]\nbody_timeout = \"10m\"\n");
    let server = Server::start(options).await;
    let _never_whole = begin_send(&server).await;
    server.sigterm();
    eventually(DEADLINE, "a grace of 1 s", || {
        let log = server.log();
        std::future::ready(if log.contains("\"grace_s\":1.0") { Ok(()) } else { Err(log) })
    })
    .await;
    assert_eq!(server.exit(DEADLINE).await.0.code(), Some(0));
}
