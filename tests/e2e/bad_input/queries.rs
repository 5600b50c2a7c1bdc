//! Query parameters out of range, given twice, or in contradiction.

use super::{ROOM, check};
use crate::harness::{Options, Request, Server};

#[tokio::test]
async fn poll_parameters_out_of_range() {
    let server = Server::start(Options::default()).await;
    for query in [
        "timeout_ms=30001",
        "timeout_ms=-1",
        "timeout_ms=abc",
        "timeout_ms=",
        "timeout_ms",
        "timeout_ms=1.5",
        "timeout_ms=1s",
        "timeout_ms=0x10",
        "timeout_ms=99999999999999999999",
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=abc",
        "limit=",
        "tail=1001",
        "tail=-1",
        "tail=abc",
        "tail=5&cursor=-1",
    ] {
        check(&server, Request::poll(ROOM, query), 400, &["invalid_parameter"]).await;
    }
    let cursor = server.cursor_now(ROOM).await;
    check(&server, Request::poll(ROOM, &format!("tail=5&cursor={cursor}")), 400, &["invalid_parameter"])
        .await;
}

#[tokio::test]
async fn known_keys_given_twice() {
    let server = Server::start(Options::default()).await;
    for query in [
        "limit=1&limit=1",
        "limit=1&timeout_ms=0&limit=2",
        "cursor=now&cursor=now",
        "timeout_ms=0&timeout_ms=0",
        "tail=1&tail=1",
        "user=u1&user=u1",
        "device=d1&device=d1",
        "limit=1&%6cimit=1",
        "role=viewer&role=viewer",
        "token=a&token=a",
    ] {
        check(&server, Request::poll(ROOM, query), 400, &["invalid_parameter"]).await;
    }
    for query in
        ["limit=1&limit=1", "list=normal&list=normal", "since=0&since=0", "reverse=true&reverse=true"]
    {
        let history = Request::get(format!("/v1/rooms/{ROOM}/history?{query}"));
        check(&server, history, 400, &["invalid_parameter"]).await;
    }
    let send = Request::post(format!("/v1/rooms/{ROOM}/messages?user=u1&user=u2"));
    check(&server, send.body("application/json", r#"{"text":"a"}"#), 400, &["invalid_parameter"]).await;
    let several = Request::get("/v1/poll?rooms=a:now&rooms=b:now");
    check(&server, several, 400, &["invalid_parameter"]).await;
}

#[tokio::test]
async fn unknown_keys_are_ignored() {
    let server = Server::start(Options::default()).await;
    for query in [
        "_=1700000000&timeout_ms=0",
        "timeout_ms=0&_=1&_=2",
        "timeout_ms=0&x",
        "&&timeout_ms=0&",
        "timeout_ms=0&Limit=0",
    ] {
        server.call(Request::poll(ROOM, query)).await.expect(200);
    }
    server.call(Request::get(format!("/v1/rooms/{ROOM}/history?_=1&_=2"))).await.expect(200);
}

#[tokio::test]
async fn users_and_devices_that_are_no_ids() {
    let server = Server::start(Options::default()).await;
    let long = "x".repeat(65);
    for id in ["", "_x", "a%20b", "a/b", "%C3%A9", "..", &long] {
        for key in ["user", "device"] {
            let poll = Request::poll(ROOM, &format!("timeout_ms=0&{key}={id}"));
            check(&server, poll, 400, &["invalid_id"]).await;
            let send = Request::post(format!("/v1/rooms/{ROOM}/messages?{key}={id}"));
            check(&server, send.body("application/json", r#"{"text":"a"}"#), 400, &["invalid_id"]).await;
        }
    }
    for role in ["", "root", "Viewer"] {
        let poll = Request::poll(ROOM, &format!("timeout_ms=0&role={role}"));
        check(&server, poll, 400, &["invalid_parameter"]).await;
    }
}

#[tokio::test]
async fn history_parameters_out_of_range() {
    let server = Server::start(Options::default()).await;
    for query in [
        "list=other",
        "list=",
        "limit=0",
        "limit=1001",
        "limit=x",
        "since=-1",
        "since=x",
        "since=18446744073709551616",
        "before=-1",
        "before=x",
        "reverse=maybe",
        "reverse=",
    ] {
        let history = Request::get(format!("/v1/rooms/{ROOM}/history?{query}"));
        check(&server, history, 400, &["invalid_parameter"]).await;
    }
}
