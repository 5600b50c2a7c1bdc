//! Clients that take their time.

use std::time::{Duration, Instant};

use super::{ROOM, check_untouched};
use crate::harness::{Conn, DEADLINE, Options, Request, Server, within};

const SHORT: &str = "[http]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\nidle_timeout = \"1s\"\n";

/// Reads the refusal of what was too slow, by the bound that is configured and no other.
async fn expect_too_slow(conn: &mut Conn) {
    let problem = conn.answer().await.expect_problem(408, "request_timeout");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("must be there 1 s after"), "{detail}");
}

/// Feeds `bytes` one by one, slowly, until the server has had enough; gives the connection.
async fn drip(mut conn: Conn, bytes: &[u8]) -> Conn {
    within(DEADLINE, "an end to bytes that go on and on", async {
        for byte in bytes.iter().cycle() {
            if conn.try_write(&[*byte]).await.is_err() {
                break;
            }
            if tokio::time::timeout(Duration::from_millis(100), conn.readable()).await.is_ok() {
                break;
            }
        }
    })
    .await;
    conn
}

#[tokio::test]
async fn slow_heads_run_out_of_time() {
    let server = Server::start(Options::default().and(SHORT)).await;
    for start in [
        "G",
        "GET /v1/rooms/r/messages?timeout_ms=0 HTTP/1.1\r\nHost: h\r\n",
        "POST /v1/rooms/r/messages HTTP/1.1\r\nX: ",
    ] {
        let mut conn = server.conn().await;
        let asked = Instant::now();
        conn.write(start).await;
        expect_too_slow(&mut conn).await;
        conn.expect_close().await;
        assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    }
    // A byte now and then gains no time: the bound is on the whole.
    let mut conn = server.conn().await;
    conn.write("GET /v1/rooms/r/messages?_=").await;
    let mut conn = drip(conn, b"x").await;
    expect_too_slow(&mut conn).await;
    check_untouched(&server, "slow heads").await;
}

#[tokio::test]
async fn slow_bodies_run_out_of_time() {
    let server = Server::start(Options::default().and(SHORT)).await;
    let head =
        format!("POST /v1/rooms/{ROOM}/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n");
    for start in ["Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"] {
        let mut conn = server.conn().await;
        let asked = Instant::now();
        conn.write(format!("{head}{start}")).await;
        expect_too_slow(&mut conn).await;
        conn.expect_close().await;
        assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    }
    let mut conn = server.conn().await;
    conn.write(format!("{head}Content-Length: 10000\r\n\r\n")).await;
    let mut conn = drip(conn, b" ").await;
    expect_too_slow(&mut conn).await;
    check_untouched(&server, "slow bodies").await;
}

#[tokio::test]
async fn idle_connections_are_closed_in_silence() {
    let server = Server::start(Options::default().and(SHORT)).await;
    let mut fresh = server.conn().await;
    let mut used = server.conn().await;
    used.call(&Request::poll(ROOM, "timeout_ms=0")).await.expect(200);
    let mut sent = server.conn().await;
    sent.call(&Request::get(format!("/v1/rooms/{ROOM}/history"))).await.expect(200);
    // Unless configured it is 75 s.
    within(DEADLINE, "the end of all three", async {
        for conn in [&mut fresh, &mut used, &mut sent] {
            conn.expect_close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn parked_poll_is_not_idle() {
    let server = Server::start(Options::default().and(SHORT)).await;
    let asked = Instant::now();
    server.poll(ROOM, "timeout_ms=3000").await;
    assert!(asked.elapsed() >= Duration::from_millis(2_700), "{:?}", asked.elapsed());
}

/// A client that never reads must not make the server hold its answers without bound.
#[tokio::test]
async fn answers_nobody_reads_are_bounded() {
    let server = Server::start(Options::default().and(SHORT)).await;
    let text = "x".repeat(10_000);
    let batch = serde_json::json!(vec![serde_json::json!({ "text": text }); 100]);
    server.batch("big", &batch).await;
    let before = server.metric("process_resident_memory_bytes", &[]).await;
    let poll = Request::poll("big", "cursor=-1&limit=1000").encode().repeat(100);
    let mut conns = Vec::new();
    for _ in 0..10 {
        let mut conn = server.conn().await;
        drop(tokio::time::timeout(Duration::from_millis(200), conn.try_write(&poll)).await);
        conns.push(conn);
    }
    // A thousand answers of a megabyte are asked for.
    server.poll("big", "timeout_ms=0").await;
    let grown = server.metric("process_resident_memory_bytes", &[]).await - before;
    assert!(grown < 200e6, "{:.0} MB were held for clients that don't read", grown / 1e6);
}
