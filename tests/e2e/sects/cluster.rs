//! Sects with recvsvrs of their own.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{LONG_WINDOW, Table, await_sect, sects};
use crate::harness::{
    Cluster, Conn, DEADLINE, Options, Request, Role, Server, cursor, eventually, free_addr, seqs, within,
};

/// Both answer at once: this is about nodes, not about pace.
const SECTS: &str =
    "[[sect]]\nname = \"a\"\npolicy = \"off\"\n[[sect]]\nname = \"vip\"\nkind = \"vip\"\npolicy = \"off\"\n";

/// All that a reader got of a room.
#[derive(Default)]
struct Got {
    priority: Vec<u64>,
    normal: Vec<u64>,
    gap: Value,
}

/// Follows a room as one of its viewers until the priority message `end`; no answer may be a refusal.
async fn follow(proxy: SocketAddr, user: usize, end: &str) -> Got {
    let (mut got, mut at) = (Got::default(), "-1".to_owned());
    let mut conn = Conn::open(proxy).await;
    loop {
        let path = format!("/v1/rooms/r/messages?user=u{user}&cursor={at}&timeout_ms=5000");
        let answer = conn.call(&Request::get(path)).await.expect_json(200);
        got.priority.extend(seqs(&answer["priority"]));
        got.normal.extend(seqs(&answer["messages"]));
        if answer.get("gap").is_some() {
            got.gap = answer["gap"].clone();
        }
        at = cursor(&answer);
        if answer["priority"].as_array().unwrap().iter().any(|message| message["text"] == end) {
            return got;
        }
    }
}

/// Sends to both lists through one proxy after the other until it is told to stop; says how many to each.
async fn send(proxies: Vec<SocketAddr>, mut stop: tokio::sync::oneshot::Receiver<()>) -> u64 {
    let mut sent = 0;
    let mut conns = Vec::new();
    for proxy in proxies {
        conns.push(Conn::open(proxy).await);
    }
    while stop.try_recv().is_err() {
        for priority in ["normal", "high"] {
            let message = json!({ "text": "x", "priority": priority });
            let at = sent as usize % conns.len();
            // As one of the readers: who sends is counted too.
            let request = Request::post("/v1/rooms/r/messages?user=u1").json(&message);
            conns[at].call(&request).await.expect(201);
        }
        sent += 1;
        // Others need the machine too.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    sent
}

#[tokio::test]
async fn promoted_room_loses_nothing_and_is_told_of_by_nodes_of_its_sect_only() {
    const READERS: usize = 6;
    let routing = format!("[routing]\npromote_at = {READERS}\ndemote_at = 1\n");
    let table = Table::new(&format!("{SECTS}{routing}"));
    let options = table.given_to(Options::default().and(LONG_WINDOW));
    let cluster = Cluster::start(options, &["a", "vip"], 2).await;
    let (ordinary, vip) = (0, 1);
    let addrs: Vec<_> = cluster.proxies.iter().map(|proxy| proxy.addr).collect();
    let followed = async || (cluster.followed_rooms(ordinary).await, cluster.followed_rooms(vip).await);
    // The rooms of the proxies' canaries are there throughout, and are no bigger than others.
    let canaries = 2.0;
    assert_eq!(followed().await, (canaries, 0.0));

    let (stop, stopped) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn(send(addrs.clone(), stopped));
    let mut readers = JoinSet::new();
    // One too few: the room is at home, on both proxies.
    for user in 1..READERS {
        readers.spawn(follow(addrs[user % 2], user, "end"));
    }
    eventually(DEADLINE, "the room at home", || async {
        let is = followed().await;
        if is == (canaries + 2.0, 0.0) { Ok(()) } else { Err(format!("{is:?}")) }
    })
    .await;
    readers.spawn(follow(addrs[0], 0, "end"));
    for proxy in &cluster.proxies {
        await_sect(proxy, "r", "vip").await;
    }
    eventually(DEADLINE, "the room on the nodes of its sect", || async {
        let is = followed().await;
        if is == (canaries, 2.0) { Ok(()) } else { Err(format!("{is:?}")) }
    })
    .await;
    stop.send(()).unwrap();
    let sent = within(DEADLINE, "the sends", sending).await.unwrap();
    // What was sent is told to each proxy in order: once both have this, nothing is on its way any more.
    cluster.proxies[0].signal("r", "all sent").await;
    for proxy in &addrs {
        within(DEADLINE, "all sent", follow(*proxy, 1, "all sent")).await;
    }
    let told = async || cluster.recvsvrs[vip].metric("bigroom_log_notices_sent_total", &[]).await;
    let before = told().await;
    for _ in 0..10 {
        cluster.proxies[0].say("r", "x").await;
    }
    cluster.proxies[1].signal("r", "end").await;
    for got in within(DEADLINE, "the readers", readers.join_all()).await {
        assert_eq!(got.priority, (1..=sent + 2).collect::<Vec<_>>(), "each once, in order");
        assert_eq!((got.normal, got.gap), ((1..=sent + 10).collect(), Value::Null));
    }
    assert_eq!(told().await - before, 2.0 * 11.0, "each proxy was told of each, by the node of the VIP sect");
    assert_eq!(followed().await, (canaries, 2.0), "and by no other");
    for proxy in &cluster.proxies {
        assert_eq!(proxy.metric("bigroom_priority_gap_total", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn listed_nodes_serve_their_sect_and_others_are_refused_with_a_reason() {
    // Free now; the system gives the same port again only after many others.
    let listed = free_addr().to_string();
    let with_list = format!("{}nodes = [{listed:?}]\n", SECTS);
    let table = Table::new(&with_list);
    let cluster = Cluster::start(table.given_to(Options::default()), &["a"], 1).await;
    let sendsvr = cluster.sendsvr.as_ref().unwrap();
    let start = async |sect: &str, listen: &str| {
        let at = sendsvr.addr.to_string();
        let options = table.given_to(Options::default()).role(Role::Recvsvr);
        let args = ["--sendsvr", &at, "--sect", sect, "--listen", listen];
        Server::start_unready(options.args(&args)).await
    };
    let await_said = async |server: &Server, what: &str| {
        eventually(DEADLINE, what, || {
            let log = server.log();
            std::future::ready(if log.contains(what) { Ok(()) } else { Err(log) })
        })
        .await;
    };
    let nodes_of = async |sect: usize| sects(&cluster.proxies[0]).await["sects"][sect]["nodes"].clone();
    assert_eq!(nodes_of(1).await, json!([{ "address": listed, "state": "away" }]));

    let stray = start("vip", "127.0.0.1:0").await;
    await_said(&stray, "is not one of them: list it there").await;
    let why = format!("{} is not one of them", stray.addr);
    await_said(sendsvr, &why).await;
    assert_eq!(stray.ops_get("/readyz").await.status, 503);
    let misplaced = start("a", &listed).await;
    await_said(&misplaced, "is listed in the sect table as a node of sect").await;
    assert_eq!(misplaced.ops_get("/readyz").await.status, 503);
    drop(misplaced.kill9());

    let proper = start("vip", &listed).await;
    eventually(DEADLINE, "the listed node", || async {
        let nodes = nodes_of(1).await;
        let is_so = nodes == json!([{ "address": listed, "state": "up" }]);
        if is_so { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    // The stray tries all the time, and is told of once; a list that has it lets it in, and puts the other one out.
    table.replace(with_list.replace(&listed, &stray.addr.to_string()));
    eventually(DEADLINE, "the other node", || async {
        let nodes = nodes_of(1).await;
        let is_so = nodes == json!([{ "address": stray.addr.to_string(), "state": "up" }]);
        if is_so { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    await_said(&proper, "is not one of them: list it there").await;
    assert_eq!(sendsvr.log().matches(&why).count(), 1, "{}", sendsvr.log());
    // Its sect is served without a break.
    cluster.proxies[0].signal("r", "x").await;
    let answer = cluster.proxies[0].poll("r", "cursor=-1&timeout_ms=0").await;
    assert_eq!(seqs(&answer["priority"]), [1]);
}
