//! Leaving by word.

use super::{LONG_WINDOW, assert_empty, await_counts, counts, leave, parked, settled, stay, visit};
use crate::harness::{Conn, DEADLINE, H2, Hourglass, Keys, Options, Request, Server, claims, within};

async fn answered(conn: &mut Conn) {
    assert_empty(within(DEADLINE, "the answer of a poll whose device has left", conn.answer()).await);
}

#[tokio::test]
async fn leave_takes_any_body() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let bare = || leave("r", "user=u1");
    for (case, request) in [
        ("none", bare()),
        ("empty", bare().bare_body("")),
        ("text, as sendBeacon has it", bare().body("text/plain;charset=UTF-8", "bye")),
        ("a form", bare().body("application/x-www-form-urlencoded", "a=b")),
        ("a form of parts", bare().body("multipart/form-data; boundary=x", "--x--\r\n")),
        ("JSON", bare().body("application/json", "{}")),
        ("broken JSON", bare().body("application/json", "{")),
        ("bytes without a type", bare().bare_body([0, 159, 146, 150])),
        ("compressed", bare().header("Content-Encoding", "gzip").body("text/plain", "x")),
    ] {
        eprintln!("case: {case}");
        server.call(visit("r", "u1")).await.expect(200);
        await_counts(&server, "r", (1, 1)).await;
        let answer = server.call(request).await.expect(204);
        assert!(
            answer.body.is_empty() && answer.header("access-control-allow-origin").is_some(),
            "{answer:?}"
        );
        await_counts(&server, "r", (0, 0)).await;
    }
    let h2 = H2::open(server.addr).await;
    h2.call(&visit("r", "u1")).await.expect(200);
    await_counts(&server, "r", (1, 1)).await;
    h2.call(&bare().body("text/plain", "bye")).await.expect(204);
    await_counts(&server, "r", (0, 0)).await;
}

#[tokio::test]
async fn leave_by_a_token_in_the_query() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().and(LONG_WINDOW).keys(&keys)).await;
    let token = keys.token("u1", "viewer");
    let poll = Request::poll("r", "timeout_ms=30000").bearer(&token);
    let mut poll = parked(&server, &poll).await;
    let glass = Request::poll("hourglass", Hourglass::LASTS).bearer(&keys.token("u2", "viewer"));
    let mut hourglass = Hourglass::turn(&server, &glass).await;
    server.await_parked(2.0).await;
    server.call(leave("r", "")).await.expect_problem(401, "unauthorized");
    let mut elsewhere = claims("u1", "viewer");
    elsewhere["rooms"] = serde_json::json!(["other"]);
    let refused = server.call(leave("r", &format!("token={}", keys.sign(&elsewhere)))).await;
    refused.expect_problem(403, "forbidden");
    server.call(leave("r", "user=u1&token=x")).await.expect_problem(401, "unauthorized");
    assert_eq!(server.metric("bigroom_parked_polls", &[]).await, 2.0, "who is refused ends nothing");

    server.call(leave("r", &format!("token={token}")).body("text/plain", "")).await.expect(204);
    answered(&mut poll).await;
    hourglass.expect_running("the answer to who has left").await;
}

#[tokio::test]
async fn leave_ends_the_polls_of_its_device_on_all_workers() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let mut leaving = Vec::new();
    for _ in 0..8 {
        leaving.push(parked(&server, &stay("r", "u1", "phone")).await);
    }
    let several = Request::get("/v1/poll?rooms=r:now,s:now&user=u1&device=phone&timeout_ms=30000");
    let mut several = parked(&server, &several).await;
    let h2 = H2::open(server.addr).await;
    let stream = tokio::spawn({
        let h2 = h2.clone();
        async move { h2.call(&stay("r", "u1", "phone")).await }
    });
    let staying = [
        parked(&server, &stay("r", "u1", "desk")).await,
        parked(&server, &stay("r", "u1", "desk")).await,
        parked(&server, &Request::poll("r", "user=u1&timeout_ms=30000")).await,
        parked(&server, &stay("r", "u2", "phone")).await,
        parked(&server, &stay("elsewhere", "u1", "phone")).await,
    ];
    // Eight, a stream, two rooms of one poll, and those that stay.
    server.await_parked(16.0).await;
    await_counts(&server, "r", (2, 4)).await;

    server.call(leave("r", "user=u1&device=phone")).await.expect(204);
    for conn in &mut leaving {
        answered(conn).await;
    }
    assert_empty(within(DEADLINE, "the stream's answer", stream).await.expect("no panic"));
    let answer = within(DEADLINE, "the answer for several rooms", several.answer()).await.expect_json(200);
    assert!(answer["rooms"]["r"]["next_cursor"].is_string(), "{answer}");
    await_counts(&server, "r", (2, 3)).await;
    let numbers = settled(&server, "r").await;
    assert_eq!(counts(&numbers), (2, 3), "the answered polls bring nobody back");
    assert_eq!(counts(&settled(&server, "elsewhere").await), (1, 1));
    assert_eq!(server.metric("bigroom_parked_polls", &[]).await, 5.0, "the polls of others wait on");
    drop(staying);
}

#[tokio::test]
async fn leave_ends_the_event_stream_of_its_device() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let mut events = parked(&server, &stay("r", "u1", "d").header("Accept", "text/event-stream")).await;
    assert_eq!(events.head().await.expect("an answer").status, 200);
    let other = parked(&server, &stay("r", "u2", "d").header("Accept", "text/event-stream")).await;
    await_counts(&server, "r", (2, 2)).await;
    server.call(leave("r", "user=u1&device=d")).await.expect(204);
    within(DEADLINE, "the end of the stream", async {
        while events.chunk().await.expect("a chunk").is_some() {}
    })
    .await;
    assert_eq!(counts(&settled(&server, "r").await), (1, 1));
    drop(other);
}

#[tokio::test]
async fn poll_after_leaving_brings_the_user_back() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    for _ in 0..3 {
        server.call(visit("r", "u1")).await.expect(200);
        await_counts(&server, "r", (1, 1)).await;
        // On one connection, one right after the other.
        let mut conn = server.conn().await;
        conn.send(&leave("r", "user=u1")).await;
        conn.send(&visit("r", "u1")).await;
        conn.answer().await.expect(204);
        conn.answer().await.expect(200);
        assert_eq!(counts(&settled(&server, "r").await), (1, 1), "the poll came later");
        server.call(leave("r", "user=u1")).await.expect(204);
        await_counts(&server, "r", (0, 0)).await;
    }
}

#[tokio::test]
async fn leaving_another_room_changes_nothing() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let _poll = parked(&server, &stay("r", "u1", "d")).await;
    server.await_parked(1.0).await;
    await_counts(&server, "r", (1, 1)).await;
    for (room, query) in [("s", "user=u1&device=d"), ("r", "user=u1"), ("r", "user=u2&device=d"), ("r", "")] {
        server.call(leave(room, query)).await.expect(204);
    }
    assert_eq!(counts(&settled(&server, "r").await), (1, 1));
    assert_eq!(server.metric("bigroom_parked_polls", &[]).await, 1.0);
}

#[tokio::test]
async fn leave_says_what_is_wrong() {
    let server = Server::start(Options::default()).await;
    for (target, status, code) in [
        ("/v1/rooms/a%20b/leave", 400, "invalid_room"),
        ("/v1/rooms/_canary/leave", 400, "invalid_room"),
        ("/v1/rooms/r/leave?user=a%20b", 400, "invalid_id"),
        ("/v1/rooms/r/leave?user=a&user=b", 400, "invalid_parameter"),
        ("/v1/rooms/r/leave/", 404, "not_found"),
    ] {
        eprintln!("case: {target}");
        server.call(Request::post(target)).await.expect_problem(status, code);
    }
    for method in ["GET", "PUT", "DELETE"] {
        let request = Request::new(method, "/v1/rooms/r/leave");
        server.call(request).await.expect_problem(405, "method_not_allowed");
    }
}
