//! How far a priority message has come, by the cursors that polls carry.

use serde_json::{Value, json};

use super::{LONG_WINDOW, await_counts, now_ms};
use crate::harness::{DEADLINE, Options, Request, Server, cursor, eventually, within};

/// A poll of `user` from `cursor`, answered at once; gives the next cursor.
async fn poll(server: &Server, user: &str, from: &str) -> String {
    let poll = Request::poll("r", &format!("user={user}&cursor={from}&timeout_ms=0"));
    cursor(&server.call(poll).await.expect_json(200))
}

async fn signal(server: &Server, text: &str) -> Value {
    let send =
        Request::post("/v1/rooms/r/messages?user=u0").json(&json!({ "text": text, "priority": "high" }));
    server.call(send).await.expect_json(201)
}

async fn reach(server: &Server, seq: u64) -> Value {
    server.call(Request::get(format!("/v1/rooms/r/signals/{seq}/reach"))).await.expect_json(200)
}

async fn await_reached(server: &Server, seq: u64, num_users: u64, reached: u64) -> Value {
    eventually(DEADLINE, &format!("{seq}: {reached} of {num_users} reached"), || async {
        let got = reach(server, seq).await;
        let is_so = got["num_users"] == num_users && got["reached"] == reached;
        if is_so { Ok(got) } else { Err(got.to_string()) }
    })
    .await
}

#[tokio::test]
async fn message_has_reached_those_who_polled_past_it() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let mut cursors = Vec::new();
    for at in 0..10 {
        cursors.push(poll(&server, &format!("u{at}"), "now").await);
    }
    await_counts(&server, "r", (10, 10)).await;
    let before_ms = now_ms();
    let sent = signal(&server, "first").await;
    assert_eq!(sent["seq"], 1);
    let shown = await_reached(&server, 1, 10, 0).await;
    assert_eq!((&shown["seq"], &shown["sent_at_ms"]), (&json!(1), &sent["sent_at_ms"]));
    assert!(shown.get("p50_ms").is_none(), "nobody has it: {shown}");

    // The poll that gets it doesn't prove that it came; the one after it does.
    for (at, from) in cursors.iter_mut().enumerate().take(6) {
        *from = poll(&server, &format!("u{at}"), from).await;
    }
    let shown = await_reached(&server, 1, 10, 0).await;
    assert!(shown["as_of_ms"].as_u64().is_some_and(|as_of_ms| as_of_ms >= before_ms), "{shown}");
    for (at, from) in cursors.iter().enumerate().take(6) {
        poll(&server, &format!("u{at}"), from).await;
    }
    let shown = await_reached(&server, 1, 10, 6).await;
    let p50_ms = shown["p50_ms"].as_u64().unwrap_or_else(|| panic!("six of ten have it: {shown}"));
    let since_ms = now_ms() - before_ms;
    assert!(p50_ms <= since_ms * 6 / 5 + 10, "{p50_ms} ms, after {since_ms} ms");
    assert!(shown.get("p90_ms").is_none() && shown.get("p99_ms").is_none(), "{shown}");

    signal(&server, "second").await;
    for (at, from) in cursors.iter_mut().enumerate() {
        *from = poll(&server, &format!("u{at}"), from).await;
        poll(&server, &format!("u{at}"), from).await;
    }
    let shown = await_reached(&server, 1, 10, 10).await;
    let times = ["p50_ms", "p90_ms", "p99_ms"].map(|key| shown[key].as_u64().unwrap_or(u64::MAX));
    assert!(times.is_sorted() && times[2] < u64::MAX, "{shown}");
    await_reached(&server, 2, 10, 10).await;
}

#[tokio::test]
async fn newcomer_is_reached_by_what_came_before() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    signal(&server, "first").await;
    let now = poll(&server, "late", "now").await;
    poll(&server, "late", &now).await;
    // The sender has no cursor: nobody knows whether it was reached.
    await_reached(&server, 1, 2, 1).await;
    signal(&server, "second").await;
    await_reached(&server, 2, 2, 0).await;
}

#[tokio::test]
async fn parked_viewers_are_reached_by_their_next_poll() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let now = poll(&server, "u0", "now").await;
    let mut conns = Vec::new();
    for at in 0..20 {
        let mut conn = server.conn().await;
        conn.send(&Request::poll("r", &format!("user=u{at}&cursor={now}&timeout_ms=30000"))).await;
        conns.push(conn);
    }
    server.await_parked(20.0).await;
    await_counts(&server, "r", (20, 20)).await;
    signal(&server, "goal").await;
    for (at, conn) in conns.iter_mut().enumerate() {
        let answer = within(DEADLINE, "the signal", conn.answer()).await.expect_json(200);
        let next = format!("user=u{at}&cursor={}&timeout_ms=30000", cursor(&answer));
        conn.send(&Request::poll("r", &next)).await;
    }
    let shown = await_reached(&server, 1, 20, 20).await;
    assert!(shown["p99_ms"].is_u64(), "{shown}");
    conns.truncate(5);
    await_reached(&server, 1, 5, 5).await;
}

#[tokio::test]
async fn unknown_message_has_no_reach() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let ask = |seq: &str| server.call(Request::get(format!("/v1/rooms/r/signals/{seq}/reach")));
    ask("1").await.expect_problem(404, "not_found");
    signal(&server, "first").await;
    server
        .call(Request::post("/v1/rooms/r/messages?user=u0").json(&json!({ "text": "x" })))
        .await
        .expect(201);
    reach(&server, 1).await;
    for seq in ["0", "2", "18446744073709551615"] {
        ask(seq).await.expect_problem(404, "not_found");
    }
    for seq in ["x", "+1", "-1", "1.0", "18446744073709551616", "1%20"] {
        eprintln!("case: {seq}");
        ask(seq).await.expect_problem(400, "invalid_parameter");
    }
}
