//! A cluster's two proxies behind nginx and behind HAProxy: clients notice of neither more than the contract allows.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinSet};

use crate::harness::{
    Balancer, Cluster, Conn, DEADLINE, Kind, Options, Request, Upstreams, cursor, eventually, seqs, within,
};

/// Each case behind each balancer.
macro_rules! behind_each {
    ($($case:ident),* $(,)?) => {
        mod nginx {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Nginx).await })*
        }
        mod haproxy {
            $(#[tokio::test] async fn $case() { super::$case(super::Kind::Haproxy).await })*
        }
    };
}

behind_each!(
    held_poll_gets_its_message_and_keeps_its_connection,
    each_event_comes_before_the_next_message_is_sent,
    client_that_leaves_gives_its_place_back,
    limit_of_an_address_is_that_of_the_client,
    proxies_limit_each_client_by_its_own_address,
    users_of_shared_connections_are_told_apart,
    killed_proxy_costs_a_retry_and_no_message,
    held_polls_of_a_killed_proxy_go_on_at_the_other,
    polls_of_a_drained_proxy_go_on_at_the_other,
);

async fn cluster() -> Cluster {
    Cluster::start(Options::default(), &["default"], 2).await
}

fn upstreams(cluster: &Cluster) -> Upstreams {
    let [one, two] = &cluster.proxies[..] else { panic!("two proxies") };
    [(one.addr, one.ops), (two.addr, two.ops)]
}

async fn before(kind: Kind, cluster: &Cluster) -> Balancer {
    Balancer::start(kind, upstreams(cluster)).await
}

/// Polls parked on each of the proxies.
async fn parked(cluster: &Cluster) -> Vec<f64> {
    let mut parked = Vec::new();
    for proxy in &cluster.proxies {
        parked.push(proxy.metric("bigroom_parked_polls", &[]).await);
    }
    parked
}

async fn await_parked(cluster: &Cluster, count: f64) {
    eventually(DEADLINE, "parked polls", || async {
        let parked = parked(cluster).await;
        if parked.iter().sum::<f64>() == count { Ok(()) } else { Err(format!("{parked:?}, not {count}")) }
    })
    .await;
}

async fn say(balancer: &Balancer, room: &str, text: &str) -> Value {
    balancer.conn().await.call(&Request::send(room, &json!({ "text": text }))).await.expect_json(201)
}

/// Clients that wait for a message in a room.
async fn hold_polls(cluster: &Cluster, balancer: &Balancer, room: &str, count: u8) -> Vec<Conn> {
    let mut conns = Vec::new();
    for _ in 0..count {
        let mut conn = balancer.conn().await;
        let at = now(&mut conn, room).await;
        conn.send(&Request::poll(room, &format!("cursor={at}&timeout_ms=30000"))).await;
        conns.push(conn);
    }
    await_parked(cluster, f64::from(count)).await;
    conns
}

/// The cursor of the present.
async fn now(conn: &mut Conn, room: &str) -> String {
    cursor(&conn.call(&Request::poll(room, "cursor=now&timeout_ms=0")).await.expect_json(200))
}

async fn held_poll_gets_its_message_and_keeps_its_connection(kind: Kind) {
    let cluster = cluster().await;
    let balancer = before(kind, &cluster).await;
    let mut conn = balancer.conn().await;
    let mut at = now(&mut conn, "r").await;
    for seq in 1..=3 {
        conn.send(&Request::poll("r", &format!("cursor={at}&timeout_ms=30000"))).await;
        await_parked(&cluster, 1.0).await;
        say(&balancer, "r", "x").await;
        let answer = within(DEADLINE, "the message", conn.answer()).await;
        assert_eq!(answer.version, "HTTP/1.1");
        assert!(!answer.header_list("connection").contains(&"close".to_owned()), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let answer = answer.expect_json(200);
        assert_eq!(seqs(&answer["messages"]), [seq]);
        at = cursor(&answer);
    }
}

async fn each_event_comes_before_the_next_message_is_sent(kind: Kind) {
    let cluster = cluster().await;
    let balancer = before(kind, &cluster).await;
    let mut conn = balancer.conn().await;
    let at = now(&mut conn, "r").await;
    let request = Request::poll("r", &format!("cursor={at}")).header("Accept", "text/event-stream");
    conn.send(&request).await;
    assert_eq!(conn.head().await.expect("an answer").status, 200);
    for text in ["first", "second", "third"] {
        say(&balancer, "r", text).await;
        let mut read = String::new();
        while !read.contains(text) {
            let chunk = within(DEADLINE, "the event", conn.chunk()).await.expect("a chunk");
            read += std::str::from_utf8(&chunk.expect("the stream goes on")).unwrap();
        }
    }
}

async fn client_that_leaves_gives_its_place_back(kind: Kind) {
    let cluster = cluster().await;
    let balancer = before(kind, &cluster).await;
    let mut conn = balancer.conn().await;
    conn.send(&Request::poll("r", "timeout_ms=30000")).await;
    await_parked(&cluster, 1.0).await;
    drop(conn);
    eventually(DEADLINE, "the poll's end", || async {
        let mut gone = 0.0;
        for proxy in &cluster.proxies {
            gone += proxy.metric("bigroom_polls_total", &[("outcome", "gone")]).await;
        }
        if gone == 1.0 { Ok(()) } else { Err(format!("{gone} polls were left")) }
    })
    .await;
}

async fn limit_of_an_address_is_that_of_the_client(kind: Kind) {
    let cluster = cluster().await;
    let balancer = Balancer::start_limited(kind, upstreams(&cluster), "2").await;
    let poll = Request::poll("r", "timeout_ms=30000");
    let mut held = Vec::new();
    for count in 1..=2 {
        let mut conn = Conn::open_from([127, 0, 0, 2].into(), balancer.addr).await;
        conn.send(&poll).await;
        await_parked(&cluster, f64::from(count)).await;
        held.push(conn);
    }
    let mut third = Conn::open_from([127, 0, 0, 2].into(), balancer.addr).await;
    let refusal = third.call(&poll).await.expect(429);
    assert_eq!(refusal.header("content-type"), Some("application/problem+json"));
    assert_eq!(refusal.header("retry-after"), Some("1"));
    assert_eq!((&refusal.json()["code"], &refusal.json()["scope"]), (&json!("rate_limited"), &json!("ip")));
    // Another client has places of its own, and the first one as soon as it gives some back.
    let mut other = Conn::open_from([127, 0, 0, 3].into(), balancer.addr).await;
    other.send(&poll).await;
    await_parked(&cluster, 3.0).await;
    held.clear();
    eventually(DEADLINE, "a place", || async {
        let mut again = Conn::open_from([127, 0, 0, 2].into(), balancer.addr).await;
        let answer = again.call(&Request::poll("r", "timeout_ms=0")).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

async fn proxies_limit_each_client_by_its_own_address(kind: Kind) {
    let trusting = "connections_per_ip = 1\n[http]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let cluster = Cluster::start(Options::default().and(trusting), &["default"], 1).await;
    // One proxy in both places: each proxy counts for itself.
    let proxy = &cluster.proxies[0];
    let balancer = Balancer::start(kind, [(proxy.addr, proxy.ops); 2]).await;
    let held = Request::poll("r", "timeout_ms=30000");
    let from = async |last| Conn::open_from([127, 0, 0, last].into(), balancer.addr).await;
    let (mut ann, mut bob) = (from(2).await, from(3).await);
    ann.send(&held).await;
    await_parked(&cluster, 1.0).await;
    bob.send(&held).await;
    await_parked(&cluster, 2.0).await;
    // A client with one poll has no place for another, whatever it claims; neither through the balancer nor past it.
    let brief = Request::poll("r", "timeout_ms=0");
    let forged = [
        brief.clone(),
        brief.clone().header("X-Forwarded-For", "192.0.2.1"),
        brief.clone().header("X-Forwarded-For", "127.0.0.1").header("X-Forwarded-For", "192.0.2.2"),
        brief.clone().header("Forwarded", "for=192.0.2.3").header("X-Real-IP", "192.0.2.3"),
    ];
    for request in &forged {
        let mut again = from(2).await;
        let refusal = again.call(request).await.expect_problem(429, "rate_limited");
        assert_eq!(refusal["detail"], "an address may have 1 requests under way: end one first");
        let mut past = Conn::open_from([127, 0, 0, 2].into(), proxy.addr).await;
        assert_eq!(past.call(request).await.expect_problem(429, "rate_limited")["scope"], "ip");
    }
    // Nor does it take the place of whom it names.
    let mut cid = from(4).await;
    cid.call(&brief.clone().header("X-Forwarded-For", "127.0.0.5")).await.expect_json(200);
    from(5).await.call(&brief).await.expect_json(200);
    // Answered, each has its place again, over connections that were others'.
    say(&balancer, "r", "x").await;
    for conn in [&mut ann, &mut bob] {
        assert_eq!(seqs(&conn.answer().await.expect_json(200)["messages"]), [1]);
    }
    for conn in [&mut cid, &mut bob, &mut ann] {
        conn.call(&brief).await.expect_json(200);
    }
}

async fn users_of_shared_connections_are_told_apart(kind: Kind) {
    let cluster = cluster().await;
    let balancer = before(kind, &cluster).await;
    let mut conns = [balancer.conn().await, balancer.conn().await];
    for _ in 0..4 {
        for (conn, user) in conns.iter_mut().zip(["ann", "bob"]) {
            let send = Request::post(format!("/v1/rooms/r/messages?user={user}"));
            conn.call(&send.json(&json!({ "text": user }))).await.expect_json(201);
            let poll = format!("/v1/rooms/r/messages?user={user}&timeout_ms=0");
            conn.call(&Request::get(poll)).await.expect_json(200);
        }
    }
    // Another proxy may know a moment later.
    eventually(DEADLINE, "all messages", || async {
        let page = balancer.conn().await.call(&Request::get("/v1/rooms/r/history")).await.expect_json(200);
        let messages = page["messages"].as_array().unwrap();
        let senders: Vec<_> = messages.iter().map(|message| message["sender"]["id"].clone()).collect();
        if senders == ["ann", "bob"].repeat(4) { Ok(()) } else { Err(format!("{senders:?}")) }
    })
    .await;
    eventually(DEADLINE, "two users", || async {
        let numbers = balancer.conn().await.call(&Request::get("/v1/rooms/r/stats")).await;
        if numbers.status == 200 && numbers.json()["unique_viewers_total"].as_u64() >= Some(2) {
            Ok(())
        } else {
            Err(format!("{numbers:?}"))
        }
    })
    .await;
}

/// What a reader got.
struct Read {
    priority: Vec<u64>,
    normal: Vec<u64>,
    gap: u64,
    /// Requests that had to be repeated.
    retries: u32,
}

/// Follows a room until it has the last priority message.
async fn follow(balancer: SocketAddr, room: &str, last: u64) -> Read {
    let mut read = Read { priority: Vec::new(), normal: Vec::new(), gap: 0, retries: 0 };
    let mut at = "-1".to_owned();
    let mut conn = Conn::open(balancer).await;
    while read.priority.last() != Some(&last) {
        let request = Request::poll(room, &format!("cursor={at}&timeout_ms=5000"));
        let answer = conn.try_call(&request).await.filter(|answer| !matches!(answer.status, 502..=504));
        let Some(answer) = answer else {
            read.retries += 1;
            conn = Conn::open(balancer).await;
            continue;
        };
        let answer = answer.expect_json(200);
        read.priority.extend(seqs(&answer["priority"]));
        read.normal.extend(seqs(&answer["messages"]));
        read.gap += answer["gap"]["normal"].as_u64().unwrap_or(0);
        at = cursor(&answer);
    }
    read
}

/// Sends messages to both lists, with ids: again, until each is taken. Says when a quarter of them is.
async fn send_all(balancer: SocketAddr, room: &'static str, count: u64, quarter: oneshot::Sender<()>) {
    let mut quarter = Some(quarter);
    let mut conn = Conn::open(balancer).await;
    for at in 1..=count {
        if at > count / 4
            && let Some(quarter) = quarter.take()
        {
            quarter.send(()).expect("somebody waits for it");
        }
        for priority in ["normal", "high"] {
            let message = json!({ "id": format!("{priority}-{at}"), "text": "x", "priority": priority });
            loop {
                match conn.try_call(&Request::send(room, &message)).await {
                    Some(answer) if matches!(answer.status, 200 | 201) => break,
                    _ => conn = Conn::open(balancer).await,
                }
            }
        }
    }
}

async fn killed_proxy_costs_a_retry_and_no_message(kind: Kind) {
    const MESSAGES: u64 = 200;
    let mut cluster = cluster().await;
    let balancer = before(kind, &cluster).await;
    let mut readers = JoinSet::new();
    for _ in 0..16 {
        readers.spawn(follow(balancer.addr, "r", MESSAGES));
    }
    await_parked(&cluster, 16.0).await;
    let before = parked(&cluster).await;
    assert!(before.iter().all(|parked| *parked >= 4.0), "both proxies have their share: {before:?}");
    let (quarter, is_sent) = oneshot::channel();
    let sending = tokio::spawn(send_all(balancer.addr, "r", MESSAGES, quarter));
    within(DEADLINE, "the first sends", is_sent).await.unwrap();
    drop(cluster.proxies.remove(0).kill9());
    within(DEADLINE, "the sends", sending).await.unwrap();
    for read in within(DEADLINE, "the readers", readers.join_all()).await {
        assert_eq!(
            read.priority,
            (1..=MESSAGES).collect::<Vec<_>>(),
            "every priority message once, in order"
        );
        assert_eq!(read.normal, (1..=MESSAGES).collect::<Vec<_>>(), "and every normal one");
        assert_eq!(read.gap, 0);
        assert!(read.retries <= 1, "{} retries", read.retries);
    }
}

async fn held_polls_of_a_killed_proxy_go_on_at_the_other(kind: Kind) {
    const POLLS: u8 = 12;
    let mut cluster = cluster().await;
    let balancer = before(kind, &cluster).await;
    let conns = hold_polls(&cluster, &balancer, "r", POLLS).await;
    let before = parked(&cluster).await;
    assert!(before.iter().all(|parked| *parked >= 3.0), "both proxies have their share: {before:?}");
    drop(cluster.proxies.remove(1).kill9());
    // No client has to do anything: its request is repeated by the balancer.
    await_parked(&cluster, f64::from(POLLS)).await;
    say(&balancer, "r", "x").await;
    for mut conn in conns {
        let answer = within(DEADLINE, "the message", conn.answer()).await.expect_json(200);
        assert_eq!(seqs(&answer["messages"]), [1]);
    }
}

async fn polls_of_a_drained_proxy_go_on_at_the_other(kind: Kind) {
    const POLLS: u8 = 12;
    let mut cluster = cluster().await;
    let balancer = before(kind, &cluster).await;
    let conns = hold_polls(&cluster, &balancer, "r", POLLS).await;
    let share = parked(&cluster).await[0];
    let drained = cluster.proxies.remove(0);
    drained.sigterm();
    // Those that it held are answered, with nothing new, and are held again: by the other one, at once.
    let mut early = 0.0;
    let mut answers = JoinSet::new();
    for mut conn in conns {
        answers.spawn(async move {
            let first = conn.answer().await.expect_json(200);
            if seqs(&first["messages"]) == [1] {
                return 0.0;
            }
            assert!(first["poll_after_ms"].as_u64().is_some(), "{first}");
            let query = format!("cursor={}&timeout_ms=30000", cursor(&first));
            let second = conn.call(&Request::poll("r", &query)).await.expect_json(200);
            assert_eq!(seqs(&second["messages"]), [1]);
            1.0
        });
    }
    await_parked(&cluster, f64::from(POLLS)).await;
    say_again(&balancer, "r").await;
    while let Some(answer) = within(DEADLINE, "the message", answers.join_next()).await {
        early += answer.unwrap();
    }
    assert_eq!(early, share, "those that the drained proxy held");
    assert!(drained.exit(DEADLINE).await.0.success(), "a drained proxy ends well");
}

/// Sends as clients do: again, with the same id, while a proxy that is going down says so.
async fn say_again(balancer: &Balancer, room: &str) {
    let message = json!({ "id": "once", "text": "x" });
    eventually(DEADLINE, "the send", || async {
        let answer = balancer.conn().await.call(&Request::send(room, &message)).await;
        if matches!(answer.status, 200 | 201) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}
