//! Scrolling back: pages of a list, and what retention leaves of it.

use serde_json::json;

use crate::harness::{DEADLINE, Options, Request, Server, eventually, seqs, texts};

async fn fill(server: &Server, room: &str, count: usize) {
    let messages: Vec<_> = (1..=count).map(|at| json!({ "text": at.to_string() })).collect();
    for messages in messages.chunks(100) {
        server.batch(room, &json!(messages)).await;
    }
}

#[tokio::test]
async fn pages_follow_their_bounds() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 120).await;
    let up = |from: u64, to: u64| (from..=to).collect::<Vec<_>>();
    let down = |from: u64, to: u64| (to..=from).rev().collect::<Vec<_>>();
    for (query, expect) in [
        ("since=0&limit=3", up(1, 3)),
        ("since=3&limit=3", up(4, 6)),
        ("since=118", up(119, 120)),
        ("since=120", vec![]),
        ("since=500", vec![]),
        ("before=4", up(1, 3)),
        ("before=100&limit=3", up(97, 99)),
        ("before=1", vec![]),
        ("before=500&limit=2", up(119, 120)),
        ("since=10&before=14", up(11, 13)),
        ("since=10&before=14&limit=2", up(11, 12)),
        ("since=10&before=11", vec![]),
        ("since=14&before=10", vec![]),
        ("since=10&before=14&reverse=true", down(13, 11)),
        ("reverse=true&limit=3", down(120, 118)),
        ("before=100&limit=3&reverse=true", down(99, 97)),
        ("since=117&reverse=true", down(120, 118)),
        ("reverse=false&since=118", up(119, 120)),
        ("limit=1000&since=0", up(1, 120)),
        ("list=normal&since=119", up(120, 120)),
        ("list=priority", vec![]),
    ] {
        assert_eq!(seqs(&server.history("r", query).await["messages"]), expect, "{query}");
    }
    assert_eq!(seqs(&server.history("r", "since=0").await["messages"]).len(), 50, "50 unless it says");
    assert_eq!(seqs(&server.history("r", "before=121").await["messages"]), up(71, 120));
}

#[tokio::test]
async fn page_says_what_the_list_keeps() {
    let server = Server::start(Options::default()).await;
    let bounds =
        |page: &serde_json::Value| (page["first_seq"].as_u64().unwrap(), page["last_seq"].as_u64().unwrap());
    assert_eq!(bounds(&server.history("r", "").await), (1, 0), "a room never used");
    fill(&server, "r", 7).await;
    assert_eq!(bounds(&server.history("r", "limit=2").await), (1, 7));
    server.patch_room("r", &json!({ "retention": { "normal": { "count": 3 } } })).await;
    let page = server.history("r", "").await;
    assert_eq!(
        (bounds(&page), seqs(&page["messages"])),
        ((5, 7), vec![5, 6, 7]),
        "a smaller retention counts at once"
    );
}

#[tokio::test]
async fn history_shows_what_polls_show() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 3).await;
    server.sent("r", &json!({ "type": "gift", "data": { "a": 1 }, "priority": "high" })).await;
    let got = server.poll("r", "cursor=-1").await;
    assert_eq!(server.history("r", "").await["messages"], got["messages"]);
    assert_eq!(server.history("r", "list=priority").await["messages"], got["priority"]);
    let answer = server.call(Request::get("/v1/rooms/r/history")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn retention_counts_and_never_restarts_sequences() {
    let server = Server::start(Options::default().and("[retention.normal]\ncount = 100\n")).await;
    fill(&server, "r", 1_000).await;
    let page = server.history("r", "limit=1000").await;
    assert_eq!(seqs(&page["messages"]), (901..=1_000).collect::<Vec<_>>());
    assert_eq!((&page["first_seq"], &page["last_seq"]), (&json!(901), &json!(1_000)));
    let server = server.kill9().start().await;
    assert_eq!(server.say("r", "next").await["seq"], 1_001);
    assert_eq!(server.history("r", "").await["first_seq"], 902);
}

#[tokio::test]
async fn everything_expired_and_sequences_go_on() {
    let ages = "[retention.normal]\nage = \"1s\"\n[retention.priority]\nage = \"1s\"\n";
    let server = Server::start(Options::default().and(ages)).await;
    fill(&server, "r", 5).await;
    server.signal("r", "high").await;
    eventually(DEADLINE, "everything expired", || async {
        let (normal, priority) = (server.history("r", "").await, server.history("r", "list=priority").await);
        match (normal["messages"] == json!([]), priority["messages"] == json!([])) {
            (true, true) => Ok(()),
            _ => Err(format!("{normal} {priority}")),
        }
    })
    .await;
    let page = server.history("r", "").await;
    assert_eq!((&page["first_seq"], &page["last_seq"]), (&json!(6), &json!(5)));
    assert_eq!(server.poll("r", "cursor=-1&timeout_ms=0").await["messages"], json!([]));
    let server = server.stop().await.start().await;
    assert_eq!(server.history("r", "").await["last_seq"], 5);
    assert_eq!(server.say("r", "next").await["seq"], 6);
    assert_eq!(server.signal("r", "next").await["seq"], 2);
}

#[tokio::test]
async fn history_survives_a_crash() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 10).await;
    server.signal("r", "high").await;
    let before = (server.history("r", "").await, server.history("r", "list=priority").await);
    let server = server.kill9().start().await;
    assert_eq!((server.history("r", "").await, server.history("r", "list=priority").await), before);
    assert_eq!(texts(&server.poll("r", "tail=1").await["messages"]), ["10"]);
}
