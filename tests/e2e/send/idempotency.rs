//! Sending twice is harmless.

use serde_json::{Value, json};

use crate::harness::{Options, Request, Server, config, seqs};

/// Checks that `repeat` is the first answer's body again, marked as a repeat.
fn check_repeat(first: &Value, repeat: &Value) {
    let mut expect = first.clone();
    expect["duplicate"] = json!(true);
    assert_eq!(*repeat, expect);
}

#[tokio::test]
async fn repeat_gets_the_first_answer() {
    let server = Server::start(Options::default()).await;
    let message = json!({ "id": "m1", "text": "once", "data": { "a": 1 } });
    let first = server.sent("r", &message).await;
    server.say("r", "in between").await;
    check_repeat(&first, &server.send("r", &message).await.expect_json(200));
    assert_eq!(seqs(&server.history("r", "").await["messages"]), [1, 2]);
}

#[tokio::test]
async fn idempotency_key_is_the_ids_header_form() {
    let server = Server::start(Options::default()).await;
    let message = json!({ "text": "once" });
    let send = Request::send("r", &message).header("Idempotency-Key", "k1");
    let first = server.call(send.clone()).await.expect_json(201);
    assert_eq!(first["id"], "k1");
    check_repeat(&first, &server.call(send).await.expect_json(200));
    let in_body = json!({ "id": "k1", "text": "once" });
    check_repeat(&first, &server.send("r", &in_body).await.expect_json(200));
    let both = Request::send("r", &in_body).header("Idempotency-Key", "k1");
    check_repeat(&first, &server.call(both).await.expect_json(200));
    let differ = Request::send("r", &in_body).header("Idempotency-Key", "k2");
    server.call(differ).await.expect_problem(400, "invalid_id");
    let malformed = Request::send("r", &message).header("Idempotency-Key", "not an id");
    server.call(malformed).await.expect_problem(400, "invalid_id");
}

#[tokio::test]
async fn content_is_compared_after_parsing_and_defaults() {
    let server = Server::start(Options::default()).await;
    let send = |body: &str| server.call(Request::post("/v1/rooms/r/messages").body("application/json", body));
    let first = send(r#"{"id":"m1","text":"é","data":{"a":1}}"#).await.expect_json(201);
    for same in [
        r#"{ "data": {"a":1}, "text": "\u00e9", "id": "m1" }"#,
        r#"{"id":"m1","type":"text","text":"é","data":{"a":1}}"#,
        r#"{"id":"m1","priority":"normal","text":"é","data":{"a":1}}"#,
    ] {
        check_repeat(&first, &send(same).await.expect_json(200));
    }
    for other in [
        r#"{"id":"m1","text":"e","data":{"a":1}}"#,
        r#"{"id":"m1","text":"é","data":{"a": 1}}"#,
        r#"{"id":"m1","text":"é"}"#,
        r#"{"id":"m1","data":{"a":1}}"#,
        r#"{"id":"m1","type":"gift","text":"é","data":{"a":1}}"#,
        r#"{"id":"m1","priority":"high","text":"é","data":{"a":1}}"#,
    ] {
        send(other).await.expect_problem(409, "id_reused");
    }
    assert_eq!(server.history("r", "").await["last_seq"], 1);
}

#[tokio::test]
async fn ids_belong_to_a_user_and_a_room() {
    let server = Server::start(Options::default()).await;
    for (room, user, seq) in [("r", "u1", 1), ("r", "u2", 2), ("r2", "u1", 1)] {
        let send = Request::post(format!("/v1/rooms/{room}/messages?user={user}"))
            .json(&json!({ "id": "m1", "text": user }));
        assert_eq!(server.call(send).await.expect_json(201)["seq"], seq);
    }
}

#[tokio::test]
async fn refused_send_leaves_its_id_free() {
    let server = Server::start(Options::default()).await;
    server.patch_room("r", &json!({ "state": "closed" })).await;
    server.send("r", &json!({ "id": "m1", "text": "too late" })).await.expect_problem(409, "room_closed");
    server.patch_room("r", &json!({ "state": "live" })).await;
    server.send("r", &json!({ "id": "m1", "text": 5 })).await.expect_problem(400, "invalid_message");
    server.sent("r", &json!({ "id": "m1", "text": "another content" })).await;
}

#[tokio::test]
async fn repeats_cost_nothing_from_the_limits() {
    let server =
        Server::start(config("[limits]\nroom_rate = 1\npriority_rate = 1\nuser_rate = 1\nuser_burst = 1\n"))
            .await;
    let send = Request::post("/v1/rooms/r/messages?user=u1").json(&json!({ "id": "m1", "text": "once" }));
    let mut conn = server.conn().await;
    let first = conn.call(&send).await.expect_json(201);
    for _ in 0..50 {
        check_repeat(&first, &conn.call(&send).await.expect_json(200));
    }
}

/// Sends `message` on 100 connections at once; gives the answers' statuses and bodies.
async fn send_a_hundred(server: &Server, message: &Value) -> Vec<(u16, Value)> {
    let request = Request::post("/v1/rooms/r/messages?user=u1").json(message);
    let mut conns = Vec::new();
    for _ in 0..100 {
        conns.push(server.conn().await);
    }
    let calls = conns.iter_mut().map(|conn| async {
        let answer = conn.call(&request).await;
        (answer.status, answer.json())
    });
    futures_util::future::join_all(calls).await
}

#[tokio::test]
async fn hundred_concurrent_sends_of_one_id_are_one_message() {
    let server = Server::start(Options::default()).await;
    let message = json!({ "id": "m1", "text": "once", "priority": "high" });
    let answers = send_a_hundred(&server, &message).await;
    let (_, first) = answers.iter().find(|(status, _)| *status == 201).expect("one is the first");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1);
    for (_, repeat) in answers.iter().filter(|(status, _)| *status != 201) {
        check_repeat(first, repeat);
    }
    let server = server.kill9().start().await;
    for (status, repeat) in send_a_hundred(&server, &message).await {
        assert_eq!(status, 200);
        check_repeat(first, &repeat);
    }
    assert_eq!(seqs(&server.history("r", "list=priority").await["messages"]), [1]);
    let other = json!({ "id": "m1", "text": "twice", "priority": "high" });
    for (status, body) in send_a_hundred(&server, &other).await {
        assert_eq!((status, &body["code"]), (409, &json!("id_reused")));
    }
}

#[tokio::test]
async fn hundred_concurrent_contents_of_one_id_are_one_message() {
    let server = Server::start(Options::default()).await;
    let sends = (0..100).map(|at| {
        let message = json!({ "id": "m1", "text": format!("content {at}") });
        let server = &server;
        async move { server.send("r", &message).await.status }
    });
    let mut statuses = futures_util::future::join_all(sends).await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses[99]), (201, 409, 409));
    assert_eq!(server.history("r", "").await["last_seq"], 1);
}
