//! Slow mode, mute, closed rooms.

use serde_json::{Value, json};

use crate::harness::{Answer, Options, Request, Server, seqs};

async fn send_as(server: &Server, query: &str, message: &Value) -> Answer {
    server.call(Request::post(format!("/v1/rooms/r/messages?{query}")).json(message)).await
}

#[tokio::test]
async fn slow_mode_makes_a_user_wait() {
    let server = Server::start(Options::default()).await;
    server.patch_room("r", &json!({ "cooldown_ms": 60_000 })).await;
    let first = json!({ "id": "m1", "text": "x" });
    send_as(&server, "user=u1", &first).await.expect(201);
    let refusal = send_as(&server, "user=u1", &json!({ "text": "y" })).await;
    let wait: u64 = refusal.header("retry-after").unwrap().parse().unwrap();
    let left = refusal.expect_problem(429, "slow_mode")["cooldown_ms"].as_u64().unwrap();
    assert!((30_000..=60_000).contains(&left), "{left}");
    assert!((30..=60).contains(&wait), "{wait}");
    send_as(&server, "user=u1", &first).await.expect(200);
    send_as(&server, "user=u2", &json!({ "text": "z" })).await.expect(201);
    for role in ["broadcaster", "moderator", "ops"] {
        for _ in 0..2 {
            send_as(&server, &format!("user={role}&role={role}"), &json!({ "text": "free" }))
                .await
                .expect(201);
        }
    }
    assert_eq!(server.poll("r", "timeout_ms=0").await["room"]["cooldown_ms"], 60_000);
}

#[tokio::test]
async fn slow_mode_ends_with_its_cooldown() {
    let server = Server::start(Options::default()).await;
    server.patch_room("r", &json!({ "cooldown_ms": 300 })).await;
    send_as(&server, "user=u1", &json!({ "text": "x" })).await.expect(201);
    let refusal = send_as(&server, "user=u1", &json!({ "text": "y" })).await;
    if refusal.status == 429 {
        let left = refusal.expect_problem(429, "slow_mode")["cooldown_ms"].as_u64().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(left)).await;
        send_as(&server, "user=u1", &json!({ "text": "y" })).await.expect(201);
    }
    server.patch_room("r", &json!({ "cooldown_ms": 60_000 })).await;
    server.patch_room("r", &json!({ "cooldown_ms": 0 })).await;
    send_as(&server, "user=u1", &json!({ "text": "z" })).await.expect(201);
    send_as(&server, "user=u1", &json!({ "text": "z" })).await.expect(201);
}

#[tokio::test]
async fn muted_room_hears_broadcasters_only() {
    let server = Server::start(Options::default()).await;
    server.patch_room("r", &json!({ "muted": true })).await;
    let problem = send_as(&server, "user=u1", &json!({ "text": "x" })).await.expect_problem(403, "muted");
    assert!(problem.get("until_ms").is_none(), "a room's mute has no end: {problem}");
    send_as(&server, "user=u2&role=broadcaster", &json!({ "text": "x" })).await.expect(201);
    assert_eq!(server.poll("r", "timeout_ms=0").await["room"]["state"], "muted");
    server.patch_room("r", &json!({ "muted": false })).await;
    send_as(&server, "user=u1", &json!({ "text": "x" })).await.expect(201);
    assert_eq!(server.poll("r", "timeout_ms=0").await["room"]["state"], "live");
}

#[tokio::test]
async fn closed_room_takes_nothing_and_can_be_read() {
    let server = Server::start(Options::default()).await;
    server.say("r", "last words").await;
    let closed = server.call(Request::new("DELETE", "/v1/rooms/r")).await.expect(204);
    assert!(closed.body.is_empty());
    for query in ["user=u1", "user=u2&role=broadcaster", "user=u3&role=ops"] {
        send_as(&server, query, &json!({ "text": "x" })).await.expect_problem(409, "room_closed");
    }
    let results = server.batch("r", &json!([{ "text": "x" }])).await;
    assert_eq!((&results[0]["status"], &results[0]["code"]), (&json!(409), &json!("room_closed")));
    assert_eq!(seqs(&server.history("r", "").await["messages"]), [1]);
    server.patch_room("r", &json!({ "state": "live" })).await;
    assert_eq!(server.say("r", "again").await["seq"], 2);
}
