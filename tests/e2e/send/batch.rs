//! Batches: up to 100 messages in one body, each with its own result.

use serde_json::{Value, json};

use crate::harness::{Keys, Options, Request, Server, config, seqs, texts};

#[tokio::test]
async fn batch_results_come_in_order() {
    let server = Server::start(Options::default()).await;
    let message = |at: usize| {
        let priority = if at % 10 == 9 { "high" } else { "normal" };
        json!({ "id": format!("m{at}"), "text": at.to_string(), "priority": priority })
    };
    let results = server.batch("r", &(0..100).map(message).collect()).await;
    assert_eq!(results.len(), 100);
    for (at, result) in results.iter().enumerate() {
        assert_eq!((&result["status"], &result["id"]), (&json!(201), &json!(format!("m{at}"))), "{result}");
    }
    let got = server.poll("r", "cursor=-1&timeout_ms=0").await;
    assert_eq!(seqs(&got["priority"]), (1..=10).collect::<Vec<_>>());
    assert_eq!(texts(&got["priority"])[..2], ["9", "19"]);
    assert_eq!(seqs(&got["messages"]), (1..=90).collect::<Vec<_>>());
    assert_eq!(texts(&got["messages"])[..11], ["0", "1", "2", "3", "4", "5", "6", "7", "8", "10", "11"]);
}

/// What a batch item would get if it were sent alone.
fn check_refused(result: &Value, status: u16, codes: &[&str]) {
    assert_eq!(result["status"], status, "{result}");
    assert!(codes.contains(&result["code"].as_str().unwrap_or_default()), "{result}");
    assert!(result["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{result}");
}

#[tokio::test]
async fn refused_items_are_refused_in_their_place() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let batch = json!([
        { "id": "a", "text": "first" },
        { "text": "x", "unknown": 1 },
        { "text": "x", "priority": "high" },
        { "id": "a", "text": "first" },
        { "id": "a", "text": "other" },
        5,
        { "text": "x".repeat(16_384) },
        { "type": "redact", "text": "x" },
        {},
        { "text": "last" },
    ]);
    let send = Request::send("r", &batch).bearer(&keys.token("u1", "speaker"));
    let body = server.call(send).await.expect_json(200);
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 10, "{body}");
    assert_eq!((&results[0]["status"], &results[0]["seq"]), (&json!(201), &json!(1)));
    check_refused(&results[1], 400, &["invalid_message"]);
    check_refused(&results[2], 403, &["forbidden"]);
    assert_eq!((&results[3]["status"], &results[3]["duplicate"]), (&json!(200), &json!(true)));
    assert_eq!(results[3]["seq"], 1);
    check_refused(&results[4], 409, &["id_reused"]);
    check_refused(&results[5], 400, &["invalid_message"]);
    check_refused(&results[6], 413, &["body_too_large"]);
    check_refused(&results[7], 400, &["invalid_message"]);
    check_refused(&results[8], 400, &["invalid_message"]);
    assert_eq!(
        (&results[9]["status"], &results[9]["seq"]),
        (&json!(201), &json!(2)),
        "refusals take no sequence"
    );
}

#[tokio::test]
async fn batch_as_a_whole_can_be_refused() {
    let server = Server::start(Options::default()).await;
    let of = |count: usize| Value::from(vec![json!({ "text": "x" }); count]);
    server.send("r", &of(101)).await.expect_problem(413, "batch_too_large");
    server.send("r", &of(0)).await.expect_problem(400, "invalid_message");
    let keyed = Request::send("r", &of(2)).header("Idempotency-Key", "k");
    server.call(keyed).await.expect_problem(400, "invalid_message");
    let large = Value::from(vec![json!({ "text": "x".repeat(16_000) }); 66]);
    assert!(large.to_string().len() > 1 << 20);
    server.send("r", &large).await.expect_problem(413, "body_too_large");
    let broken = Request::post("/v1/rooms/r/messages").body("application/json", r#"[{"text":"a"},]"#);
    server.call(broken).await.expect_problem(400, "invalid_json");
    assert_eq!(server.history("r", "").await["last_seq"], 0, "nothing was written");
}

#[tokio::test]
async fn item_that_is_not_strict_json_is_refused_in_its_place() {
    let server = Server::start(Options::default()).await;
    let mixed = r#"[{"text":"a","text":"b"},{"text":"c"},{"text":"\ud800"}]"#;
    let mixed = Request::post("/v1/rooms/r/messages").body("application/json", mixed);
    let results = server.call(mixed).await.expect(200).json()["results"].clone();
    check_refused(&results[0], 400, &["invalid_json"]);
    assert_eq!((&results[1]["status"], &results[1]["seq"]), (&json!(201), &json!(1)));
    check_refused(&results[2], 400, &["invalid_json"]);
}

#[tokio::test]
async fn nearly_a_mebibyte_in_one_batch_is_taken() {
    let server = Server::start(Options::default()).await;
    let large = Value::from(vec![json!({ "text": "x".repeat(16_000) }); 65]);
    assert!((1_000_000..=1 << 20).contains(&large.to_string().len()));
    let results = server.batch("r", &large).await;
    assert!(results.iter().all(|result| result["status"] == 201), "{results:?}");
}

#[tokio::test]
async fn each_item_counts_in_the_limits() {
    let server =
        Server::start(config("[limits]\nroom_rate = 0\npriority_rate = 0\nuser_rate = 1\nuser_burst = 5\n"))
            .await;
    let batch = Value::from(vec![json!({ "text": "x" }); 50]);
    let send = Request::post("/v1/rooms/r/messages?user=u1").json(&batch);
    let body = server.call(send).await.expect_json(200);
    let results = body["results"].as_array().unwrap();
    let taken = results.iter().filter(|result| result["status"] == 201).count();
    assert!((5..50).contains(&taken), "{taken} were taken");
    assert!(results[..5].iter().all(|result| result["status"] == 201), "the burst is allowed");
    check_refused(&results[49], 429, &["rate_limited"]);
}
