//! Polls over every version of HTTP that there is to serve.

use serde_json::json;

use super::fill;
use crate::harness::{H2, Options, Request, Server, seqs, texts};

#[tokio::test]
async fn connection_serves_poll_after_poll() {
    let server = Server::start(Options::default()).await;
    let mut conn = server.conn().await;
    for at in 1..=50u64 {
        conn.call(&Request::send("r", &json!({ "text": "x" }))).await.expect(201);
        let got = conn.call(&Request::poll("r", "tail=1")).await.expect_json(200);
        assert_eq!(seqs(&got["messages"]), [at]);
        conn.call(&Request::get("/nowhere")).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn connection_is_closed_on_request() {
    let server = Server::start(Options::default()).await;
    let mut conn = server.conn().await;
    let answer =
        conn.call(&Request::poll("r", "timeout_ms=0").header("Connection", "close")).await.expect(200);
    assert!(answer.header_list("connection").contains(&"close".to_owned()), "{answer:?}");
    conn.expect_close().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(Options::default()).await;
    fill(&server, "b", 0, 1).await;
    let mut conn = server.conn().await;
    let mut bytes = Vec::new();
    for request in [
        Request::poll("b", "cursor=-1"),
        Request::poll("a", "timeout_ms=30000"),
        Request::poll("b", "tail=1"),
        Request::send("b", &json!({ "text": "2" })),
        Request::get("/v1/rooms/b/history"),
        Request::poll("b", "limit=0"),
        Request::poll("b", "cursor=-1"),
    ] {
        bytes.extend(request.encode());
    }
    conn.write(bytes).await;
    assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), ["1"]);
    server.await_parked(1.0).await;
    server.say("a", "woken").await;
    assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), ["woken"]);
    assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), ["1"]);
    conn.answer().await.expect(201);
    assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), ["1", "2"]);
    conn.answer().await.expect_problem(400, "invalid_parameter");
    assert_eq!(texts(&conn.answer().await.expect_json(200)["messages"]), ["1", "2"]);
}

#[tokio::test]
async fn hundreds_of_pipelined_requests_are_answered() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 0, 300).await;
    let mut conn = server.conn().await;
    let one = |at: u64| {
        if at.is_multiple_of(10) {
            Request::get(format!("/v1/rooms/r/history?since={at}&limit=1")).encode()
        } else {
            Request::poll("r", &format!("_={at}&cursor=-1&limit={}", at + 1)).encode()
        }
    };
    conn.write((0..300).flat_map(one).collect::<Vec<_>>()).await;
    for at in 0..300u64 {
        let got = conn.answer().await.expect_json(200);
        let expect = if at.is_multiple_of(10) { vec![at + 1] } else { (1..=at + 1).collect() };
        assert_eq!(seqs(&got["messages"]), expect);
    }
}

/// RFC 9112, section 3.2.2: a server must accept the absolute form, though clients send it to proxies only.
#[tokio::test]
async fn absolute_form_is_understood() {
    let server = Server::start(Options::default()).await;
    for path in ["/v1/rooms/r/messages?timeout_ms=0", "/v1/rooms/r/history"] {
        let mut conn = server.conn().await;
        conn.call(&Request::get(format!("http://bigroom.test{path}"))).await.expect(200);
        conn.call(&Request::get(path)).await.expect(200);
    }
}

#[tokio::test]
async fn request_cut_anywhere_is_understood() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 0, 1).await;
    let poll = Request::poll("r", "cursor=-1").header("Accept", "application/json").encode();
    let send = Request::send("r2", &json!({ "text": "in pieces" })).encode();
    let mut conn = server.conn().await;
    for at in (1..poll.len()).step_by(7) {
        conn.write(&poll[..at]).await;
        tokio::task::yield_now().await;
        conn.write(&poll[at..]).await;
        conn.answer().await.expect(200);
    }
    for at in (1..send.len()).step_by(29) {
        conn.write(&send[..at]).await;
        tokio::task::yield_now().await;
        conn.write(&send[at..]).await;
        conn.answer().await.expect(201);
    }
}

#[tokio::test]
async fn http_1_0_is_closed_after_the_answer() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 0, 1).await;
    for request in [
        Request::poll("r", "cursor=-1").http_1_0(),
        Request::get("/v1/rooms/r/history").http_1_0(),
        Request::send("r", &json!({ "text": "x" })).http_1_0(),
    ] {
        let mut conn = server.conn().await;
        let answer = conn.call(&request).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        assert!(answer.header_list("transfer-encoding").is_empty(), "{answer:?}");
        conn.expect_close().await;
    }
    let mut conn = server.conn().await;
    conn.write(b"GET /v1/rooms/r/messages?cursor=-1 HTTP/1.0\r\n\r\n").await;
    conn.answer().await.expect(200);
    conn.expect_close().await;
}

#[tokio::test]
async fn http_2_is_served_with_prior_knowledge() {
    let server = Server::start(Options::default()).await;
    let h2 = H2::open(server.addr).await;
    h2.call(&Request::send("r", &json!({ "text": "over h2" }))).await.expect_json(201);
    let answer = h2.call(&Request::poll("r", "cursor=-1")).await;
    assert_eq!(answer.version, "HTTP/2.0");
    assert_eq!(texts(&answer.expect_json(200)["messages"]), ["over h2"]);
    h2.call(&Request::get("/v1/rooms/r/history")).await.expect_json(200);
    h2.call(&Request::poll("r", "limit=0")).await.expect_problem(400, "invalid_parameter");
    h2.call(&Request::new("PUT", "/v1/rooms/r/messages")).await.expect_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn http_2_parks_many_polls_on_one_connection() {
    let server = Server::start(Options::default()).await;
    let h2 = H2::open(server.addr).await;
    let polls = (0..20).map(|at| {
        let h2 = h2.clone();
        async move { h2.call(&Request::poll("r", &format!("timeout_ms=30000&user=u{at}"))).await }
    });
    let polls = futures_util::future::join_all(polls);
    let sender = async {
        server.await_parked(20.0).await;
        h2.call(&Request::send("r", &json!({ "text": "to all" }))).await.expect_json(201)
    };
    let (answers, _) = tokio::join!(polls, sender);
    for answer in answers {
        assert_eq!(texts(&answer.expect_json(200)["messages"]), ["to all"]);
    }
}

#[tokio::test]
async fn http_2_reset_frees_the_place() {
    let server = Server::start(Options::default()).await;
    let h2 = H2::open(server.addr).await;
    let parked = |user: &'static str| {
        let h2 = h2.clone();
        tokio::spawn(
            async move { h2.call(&Request::poll("r", &format!("timeout_ms=30000&user={user}"))).await },
        )
    };
    let (reset, closed) = (parked("u1"), parked("u2"));
    server.await_parked(2.0).await;
    reset.abort();
    server.await_unparked(1.0).await;
    closed.abort();
    h2.close();
    server.await_unparked(0.0).await;
}

#[tokio::test]
async fn upgrade_to_h2c_is_ignored() {
    let server = Server::start(Options::default()).await;
    for target in ["/v1/rooms/r/messages?timeout_ms=0", "/v1/rooms/r/history"] {
        let mut conn = server.conn().await;
        let upgrade = Request::get(target)
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("Upgrade", "h2c")
            .header("HTTP2-Settings", "AAMAAABkAAQAAP__");
        let answer = conn.call(&upgrade).await.expect(200);
        assert_eq!(answer.version, "HTTP/1.1");
        conn.call(&Request::poll("r", "timeout_ms=0")).await.expect(200);
    }
}

#[tokio::test]
async fn chunked_bodies_are_read() {
    let server = Server::start(Options::default()).await;
    let mut conn = server.conn().await;
    let head = "POST /v1/rooms/r/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    conn.write(format!("{head}8\r\n{{\"text\":\r\nA\r\n\"chunked\"}}\r\n0\r\n\r\n")).await;
    conn.answer().await.expect(201);
    let got = conn.call(&Request::poll("r", "cursor=-1")).await.expect_json(200);
    assert_eq!(texts(&got["messages"]), ["chunked"]);
    let large = format!("{head}4001\r\n{{\"text\":\"{}\"}}\r\n0\r\n\r\n", "x".repeat(0x4001 - 11));
    conn.write(large).await;
    conn.answer().await.expect_problem(413, "body_too_large");
}

#[tokio::test]
async fn expecting_100_continue_gets_it() {
    let server = Server::start(Options::default()).await;
    let mut conn = server.conn().await;
    let body = r#"{"text":"continued"}"#;
    conn.write(format!(
        "POST /v1/rooms/r/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ))
    .await;
    assert_eq!(conn.answer().await.status, 100);
    conn.write(body).await;
    conn.answer().await.expect(201);
}

#[tokio::test]
async fn garbage_after_a_poll_is_told_apart_from_it() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 0, 1).await;
    let mut conn = server.conn().await;
    let mut bytes = Request::poll("r", "cursor=-1").encode();
    bytes.extend(b"\x00\x01garbage\r\n\r\n");
    conn.write(bytes).await;
    conn.answer().await.expect(200);
    conn.answer().await.expect_problem(400, "invalid_request");
    conn.expect_close().await;
}
