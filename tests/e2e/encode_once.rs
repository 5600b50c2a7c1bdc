//! One message to thousands who wait at one place costs one encoding.

use serde_json::json;

use crate::harness::{DEADLINE, Options, Request, Server, eventually, raise_fd_limit, seqs};

const POLLS: usize = 5_000;
const ENCODED: &str = "bigroom_answers_encoded_total";

#[tokio::test]
async fn one_message_to_five_thousand_polls_is_encoded_once() {
    raise_fd_limit();
    let server = Server::start(Options::default()).await;
    server.say("r", "before").await;
    let cursor = server.cursor_now("r").await;
    let poll = Request::poll("r", &format!("cursor={cursor}&timeout_ms=30000"));
    let mut conns = Vec::with_capacity(POLLS);
    for _ in 0..POLLS {
        let mut conn = server.conn().await;
        conn.send(&poll).await;
        conns.push(conn);
    }
    server.await_parked(POLLS as f64).await;
    let (before, sent) = {
        let metrics = server.metrics().await;
        (metrics.sum(ENCODED, &[]), metrics.sum("bigroom_answers_sent_total", &[]))
    };

    server.say("r", "after").await;
    let mut bodies = Vec::with_capacity(POLLS);
    for conn in &mut conns {
        bodies.push(conn.answer().await.expect(200).body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "all answers are the same bytes");
    let answer: serde_json::Value = serde_json::from_slice(&bodies[0]).unwrap();
    assert_eq!((seqs(&answer["messages"]), &answer["priority"]), (vec![2], &json!([])));

    // The counter is read once all answers are counted as sent, which may be a moment after they were read.
    let metrics = eventually(DEADLINE, "all answers counted", || async {
        let metrics = server.metrics().await;
        let count = metrics.sum("bigroom_answers_sent_total", &[]) - sent;
        if count >= POLLS as f64 { Ok(metrics) } else { Err(count.to_string()) }
    })
    .await;
    assert_eq!(metrics.sum(ENCODED, &[]) - before, 1.0, "{:?}", metrics.label_values(ENCODED, "format"));
}
