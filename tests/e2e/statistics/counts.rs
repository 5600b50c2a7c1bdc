//! Who counts as online, for how long, and as how many.

use serde_json::json;

use super::{
    LONG_WINDOW, as_of_ms, await_counts, await_stats, counts, now_ms, parked, settled, stay, users, viewers,
    visit, window,
};
use crate::harness::{H2, Keys, Options, Request, Server, claims};

#[tokio::test]
async fn user_with_two_devices_is_one_user() {
    let server = Server::start(Options::default()).await;
    let _first = parked(&server, &stay("r", "u1", "phone")).await;
    let _second = parked(&server, &stay("r", "u1", "desk")).await;
    let numbers = await_counts(&server, "r", (1, 2)).await;
    assert_eq!(numbers["unique_viewers"], 1, "{numbers}");
    server.call(visit("r", "u1")).await.expect(200);
    await_counts(&server, "r", (1, 3)).await;
}

#[tokio::test]
async fn callers_without_a_name_count_by_connection() {
    let server = Server::start(Options::default()).await;
    let poll = Request::poll("r", "timeout_ms=0");
    let mut conns = Vec::new();
    for _ in 0..3 {
        let mut conn = server.conn().await;
        for _ in 0..2 {
            conn.call(&poll).await.expect(200);
        }
        conns.push(conn);
    }
    assert_eq!(counts(&settled(&server, "r").await), (3, 3));
    assert_eq!(users(&viewers(&server, "r", "").await), Vec::<&str>::new(), "who has no name is in no list");
}

#[tokio::test]
async fn polls_of_every_form_and_sends_count() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    server.call(visit("a", "plain")).await.expect(200);
    server.call(visit("a", "protobuf").header("Accept", "application/x-protobuf")).await.expect(200);
    let mut events = parked(&server, &stay("a", "events", "d").header("Accept", "text/event-stream")).await;
    assert_eq!(events.head().await.expect("an answer").status, 200);
    let several = Request::get("/v1/poll?rooms=a:now,b:now&user=several&timeout_ms=0");
    server.call(several).await.expect(200);
    let h2 = H2::open(server.addr).await;
    h2.call(&visit("a", "http2")).await.expect(200);
    let send = |user: &str| Request::post(format!("/v1/rooms/a/messages?user={user}"));
    server.call(send("sender").json(&json!({ "text": "x" }))).await.expect(201);
    server.call(send("batch").json(&json!([{ "text": "x" }]))).await.expect(200);

    await_counts(&server, "a", (7, 7)).await;
    let page = viewers(&server, "a", "").await;
    assert_eq!(users(&page), ["batch", "events", "http2", "plain", "protobuf", "sender", "several"]);
    await_counts(&server, "b", (1, 1)).await;
    assert_eq!(users(&viewers(&server, "b", "").await), ["several"]);
}

#[tokio::test]
async fn refused_requests_do_not_count() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let poll = |query: &str| Request::poll("r", query);
    let send = Request::send("r", &json!({ "text": "x" }));
    let mut elsewhere = claims("elsewhere", "ops");
    elsewhere["rooms"] = json!(["other"]);
    for (case, request, user, status) in [
        ("no token", poll("timeout_ms=0"), None, 401),
        ("bad token", poll("timeout_ms=0&token=x"), None, 401),
        ("no right to the room", poll("timeout_ms=0"), Some(keys.sign(&elsewhere)), 403),
        ("bad cursor", poll("cursor=x&timeout_ms=0"), Some(keys.token("cursor", "viewer")), 400),
        ("bad limit", poll("limit=0"), Some(keys.token("limit", "viewer")), 400),
        ("no right to send", send.clone(), Some(keys.token("sends", "viewer")), 403),
        ("bad message", Request::send("r", &json!({})), Some(keys.token("message", "speaker")), 400),
        ("bad batch", Request::send("r", &json!([])), Some(keys.token("batch", "speaker")), 400),
        (
            "another method",
            Request::new("HEAD", "/v1/rooms/r/messages"),
            Some(keys.token("head", "ops")),
            405,
        ),
    ] {
        eprintln!("case: {case}");
        let request = match &user {
            Some(token) => request.bearer(token),
            None => request,
        };
        server.call(request).await.expect(status);
    }
    let several = Request::get("/v1/poll?rooms=good:now,r:x&timeout_ms=0");
    server.call(several.bearer(&keys.token("several", "viewer"))).await.expect(200);
    // What only looks is no presence.
    for path in ["", "/stats", "/history", "/stats/history", "/viewers"] {
        let look = Request::get(format!("/v1/rooms/r{path}"));
        server.call(look.bearer(&keys.token("looks", "ops"))).await.expect(200);
    }
    server.call(poll("timeout_ms=0").bearer(&keys.token("counts", "viewer"))).await.expect(200);

    let ops = keys.token("o", "ops");
    let after_ms = now_ms() + super::SETTLED_MS;
    let numbers = crate::harness::eventually(crate::harness::DEADLINE, "numbers from now", || async {
        let numbers = server.call(Request::get("/v1/rooms/r/stats").bearer(&ops)).await.expect_json(200);
        if as_of_ms(&numbers) >= after_ms { Ok(numbers) } else { Err(numbers.to_string()) }
    })
    .await;
    let page = server.call(Request::get("/v1/rooms/r/viewers").bearer(&ops)).await.expect_json(200);
    assert_eq!(users(&page), ["counts"]);
    assert_eq!(counts(&numbers), (1, 1), "{numbers}");
}

#[tokio::test]
async fn canary_is_never_counted() {
    let server = Server::start(Options::default()).await;
    settled(&server, "r").await;
    let all = server.call(Request::get("/v1/stats")).await.expect_json(200);
    assert_eq!((counts(&all), &all["rooms"]), ((0, 0), &json!([])), "{all}");
    let metrics = server.metrics().await;
    assert!(metrics.has("bigroom_online_users") && metrics.has("bigroom_heartbeats_total"));
    assert_eq!(metrics.sum("bigroom_heartbeats_total", &[]), 0.0);
    assert_eq!(metrics.sum("bigroom_online_users", &[]), 0.0);
}

/// Half a second is how finely windows are kept, and a second the least that can be set: beats must not be late for it.
#[tokio::test]
async fn parked_poll_keeps_its_user_through_the_shortest_window() {
    let server = Server::start(window("1s")).await;
    let _poll = parked(&server, &stay("r", "u1", "d")).await;
    let first = await_counts(&server, "r", (1, 1)).await;
    let until_ms = as_of_ms(&first) + 10_000;
    await_stats(&server, "r", "ten windows", |numbers| {
        assert_eq!(counts(numbers), (1, 1), "the user went in between: {numbers}");
        as_of_ms(numbers) >= until_ms
    })
    .await;
}

#[tokio::test]
async fn user_stays_for_a_window_after_the_last_poll() {
    let server = Server::start(window("4s")).await;
    let mut poll = parked(&server, &stay("r", "parked", "d")).await;
    await_counts(&server, "r", (1, 1)).await;
    server.call(visit("r", "visitor")).await.expect(200);
    let sent = Request::post("/v1/rooms/r/messages?user=sender").json(&json!({ "text": "x" }));
    server.call(sent).await.expect(201);
    poll.answer().await.expect(200);
    // The connection stays open: this is no close.
    let answered_ms = now_ms();
    await_counts(&server, "r", (3, 3)).await;
    let gone = await_counts(&server, "r", (0, 0)).await;
    let stayed_ms = as_of_ms(&gone) - answered_ms;
    assert!(stayed_ms >= 3_500, "offline {stayed_ms} ms after the last answer, in a window of 4 s");
    drop(poll);
}

#[tokio::test]
async fn closing_a_parked_poll_is_leaving_at_once() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let plain = parked(&server, &stay("r", "plain", "d")).await;
    let events = parked(&server, &stay("r", "events", "d").header("Accept", "text/event-stream")).await;
    let several = Request::get("/v1/poll?rooms=r:now,s:now&user=several&timeout_ms=30000");
    let several = parked(&server, &several).await;
    let nameless = parked(&server, &Request::poll("r", "timeout_ms=30000")).await;
    let h2 = H2::open(server.addr).await;
    let stream = tokio::spawn({
        let h2 = h2.clone();
        async move { h2.try_call(&stay("r", "stream", "d")).await }
    });
    let other_h2 = H2::open(server.addr).await;
    let connection = tokio::spawn({
        let h2 = other_h2.clone();
        async move { h2.try_call(&stay("r", "connection", "d")).await }
    });
    await_counts(&server, "r", (6, 6)).await;
    drop(plain);
    await_counts(&server, "r", (5, 5)).await;
    drop(events);
    await_counts(&server, "r", (4, 4)).await;
    drop(several);
    await_counts(&server, "r", (3, 3)).await;
    await_counts(&server, "s", (0, 0)).await;
    drop(nameless);
    await_counts(&server, "r", (2, 2)).await;
    stream.abort();
    await_counts(&server, "r", (1, 1)).await;
    connection.abort();
    other_h2.close();
    await_counts(&server, "r", (0, 0)).await;
    drop(h2);
}

#[tokio::test]
async fn close_with_another_poll_of_the_device_parked_is_none() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    // Enough connections for both workers to have some.
    let mut polls = Vec::new();
    for _ in 0..8 {
        polls.push(parked(&server, &stay("r", "u1", "d")).await);
    }
    let other_device = parked(&server, &stay("r", "u1", "e")).await;
    server.await_parked(9.0).await;
    await_counts(&server, "r", (1, 2)).await;
    polls.truncate(1);
    server.await_unparked(2.0).await;
    assert_eq!(counts(&settled(&server, "r").await), (1, 2));
    drop(other_device);
    await_counts(&server, "r", (1, 1)).await;
    polls.clear();
    await_counts(&server, "r", (0, 0)).await;
}

#[tokio::test]
async fn close_in_one_room_is_none_in_another() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let here = parked(&server, &stay("here", "u1", "d")).await;
    let _there = parked(&server, &stay("there", "u1", "d")).await;
    await_counts(&server, "here", (1, 1)).await;
    await_counts(&server, "there", (1, 1)).await;
    drop(here);
    await_counts(&server, "here", (0, 0)).await;
    assert_eq!(counts(&settled(&server, "there").await), (1, 1));
}

#[tokio::test]
async fn numbers_are_fresh_and_exact() {
    let server = Server::start(Options::default()).await;
    let _poll = parked(&server, &stay("r", "u1", "d")).await;
    let mut last_ms = as_of_ms(&await_counts(&server, "r", (1, 1)).await);
    for _ in 0..3 {
        // Never is not fresh; a busy machine may show them late now and then.
        let later = await_stats(&server, "r", "newer numbers, from less than 3 s ago", |numbers| {
            as_of_ms(numbers) > last_ms && now_ms().saturating_sub(as_of_ms(numbers)) < 3_000
        })
        .await;
        assert_eq!(later["exact"], true, "{later}");
        last_ms = as_of_ms(&later);
    }
}
