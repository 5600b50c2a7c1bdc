//! Paths, ids in paths, and methods.

use super::{ROOM, check};
use crate::harness::{Options, Request, Server};

#[tokio::test]
async fn room_ids_that_are_no_ids() {
    let server = Server::start(Options::default()).await;
    let long = "x".repeat(65);
    for room in [
        "_canary", "_x", "%5Fx", "a%20b", "a%2Fb", "%C3%A9", "a%00", "%2e", "%2e%2e", "...", "a+b", "a@b",
        &long,
    ] {
        for request in [
            Request::get(format!("/v1/rooms/{room}/messages?timeout_ms=0")),
            Request::post(format!("/v1/rooms/{room}/messages")).body("application/json", r#"{"text":"a"}"#),
            Request::get(format!("/v1/rooms/{room}/history")),
            Request::get(format!("/v1/rooms/{room}")),
            Request::new("DELETE", format!("/v1/rooms/{room}")),
            Request::get(format!("/v1/poll?rooms={room}:now&timeout_ms=0")),
        ] {
            if request.target.starts_with("/v1/poll") {
                // One bad room of several has its problem in its place.
                let answer = server.call(request.clone()).await;
                let problem = answer.clone().json()["rooms"]
                    .as_object()
                    .and_then(|rooms| rooms.values().next().cloned());
                let code = problem.map_or(answer.json()["code"].clone(), |problem| problem["code"].clone());
                assert!(
                    ["invalid_room", "invalid_parameter"].contains(&code.as_str().unwrap()),
                    "{answer:?}"
                );
                continue;
            }
            check(&server, request, 400, &["invalid_room"]).await;
        }
    }
    // The room is named first, also by the fast lane.
    for query in ["user=_x", "role=king", "limit=0", "cursor=", "token=a&token=b"] {
        let poll = Request::get(format!("/v1/rooms/_x/messages?timeout_ms=0&{query}"));
        check(&server, poll, 400, &["invalid_room"]).await;
    }
    for room in ["a%zz", "a%", "a%2", "%ff"] {
        let poll = Request::get(format!("/v1/rooms/{room}/messages?timeout_ms=0"));
        check(&server, poll, 400, &["invalid_room", "invalid_request"]).await;
    }
}

#[tokio::test]
async fn paths_that_lead_nowhere() {
    let server = Server::start(Options::default()).await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/rooms",
        "/v1/rooms/",
        "/v1/rooms//messages",
        "/v1//rooms/r/messages",
        "//v1/rooms/r/messages",
        "/v1/rooms/r//messages",
        "/v1/rooms/r/messages/",
        "/v1/rooms/r/",
        "/v1/rooms/../messages",
        "/v1/rooms/r/../r/messages",
        "/v1/rooms/r/messages/..",
        "/v1/../v1/rooms/r/messages",
        "/v2/rooms/r/messages",
        "/V1/rooms/r/messages",
        "/v1/Rooms/r/messages",
        "/v1/rooms/r/Messages",
        "/v1/rooms/r/message",
        "/v1/rooms/r/messages%2F",
        "/v1/rooms/r%2Fmessages",
        "/v1%2Frooms/r/messages",
        "/v1/poll/",
        "/favicon.ico",
        "/metrics",
        "/healthz",
        "/readyz",
        "/openapi.json/",
    ] {
        let expect: &[&str] = &["not_found"];
        let request = Request::get(path);
        if path == "/v1/rooms/r%2Fmessages" {
            check(&server, request, 400, &["invalid_room"]).await;
        } else {
            check(&server, request, 404, expect).await;
        }
    }
}

#[tokio::test]
async fn methods_that_do_not_fit() {
    let server = Server::start(Options::default()).await;
    let messages = format!("/v1/rooms/{ROOM}/messages");
    for (path, known) in [
        (messages.clone(), &["GET", "POST"][..]),
        (format!("/v1/rooms/{ROOM}/history"), &["GET"]),
        (format!("/v1/rooms/{ROOM}"), &["GET", "PUT", "PATCH", "DELETE"]),
        (format!("{messages}/normal/1"), &["DELETE"]),
        ("/v1/poll?rooms=r:now".to_owned(), &["GET"]),
        ("/openapi.json".to_owned(), &["GET"]),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "get"] {
            if known.contains(&method) {
                continue;
            }
            let answer =
                check(&server, Request::new(method, path.as_str()), 405, &["method_not_allowed"]).await;
            let allow = answer.header_list("allow");
            for method in known {
                assert!(
                    allow.contains(&method.to_ascii_lowercase()),
                    "{method} of {path} is not in {allow:?}"
                );
            }
        }
    }
    let answer = server.call(Request::new("HEAD", format!("{messages}?timeout_ms=0"))).await;
    assert_eq!(answer.status, 405, "HEAD on a poll");
    assert!(answer.header_list("allow").contains(&"get".to_owned()), "{answer:?}");
    server.call(Request::new("PUT", "/nowhere")).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn messages_that_are_not_there_are_not_retracted() {
    let server = Server::start(Options::default()).await;
    for path in ["normal/1", "priority/1", "normal/18446744073709551615"] {
        let request = Request::new("DELETE", format!("/v1/rooms/{ROOM}/messages/{path}"));
        check(&server, request, 404, &["not_found"]).await;
    }
    for path in ["other/1", "normal/x", "normal/-1", "normal/0", "normal/1.5", "normal/18446744073709551616"]
    {
        let request = Request::new("DELETE", format!("/v1/rooms/{ROOM}/messages/{path}"));
        let answer = server.call(request).await;
        assert!(matches!(answer.status, 400 | 404), "{answer:?}");
        answer.clone().expect_problem_of(answer.status, &["not_found", "invalid_parameter", "invalid_id"]);
    }
}
