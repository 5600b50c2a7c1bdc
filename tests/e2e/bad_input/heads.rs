//! Request lines and headers.

use super::{ROOM, check, check_raw, check_untouched};
use crate::harness::{Options, Request, Server, config};

const REFUSED: &[&str] = &["invalid_request"];

#[tokio::test]
async fn request_lines_that_are_none() {
    let server = Server::start(Options::default()).await;
    let path = format!("/v1/rooms/{ROOM}/messages?timeout_ms=0");
    for line in [
        format!("GET  {path} HTTP/1.1"),
        format!("GET {path}  HTTP/1.1"),
        format!(" GET {path} HTTP/1.1"),
        format!("GET\t{path} HTTP/1.1"),
        format!("GET {path} HTTP/1.1 "),
        format!("GET {path} HTTP/1.2"),
        format!("GET {path} HTTP/3.0"),
        format!("GET {path} http/1.1"),
        format!("GET {path} HTTP/1"),
        format!("GET {path}"),
        format!("GET {path} x HTTP/1.1"),
        format!("G ET {path} HTTP/1.1"),
        format!("GE(T {path} HTTP/1.1"),
        format!("GET {path}\u{7f} HTTP/1.1"),
        "GET".to_owned(),
        "GET HTTP/1.1".to_owned(),
        "hello".to_owned(),
    ] {
        check_raw(&server, format!("{line}\r\nHost: h\r\n\r\n"), 400, REFUSED).await;
    }
    check_raw(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, REFUSED).await;
    check_raw(&server, b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400, REFUSED).await;
}

#[tokio::test]
async fn headers_that_are_none() {
    let server = Server::start(Options::default()).await;
    for path in [format!("/v1/rooms/{ROOM}/messages?timeout_ms=0"), format!("/v1/rooms/{ROOM}/history")] {
        for header in [
            "Accept : application/json",
            " Accept: application/json",
            "\tAccept: application/json",
            "Accept: application/json\r\n folded",
            "Accept: application/json\r\n\tfolded",
            ": no name",
            "no colon",
            "Bad Name: x",
            "Bad(Name): x",
            "B\u{e4}d: x",
            "X-Nul: a\0b",
            "X-Cr: a\rb",
            "X-Bell: a\u{7}b",
        ] {
            check_raw(&server, format!("GET {path} HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n"), 400, REFUSED)
                .await;
        }
        for bare in [
            format!("GET {path} HTTP/1.1\nHost: h\n\n"),
            format!("GET {path} HTTP/1.1\r\nHost: h\n\r\n"),
            format!("GET {path} HTTP/1.1\r\nHost: h\r\nX: y\n\n"),
            format!("GET {path} HTTP/1.1\rHost: h\r\r"),
        ] {
            check_raw(&server, format!("{bare}\r\n\r\n"), 400, REFUSED).await;
        }
    }
}

#[tokio::test]
async fn hosts_that_are_missing_or_many() {
    let server = Server::start(Options::default()).await;
    for path in [format!("/v1/rooms/{ROOM}/messages?timeout_ms=0"), format!("/v1/rooms/{ROOM}/history")] {
        check_raw(&server, format!("GET {path} HTTP/1.1\r\n\r\n"), 400, REFUSED).await;
        check_raw(&server, format!("GET {path} HTTP/1.1\r\nAccept: */*\r\n\r\n"), 400, REFUSED).await;
        check_raw(&server, format!("GET {path} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400, REFUSED).await;
        check_raw(&server, format!("GET {path} HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400, REFUSED).await;
    }
}

#[tokio::test]
async fn heads_beyond_their_bounds() {
    let server = Server::start(Options::default()).await;
    let long = "x".repeat(20_000);
    for path in [format!("/v1/rooms/{ROOM}/messages"), format!("/v1/rooms/{ROOM}/history")] {
        let line = format!("GET {path}?_={long} HTTP/1.1\r\nHost: h\r\n\r\n");
        check_raw(&server, line, 414, &["uri_too_long"]).await;
        let header = format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Long: {long}\r\n\r\n");
        check_raw(&server, header, 431, &["header_too_large"]).await;
        let many: String = (0..1_000).map(|at| format!("X-Header-{at}: 0123456789\r\n")).collect();
        check_raw(
            &server,
            format!("GET {path} HTTP/1.1\r\nHost: h\r\n{many}\r\n"),
            431,
            &["header_too_large"],
        )
        .await;
        // Without an end in sight: refused as soon as it is too much.
        let endless = format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-Long: {long}");
        check_raw(&server, endless, 431, &["header_too_large"]).await;
    }
    let within = format!(
        "GET /v1/rooms/{ROOM}/messages?timeout_ms=0 HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "x".repeat(12_000)
    );
    let mut conn = server.conn().await;
    conn.write(within).await;
    conn.answer().await.expect(200);
}

#[tokio::test]
async fn expectations_that_cannot_be_met() {
    let server = Server::start(Options::default()).await;
    for expect in ["weird", "200-ok", "100-continue, weird"] {
        let send = Request::post(format!("/v1/rooms/{ROOM}/messages"));
        let send = send.header("Expect", expect).body("application/json", r#"{"text":"a"}"#);
        check(&server, send, 417, &["expectation_failed"]).await;
        let poll = Request::poll(ROOM, "timeout_ms=0").header("Expect", expect);
        check(&server, poll, 417, &["expectation_failed"]).await;
    }
}

#[tokio::test]
async fn requests_cut_off_by_the_client() {
    let server = Server::start(Options::default()).await;
    let send = Request::send(ROOM, &serde_json::json!({ "text": "never whole" })).encode();
    for at in [1, 20, send.len() - 20, send.len() - 1] {
        let mut conn = server.conn().await;
        conn.write(&send[..at]).await;
        conn.finish().await;
        // The server may say why, and then closes too.
        if let Ok(answer) = conn.try_answer().await {
            answer.clone().expect_problem_of(answer.status, &["invalid_request", "request_timeout"]);
        }
        conn.expect_close().await;
        check_untouched(&server, "half a send").await;
    }
    let mut conn = server.conn().await;
    conn.finish().await;
    conn.expect_close().await;
    // A connection that is dropped with half a body on it.
    let mut conn = server.conn().await;
    conn.write(&send[..send.len() - 1]).await;
    drop(conn);
    check_untouched(&server, "a dropped send").await;
}

#[tokio::test]
async fn half_closed_poll_is_not_parked() {
    let server = Server::start(Options::default()).await;
    let mut conn = server.conn().await;
    let mut hourglass = server.hourglass().await;
    conn.write(Request::poll(ROOM, "timeout_ms=30000").encode()).await;
    conn.finish().await;
    while conn.try_answer().await.is_ok() {}
    hourglass.expect_running("the end of a poll by a client that has left").await;
    drop(hourglass);
    check_untouched(&server, "a poll by a client that has left").await;
}

#[tokio::test]
async fn connections_beyond_an_addresss_share() {
    let server = Server::start(config("[limits]\nconnections_per_ip = 3\n")).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut conn = server.conn().await;
        conn.call(&Request::poll(ROOM, "timeout_ms=0")).await.expect(200);
        held.push(conn);
    }
    let mut conn = server.conn().await;
    conn.send(&Request::poll(ROOM, "timeout_ms=0")).await;
    assert_eq!(conn.answer().await.expect_problem(429, "rate_limited")["scope"], "ip");
    conn.expect_close().await;
    held.pop();
    crate::harness::eventually(crate::harness::DEADLINE, "a place for another connection", || async {
        let answer = server.call(Request::poll(ROOM, "timeout_ms=0")).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    for conn in &mut held {
        conn.call(&Request::poll(ROOM, "timeout_ms=0")).await.expect(200);
    }
}
