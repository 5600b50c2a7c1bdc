//! A node under load: each step of the pressure ladder, forced by the drill, as clients and operators see it.

use serde_json::{Value, json};

use crate::harness::{Conn, DEADLINE, Hourglass, Options, Request, Server, cursor, eventually, seqs, texts};

/// Longer than any test takes (seconds).
const LONG_S: u64 = 600;

/// Words of `room.degraded` by step.
const DEGRADED: [&[&str]; 5] = [
    &[],
    &["stats", "compression"],
    &["stats", "compression", "interval"],
    &["stats", "compression", "interval", "low", "normal"],
    &["stats", "compression", "interval", "low", "normal", "polls"],
];

async fn put_pressure(server: &Server, body: &Value) -> crate::harness::Answer {
    Conn::open(server.ops).await.call(&Request::new("PUT", "/pressure").json(body)).await
}

/// Forces a step, and sees that it holds.
async fn force(server: &Server, step: usize) {
    let told = put_pressure(server, &json!({ "step": step, "for_s": LONG_S })).await.expect_json(200);
    assert_eq!((&told["step"], &told["degraded"]), (&json!(step), &json!(DEGRADED[step])));
    assert_eq!(server.metric("bigroom_pressure_step", &[]).await, step as f64);
}

async fn text_batch(server: &Server, room: &str, count: usize, priority: &str) {
    let messages: Vec<_> =
        (0..count).map(|at| json!({ "text": format!("{at}"), "priority": priority })).collect();
    for messages in messages.chunks(100) {
        let results = server.batch(room, &json!(messages)).await;
        assert!(results.iter().all(|result| result["status"] == 201), "{results:?}");
    }
}

#[tokio::test]
async fn priority_is_delivered_at_once_at_every_step() {
    let server = Server::start(Options::default()).await;
    let mut at = server.cursor_now("a").await;
    // With a cursor, as at the last step nobody else is let in.
    let quiet = format!("cursor={}&{}", server.cursor_now("quiet").await, Hourglass::LASTS);
    for (step, degraded) in DEGRADED.iter().enumerate() {
        force(&server, step).await;
        // Served just now, so that it is held where there is an interval.
        server.say("a", "normal").await;
        let served = server.poll("a", &format!("cursor={at}")).await;
        assert_eq!(texts(&served["messages"]), ["normal"]);
        assert_eq!(served["room"]["degraded"], json!(degraded));
        assert_eq!(served["poll_after_ms"], json!(if step >= 2 { 500 } else { 0 }));
        let parked = server.park(Request::poll("a", &format!("cursor={}", cursor(&served)))).await;
        let mut hourglass = Hourglass::turn(&server, &Request::poll("quiet", &quiet)).await;
        server.signal("a", "priority").await;
        // The hold alone would end after 0.5 s, with nothing normal to give; the poll's time after 22.5 s.
        let answer = parked.answer().await;
        hourglass.expect_running("the priority message").await;
        assert_eq!(texts(&answer["priority"]), ["priority"]);
        at = cursor(&answer);
    }
    assert_eq!(server.metric("bigroom_priority_gap_total", &[]).await, 0.0);
}

#[tokio::test]
async fn step_1_leaves_statistics_and_compression_out() {
    let server = Server::start(Options::default()).await;
    server.say("a", &"x".repeat(4_000)).await;
    let poll = || Request::poll("a", "cursor=-1&user=u").header("Accept-Encoding", "gzip");
    eventually(DEADLINE, "statistics in an answer", || async {
        let answer = server.poll("a", "cursor=-1&user=u").await;
        if answer["stats"]["num_users"].as_u64() >= Some(1) { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    assert_eq!(server.call(poll()).await.expect(200).header("content-encoding"), Some("gzip"));
    force(&server, 1).await;
    let answer = server.call(poll()).await.expect(200);
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.json().get("stats"), None);
    force(&server, 0).await;
    let answer = server.call(poll()).await.expect(200);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn step_2_holds_small_rooms_too() {
    let server = Server::start(Options::default()).await;
    let at = server.cursor_now("a").await;
    force(&server, 2).await;
    server.say("a", "1").await;
    let served = server.poll("a", &format!("cursor={at}")).await;
    server.say("a", "2").await;
    let held = server.poll("a", &format!("cursor={}&timeout_ms=0", cursor(&served))).await;
    assert_eq!(held["messages"], json!([]), "the interval is 0.5 s");
    let then = server.poll("a", &format!("cursor={}", cursor(&served))).await;
    assert_eq!(texts(&then["messages"]), ["2"]);
}

#[tokio::test]
async fn step_3_refuses_low_messages_and_takes_others() {
    let server = Server::start(Options::default()).await;
    let low = json!({ "id": "low-1", "text": "low", "priority": "low" });
    force(&server, 2).await;
    server.sent("a", &json!({ "text": "low", "priority": "low" })).await;
    force(&server, 3).await;
    let refused = server.send("a", &low).await;
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait));
    refused.expect_problem(503, "node_full");
    let batch = json!([{ "text": "n" }, low, { "text": "h", "priority": "high" }]);
    let results = server.batch("a", &batch).await;
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 503, 201]);
    assert_eq!(results[1]["code"], "node_full");
    assert_eq!(server.metric("bigroom_refused_total", &[("code", "node_full")]).await, 2.0);
    // A refused send leaves its id free.
    force(&server, 0).await;
    server.sent("a", &low).await;
}

#[tokio::test]
async fn thinned_answers_and_gaps_add_up_to_what_was_sent() {
    let server = Server::start(Options::default()).await;
    let at = server.cursor_now("a").await;
    force(&server, 3).await;
    text_batch(&server, "a", 120, "normal").await;
    text_batch(&server, "a", 60, "high").await;
    let answer = server.poll("a", &format!("cursor={at}&limit=1000")).await;
    assert_eq!(seqs(&answer["priority"]), (1..=60).collect::<Vec<_>>());
    assert_eq!(seqs(&answer["messages"]), (71..=120).collect::<Vec<_>>());
    let gap = &answer["gap"];
    assert_eq!((&gap["normal"], &gap["first_seq"], &gap["reason"]), (&json!(70), &json!(1), &json!("shed")));
    assert_eq!((&gap["priority"], &answer["up_to_date"]), (&json!(0), &json!(true)));
    assert_eq!(server.metric("bigroom_messages_skipped_total", &[("reason", "shed")]).await, 70.0);
    // One who asks for the last 100 is told about those that it does not get.
    let tail = server.poll("a", "cursor=now&tail=100&limit=1000").await;
    assert_eq!((seqs(&tail["messages"]).len(), &tail["gap"]["normal"]), (50, &json!(50)));
    force(&server, 2).await;
    let whole = server.poll("a", &format!("cursor={at}&limit=1000")).await;
    assert_eq!((seqs(&whole["messages"]).len(), whole.get("gap")), (120, None));
}

#[tokio::test]
async fn step_4_refuses_new_pollers_while_others_go_on() {
    let server = Server::start(Options::default()).await;
    let at = server.cursor_now("a").await;
    let parked = server.park(Request::poll("a", &format!("cursor={at}"))).await;
    force(&server, 4).await;
    for query in ["", "cursor=now", "cursor=-1", "cursor=now&tail=5", "timeout_ms=0"] {
        let refused = server.call(Request::poll("a", query)).await;
        assert!((1..=5).contains(&refused.header("retry-after").unwrap().parse::<u64>().unwrap()));
        refused.expect_problem(503, "node_full");
    }
    let several = server.call(Request::get(format!("/v1/poll?rooms=a:{at},b:now&timeout_ms=0"))).await;
    let several = several.expect_json(200);
    assert_eq!(several["rooms"]["b"]["code"], "node_full");
    server.say("a", "still here").await;
    let answer = parked.answer().await;
    assert_eq!(texts(&answer["messages"]), ["still here"]);
    let next = server.park(Request::poll("a", &format!("cursor={}", cursor(&answer)))).await;
    server.signal("a", "and now").await;
    assert_eq!(texts(&next.answer().await["priority"]), ["and now"]);
}

#[tokio::test]
async fn drill_ends_by_itself_and_by_word() {
    let server = Server::start(Options::default()).await;
    put_pressure(&server, &json!({ "step": 2, "for_s": 1 })).await.expect(200);
    eventually(DEADLINE, "the end of the drill", || async {
        let step = server.metric("bigroom_pressure_step", &[]).await;
        if step == 0.0 { Ok(()) } else { Err(step.to_string()) }
    })
    .await;
    let told = put_pressure(&server, &json!({ "step": 4, "for_s": 60 })).await.expect_json(200);
    assert!(told["forced_until_ms"].is_u64(), "{told}");
    let told = put_pressure(&server, &json!({ "step": null })).await.expect_json(200);
    assert_eq!((&told["step"], &told["forced_until_ms"]), (&json!(0), &Value::Null));
    assert_eq!(server.ops_get("/pressure").await.expect_json(200)["step"], 0);
    for (body, code) in [
        (json!({ "step": 5, "for_s": 60 }), "invalid_message"),
        (json!({ "step": 1, "for_s": 3_601 }), "invalid_message"),
        (json!({ "stepp": 1, "for_s": 60 }), "invalid_json"),
    ] {
        let refusal = put_pressure(&server, &body).await.expect(400).json();
        assert!(
            refusal["code"] == code && refusal["detail"].as_str().unwrap().contains("for_s"),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn command_shows_and_forces_the_step() {
    let server = Server::start(Options::default()).await;
    let ops = server.ops.to_string();
    let pressure = |args: &'static [&'static str]| {
        let ops = ops.clone();
        tokio::task::spawn_blocking(move || {
            std::process::Command::new(env!("CARGO_BIN_EXE_bigroom"))
                .args(["pressure", "--ops", &ops])
                .args(args)
                .output()
                .unwrap()
        })
    };
    let shown = |output: std::process::Output| {
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let told = shown(pressure(&[]).await.unwrap());
    assert_eq!((&told["step"], &told["forced_until_ms"]), (&json!(0), &Value::Null));
    assert!(told["load_factor"].is_f64() && told["lag_ms"].is_f64() && told["cpu"].is_f64(), "{told}");
    assert_eq!(shown(pressure(&["--step", "3", "--for", "60s"]).await.unwrap())["step"], 3);
    assert_eq!(server.metric("bigroom_pressure_step", &[]).await, 3.0);
    assert_eq!(shown(pressure(&["--step", "none"]).await.unwrap())["step"], 0);
    server.stop().await;
    let output = pressure(&[]).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&ops), "{output:?}");
}

#[tokio::test]
async fn ladder_that_is_on_leaves_a_node_at_rest_alone() {
    let server = Server::start(Options::default().env("BIGROOM_PRESSURE__ENABLED", "true")).await;
    eventually(DEADLINE, "a few looks at the load", || async {
        let looks = server.metric("bigroom_event_loop_lag_seconds_count", &[]).await;
        if looks >= 4.0 { Ok(()) } else { Err(looks.to_string()) }
    })
    .await;
    let standing = server.ops_get("/pressure").await.expect_json(200);
    assert_eq!((&standing["automatic"], &standing["step"]), (&json!(true), &json!(0)));
}
