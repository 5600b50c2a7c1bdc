//! A flood of messages, and readers of every speed.

use std::{cell::Cell, rc::Rc, time::Duration};

use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    auditor::{Acknowledged, Delivery, LISTS, Reader},
    harness::{Conn, Options, Request, Server, raise_fd_limit},
};

const NORMAL: usize = 20_000;
const PRIORITY: usize = 200;
const READERS: usize = 50;
const ROOM: &str = "flood";

/// Polls until the end, which is the first up-to-date answer to a poll that began after all sends.
async fn read_to_the_end(
    server: Rc<Server>,
    mut at: String,
    limit: usize,
    pause: Duration,
    is_over: Rc<Cell<bool>>,
) -> Reader {
    let mut conn = server.conn().await;
    let mut reader = Reader::default();
    loop {
        let ends = is_over.get();
        // Where there is nothing more, the poll waits for the next message, but not for long.
        let timeout_ms = if ends { 0 } else { 1_000 };
        let query = format!("cursor={at}&limit={limit}&timeout_ms={timeout_ms}");
        let answer = conn.call(&Request::poll(ROOM, &query)).await.expect(200);
        let delivery: Delivery = serde_json::from_slice(&answer.body).expect("a poll's answer");
        let is_up_to_date = delivery.up_to_date;
        at.clone_from(&delivery.next_cursor);
        reader.take(delivery);
        if ends && is_up_to_date {
            return reader;
        }
        if !ends {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Sends everything: batches of 100 normal messages, with priority messages in between.
async fn send_all(conn: &mut Conn) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    for batch in 0..NORMAL / 100 {
        let message = |at: usize| json!({ "id": format!("n{}", batch * 100 + at), "text": "flood" });
        let messages: Vec<Value> = (0..100).map(message).collect();
        let body = conn.call(&Request::send(ROOM, &json!(messages))).await.expect_json(200);
        for result in body["results"].as_array().expect("results") {
            assert_eq!(result["status"], 201, "{result}");
            acknowledged.add(result);
        }
        for at in batch * PRIORITY / (NORMAL / 100)..(batch + 1) * PRIORITY / (NORMAL / 100) {
            let message = json!({ "id": format!("p{at}"), "text": "gift", "priority": "high" });
            acknowledged.add(&conn.call(&Request::send(ROOM, &message)).await.expect_json(201));
        }
    }
    acknowledged
}

/// A reader's speed is its limit and its pause; the slowest does not poll at all until everything was sent.
#[tokio::test]
async fn flooded_readers_miss_no_priority_and_count_every_gap() {
    raise_fd_limit();
    let server = Rc::new(Server::start(Options::default()).await);
    let start = server.cursor_now(ROOM).await;
    let is_over = Rc::new(Cell::new(false));
    let local = LocalSet::new();
    let readers: Vec<_> = (1..READERS)
        .map(|at| {
            let limit = [1_000, 500, 200, 100, 60][at % 5];
            let pause = Duration::from_millis([0, 1, 5, 20, 100, 400][at % 6]);
            let (server, is_over) = (Rc::clone(&server), Rc::clone(&is_over));
            local.spawn_local(read_to_the_end(server, start.clone(), limit, pause, is_over))
        })
        .collect();
    let (acknowledged, finished) = local
        .run_until(async {
            let acknowledged = send_all(&mut server.conn().await).await;
            is_over.set(true);
            let sleeper =
                read_to_the_end(Rc::clone(&server), start, 1_000, Duration::ZERO, Rc::clone(&is_over)).await;
            assert!(
                sleeper.skipped() >= 10_000,
                "20,000 messages behind, only {} skipped",
                sleeper.skipped()
            );
            let mut finished = vec![sleeper];
            for reader in readers {
                finished.push(reader.await.expect("the reader ends well"));
            }
            (acknowledged, finished)
        })
        .await;
    assert_eq!(acknowledged.len(), NORMAL + PRIORITY);
    let log = acknowledged.log();
    for reader in &finished {
        reader.check(&log);
    }
    for list in LISTS {
        log.check_kept(list, &server.log_after(ROOM, list, 0).await);
    }
    assert_eq!(server.metric("bigroom_priority_gap_total", &[]).await, 0.0);
}
