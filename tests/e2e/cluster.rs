//! Many nodes: what holds for one server holds for a cluster, also while its nodes come and go.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Cluster, Conn, DEADLINE, Options, Request, Server, cursor, eventually, seqs, within};

/// Follows a room by polls on keep-alive connections, and through proxies that go, until it has the last priority message.
async fn read_all(proxies: Vec<std::net::SocketAddr>, room: &str, last: u64) -> (Vec<u64>, Vec<u64>, u64) {
    let (mut priority, mut normal, mut gap) = (Vec::new(), Vec::new(), 0);
    let mut at = "-1".to_owned();
    let mut turn = 0;
    let mut conn: Option<Conn> = None;
    while priority.last() != Some(&last) {
        let mut open = match conn.take() {
            Some(open) => open,
            None => {
                turn += 1;
                Conn::open(proxies[turn % proxies.len()]).await
            }
        };
        let request = Request::get(format!("/v1/rooms/{room}/messages?cursor={at}&timeout_ms=2000"));
        let Some(answer) = open.try_call(&request).await else { continue };
        if answer.status == 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let answer = answer.expect_json(200);
        priority.extend(seqs(&answer["priority"]));
        normal.extend(seqs(&answer["messages"]));
        gap += answer["gap"]["normal"].as_u64().unwrap_or(0);
        at = cursor(&answer);
        conn = Some(open);
    }
    (priority, normal, gap)
}

#[tokio::test]
async fn message_crosses_the_cluster() {
    let cluster = Cluster::start(Options::default(), &["default"], 2).await;
    let (here, there) = (&cluster.proxies[0], &cluster.proxies[1]);
    let waiting = there.park(Request::poll("r", "cursor=now")).await;
    let sent = here.signal("r", "hello").await;
    let answer = within(DEADLINE, "the message", waiting.answer()).await;
    assert_eq!(answer["priority"][0]["text"], "hello");
    assert_eq!(answer["epoch"], sent["epoch"]);
    for at in 0..3 {
        here.say("r", &format!("{at}")).await;
    }
    // What one proxy has acknowledged is on its way to the others.
    let caught_up = eventually(DEADLINE, "the other proxy has all three", || async {
        let read = there.call(Request::get("/v1/rooms/r/messages?cursor=-1")).await.expect_json(200);
        if seqs(&read["messages"]) == [1, 2, 3] { Ok(read) } else { Err(read.to_string()) }
    })
    .await;
    assert_eq!(seqs(&caught_up["priority"]), [1]);
    let history = there.call(Request::get("/v1/rooms/r/history")).await.expect_json(200);
    assert_eq!(seqs(&history["messages"]), [1, 2, 3]);
    // Settings reach every proxy, and a closed room answers who waits.
    let waiting = there.park(Request::poll("r", &format!("cursor={}", cursor(&caught_up)))).await;
    here.call(Request::new("DELETE", "/v1/rooms/r")).await.expect(204);
    assert_eq!(within(DEADLINE, "the end", waiting.answer()).await["room"]["state"], "closed");
    assert_eq!(there.send("r", &json!({ "text": "x" })).await.status, 409);
}

#[tokio::test]
async fn crowd_of_a_room_costs_one_follower_and_no_request() {
    const POLLS: usize = 300;
    let cluster = Cluster::start(Options::default(), &["default"], 1).await;
    let proxy = &cluster.proxies[0];
    proxy.say("r", "first").await;
    let start = proxy.call(Request::get("/v1/rooms/r/messages?cursor=-1")).await.expect_json(200);
    let mut waiting = Vec::new();
    for _ in 0..POLLS {
        waiting.push(proxy.park(Request::poll("r", &format!("cursor={}", cursor(&start)))).await);
    }
    let before = proxy.metrics().await;
    let mut answers = JoinSet::new();
    for parked in waiting {
        answers.spawn(parked.answer());
    }
    proxy.say("r", "second").await;
    for answer in within(DEADLINE, "all answers", answers.join_all()).await {
        assert_eq!(seqs(&answer["messages"]), [2]);
    }
    let after = proxy.metrics().await;
    let grown = |name: &str| after.sum(name, &[]) - before.sum(name, &[]);
    assert_eq!(grown("bigroom_upstream_requests_total"), 0.0);
    assert_eq!(grown("bigroom_answers_encoded_total"), 1.0);
    // The room is followed by one node: the proxy, whatever the number of its clients.
    assert_eq!(cluster.followed_rooms(0).await, 2.0, "the room, and the room of the proxy's canary");
}

/// Sends `count` messages to each list through the proxies in turn, with ids: again, until each is taken.
async fn send_all(proxies: Vec<std::net::SocketAddr>, room: &'static str, count: u64) {
    for at in 0..count {
        for priority in ["high", "normal"] {
            let message = json!({ "id": format!("{priority}-{at}"), "text": "x", "priority": priority });
            eventually(DEADLINE, "the send", || async {
                let mut conn = Conn::open(proxies[at as usize % proxies.len()]).await;
                match conn.try_call(&Request::send(room, &message)).await {
                    Some(answer) if matches!(answer.status, 200 | 201) => Ok(()),
                    answer => Err(format!("{answer:?}")),
                }
            })
            .await;
        }
    }
}

fn addrs(cluster: &Cluster) -> Vec<std::net::SocketAddr> {
    cluster.proxies.iter().map(|proxy| proxy.addr).collect()
}

/// Has readers follow a room to its end, through all proxies, while `harm` is done.
async fn nothing_is_lost(cluster: &mut Cluster, harm: impl AsyncFnOnce(&mut Cluster)) {
    const MESSAGES: u64 = 400;
    const READERS: usize = 12;
    let mut readers = JoinSet::new();
    for at in 0..READERS {
        let mut proxies = addrs(cluster);
        proxies.rotate_left(at % cluster.proxies.len());
        readers.spawn(async move { read_all(proxies, "r", MESSAGES).await });
    }
    let sending = tokio::spawn(send_all(addrs(cluster), "r", MESSAGES));
    harm(cluster).await;
    within(DEADLINE * 2, "the sends", sending).await.unwrap();
    for (priority, normal, gap) in within(DEADLINE * 2, "the readers", readers.join_all()).await {
        assert_eq!(priority, (1..=MESSAGES).collect::<Vec<_>>(), "every priority message once, in order");
        assert!(normal.windows(2).all(|pair| pair[0] < pair[1]), "{normal:?}");
        // The reader ends with the last priority message: normal ones behind it may be still to come.
        assert_eq!(normal.last().copied().unwrap_or(0), normal.len() as u64 + gap);
    }
    for proxy in &cluster.proxies {
        assert_eq!(proxy.metric("bigroom_priority_gap_total", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn killed_recvsvrs_cost_nobody_a_message() {
    let mut cluster = Cluster::start(Options::default(), &["default", "default"], 2).await;
    nothing_is_lost(&mut cluster, async |cluster| {
        for _ in 0..3 {
            let at = cluster.recvsvr_of_rooms().await;
            let gone = cluster.recvsvrs.remove(at);
            drop(gone.kill9());
            let new = cluster.recvsvr("default").await;
            cluster.recvsvrs.push(new);
        }
    })
    .await;
}

#[tokio::test]
async fn drained_recvsvr_is_left_by_its_rooms_and_no_client_notices() {
    let mut cluster = Cluster::start(Options::default(), &["default", "default"], 1).await;
    let now = Request::poll("r", &format!("cursor={}", cluster.proxies[0].cursor_now("r").await));
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(cluster.proxies[0].park(now.clone()).await);
    }
    let at = cluster.recvsvr_of_rooms().await;
    let drained = cluster.recvsvrs.remove(at);
    drained.stop().await;
    let after = cluster.proxies[0].metrics().await;
    assert_eq!(after.sum("bigroom_parked_polls", &[]), 100.0, "all of them wait still");
    assert_eq!(after.sum("bigroom_upstream_link_failures_total", &[]), 1.0, "the node ended its stream");
    cluster.proxies[0].say("r", "x").await;
    for parked in waiting {
        assert_eq!(seqs(&within(DEADLINE, "the answer", parked.answer()).await["messages"]), [1]);
    }
}

#[tokio::test]
async fn sendsvr_that_crashes_loses_nothing_and_readers_wait_on() {
    let mut cluster = Cluster::start(Options::default(), &["default"], 1).await;
    nothing_is_lost(&mut cluster, async |cluster| {
        for _ in 0..2 {
            let stopped = cluster.sendsvr.take().unwrap().kill9();
            cluster.sendsvr = Some(stopped.start().await);
        }
    })
    .await;
}

#[tokio::test]
async fn proxy_that_is_replaced_costs_its_clients_one_retry() {
    let mut cluster = Cluster::start(Options::default(), &["default"], 2).await;
    nothing_is_lost(&mut cluster, async |cluster| {
        // Its clients come back to the other one with the cursors that they have.
        let other = &cluster.proxies[1];
        let read = other.call(Request::get("/v1/rooms/r/messages?cursor=-1")).await.expect_json(200);
        assert!(read["next_cursor"].is_string());
    })
    .await;
    let gone = cluster.proxies.remove(0);
    let start = gone.call(Request::get("/v1/rooms/r/messages?cursor=now&tail=1")).await.expect_json(200);
    drop(gone.kill9());
    let path = format!("/v1/rooms/r/messages?cursor={}&timeout_ms=0", cursor(&start));
    let answer = cluster.proxies[0].call(Request::get(path)).await.expect_json(200);
    assert!(answer.get("gap").is_none(), "{answer}");
}

#[tokio::test]
async fn clients_of_two_proxies_are_counted_once() {
    let cluster = Cluster::start(Options::default(), &["default"], 2).await;
    let path = "/v1/rooms/r/messages?user=u1&device=";
    let _polls = [
        cluster.proxies[0].park(Request::get(format!("{path}phone"))).await,
        cluster.proxies[1].park(Request::get(format!("{path}desk"))).await,
    ];
    eventually(DEADLINE, "one user on two devices", || async {
        let answer = cluster.proxies[1].call(Request::get("/v1/rooms/r/stats")).await;
        let numbers: Value = if answer.status == 200 { answer.json() } else { Value::Null };
        let is_so = numbers["num_users"] == 1 && numbers["num_clients"] == 2;
        if is_so { Ok(()) } else { Err(format!("{numbers}")) }
    })
    .await;
}

#[tokio::test]
async fn recvsvr_of_an_unknown_sect_says_so_and_is_not_ready() {
    let cluster = Cluster::start(Options::default(), &["default"], 0).await;
    let sendsvr = cluster.sendsvr.as_ref().unwrap().addr.to_string();
    let options = Options::default().role(crate::harness::Role::Recvsvr);
    let options = options.args(&["--sendsvr", &sendsvr, "--sect", "nowhere"]);
    let stray = Server::start_unready(options).await;
    eventually(DEADLINE, "a sentence in the log", || {
        let log = stray.log();
        std::future::ready(if log.contains("the sendsvr's sect table has default") {
            Ok(())
        } else {
            Err(log)
        })
    })
    .await;
    assert_eq!(stray.ops_get("/readyz").await.status, 503);
}
