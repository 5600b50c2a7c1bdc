//! Polls: what is answered, when, and in which form.

mod browser;
mod cache;
mod cursor;
mod formats;
mod hold;
mod interval;
mod order;
mod several_rooms;
mod stream;
mod transport;

use serde_json::{Value, json};

use crate::harness::{Options, Request, Server, cursor as cursor_of, seqs, texts};

/// `count` texts to each list, "1" and so on.
async fn fill(server: &Server, room: &str, priority: usize, normal: usize) {
    let high = |at: usize| json!({ "text": at.to_string(), "priority": "high" });
    let plain = |at: usize| json!({ "text": at.to_string() });
    let messages: Vec<Value> = (1..=priority).map(high).chain((1..=normal).map(plain)).collect();
    for messages in messages.chunks(100) {
        let results = server.batch(room, &json!(messages)).await;
        assert!(results.iter().all(|result| result["status"] == 201), "{results:?}");
    }
}

#[tokio::test]
async fn empty_answer_has_the_whole_shape() {
    let server = Server::start(Options::default()).await;
    let got = server.poll("r", "timeout_ms=0").await;
    assert_eq!((&got["priority"], &got["messages"]), (&json!([]), &json!([])));
    assert_eq!((&got["up_to_date"], &got["poll_after_ms"]), (&json!(true), &json!(0)));
    assert_eq!((&got["room"]["state"], &got["room"]["cooldown_ms"]), (&json!("live"), &json!(0)));
    assert!(got.get("gap").is_none(), "no gap, no field: {got}");
    assert!(got["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{got}");
    assert_eq!(got["epoch"], server.say("r", "x").await["epoch"]);
    let cursor = cursor_of(&got);
    assert!((1..=64).contains(&cursor.len()), "{cursor}");
    let is_url_safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(cursor.chars().all(is_url_safe), "{cursor}");
}

#[tokio::test]
async fn poll_without_a_cursor_starts_at_the_present() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 2, 3).await;
    for query in ["timeout_ms=0", "cursor=now&timeout_ms=0"] {
        let got = server.poll("r", query).await;
        assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (vec![], vec![]), "{query}");
        let next = server.poll("r", &format!("cursor={}&timeout_ms=0", cursor_of(&got))).await;
        assert_eq!((seqs(&next["priority"]), seqs(&next["messages"])), (vec![], vec![]), "{query}");
    }
}

#[tokio::test]
async fn poll_from_the_beginning_gets_both_lists() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 2, 3).await;
    let got = server.poll("r", "cursor=-1").await;
    assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (vec![1, 2], vec![1, 2, 3]));
    assert_eq!(got["up_to_date"], true);
    assert!(got.get("gap").is_none(), "{got}");
}

#[tokio::test]
async fn tail_gets_the_last_of_each_list_at_once() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 7, 9).await;
    for (query, priority, normal) in [
        ("cursor=now&tail=3", vec![5, 6, 7], vec![7, 8, 9]),
        ("tail=3", vec![5, 6, 7], vec![7, 8, 9]),
        ("tail=8", (1..=7).collect(), (2..=9).collect()),
        ("tail=100", (1..=7).collect(), (1..=9).collect()),
        ("tail=0", vec![], vec![]),
    ] {
        let got = server.poll("r", query).await;
        assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (priority, normal), "{query}");
        assert!(got.get("gap").is_none(), "{query}: {got}");
        let next = server.poll("r", &format!("cursor={}&timeout_ms=0", cursor_of(&got))).await;
        assert_eq!((seqs(&next["priority"]), seqs(&next["messages"])), (vec![], vec![]), "{query}");
    }
    let empty = server.poll("empty", "tail=50").await;
    assert_eq!(empty["messages"], json!([]), "answered at once, also when empty");
}

#[tokio::test]
async fn limit_cuts_the_answer_priority_first() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 5, 10).await;
    let mut cursor = "-1".to_owned();
    for (priority, normal, up_to_date) in
        [((1..=5).collect(), vec![1, 2], false), (vec![], (3..=9).collect(), false), (vec![], vec![10], true)]
    {
        let got = server.poll("r", &format!("cursor={cursor}&limit=7")).await;
        assert_eq!(seqs(&got["priority"]), priority);
        assert_eq!(seqs(&got["messages"]), normal);
        assert_eq!((&got["up_to_date"], &got["poll_after_ms"]), (&json!(up_to_date), &json!(0)), "{got}");
        cursor = cursor_of(&got);
    }
    let cut = server.poll("r", "cursor=-1&limit=3").await;
    assert_eq!((seqs(&cut["priority"]), seqs(&cut["messages"])), (vec![1, 2, 3], vec![]));
    assert_eq!(cut["up_to_date"], false);
}

#[tokio::test]
async fn limit_counts_two_hundred_by_default() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 50, 200).await;
    let got = server.poll("r", "cursor=-1").await;
    assert_eq!((seqs(&got["priority"]).len(), seqs(&got["messages"]).len()), (50, 150));
    assert_eq!(got["up_to_date"], false);
    let all = server.poll("r", "cursor=-1&limit=1000").await;
    assert_eq!((seqs(&all["priority"]).len(), seqs(&all["messages"]).len()), (50, 200));
    assert_eq!(all["up_to_date"], true);
}

#[tokio::test]
async fn priority_far_behind_is_complete() {
    let server = Server::start(Options::default()).await;
    let start = server.cursor_now("r").await;
    fill(&server, "r", 3_000, 0).await;
    let mut cursor = start;
    let mut got = Vec::new();
    loop {
        let answer = server.poll("r", &format!("cursor={cursor}&limit=1000&timeout_ms=0")).await;
        got.extend(seqs(&answer["priority"]));
        assert!(answer.get("gap").is_none(), "{}", answer["gap"]);
        cursor = cursor_of(&answer);
        if answer["up_to_date"] == true {
            break;
        }
    }
    assert_eq!(got, (1..=3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn restarted_server_answers_from_the_log() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 5, 5).await;
    let cursor = cursor_of(&server.poll("r", "cursor=-1&limit=4").await);
    let server = server.stop().await.start().await;
    let got = server.poll("r", &format!("cursor={cursor}")).await;
    assert_eq!(
        (texts(&got["priority"]), texts(&got["messages"])),
        (vec!["5"], vec!["1", "2", "3", "4", "5"])
    );
    assert!(got.get("gap").is_none(), "{got}");
}

#[tokio::test]
async fn poll_of_an_unknown_room_leaves_nothing_durable() {
    let server = Server::start(Options::default()).await;
    let parked = server.park(Request::poll("unknown", "timeout_ms=30000")).await;
    server.say("unknown", "first").await;
    assert_eq!(seqs(&parked.answer().await["messages"]), [1]);
    server.poll("polled-only", "timeout_ms=0").await;
    let settings = server.call(Request::get("/v1/rooms/polled-only")).await.expect_json(200);
    assert_eq!(settings["state"], "live", "a room never used has the defaults");
}
