//! The ops listener: metrics, health, readiness.

use serde_json::json;

use crate::harness::{Conn, Keys, Options, Request, Server};

/// Every metric of the contract, with the labels that it has.
const METRICS: &[(&str, &[&str])] = &[
    ("bigroom_parked_polls", &[]),
    ("bigroom_connections", &[]),
    ("bigroom_polls_total", &["outcome"]),
    ("bigroom_answers_encoded_total", &["format", "compression"]),
    ("bigroom_answers_sent_total", &[]),
    ("bigroom_priority_gap_total", &[]),
    ("bigroom_messages_skipped_total", &["reason"]),
    ("bigroom_sends_total", &["list", "result"]),
    ("bigroom_delivery_seconds", &["list"]),
    ("bigroom_fanout_seconds", &[]),
    ("bigroom_notices_total", &[]),
    ("bigroom_notice_lag_seconds", &[]),
    ("bigroom_pulls_total", &["reason"]),
    ("bigroom_reconnects_total", &[]),
    ("bigroom_rooms_cached", &[]),
    ("bigroom_queue_depth", &["queue"]),
    ("bigroom_heartbeats_total", &[]),
    ("bigroom_online_users", &["sect"]),
    ("bigroom_requests_saved_total", &[]),
    ("bigroom_pressure_step", &[]),
    ("bigroom_load_factor", &[]),
    ("bigroom_event_loop_lag_seconds", &[]),
    ("bigroom_canary_seconds", &[]),
    ("bigroom_refused_total", &["code"]),
    ("process_resident_memory_bytes", &[]),
    ("process_cpu_seconds_total", &[]),
    ("process_open_fds", &[]),
];

#[tokio::test]
async fn all_metrics_are_there_from_the_start() {
    let server = Server::start(Options::default()).await;
    let metrics = server.metrics().await;
    let declared = metrics.declared();
    let missing: Vec<_> =
        METRICS.iter().filter(|(name, _)| !declared.contains(name) || !metrics.has(name)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    for (name, labels) in METRICS {
        for label in *labels {
            let of = if metrics.label_values(name, label).is_empty() {
                format!("{name}_count")
            } else {
                (*name).into()
            };
            assert!(!metrics.label_values(&of, label).is_empty(), "{name} has no label {label}");
        }
    }
}

#[tokio::test]
async fn no_metric_names_rooms_or_users() {
    let server = Server::start(Options::default()).await;
    let send = Request::post("/v1/rooms/a-room/messages?user=a-user").json(&json!({ "text": "x" }));
    server.call(send).await.expect(201);
    server.poll("a-room", "cursor=-1&user=a-user").await;
    server.call(Request::get("/v1/rooms/_bad/messages")).await.expect(400);
    let text = server.ops_get("/metrics").await.expect(200).text();
    assert!(!text.contains("a-room") && !text.contains("a-user") && !text.contains("_bad"), "{text}");
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let server = Server::start(Options::default()).await;
    let before = server.metrics().await;
    let parked = server.park(Request::poll("r", "timeout_ms=30000")).await;
    server.say("r", "x").await;
    parked.answer().await;
    server.signal("r", "x").await;
    server.call(Request::poll("r", "limit=0")).await.expect(400);
    server.call(Request::get("/nowhere")).await.expect(404);
    let after = crate::harness::eventually(crate::harness::DEADLINE, "the delivery counted", || async {
        let metrics = server.metrics().await;
        let count = |metrics: &crate::harness::Metrics| {
            metrics.sum("bigroom_delivery_seconds_count", &[("list", "normal")])
        };
        if count(&metrics) > count(&before) { Ok(metrics) } else { Err(count(&metrics).to_string()) }
    })
    .await;
    let grown = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    assert!(grown("bigroom_sends_total", &[("list", "normal")]) >= 1.0);
    assert!(grown("bigroom_sends_total", &[("list", "priority")]) >= 1.0);
    assert!(grown("bigroom_notices_total", &[]) >= 2.0);
    assert!(grown("bigroom_answers_sent_total", &[]) >= 1.0);
    assert!(grown("bigroom_fanout_seconds_count", &[]) >= 1.0);
    assert!(grown("bigroom_refused_total", &[("code", "invalid_parameter")]) >= 1.0);
    assert!(grown("bigroom_refused_total", &[("code", "not_found")]) >= 1.0);
    assert!(after.sum("bigroom_rooms_cached", &[]) >= 1.0);
    assert!(after.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert!(after.sum("process_open_fds", &[]) > 5.0);
}

#[tokio::test]
async fn connections_are_counted_while_they_last() {
    let server = Server::start(Options::default()).await;
    let count = async |server: &Server| server.metric("bigroom_connections", &[]).await;
    let before = count(&server).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut conn = server.conn().await;
        conn.call(&Request::poll("r", "timeout_ms=0")).await.expect(200);
        held.push(conn);
    }
    assert!(count(&server).await >= before + 5.0);
    drop(held);
    crate::harness::eventually(crate::harness::DEADLINE, "the connections gone", || async {
        let now = count(&server).await;
        if now <= before { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn running_out_of_file_descriptors_passes() {
    let server = Server::start(Options::default()).await;
    server.say("r", "before").await;
    let open = server.metric("process_open_fds", &[]).await as u64;
    server.limit_fds(open + 20);
    let mut conns = Vec::new();
    for _ in 0..100 {
        conns.push(server.conn().await);
    }
    // Those that were accepted are served while others wait.
    conns[0].call(&Request::poll("r", "tail=1")).await.expect(200);
    drop(conns);
    server.say("r", "after").await;
    assert_eq!(server.history("r", "").await["last_seq"], 2);
}

#[tokio::test]
async fn ops_paths_need_no_token_and_serve_nothing_else() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        server.ops_get(path).await.expect(200);
    }
    let content_type = server.ops_get("/metrics").await;
    assert!(
        content_type.header("content-type").is_some_and(|t| t.starts_with("text/plain")),
        "{content_type:?}"
    );
    for path in ["/", "/v1/rooms/r/messages", "/v1/rooms/r/history", "/openapi.json", "/healthz/"] {
        assert_eq!(server.ops_get(path).await.status, 404, "{path}");
    }
    let post = Conn::open(server.ops).await.call(&Request::post("/healthz").bare_body("")).await;
    assert_eq!(post.status, 405, "{post:?}");
}

#[tokio::test]
async fn readiness_sends_and_polls_through_the_node() {
    let server = Server::start(Options::default()).await;
    let metrics = server.metrics().await;
    assert!(metrics.has("bigroom_canary_seconds"), "readiness is what the canary measures");
    // Its room is the server's own: nobody else gets in, and it leaves nothing in rooms of others.
    server.call(Request::poll("_canary", "cursor=-1")).await.expect_problem(400, "invalid_room");
}
