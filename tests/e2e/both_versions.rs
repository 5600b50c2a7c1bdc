//! HTTP/1 and HTTP/2 are two parsers in front of the same routes: the same requests have the same answers.
//!
//! Two servers are given the same generated requests in the same order, one by each version. `E2E_SEED` repeats those of an
//! earlier run.

use std::env;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::harness::{Answer, H2, Options, Request, Server};

const REQUESTS: usize = 500;

/// Stands for the cursor of the latest poll's answer, which differs between the two.
const CURSOR: &str = "CURSOR";

fn one_of<'a>(random: &mut StdRng, values: &[&'a str]) -> &'a str {
    values[random.random_range(0..values.len())]
}

fn room(random: &mut StdRng) -> &'static str {
    one_of(random, &["a", "a", "a", "b", "a%62", "A.b:c-1", "_x", "%ff", "..", "a%", "a+b", "a'b"])
}

/// Never a poll that waits, nor one for events, which does not end.
fn query(random: &mut StdRng) -> String {
    let mut query =
        one_of(random, &["timeout_ms=0", "timeout_ms=0", "timeout_ms=0", "timeout_ms=x"]).to_owned();
    for _ in 0..random.random_range(0..3) {
        query += "&";
        query += one_of(
            random,
            &[
                "cursor=now",
                "cursor=-1",
                "cursor=CURSOR",
                "cursor=CURSORx",
                "cursor=",
                "limit=1",
                "limit=0",
                "limit=%31",
                "tail=2",
                "tail=1001",
                "list=priority",
                "list=both",
                "since=1",
                "before=3",
                "reverse=true",
                "reverse=1",
                "user=u1",
                "user=_x",
                "user=u%201",
                "device=d",
                "role=viewer",
                "role=king",
                "role=ops",
                "x=%zz",
                "x",
                "=",
                "%6cimit=2",
                "token=a.b.c",
                "rooms=a:now,b:-1",
                "rooms=a:CURSOR",
                "rooms=a",
                "user=a+b",
            ],
        );
    }
    query
}

fn body(random: &mut StdRng) -> String {
    let valid = [
        r#"{"text":"a"}"#,
        r#"{"id":"m1","text":"a"}"#,
        r#"{"id":"m2","data":{"b":[1,null]},"priority":"high"}"#,
        r#"[{"text":"a"},{"id":"m3","text":"b"},{"x":1},7]"#,
        r#"{"text":"\ud83d\ude00","type":"gift","priority":"low"}"#,
        r#"{"muted":false}"#,
        r#"{"limits":{"room_rate":0}}"#,
        r#"{"state":"closed"}"#,
        r#"{"state":"live"}"#,
        "{}",
        "[]",
        r#"{"text":"a","text":"b"}"#,
        r#"{"text":null}"#,
        "null",
        "",
        " ",
        r#"{"data":1e999}"#,
    ];
    let mut body = one_of(random, &valid).to_owned();
    if random.random_range(0..5) == 0 && !body.is_empty() {
        let at = random.random_range(0..body.len());
        body.insert_str(at, one_of(random, &["\"", "{", "}", ",", ":", "\\", "0", " ", "\u{1}"]));
    }
    if random.random_range(0..40) == 0 {
        body = format!(r#"{{"text":"{}"}}"#, "x".repeat(random.random_range(16_300..16_500)));
    }
    body
}

fn request(random: &mut StdRng) -> Request {
    let (room, query) = (room(random), query(random));
    let target = match random.random_range(0..20) {
        0..8 => format!("/v1/rooms/{room}/messages?{query}"),
        8..11 => format!("/v1/rooms/{room}/history?{query}"),
        11..14 => format!("/v1/rooms/{room}?{query}"),
        14 => format!(
            "/v1/rooms/{room}/messages/{}?{query}",
            one_of(random, &["normal/1", "priority/1", "normal/x", "both/1"])
        ),
        15..17 => format!("/v1/poll?{query}"),
        17 => "/openapi.json".into(),
        _ => one_of(
            random,
            &["/", "/v1//rooms/a", "/v1/rooms/a/", "/%761/poll", "/v1/rooms/../poll", "/v1/poll/x"],
        )
        .into(),
    };
    let method = one_of(
        random,
        &[
            "GET", "GET", "GET", "POST", "POST", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "get",
            "TRACE",
        ],
    );
    let mut request = Request::new(method, target);
    let may_have_body = matches!(method, "POST" | "PUT" | "PATCH");
    if may_have_body || random.random_range(0..12) == 0 {
        request = request.bare_body(body(random));
        let kinds = [
            "application/json",
            "application/json",
            "application/json",
            "application/json; charset=utf-8",
            "application/merge-patch+json",
            "text/plain",
            "application/json; charset=latin1",
        ];
        if random.random_range(0..15) > 0 {
            request = request.header("content-type", one_of(random, &kinds));
        }
    }
    for _ in 0..random.random_range(0..3) {
        let (name, value) = [
            ("accept", "*/*"),
            ("accept", "application/x-protobuf"),
            ("accept", "application/x-protobuf;q=0, application/json"),
            ("accept-encoding", "gzip"),
            ("accept-encoding", "zstd;q=0.5"),
            ("authorization", "Bearer a.b.c"),
            ("authorization", "Basic x"),
            ("cookie", "x=1; bigroom_token=a.b.c"),
            ("content-encoding", "gzip"),
            ("content-encoding", "identity"),
            ("expect", "tea"),
            ("idempotency-key", "m1"),
            ("idempotency-key", "_"),
            ("origin", "https://example.com"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
            ("x-other", "anything"),
        ][random.random_range(0..17)];
        request = request.header(name, value);
    }
    request
}

/// What must be equal: status, fields, and the body without times, cursors and ids that the server made.
fn comparable(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    const OF_THE_VERSION: [&str; 4] = ["connection", "content-length", "date", "keep-alive"];
    let mut fields: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !OF_THE_VERSION.contains(&name.as_str()))
        .collect();
    fields.sort();
    let body = match serde_json::from_slice(&answer.body) {
        Ok(body) => without_times(body),
        // Protobuf or compressed, and a cursor in it.
        Err(_) => Value::Bool(answer.body.is_empty()),
    };
    (answer.status, fields, body)
}

fn without_times(value: Value) -> Value {
    const BY_TIME: [&str; 6] = ["next_cursor", "epoch", "sent_at_ms", "poll_after_ms", "stats", "as_of_ms"];
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, value)| {
                let is_made_id = name == "id" && value.as_str().is_some_and(|id| id.len() > 2);
                !BY_TIME.contains(&name.as_str()) && !is_made_id
            })
            .map(|(name, value)| (name, without_times(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_times).collect(),
        other => other,
    }
}

/// The request with a cursor in it.
fn with_cursor(request: &Request, cursor: &str) -> Request {
    Request { target: request.target.replace(CURSOR, cursor), ..request.clone() }
}

#[tokio::test]
async fn same_requests_have_the_same_answers_by_both_versions() {
    let seed =
        env::var("E2E_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| rand::rng().random());
    eprintln!("E2E_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (one, two) = tokio::join!(Server::start(Options::default()), Server::start(Options::default()));
    let h2 = H2::open(two.addr).await;
    let mut cursors = [String::from("now"), String::from("now")];
    let mut taken = 0;
    for number in 0..REQUESTS {
        let request = request(&mut random);
        let by_http1 = one.call(with_cursor(&request, &cursors[0])).await;
        let by_http2 = h2.call(&with_cursor(&request, &cursors[1])).await;
        let (left, right) = (comparable(&by_http1), comparable(&by_http2));
        assert_eq!(left, right, "request {number}: {request:?}\nHTTP/1: {by_http1:?}\nHTTP/2: {by_http2:?}");
        taken += usize::from(by_http1.status < 300);
        for (cursor, answer) in cursors.iter_mut().zip([by_http1, by_http2]) {
            let next = serde_json::from_slice::<Value>(&answer.body).ok();
            if let Some(next) = next.as_ref().and_then(|body| body["next_cursor"].as_str()) {
                next.clone_into(cursor);
            }
        }
    }
    assert!(taken > REQUESTS / 20, "only {taken} of {REQUESTS} requests were taken");
}
