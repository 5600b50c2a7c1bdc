//! Laws of reading: whatever the limits and the moments, the answers joined are the log.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

use super::cursor_of;
use crate::{
    auditor::{Acknowledged, Delivery, Reader},
    harness::{Options, Request, Server},
};

#[tokio::test]
async fn answers_joined_are_the_log() {
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = Server::start(Options::default()).await;
    let start = server.cursor_now("r").await;
    let mut acknowledged = Acknowledged::default();
    let mut readers: Vec<_> = (0..5).map(|_| (Reader::default(), start.clone())).collect();
    let (mut sender, mut poller) = (server.conn().await, server.conn().await);
    for _ in 0..300 {
        for _ in 0..random.random_range(0..4) {
            let priority = if random.random_bool(0.3) { "high" } else { "normal" };
            let message = json!({ "text": "x", "priority": priority });
            acknowledged.add(&sender.call(&Request::send("r", &message)).await.expect_json(201));
        }
        let (reader, cursor) = &mut readers[random.random_range(0..5)];
        let limit = [1, 2, 5, 50][random.random_range(0..4)];
        let poll = Request::poll("r", &format!("cursor={cursor}&limit={limit}&timeout_ms=0"));
        let answer = poller.call(&poll).await.expect(200);
        let delivery: Delivery = serde_json::from_slice(&answer.body).unwrap();
        cursor.clone_from(&delivery.next_cursor);
        reader.take(delivery);
    }
    let log = acknowledged.log();
    for (mut reader, cursor) in readers {
        let answer =
            server.call(Request::poll("r", &format!("cursor={cursor}&limit=1000&timeout_ms=0"))).await;
        let delivery: Delivery = serde_json::from_slice(&answer.body).unwrap();
        assert!(delivery.up_to_date);
        reader.take(delivery);
        reader.check(&log);
        assert_eq!(reader.skipped(), 0);
    }
}

#[tokio::test]
async fn cursor_works_as_often_as_it_is_used() {
    let server = Server::start(Options::default()).await;
    let cursor = server.cursor_now("r").await;
    for text in ["a", "b", "c"] {
        server.say("r", text).await;
    }
    let first = server.poll("r", &format!("cursor={cursor}&limit=2&timeout_ms=0")).await;
    let again = server.poll("r", &format!("cursor={cursor}&limit=2&timeout_ms=0")).await;
    assert_eq!(first["messages"], again["messages"]);
    for cursor in [cursor_of(&first), cursor_of(&again)] {
        let rest = server.poll("r", &format!("cursor={cursor}&timeout_ms=0")).await;
        assert_eq!(rest["messages"][0]["text"], "c");
    }
}
