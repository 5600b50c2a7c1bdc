//! The same by HTTP/2, and what only HTTP/2 can get wrong.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::json;

use super::{ROOM, check_untouched};
use crate::harness::{Body, Conn, H2, Options, Request, Server};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// A body that begins and never ends.
struct Endless(Option<Bytes>);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}

fn endless(start: &'static [u8]) -> Body {
    Endless(Some(Bytes::from_static(start))).boxed()
}

fn post() -> Request {
    Request::post(format!("/v1/rooms/{ROOM}/messages")).header("content-type", "application/json")
}

#[tokio::test]
async fn refusals_are_the_same_by_http2() {
    let server = Server::start(Options::default()).await;
    let h2 = H2::open(server.addr).await;
    let message = json!({ "text": "a" });
    let get = || Request::get(format!("/v1/rooms/{ROOM}/messages?timeout_ms=0"));
    for (request, status, code) in [
        (Request::get("/nowhere"), 404, "not_found"),
        (Request::get("/v1/rooms/../messages"), 404, "not_found"),
        (Request::get("/v1/rooms/_x/messages"), 400, "invalid_room"),
        (Request::poll(ROOM, "limit=0"), 400, "invalid_parameter"),
        (Request::poll(ROOM, "limit=1&limit=1"), 400, "invalid_parameter"),
        (Request::poll(ROOM, "cursor=nonsense"), 400, "invalid_cursor"),
        (Request::new("PUT", format!("/v1/rooms/{ROOM}/messages")), 405, "method_not_allowed"),
        (post().bare_body("{"), 400, "invalid_json"),
        (post().bare_body("{}"), 400, "invalid_message"),
        (post().bare_body(json!({ "text": "x".repeat(20_000) }).to_string()), 413, "body_too_large"),
        (post().bare_body(" ".repeat(3 << 20)), 413, "body_too_large"),
        (Request::send(ROOM, &message).header("content-encoding", "gzip"), 415, "unsupported_media_type"),
        (Request::post(format!("/v1/rooms/{ROOM}/messages")).bare_body("{}"), 415, "unsupported_media_type"),
        (get().bare_body("a body"), 400, "invalid_request"),
        (get().header("expect", "weird"), 417, "expectation_failed"),
    ] {
        eprintln!("case: {:.200}", format!("{request:?}"));
        h2.call(&request).await.expect_problem(status, code);
        check_untouched(&server, code).await;
    }
    assert_eq!(h2.call(&Request::new("HEAD", get().target)).await.status, 405);
    h2.call(&get()).await.expect(200);
}

#[tokio::test]
async fn headers_too_large_for_http2_are_refused() {
    let server = Server::start(Options::default()).await;
    let h2 = H2::open(server.addr).await;
    let long = "x".repeat(20_000);
    for large in [
        Request::poll(ROOM, "timeout_ms=0").header("x-long", long.as_str()),
        Request::poll(ROOM, &format!("timeout_ms=0&_={long}")),
    ] {
        // To the framing layer the path is a header like others, and it may refuse without a word.
        if let Ok(answer) = h2.try_call(&large).await {
            assert!(matches!(answer.status, 414 | 431), "{answer:?}");
        }
    }
    let again = H2::open(server.addr).await;
    again.call(&Request::poll(ROOM, "timeout_ms=0")).await.expect(200);
}

#[tokio::test]
async fn streams_left_in_the_middle_write_nothing() {
    let server = Server::start(Options::default()).await;
    let h2 = H2::open(server.addr).await;
    let send = post();
    for _ in 0..20 {
        let call = h2.call_with_body(&send, endless(b"{\"text\":\"a\""));
        assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err(), "answered half a body");
    }
    check_untouched(&server, "half a body").await;
    h2.call(&Request::poll(ROOM, "timeout_ms=0")).await.expect(200);
}

#[tokio::test]
async fn slow_bodies_by_http2_run_out_of_time() {
    let server = Server::start(Options::default().and("[http]\nbody_timeout = \"1s\"\n")).await;
    let h2 = H2::open(server.addr).await;
    let answer = h2.call_with_body(&post(), endless(b"{")).await.expect("an answer");
    answer.expect_problem(408, "request_timeout");
    h2.call(&Request::poll(ROOM, "timeout_ms=0")).await.expect(200);
}

#[tokio::test]
async fn rapid_resets_do_not_hurt_the_others() {
    let server = Server::start(Options::default()).await;
    let victim = H2::open(server.addr).await;
    for _ in 0..20 {
        let h2 = H2::open(server.addr).await;
        for _ in 0..100 {
            let poll = Request::poll(ROOM, "timeout_ms=30000");
            let call = h2.try_call(&poll);
            // Polled once: the request is on its way, and reset at once.
            let _ = tokio::time::timeout(Duration::ZERO, call).await;
        }
        h2.close();
    }
    victim.call(&Request::poll(ROOM, "timeout_ms=0")).await.expect(200);
    check_untouched(&server, "rapid resets").await;
}

#[tokio::test]
async fn frames_that_are_none_end_the_connection() {
    let server = Server::start(Options::default()).await;
    let oversized = b"\xff\xff\xff\x01\x05\0\0\0\x01".as_slice();
    let data_first = b"\0\0\x01\0\x01\0\0\0\x01x".as_slice();
    let even_stream = b"\0\0\x01\x01\x05\0\0\0\x02\x82".as_slice();
    let bad_hpack = b"\0\0\x01\x01\x05\0\0\0\x01\xff".as_slice();
    for frame in [oversized, data_first, even_stream, bad_hpack, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"] {
        let mut conn = server.conn().await;
        drop(conn.try_write(&[PREFACE, EMPTY_SETTINGS, frame].concat()).await);
        conn.expect_end().await;
    }
    let mut conn = server.conn().await;
    drop(conn.try_write(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await);
    conn.expect_end().await;
    check_untouched(&server, "frames that are none").await;
}

#[tokio::test]
async fn preface_may_come_in_pieces() {
    let server = Server::start(Options::default()).await;
    for at in 1..PREFACE.len() {
        let mut conn = server.conn().await;
        conn.write(&PREFACE[..at]).await;
        tokio::task::yield_now().await;
        conn.write(&PREFACE[at..]).await;
        conn.write(EMPTY_SETTINGS).await;
        // The server's own settings come first.
        assert_eq!(conn.bytes(9).await[3], 4, "no SETTINGS after a preface cut at {at}");
    }
}

#[tokio::test]
async fn unfinished_preface_runs_out_of_time() {
    let server = Server::start(Options::default().and("[http]\nheader_timeout = \"1s\"\n")).await;
    for start in [&PREFACE[..3], &PREFACE[..16], &PREFACE[..20]] {
        let mut conn = Conn::open(server.addr).await;
        conn.write(start).await;
        conn.expect_end().await;
    }
}
