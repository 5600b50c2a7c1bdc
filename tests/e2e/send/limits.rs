//! Rates: who is over one is told which, and when to come back.

use serde_json::{Value, json};

use crate::harness::{Answer, Request, Server, config};

/// Sends until the first refusal; gives the number taken before, and the refusal.
async fn send_until_refused(server: &Server, query: &str, message: &Value) -> (usize, Answer) {
    let send = Request::post(format!("/v1/rooms/r/messages?{query}")).json(message);
    let mut conn = server.conn().await;
    for taken in 0..500 {
        let answer = conn.call(&send).await;
        if answer.status != 201 {
            return (taken, answer);
        }
    }
    panic!("500 messages without a refusal");
}

fn text() -> Value {
    json!({ "text": "x" })
}

#[tokio::test]
async fn user_over_the_rate_is_told_so() {
    let server =
        Server::start(config("[limits]\nroom_rate = 0\npriority_rate = 0\nuser_rate = 1\nuser_burst = 5\n"))
            .await;
    let (taken, refusal) = send_until_refused(&server, "user=u1", &text()).await;
    assert!(taken >= 5, "only {taken} of the burst of 5 were taken");
    let problem = refusal.expect_problem(429, "rate_limited");
    assert_eq!(problem["scope"], "user");
    let other = Request::post("/v1/rooms/r/messages?user=u2").json(&text());
    server.call(other).await.expect(201);
    let refused = server.metric("bigroom_refused_total", &[("code", "rate_limited")]).await;
    assert!(refused >= 1.0, "{refused}");
}

#[tokio::test]
async fn room_over_the_rate_refuses_everybody() {
    let server = Server::start(config("[limits]\nroom_rate = 5\npriority_rate = 0\nuser_rate = 0\n")).await;
    let (taken, refusal) = send_until_refused(&server, "user=u1", &text()).await;
    assert!(taken >= 5, "only {taken} of 5 a second were taken");
    assert_eq!(refusal.expect_problem(429, "rate_limited")["scope"], "room");
    let other = Request::post("/v1/rooms/r2/messages?user=u1").json(&text());
    server.call(other).await.expect(201);
}

#[tokio::test]
async fn priority_has_a_rate_of_its_own() {
    let server = Server::start(config("[limits]\nroom_rate = 0\npriority_rate = 2\nuser_rate = 0\n")).await;
    let high = json!({ "text": "x", "priority": "high" });
    let (taken, refusal) = send_until_refused(&server, "user=u1", &high).await;
    assert!(taken >= 2, "only {taken} of 2 a second were taken");
    assert_eq!(refusal.expect_problem(429, "rate_limited")["scope"], "priority");
    server.say("r", "normal goes on").await;
}

#[tokio::test]
async fn retry_after_is_long_enough() {
    let server =
        Server::start(config("[limits]\nroom_rate = 0\npriority_rate = 0\nuser_rate = 1\nuser_burst = 1\n"))
            .await;
    let (_, refusal) = send_until_refused(&server, "user=u1", &text()).await;
    let wait: u64 = refusal.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "one message a second, but Retry-After is {wait}");
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    let again = Request::post("/v1/rooms/r/messages?user=u1").json(&text());
    server.call(again).await.expect(201);
}

#[tokio::test]
async fn rooms_own_rates_win_over_the_servers() {
    let server = Server::start(config("[limits]\nroom_rate = 0\npriority_rate = 0\nuser_rate = 0\n")).await;
    server.patch_room("r", &json!({ "limits": { "user_rate": 1 } })).await;
    let (_, refusal) = send_until_refused(&server, "user=u1", &text()).await;
    assert_eq!(refusal.expect_problem(429, "rate_limited")["scope"], "user");
    server.patch_room("r", &json!({ "limits": { "user_rate": 0, "room_rate": 1 } })).await;
    let (_, refusal) = send_until_refused(&server, "user=u1", &text()).await;
    assert_eq!(refusal.expect_problem(429, "rate_limited")["scope"], "room");
}

#[tokio::test]
async fn default_rates_are_the_documented_ones() {
    let server = Server::start(config("")).await;
    let (taken, refusal) = send_until_refused(&server, "user=u1", &text()).await;
    assert!(taken >= 10, "only {taken} of the burst of 10 were taken");
    assert_eq!(refusal.expect_problem(429, "rate_limited")["scope"], "user");
}

#[tokio::test]
async fn refusals_write_nothing() {
    let server =
        Server::start(config("[limits]\nroom_rate = 0\npriority_rate = 0\nuser_rate = 1\nuser_burst = 3\n"))
            .await;
    let (mut taken, _) = send_until_refused(&server, "user=u1", &text()).await;
    for _ in 0..20 {
        let send = Request::post("/v1/rooms/r/messages?user=u1").json(&text());
        taken += usize::from(server.call(send).await.status == 201);
    }
    assert_eq!(server.history("r", "").await["last_seq"], taken);
}
