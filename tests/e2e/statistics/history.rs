//! A room's numbers over time, and what a crash leaves of them.

use serde_json::{Value, json};

use super::{LONG_WINDOW, await_counts, await_stats, leave, now_ms, parked, stats, stay, visit, window};
use crate::harness::{DEADLINE, Options, Request, Server, eventually};

async fn series(server: &Server, query: &str) -> Value {
    server.call(Request::get(format!("/v1/rooms/r/stats/history?{query}"))).await.expect_json(200)
}

fn points(series: &Value) -> &[Value] {
    series["points"].as_array().unwrap_or_else(|| panic!("no points in {series}"))
}

fn sum(series: &Value, key: &str) -> u64 {
    points(series).iter().map(|point| point[key].as_u64().expect("a count")).sum()
}

/// Waits until the series is as wanted: a point is there once its ten seconds are over.
async fn await_series(server: &Server, query: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(DEADLINE, what, || async {
        let series = series(server, query).await;
        if is_so(&series) { Ok(series) } else { Err(series.to_string()) }
    })
    .await
}

fn check_points(series: &Value, step_ms: u64) {
    let times: Vec<_> = points(series).iter().map(|point| point["t_ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times.iter().all(|t_ms| t_ms % step_ms == 0), "{series}");
    for point in points(series) {
        assert_eq!(point.as_object().unwrap().len(), 6, "{point}");
        let [min, avg, max] = ["min", "avg", "max"].map(|key| point[key].as_f64().expect("a number"));
        assert!(min <= avg && avg <= max, "{point}");
    }
}

#[tokio::test]
async fn room_that_nobody_was_in_has_no_points() {
    let server = Server::start(Options::default()).await;
    assert_eq!(series(&server, "").await, json!({ "step_s": 10, "points": [] }));
    assert_eq!(series(&server, "step_s=60").await, json!({ "step_s": 60, "points": [] }));
}

#[tokio::test]
async fn series_has_who_was_there_who_came_and_who_went() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let before_ms = now_ms();
    let _stays = parked(&server, &stay("r", "u1", "d")).await;
    let goes = parked(&server, &stay("r", "u2", "d")).await;
    await_counts(&server, "r", (2, 2)).await;
    drop(goes);
    await_counts(&server, "r", (1, 1)).await;
    let is_whole =
        |series: &Value| points(series).len() >= 2 && sum(series, "joins") == 2 && sum(series, "leaves") == 1;
    let tens = await_series(&server, "", "two points", is_whole).await;
    assert_eq!(tens["step_s"], 10);
    check_points(&tens, 10_000);
    assert!(points(&tens).iter().any(|point| point["max"] == 2), "{tens}");
    let minutes = await_series(&server, "step_s=60", "a minute", |series| {
        sum(series, "joins") == 2 && sum(series, "leaves") == 1
    })
    .await;
    assert_eq!(minutes["step_s"], 60);
    check_points(&minutes, 60_000);

    // From where it says, up to before where it says.
    let first_ms = points(&tens)[0]["t_ms"].as_u64().unwrap();
    assert!(first_ms + 10_000 > before_ms, "{tens}");
    let one = series(&server, &format!("from_ms={first_ms}&to_ms={}", first_ms + 10_000)).await;
    assert_eq!(points(&one).len(), 1, "{one}");
    assert_eq!(points(&one)[0]["t_ms"], first_ms);
    let none = series(&server, &format!("from_ms=0&to_ms={first_ms}&step_s=10")).await;
    assert_eq!(points(&none).len(), 0, "{none}");
    let none = series(&server, &format!("from_ms={first_ms}&to_ms={first_ms}")).await;
    assert_eq!(points(&none).len(), 0, "{none}");
}

#[tokio::test]
async fn bad_ranges_are_refused() {
    let server = Server::start(Options::default()).await;
    for query in [
        "from_ms=2&to_ms=1",
        "from_ms=99999999999999",
        "step_s=20",
        "step_s=",
        "step_s=010",
        "from_ms=-1",
        "to_ms=x",
        "to_ms=18446744073709551616",
        "from_ms=1&from_ms=1",
    ] {
        eprintln!("case: {query}");
        let refused = server.call(Request::get(format!("/v1/rooms/r/stats/history?{query}"))).await;
        refused.expect_problem(400, "invalid_parameter");
    }
    // The ends of time are no reason to fail.
    for query in
        ["from_ms=0&to_ms=18446744073709551615", "from_ms=18446744073709551615&to_ms=18446744073709551615"]
    {
        series(&server, &format!("{query}&step_s=10")).await;
        series(&server, &format!("{query}&step_s=60")).await;
    }
}

#[tokio::test]
async fn past_outlasts_a_crash() {
    let server = Server::start(window("5s")).await;
    let mut conn = server.conn().await;
    for at in 0..5 {
        conn.call(&visit("r", &format!("u{at}"))).await.expect(200);
    }
    let peak = await_counts(&server, "r", (5, 5)).await["peak_at_ms"].clone();
    conn.call(&leave("r", "user=u0")).await.expect(204);
    let _stays = parked(&server, &stay("r", "u4", "d")).await;
    // What is over for ten seconds was written: that happens every five.
    let before = await_series(&server, "", "three points", |series| points(series).len() >= 3).await;
    let known = &points(&before)[..points(&before).len() - 2];

    let server = server.kill9().start().await;
    let numbers = stats(&server, "r").await;
    let shown = |numbers: &Value| {
        let keys = ["peak_num_users", "peak_at_ms", "unique_viewers", "unique_viewers_total"];
        json!(keys.map(|key| numbers[key].clone()))
    };
    assert_eq!(shown(&numbers), json!([5, peak, 5, 5]), "{numbers}");
    let after = series(&server, "").await;
    assert!(points(&after).starts_with(known), "before {before}, after {after}");

    // Who comes back is no new viewer.
    for user in ["u1", "u5"] {
        server.call(visit("r", user)).await.expect(200);
    }
    let wanted = json!([5, peak, 6, 6]);
    await_stats(&server, "r", "one new viewer", |numbers| shown(numbers) == wanted).await;
    await_series(&server, "", "points from after the crash", |series| {
        points(series).starts_with(known) && points(series).len() > known.len() + 1
    })
    .await;
}

#[tokio::test]
async fn past_is_whole_after_a_stop_in_order() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let mut conn = server.conn().await;
    for at in 0..3 {
        conn.call(&visit("r", &format!("u{at}"))).await.expect(200);
    }
    let before = await_counts(&server, "r", (3, 3)).await;
    let known = series(&server, "").await;
    let server = server.stop().await.start().await;
    let after = stats(&server, "r").await;
    for key in ["peak_num_users", "peak_at_ms", "unique_viewers", "unique_viewers_total"] {
        assert_eq!(after[key], before[key], "{key}: {after}");
    }
    let again = series(&server, "").await;
    assert!(points(&again).len() >= points(&known).len(), "before {known}, after {again}");
    assert_eq!(sum(&again, "joins"), 3, "{again}");
}
