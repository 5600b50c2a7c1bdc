//! The interval of a big room: normal messages wait for it, priority messages don't.

use std::time::{Duration, Instant};

use super::cursor_of;
use crate::harness::{Options, Request, Server, raise_fd_limit, texts};

/// From that many viewers on the default policy answers twice a second.
const VIEWERS: usize = 1_100;
const INTERVAL: Duration = Duration::from_millis(500);

#[tokio::test]
async fn big_rooms_interval_holds_normal_messages_only() {
    raise_fd_limit();
    let server = Server::start(Options::default()).await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        let mut conn = server.conn().await;
        conn.send(&Request::poll("r", "timeout_ms=30000")).await;
        viewers.push(conn);
    }
    server.await_parked(VIEWERS as f64).await;
    // The count of a second in which they came is of those who were there then.
    server.await_counted("r", VIEWERS as u64).await;

    // A round on a busy machine may take longer than the interval, and then shows nothing.
    for _ in 0..20 {
        let mut at = server.cursor_now("r").await;
        // Before: the interval begins when the first of all who wait is answered.
        let served = Instant::now();
        server.say("r", "first").await;
        let first = server.poll("r", &format!("cursor={at}")).await;
        assert_eq!((texts(&first["messages"]), &first["poll_after_ms"]), (vec!["first"], &500.into()));
        at = cursor_of(&first);
        server.say("r", "second").await;
        let held = server.poll("r", &format!("cursor={at}&timeout_ms=0")).await;
        if served.elapsed() > INTERVAL {
            continue;
        }
        assert!(texts(&held["messages"]).is_empty(), "the interval was not kept: {held}");
        assert!(held["poll_after_ms"].as_u64().is_some_and(|left| (1..=500).contains(&left)), "{held}");
        server.signal("r", "cuts through").await;
        let cut = server.poll("r", &format!("cursor={}&timeout_ms=30000", cursor_of(&held))).await;
        assert_eq!(texts(&cut["priority"]), ["cuts through"]);
        let mut seen: Vec<String> = texts(&cut["messages"]).into_iter().map(str::to_owned).collect();
        // The rest comes with the interval; if that was over when the priority message came, with it.
        if seen.is_empty() {
            let rest = server.poll("r", &format!("cursor={}&timeout_ms=30000", cursor_of(&cut))).await;
            assert!(served.elapsed() >= INTERVAL, "the interval was not kept: {rest}");
            seen.extend(texts(&rest["messages"]).into_iter().map(str::to_owned));
        }
        assert_eq!(seen, ["second"]);

        server.say("r", "third").await;
        let start = server.cursor_now("r").await;
        let served = Instant::now();
        server.say("r", "fourth").await;
        let fourth = server.poll("r", &format!("cursor={start}")).await;
        server.say("r", "fifth").await;
        let fifth = server.poll("r", &format!("cursor={}&timeout_ms=30000", cursor_of(&fourth))).await;
        assert_eq!((texts(&fourth["messages"]), texts(&fifth["messages"])), (vec!["fourth"], vec!["fifth"]));
        assert!(served.elapsed() >= INTERVAL, "the second answer came after {:?}", served.elapsed());
        return;
    }
    panic!("no round was faster than the interval");
}
