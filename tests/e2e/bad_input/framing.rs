//! Message framing that two parsers could read differently: the root of request smuggling.

use super::{ROOM, check_raw, check_untouched, write_until_refused};
use crate::harness::{Options, Request, Server};

const REFUSED: &[&str] = &["invalid_request"];

/// A send with these framing headers and whatever follows the head.
fn send(framing: &str, rest: &str) -> String {
    format!(
        "POST /v1/rooms/{ROOM}/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{framing}\r\n\r\n{rest}"
    )
}

const BODY: &str = r#"{"text":"a"}"#; // 12 bytes

#[tokio::test]
async fn lengths_that_contradict() {
    let server = Server::start(Options::default()).await;
    for framing in [
        "Content-Length: 12\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 12",
        "Content-Length: 12\r\nContent-Length: 13",
        "Content-Length: 12\r\nContent-Length: 12",
        "Content-Length: 12, 12",
        "Content-Length: 12, 13",
        "Content-Length: -12",
        "Content-Length: +12",
        "Content-Length: 12a",
        "Content-Length: 0xc",
        "Content-Length: 1 2",
        "Content-Length:",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked;x=1",
    ] {
        // What another parser might take for the next request must not be served.
        let smuggled =
            format!("GET /v1/rooms/{ROOM}/messages?cursor=now&timeout_ms=0 HTTP/1.1\r\nHost: h\r\n\r\n");
        check_raw(&server, send(framing, &format!("{BODY}{smuggled}")), 400, REFUSED).await;
    }
    let old = format!(
        "POST /v1/rooms/{ROOM}/messages HTTP/1.0\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\nc\r\n{BODY}\r\n0\r\n\r\n"
    );
    check_raw(&server, old, 400, REFUSED).await;
}

#[tokio::test]
async fn chunks_that_are_no_chunks() {
    let server = Server::start(Options::default()).await;
    for rest in [
        "zz\r\n".to_owned(),
        format!("0xc\r\n{BODY}\r\n0\r\n\r\n"),
        format!("+c\r\n{BODY}\r\n0\r\n\r\n"),
        format!("-1\r\n{BODY}\r\n0\r\n\r\n"),
        format!("\r\n{BODY}\r\n0\r\n\r\n"),
        format!("FFFFFFFFFFFFFFFFF\r\n{BODY}\r\n0\r\n\r\n"),
        format!("c\r\n{BODY}0\r\n\r\n"),
        format!("c\r\n{BODY}xx0\r\n\r\n"),
        format!("b\r\n{BODY}\r\n0\r\n\r\n"),
        format!("c\n{BODY}\n0\n\n"),
    ] {
        check_raw(&server, send("Transfer-Encoding: chunked", &rest), 400, REFUSED).await;
    }
}

#[tokio::test]
async fn gets_with_a_body() {
    let server = Server::start(Options::default()).await;
    for path in [format!("/v1/rooms/{ROOM}/messages?timeout_ms=0"), format!("/v1/rooms/{ROOM}/history")] {
        for framing in
            ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
        {
            check_raw(&server, format!("GET {path} HTTP/1.1\r\nHost: h\r\n{framing}"), 400, REFUSED).await;
        }
        // No body by its own word.
        let mut conn = server.conn().await;
        conn.call(&Request::get(path.as_str()).header("Content-Length", "0")).await.expect(200);
    }
}

#[tokio::test]
async fn bytes_after_a_request_are_the_next_one() {
    let server = Server::start(Options::default()).await;
    for garbage in [
        &b"\r\n\r\n\r\n\r\n\x00\x00"[..],
        b"garbage\r\n\r\n",
        b"{\"text\":\"a\"}\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        for first in [Request::poll(ROOM, "timeout_ms=0"), Request::get(format!("/v1/rooms/{ROOM}/history"))]
        {
            let mut conn = server.conn().await;
            let mut bytes = first.encode();
            bytes.extend_from_slice(garbage);
            write_until_refused(&mut conn, &bytes).await;
            conn.answer().await.expect(200);
            conn.answer().await.expect_problem(400, "invalid_request");
            conn.expect_close().await;
        }
        check_untouched(&server, "garbage behind a request").await;
    }
}

#[tokio::test]
async fn body_longer_than_it_says_is_the_next_request() {
    let server = Server::start(Options::default()).await;
    let mut conn = server.conn().await;
    write_until_refused(&mut conn, send("Content-Length: 2", "{}{\"text\":\"a\"}\r\n\r\n").as_bytes()).await;
    conn.answer().await.expect_problem(400, "invalid_message");
    // Either way the rest is never taken for a message: the connection ends with or without a word about it.
    if let Ok(answer) = conn.try_answer().await {
        answer.expect_problem(400, "invalid_request");
    }
    conn.expect_close().await;
    check_untouched(&server, "a body longer than it says").await;
}
