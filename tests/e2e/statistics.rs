//! Online statistics: who is here, how many, how many ever, and what has reached them.
//!
//! Numbers are up to two seconds old: what is to be seen is awaited, and what must not be seen is looked for in numbers
//! that are from after it ([`settled`]).

mod cluster;
mod counts;
mod history;
mod leave;
mod lists;
mod numbers;
mod reach;
mod rights;
mod script;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{Answer, Conn, DEADLINE, Options, Request, Server, eventually};

/// After so long everything that happened is in the numbers (milliseconds): beats wait a second for others, and rooms are
/// added up once a second.
const SETTLED_MS: u64 = 2_500;

/// A window that no test outlasts: who is offline in it has left or closed.
const LONG_WINDOW: &str = "[online]\nwindow = \"10m\"\n";

/// Options with a window of presence.
fn window(text: &str) -> Options {
    Options::default().and(&format!("[online]\nwindow = \"{text}\"\n"))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    u64::try_from(now).expect("a time")
}

/// A room's numbers.
async fn stats(server: &Server, room: &str) -> Value {
    server.call(Request::get(format!("/v1/rooms/{room}/stats"))).await.expect_json(200)
}

/// Users and clients of a room.
fn counts(stats: &Value) -> (u64, u64) {
    let count = |key: &str| stats[key].as_u64().unwrap_or_else(|| panic!("no {key} in {stats}"));
    (count("num_users"), count("num_clients"))
}

/// Waits until a room's numbers are as wanted; gives them.
async fn await_stats(server: &Server, room: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(DEADLINE, what, || async {
        let stats = stats(server, room).await;
        if is_so(&stats) { Ok(stats) } else { Err(stats.to_string()) }
    })
    .await
}

/// Waits until a room has that many users and clients; gives its numbers.
async fn await_counts(server: &Server, room: &str, expect: (u64, u64)) -> Value {
    let what = format!("{expect:?} users and clients in {room}");
    await_stats(server, room, &what, |stats| counts(stats) == expect).await
}

/// A room's numbers once all that happened until now is in them.
async fn settled(server: &Server, room: &str) -> Value {
    let after_ms = now_ms() + SETTLED_MS;
    await_stats(server, room, "numbers from now", |stats| as_of_ms(stats) >= after_ms).await
}

fn as_of_ms(stats: &Value) -> u64 {
    stats["as_of_ms"].as_u64().unwrap_or_else(|| panic!("no as_of_ms in {stats}"))
}

/// A poll by somebody, answered at once.
fn visit(room: &str, user: &str) -> Request {
    Request::poll(room, &format!("user={user}&timeout_ms=0"))
}

/// A poll by somebody that is held.
fn stay(room: &str, user: &str, device: &str) -> Request {
    Request::poll(room, &format!("user={user}&device={device}&timeout_ms=30000"))
}

/// Parks a poll on a connection of its own, without waiting for it to be held.
async fn parked(server: &Server, request: &Request) -> Conn {
    let mut conn = server.conn().await;
    conn.send(request).await;
    conn
}

fn leave(room: &str, query: &str) -> Request {
    Request::post(format!("/v1/rooms/{room}/leave?{query}"))
}

/// One page of the list of viewers.
async fn viewers(server: &Server, room: &str, query: &str) -> Value {
    server.call(Request::get(format!("/v1/rooms/{room}/viewers?{query}"))).await.expect_json(200)
}

/// The users of a page.
fn users(page: &Value) -> Vec<&str> {
    let viewers = page["viewers"].as_array().unwrap_or_else(|| panic!("no viewers in {page}"));
    viewers.iter().map(|viewer| viewer["user"].as_str().expect("a user")).collect()
}

/// What a poll was answered that had nothing to wait for any more.
fn assert_empty(answer: Answer) {
    let answer = answer.expect_json(200);
    assert_eq!((&answer["priority"], &answer["messages"]), (&json!([]), &json!([])), "{answer}");
}
