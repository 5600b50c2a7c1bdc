//! Laws of reading: whatever the limits and the moments, the answers joined are the log.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

use super::cursor_of;
use crate::{
    auditor::{Acknowledged, Delivery, Reader},
    harness::{Conn, Options, Request, Server},
};

/// Random sends by one client and random polls by five, then everybody reads to the end.
async fn check_random_reading(options: Options, rounds: usize, burst: u32) -> u64 {
    let seed: u64 = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = Server::start(options).await;
    let start = server.cursor_now("r").await;
    let mut acknowledged = Acknowledged::default();
    let mut readers: Vec<_> = (0..5).map(|_| (Reader::default(), start.clone())).collect();
    let (mut sender, mut poller) = (server.conn().await, server.conn().await);
    let mut polls = 0;
    for _ in 0..rounds {
        for _ in 0..random.random_range(0..burst) {
            let priority = if random.random_bool(0.3) { "high" } else { "normal" };
            let message = json!({ "text": "x", "priority": priority });
            acknowledged.add(&sender.call(&Request::send("r", &message)).await.expect_json(201));
        }
        let (reader, cursor) = &mut readers[random.random_range(0..5)];
        let limit = [1, 2, 5, 50][random.random_range(0..4)];
        read(&mut poller, reader, cursor, limit).await;
        polls += 1;
    }
    let log = acknowledged.log();
    let mut skipped = 0;
    for (mut reader, mut cursor) in readers {
        while !read(&mut poller, &mut reader, &mut cursor, 10).await {
            polls += 1;
            assert!(polls < 100_000, "no end in sight");
        }
        reader.check(&log);
        skipped += reader.skipped();
    }
    skipped
}

/// Polls once; whether that was the end.
async fn read(conn: &mut Conn, reader: &mut Reader, cursor: &mut String, limit: usize) -> bool {
    let poll = Request::poll("r", &format!("cursor={cursor}&limit={limit}&timeout_ms=0"));
    let answer = conn.call(&poll).await.expect(200);
    let delivery: Delivery = serde_json::from_slice(&answer.body).unwrap();
    cursor.clone_from(&delivery.next_cursor);
    let is_end = delivery.up_to_date;
    reader.take(delivery);
    is_end
}

#[tokio::test]
async fn answers_joined_are_the_log() {
    assert_eq!(check_random_reading(Options::default(), 300, 4).await, 0, "nothing was to be skipped");
}

#[tokio::test]
async fn answers_and_gaps_joined_are_the_log() {
    let options = Options::default().and("[retention.normal]\ncount = 15\n");
    assert!(check_random_reading(options, 300, 12).await > 0, "something was to be skipped");
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
