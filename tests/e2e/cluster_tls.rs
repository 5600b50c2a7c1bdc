//! Mutual TLS between the nodes of a cluster: those that belong to it work as without, all others are told what to do.

use serde_json::Value;

use crate::harness::{
    Authority, Cluster, Conn, DEADLINE, Options, Request, Role, Server, eventually, spawn_refused, within,
};

/// The name that the certificates of nodes are for, unless configured.
const NAME: &str = "bigroom";

async fn cluster(authority: &Authority) -> Cluster {
    Cluster::start(Options::default().and(&authority.node(NAME, authority)), &["default"], 2).await
}

/// A message from the first proxy to a poll on the second, and a count of who polls.
async fn serves(cluster: &Cluster, room: &str) {
    let (here, there) = (&cluster.proxies[0], &cluster.proxies[1]);
    let path = format!("/v1/rooms/{room}/messages?user=u1&timeout_ms=30000&cursor=");
    let waiting = there.park(Request::get(format!("{path}now&device=phone"))).await;
    let _other = here.park(Request::get(format!("{path}now&device=desk"))).await;
    counted(here, room, (1, 2)).await;
    here.signal(room, "hello").await;
    let answer = within(DEADLINE, "the message", waiting.answer()).await;
    assert_eq!(answer["priority"][0]["text"], "hello");
}

async fn counted(proxy: &Server, room: &str, expect: (u64, u64)) {
    eventually(DEADLINE, "one user on two devices", || async {
        let answer = proxy.call(Request::get(format!("/v1/rooms/{room}/stats"))).await;
        let numbers: Value = if answer.status == 200 { answer.json() } else { Value::Null };
        let is_so = numbers["num_users"] == expect.0 && numbers["num_clients"] == expect.1;
        if is_so { Ok(()) } else { Err(format!("{numbers}")) }
    })
    .await;
}

async fn says(node: &Server, sentence: &str) {
    eventually(DEADLINE, sentence, || {
        let log = node.log();
        std::future::ready(if log.contains(sentence) { Ok(()) } else { Err(log) })
    })
    .await;
}

#[tokio::test]
async fn cluster_with_mutual_tls_passes_messages_and_counts() {
    let authority = Authority::new("ours");
    let mut cluster = cluster(&authority).await;
    serves(&cluster, "r").await;
    // Connections are made anew, by the same certificates.
    let stopped = cluster.sendsvr.take().unwrap().kill9();
    cluster.sendsvr = Some(stopped.start().await);
    serves(&cluster, "s").await;
}

#[tokio::test]
async fn strangers_are_told_what_to_do_and_the_cluster_serves_on() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let cluster = cluster(&ours).await;
    let mut strangers = Vec::new();
    for (tls, sentence) in [
        ("", "set cluster.tls.cert, key and ca on this node"),
        // Each of the two looks at the other's certificate: whoever connects is the first.
        (&theirs.node(NAME, &theirs), "is not signed by the authority in cluster.tls.ca of this node"),
        (&theirs.node(NAME, &ours), "does not take cluster.tls.cert of this node"),
    ] {
        let stranger = cluster.stranger(Role::Recvsvr, Options::default().and(tls)).await;
        says(&stranger, sentence).await;
        assert_eq!(stranger.ops_get("/readyz").await.status, 503);
        strangers.push(stranger);
    }
    let proxy = cluster.stranger(Role::Proxy, Options::default().and(&theirs.node(NAME, &theirs))).await;
    says(&proxy, "statsvr can't be asked").await;
    says(&proxy, "node is not in its cluster").await;
    assert_eq!(proxy.ops_get("/readyz").await.status, 503);
    strangers.push(proxy);
    serves(&cluster, "r").await;
    for node in cluster.proxies.iter().chain(&cluster.recvsvrs) {
        assert_eq!(node.metric("bigroom_upstream_link_failures_total", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn connection_that_says_nothing_is_ended() {
    let authority = Authority::new("ours");
    let cluster = cluster(&authority).await;
    for start in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut conn = Conn::open(cluster.recvsvrs[0].addr).await;
        conn.write(start).await;
        within(DEADLINE, "the end of the connection", conn.expect_end()).await;
    }
    serves(&cluster, "r").await;
}

#[tokio::test]
async fn files_that_do_not_fit_are_no_start() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (toml, _) = (ours.node(NAME, &ours), theirs.node(NAME, &theirs));
    std::fs::copy(theirs.path("bigroom.key"), ours.path("bigroom.key")).unwrap();
    for role in [Role::Sendsvr, Role::Recvsvr, Role::Proxy, Role::Statsvr] {
        let nodes = if role == Role::Recvsvr { "" } else { "[stats]\nnodes = [\"127.0.0.1:1\"]\n" };
        let refusal = spawn_refused(Options::default().and(&toml).and(nodes).role(role)).await;
        let expect =
            format!("cluster.tls.key = {:?}: must be the key of the certificate", ours.path("bigroom.key"));
        assert!(refusal.stderr.contains(&expect), "{}", refusal.stderr);
        assert_eq!(refusal.code, Some(1));
    }
}
