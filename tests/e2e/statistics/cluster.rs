//! Statsvrs as processes of their own: counts of several servers, and none lost with a statsvr.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    as_of_ms, await_counts, await_stats, counts, leave, now_ms, parked, stats, stay, users, viewers, visit,
    window,
};
use crate::harness::{
    Conn, DEADLINE, Options, Request, Server, config, cursor, data_dir, eventually, free_addr, spawn_refused,
};

const WINDOW: &str = "3s";
const WINDOW_MS: u64 = 3_000;

fn list(nodes: &[SocketAddr]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn statsvr(own: SocketAddr, nodes: &[SocketAddr]) -> Options {
    window(WINDOW).statsvr().args(&["--listen", &own.to_string(), "--nodes", &list(nodes)])
}

fn serve(nodes: &[SocketAddr]) -> Options {
    window(WINDOW).env("BIGROOM_STATS__NODES", &list(nodes))
}

/// A server that has found its statsvrs.
async fn server(nodes: &[SocketAddr]) -> Server {
    let server = Server::start(serve(nodes)).await;
    await_answer(&server, "r", |_| true).await;
    server
}

/// Waits until statsvrs, which may not be there yet, give numbers as wanted.
async fn await_answer(server: &Server, room: &str, is_so: impl Fn(&Value) -> bool) {
    eventually(DEADLINE, "the numbers of a statsvr", || async {
        let answer = server.call(Request::get(format!("/v1/rooms/{room}/stats"))).await;
        if answer.status == 200 && is_so(&answer.json()) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

/// Two statsvrs, each with a data directory of its own.
async fn two_statsvrs() -> ([SocketAddr; 2], [Server; 2]) {
    let nodes = [free_addr(), free_addr()];
    let [first, second] = nodes.map(|own| Server::start(statsvr(own, &nodes)));
    let statsvrs = tokio::join!(first, second);
    (nodes, [statsvrs.0, statsvrs.1])
}

#[tokio::test]
async fn servers_of_a_cluster_show_one_count() {
    let (nodes, _statsvrs) = two_statsvrs().await;
    let (a, b) = tokio::join!(server(&nodes), server(&nodes));
    let _polls = [
        parked(&a, &stay("r", "u1", "phone")).await,
        parked(&b, &stay("r", "u1", "desk")).await,
        parked(&a, &stay("r", "u2", "d")).await,
        parked(&b, &stay("r", "u3", "d")).await,
        parked(&b, &stay("only-b", "u3", "d")).await,
    ];
    for server in [&a, &b] {
        let numbers = await_counts(server, "r", (3, 4)).await;
        assert_eq!((&numbers["unique_viewers"], &numbers["peak_num_users"]), (&json!(3), &json!(3)));
        await_stats(server, "r", "counts that are exact", |numbers| numbers["exact"] == true).await;
        assert_eq!(counts(&stats(server, "r").await), (3, 4));
        assert_eq!(users(&viewers(server, "r", "").await), ["u1", "u2", "u3"]);
        let viewer = server.call(Request::get("/v1/rooms/r/viewers/u1")).await.expect_json(200);
        assert_eq!((&viewer["online"], &viewer["num_clients"]), (&json!(true), &json!(2)));
        eventually(DEADLINE, "totals", || async {
            let all = server.call(Request::get("/v1/stats")).await.expect_json(200);
            if counts(&all) == (4, 5) { Ok(()) } else { Err(all.to_string()) }
        })
        .await;
        eventually(DEADLINE, "the gauge", || async {
            let online = server.metric("bigroom_online_users", &[("sect", "default")]).await;
            if online == 4.0 { Ok(()) } else { Err(online.to_string()) }
        })
        .await;
    }
    a.call(leave("r", "user=u2&device=d")).await.expect(204);
    b.call(leave("r", "user=u1&device=desk")).await.expect(204);
    for server in [&a, &b] {
        await_counts(server, "r", (2, 2)).await;
    }

    let poll = async |from: &str| {
        let poll = Request::poll("signals", &format!("user=u1&cursor={from}&timeout_ms=0"));
        cursor(&a.call(poll).await.expect_json(200))
    };
    let from = poll("now").await;
    let signal = Request::post("/v1/rooms/signals/messages?user=u1");
    a.call(signal.json(&json!({ "text": "x", "priority": "high" }))).await.expect(201);
    let from = poll(&from).await;
    eventually(DEADLINE, "the reach of a signal", || async {
        poll(&from).await;
        let shown = a.call(Request::get("/v1/rooms/signals/signals/1/reach")).await.expect_json(200);
        if (&shown["num_users"], &shown["reached"]) == (&json!(1), &json!(1)) {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    })
    .await;
}

/// Polls again and again, as a page does that stays open.
async fn watch(addr: SocketAddr, user: usize) {
    let mut conn = Conn::open(addr).await;
    let mut from = "now".to_owned();
    loop {
        let poll = Request::poll("r", &format!("user=u{user}&device=d&cursor={from}&timeout_ms=30000"));
        from = cursor(&conn.call(&poll).await.expect_json(200));
    }
}

/// Looks five times a second until the numbers are from `until_ms` at least: nobody may be missing in any of them.
async fn sample(server: &Server, what: &str, viewers: u64, until_ms: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut looks = tokio::time::interval(Duration::from_millis(200));
    let give_up_ms = until_ms + DEADLINE.as_millis() as u64;
    loop {
        looks.tick().await;
        let numbers = stats(server, "r").await;
        let (num_users, _) = counts(&numbers);
        seen.push(num_users);
        assert!(
            num_users.abs_diff(viewers) * 100 <= viewers,
            "{what}: {num_users} of {viewers} at {} ms before the end: {numbers}\n{seen:?}",
            until_ms.saturating_sub(now_ms())
        );
        assert_eq!(numbers["unique_viewers"], viewers, "{what}: {numbers}");
        if as_of_ms(&numbers) >= until_ms {
            return seen;
        }
        assert!(now_ms() < give_up_ms, "{what}: the numbers grow old: {numbers}");
    }
}

/// Checks that the last ten minutes have no hole between `from_ms` and `to_ms`, and everybody in each of their points.
async fn check_series(server: &Server, viewers: u64, (from_ms, to_ms): (u64, u64)) {
    let series = server.call(Request::get("/v1/rooms/r/stats/history")).await.expect_json(200);
    let points = series["points"].as_array().expect("points");
    let whole: Vec<&Value> = points
        .iter()
        .filter(|point| {
            let t_ms = point["t_ms"].as_u64().expect("a time");
            t_ms >= from_ms && t_ms + 10_000 <= to_ms
        })
        .collect();
    let first = from_ms.next_multiple_of(10_000);
    let expect: Vec<_> = (first..).step_by(10_000).take_while(|t_ms| t_ms + 10_000 <= to_ms).collect();
    let times: Vec<_> = whole.iter().map(|point| point["t_ms"].as_u64().unwrap()).collect();
    assert_eq!(times, expect, "a hole in {series}");
    for point in whole {
        let off = |key: &str| point[key].as_f64().expect("a number") - viewers as f64;
        assert!(["min", "avg", "max"].iter().all(|key| off(key).abs() * 100.0 <= viewers as f64), "{point}");
    }
}

#[tokio::test]
async fn killed_statsvr_takes_nobody_with_it() {
    const VIEWERS: usize = 300;
    let (nodes, [first, second]) = two_statsvrs().await;
    let server = server(&nodes).await;
    let mut watching = JoinSet::new();
    for user in 0..VIEWERS {
        watching.spawn(watch(server.addr, user));
    }
    server.await_parked(VIEWERS as f64).await;
    let viewers = VIEWERS as u64;
    let warm = await_stats(&server, "r", "all viewers, and exactly", |numbers| {
        counts(numbers) == (viewers, viewers) && numbers["exact"] == true
    })
    .await;
    let warm_ms = as_of_ms(&warm) + 1_000;

    // One of them adds the room up, the other one is the second: each is killed once.
    let (mut first, mut second) = (first, second);
    for round in ["first", "second"] {
        let stopped = first.kill9();
        sample(&server, &format!("{round} killed"), viewers, now_ms() + 8_000).await;
        first = stopped.start().await;
        // A node speaks for a room when it has been there for a window.
        let back_ms = now_ms() + 2 * WINDOW_MS + 4_000;
        sample(&server, &format!("{round} started again"), viewers, back_ms).await;
        await_stats(&server, "r", "exact counts", |numbers| numbers["exact"] == true).await;
        std::mem::swap(&mut first, &mut second);
    }
    check_series(&server, viewers, (warm_ms, now_ms() - 2_000)).await;
    let numbers = stats(&server, "r").await;
    assert_eq!(
        (&numbers["peak_num_users"], &numbers["unique_viewers_total"]),
        (&viewers.into(), &viewers.into())
    );
    watching.shutdown().await;
    await_counts(&server, "r", (0, 0)).await;
}

#[tokio::test]
async fn server_serves_on_without_statsvrs_and_counts_once_they_come() {
    let nodes = [free_addr(), free_addr()];
    let server = Server::start(serve(&nodes)).await;
    let waiting = server.park(stay("r", "u1", "d")).await;
    let send =
        || Request::post("/v1/rooms/r/messages?user=u2").json(&json!({ "text": "x", "priority": "high" }));
    server.call(send()).await.expect(201);
    let answer = waiting.answer().await;
    assert!(answer.get("stats").is_none(), "{answer}");
    for path in ["stats", "stats/history", "viewers", "viewers/u1", "signals/1/reach"] {
        eprintln!("case: {path}");
        let refused = server.call(Request::get(format!("/v1/rooms/r/{path}"))).await;
        refused.expect_problem(503, "log_unavailable");
    }
    server.call(leave("r", "user=u3")).await.expect(204);

    let _poll = parked(&server, &stay("r", "u1", "d")).await;
    let statsvr = Server::start(statsvr(nodes[0], &nodes)).await;
    await_answer(&server, "r", |numbers| counts(numbers) == (1, 1)).await;
    // Who sent before the statsvr was there may come to be known after the others, until the window is over.
    eventually(DEADLINE, "the one viewer who is left", || async {
        let page = viewers(&server, "r", "").await;
        if users(&page) == ["u1"] { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
    drop(statsvr);
}

#[tokio::test]
async fn statsvr_keeps_its_past_in_its_own_data_directory() {
    let nodes = [free_addr(), free_addr()];
    let nodes = &nodes[..1];
    let statsvr = Server::start(statsvr(nodes[0], nodes)).await;
    let server = server(nodes).await;
    for user in ["u1", "u2"] {
        server.call(visit("r", user)).await.expect(200);
    }
    await_stats(&server, "r", "two viewers", |numbers| numbers["unique_viewers"] == 2).await;
    let stopped = statsvr.stop().await;
    let statsvr = stopped.start().await;
    await_answer(&server, "r", |numbers| {
        (&numbers["unique_viewers"], &numbers["peak_num_users"]) == (&json!(2), &json!(2))
    })
    .await;
    drop(statsvr);
}

#[tokio::test]
async fn statsvr_serves_its_operator_and_stops_in_order() {
    let nodes = [free_addr(), free_addr()];
    let statsvr = Server::start(statsvr(nodes[0], &nodes)).await;
    assert_eq!(statsvr.addr, nodes[0]);
    let server = server(&nodes).await;
    let _poll = parked(&server, &stay("r", "u1", "d")).await;
    await_counts(&server, "r", (1, 1)).await;
    for path in ["/readyz", "/healthz"] {
        statsvr.ops_get(path).await.expect(200);
    }
    let metrics = statsvr.metrics().await;
    for name in ["bigroom_heartbeats_total", "bigroom_statsvr_rooms", "bigroom_statsvr_window_bytes"] {
        assert!(metrics.sum(name, &[]) > 0.0, "no {name}");
    }
    assert_eq!(metrics.sum("bigroom_online_users", &[("sect", "default")]), 1.0);
    assert!(metrics.has("process_resident_memory_bytes"));
    // Streams to others that are open don't hold it up.
    statsvr.stop().await;
}

/// A refusal is one sentence on stderr that names what it is about.
async fn check_refused(options: Options, parts: &[&str]) {
    let refusal = spawn_refused(options).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    let lines: Vec<_> = refusal.stderr.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "not one line: {}", refusal.stderr);
    assert!(parts.iter().all(|part| lines[0].contains(part)), "{parts:?} are not all in {lines:?}");
}

#[tokio::test]
async fn statsvr_that_can_not_work_does_not_start() {
    let nodes = [free_addr(), free_addr()];
    let own = nodes[0].to_string();
    check_refused(statsvr(nodes[0], &nodes[1..]), &["stats.nodes", &own]).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap(), taken);
    check_refused(statsvr(taken.0, &[taken.0]), &["stats.listen", &taken.0.to_string()]).await;
    let ops = statsvr(nodes[0], &nodes).args(&["--ops-listen", &taken.0.to_string()]);
    check_refused(ops, &["ops_listen", &taken.0.to_string()]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    check_refused(statsvr(nodes[0], &nodes).args(&["--data-dir", path]), &[path]).await;

    let statsvr = Server::start(config("").statsvr().args(&["--listen", "127.0.0.1:0"])).await;
    let dir = data_dir(&statsvr).join("data");
    let dir = dir.to_str().unwrap();
    let other = config("").statsvr().args(&["--listen", "127.0.0.1:0", "--data-dir", dir]);
    check_refused(other, &[dir]).await;
}
