//! The API document: everything in it is there, as it says; and everything that is there is in it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Answer, DEADLINE, Options, Request, Server, eventually};

/// What bigroom serves on its public listener.
const OPERATIONS: &[(&str, &str)] = &[
    ("GET", "/v1/rooms/{room}/messages"),
    ("POST", "/v1/rooms/{room}/messages"),
    ("DELETE", "/v1/rooms/{room}/messages/{list}/{seq}"),
    ("GET", "/v1/rooms/{room}/history"),
    ("GET", "/v1/rooms/{room}"),
    ("PUT", "/v1/rooms/{room}"),
    ("PATCH", "/v1/rooms/{room}"),
    ("DELETE", "/v1/rooms/{room}"),
    ("PUT", "/v1/rooms/{room}/sect"),
    ("GET", "/v1/sects"),
    ("POST", "/v1/rooms/{room}/leave"),
    ("GET", "/v1/rooms/{room}/stats"),
    ("GET", "/v1/rooms/{room}/stats/history"),
    ("GET", "/v1/rooms/{room}/viewers"),
    ("GET", "/v1/rooms/{room}/viewers/{user}"),
    ("GET", "/v1/rooms/{room}/signals/{seq}/reach"),
    ("GET", "/v1/stats"),
    ("GET", "/v1/poll"),
    ("GET", "/openapi.json"),
];

/// The document itself may be left out of it.
const OPTIONAL: (&str, &str) = ("GET", "/openapi.json");

async fn document(server: &Server) -> Value {
    server.call(Request::get("/openapi.json")).await.expect_json(200)
}

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let of_path = |(path, item): (&String, &Value)| {
        let known = methods.iter().filter(|method| item.get(**method).is_some());
        known.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Follows `$ref`s within the document.
fn resolve<'a>(document: &'a Value, mut value: &'a Value) -> &'a Value {
    while let Some(reference) = value["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        value = document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
    }
    value
}

/// The documented answer of this operation with this status, or its range or default.
fn documented<'a>(document: &'a Value, operation: &'a Value, status: u16) -> &'a Value {
    let responses = &operation["responses"];
    let keys = [status.to_string(), format!("{}XX", status / 100), "default".to_owned()];
    let found = keys.iter().find_map(|key| responses.get(key));
    resolve(document, found.unwrap_or_else(|| panic!("{status} is not documented: {responses}")))
}

/// Fails the test unless the answer is one that the operation documents.
fn check(document: &Value, method: &str, path: &str, answer: &Answer) {
    let operation = &document["paths"][path][method.to_lowercase()];
    let response = documented(document, operation, answer.status);
    let Some(content) = response.get("content") else {
        assert!(answer.body.is_empty(), "{method} {path}: a body, but none is documented: {answer:?}");
        return;
    };
    let media_type = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let schema = &content[media_type]["schema"];
    assert!(schema.is_object(), "{method} {path}: {media_type} is not documented for {}", answer.status);
    if !media_type.ends_with("json") {
        return;
    }
    // Components go along, so that references find them.
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&whole).expect("a JSON schema");
    let body = answer.json();
    let errors: Vec<_> =
        validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path}: {errors:#?} in {body:#}");
}

/// A request that the operation accepts, in a room that has a message of each list.
fn request(method: &str, path: &str) -> Request {
    let target = path
        .replace("{room}", "r")
        .replace("{list}", "normal")
        .replace("{seq}", "1")
        .replace("{user}", "ann");
    match (method, path) {
        ("GET", "/v1/rooms/{room}/messages") => Request::poll("r", "cursor=-1&timeout_ms=0"),
        ("POST", "/v1/rooms/{room}/messages") => {
            Request::send("r", &json!({ "id": "m9", "text": "x", "data": {} }))
        }
        ("GET", "/v1/poll") => Request::get("/v1/poll?rooms=r:-1,bad%20room:now&timeout_ms=0"),
        ("PUT", "/v1/rooms/{room}/sect") => Request::new(method, target).json(&json!({ "sect": null })),
        ("PUT" | "PATCH", _) => Request::new(method, target).json(&json!({ "cooldown_ms": 1 })),
        _ => Request::new(method, target),
    }
}

#[tokio::test]
async fn document_lists_exactly_what_is_served() {
    let server = Server::start(Options::default()).await;
    let document = document(&server).await;
    assert!(
        document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    let owned = |(method, path): &(&str, &str)| ((*method).to_owned(), (*path).to_owned());
    let mut expect: BTreeSet<_> = OPERATIONS.iter().map(owned).collect();
    let listed = operations(&document);
    if !listed.contains(&owned(&OPTIONAL)) {
        expect.remove(&owned(&OPTIONAL));
    }
    assert_eq!(listed, expect);
}

#[tokio::test]
async fn every_operation_answers_as_documented() {
    let server = Server::start(Options::default()).await;
    let document = document(&server).await;
    server.sent("r", &json!({ "text": "x", "data": { "a": 1 } })).await;
    server.signal("r", "x").await;
    server.await_counted("r", 1).await;
    // Closing goes last: afterwards the room refuses.
    let mut listed: Vec<_> = operations(&document).into_iter().collect();
    listed.sort_by_key(|(method, path)| (method == "DELETE" && path.ends_with("{room}"), method == "DELETE"));
    for (method, path) in &listed {
        let answer = server.call(request(method, path)).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        check(&document, method, path, &answer);
    }
}

#[tokio::test]
async fn numbers_are_documented() {
    let server = Server::start(Options::default()).await;
    let document = document(&server).await;
    let (room, one) = ("/v1/rooms/{room}/stats", "/v1/rooms/{room}/viewers/{user}");
    let (series, list) = ("/v1/rooms/{room}/stats/history", "/v1/rooms/{room}/viewers");
    let (messages, reach) = ("/v1/rooms/{room}/messages", "/v1/rooms/{room}/signals/{seq}/reach");

    // Nobody was ever there.
    server.await_counted("r", 0).await;
    for (path, target) in
        [(room, "stats"), (series, "stats/history"), (list, "viewers"), (one, "viewers/ann")]
    {
        let answer = server.call(Request::get(format!("/v1/rooms/r/{target}"))).await.expect(200);
        check(&document, "GET", path, &answer);
    }

    // Three people, one of them on two devices, who all come back with what they got. Who asks for the cursor and who sends
    // have no names, so they are two more.
    let start = server.cursor_now("r").await;
    let mut parked = Vec::new();
    for who in ["user=ann&device=tv", "user=ann&device=phone", "user=bob", "user=cat"] {
        parked.push(server.park(Request::poll("r", &format!("{who}&cursor={start}"))).await);
    }
    server.await_counted("r", 4).await;
    server.signal("r", "x").await;
    let mut cursors = Vec::new();
    for poll in parked {
        let answer = poll.answer().await;
        cursors.push(answer["next_cursor"].as_str().expect("a cursor").to_owned());
    }
    for who in ["user=ann&device=tv", "user=bob", "user=cat"] {
        let query = format!("{who}&cursor={}&timeout_ms=0", cursors[0]);
        let poll = || Request::poll("r", &query);
        // Answers look at the numbers a few times a second, so they may have them later than the statistics.
        eventually(DEADLINE, "an answer with numbers", || async {
            let answer = server.call(poll()).await.expect(200);
            check(&document, "GET", messages, &answer);
            if answer.json()["stats"].is_object() { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
    let told = "/v1/rooms/r/signals/1/reach";
    eventually(DEADLINE, "the three who polled again are counted", || async {
        let body = server.call(Request::get(told)).await.expect_json(200);
        if body["reached"].as_u64() >= Some(3) && body["p50_ms"].is_u64() {
            Ok(())
        } else {
            Err(body.to_string())
        }
    })
    .await;
    for (path, target, status) in [
        (room, "/v1/rooms/r/stats", 200),
        (series, "/v1/rooms/r/stats/history?step_s=60", 200),
        (series, "/v1/rooms/r/stats/history?step_s=30", 400),
        (series, "/v1/rooms/r/stats/history?from_ms=2&to_ms=1", 400),
        (list, "/v1/rooms/r/viewers", 200),
        (list, "/v1/rooms/r/viewers?limit=1", 200),
        (list, "/v1/rooms/r/viewers?after=ann&limit=1", 200),
        (list, "/v1/rooms/r/viewers?limit=1001", 400),
        (list, "/v1/rooms/r/viewers?role=speaker", 403),
        (one, "/v1/rooms/r/viewers/ann", 200),
        (one, "/v1/rooms/r/viewers/nobody", 200),
        (one, "/v1/rooms/r/viewers/a%20b", 400),
        (one, "/v1/rooms/r/viewers/ann?role=viewer", 403),
        (reach, told, 200),
        (reach, "/v1/rooms/r/signals/2/reach", 404),
        (reach, "/v1/rooms/r/signals/1/reach?role=speaker", 403),
        ("/v1/stats", "/v1/stats?top=1", 200),
        ("/v1/stats", "/v1/stats?top=0", 400),
        ("/v1/stats", "/v1/stats?role=moderator", 403),
    ] {
        let answer = server.call(Request::get(target)).await.expect(status);
        check(&document, "GET", path, &answer);
    }
    let goodbye = Request::post("/v1/rooms/r/leave?user=bob").body("text/plain", "bye");
    check(&document, "POST", "/v1/rooms/{room}/leave", &server.call(goodbye).await.expect(204));
}

#[tokio::test]
async fn refusals_and_rarer_answers_are_documented() {
    let server = Server::start(Options::default().and("[retention.normal]\ncount = 2\n")).await;
    let document = document(&server).await;
    let start = server.cursor_now("r").await;
    let (messages, tombstone) = ("/v1/rooms/{room}/messages", "/v1/rooms/{room}/messages/{list}/{seq}");
    let batch = json!([{ "text": "1" }, { "text": "2" }, {}, { "id": "m1", "text": "3" }, { "text": "4" }]);
    for (method, path, request, status) in [
        ("POST", messages, Request::send("r", &batch), 200),
        ("POST", messages, Request::send("r", &json!({ "id": "m1", "text": "3" })), 200),
        ("POST", messages, Request::send("r", &json!({ "id": "m1", "text": "other" })), 409),
        ("POST", messages, Request::send("r", &json!({})), 400),
        ("POST", messages, Request::send("_r", &json!({ "text": "x" })), 400),
        ("POST", messages, Request::post("/v1/rooms/r/messages").body("text/plain", "x"), 415),
        ("POST", messages, Request::send("r", &json!({ "text": "x".repeat(20_000) })), 413),
        ("GET", messages, Request::poll("r", &format!("cursor={start}")), 200),
        ("GET", messages, Request::poll("r", "cursor=-1&limit=1"), 200),
        ("GET", messages, Request::poll("r", "limit=0"), 400),
        ("GET", messages, Request::poll("r", "cursor=nonsense"), 400),
        ("GET", messages, Request::poll("r", "timeout_ms=0").header("Accept", "application/x-protobuf"), 200),
        ("DELETE", tombstone, Request::new("DELETE", "/v1/rooms/r/messages/normal/4"), 200),
        ("DELETE", tombstone, Request::new("DELETE", "/v1/rooms/r/messages/normal/99"), 404),
        ("GET", messages, Request::poll("r", "cursor=-1"), 200),
        ("GET", "/v1/rooms/{room}/history", Request::get("/v1/rooms/r/history?list=priority"), 200),
        ("GET", "/v1/rooms/{room}/history", Request::get("/v1/rooms/r/history?limit=0"), 400),
        ("PATCH", "/v1/rooms/{room}", Request::new("PATCH", "/v1/rooms/r").json(&json!({ "x": 1 })), 400),
    ] {
        let answer = server.call(request).await.expect(status);
        check(&document, method, path, &answer);
    }
}
