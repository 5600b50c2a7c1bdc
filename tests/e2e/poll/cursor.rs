//! Cursors: opaque, monotone, bound to a room and an epoch.

use std::time::{Duration, Instant};

use room::{AppId, Cursor, Epoch, PerList, RoomId, RoomKey, Seq};
use serde_json::json;

use super::{cursor_of, fill};
use crate::harness::{Options, Request, Server, seqs};

#[tokio::test]
async fn cursor_of_another_room_is_refused() {
    let server = Server::start(Options::default()).await;
    let cursor = server.cursor_now("a").await;
    let poll = Request::poll("b", &format!("cursor={cursor}&timeout_ms=0"));
    server.call(poll).await.expect_problem(400, "invalid_cursor");
}

#[tokio::test]
async fn damaged_cursors_are_refused() {
    let server = Server::start(Options::default()).await;
    let cursor = server.cursor_now("r").await;
    let mut flipped = cursor.clone().into_bytes();
    flipped[20] = if flipped[20] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for bad in ["", "0", "-2", "--1", "NOW", "nonsense", &cursor[1..], &flipped, &format!("{cursor}A"), "%00"]
    {
        let poll = Request::poll("r", &format!("cursor={bad}&timeout_ms=0"));
        server.call(poll).await.expect_problem(400, "invalid_cursor");
    }
    server.poll("r", &format!("cursor={cursor}&timeout_ms=0")).await;
    assert_eq!(server.metric("bigroom_parked_polls", &[]).await, 0.0);
}

#[tokio::test]
async fn cursor_of_another_epoch_starts_over() {
    let (one, other) = (Server::start(Options::default()).await, Server::start(Options::default()).await);
    fill(&one, "r", 4, 4).await;
    fill(&other, "r", 2, 3).await;
    let cursor = one.cursor_now("r").await;
    let got = other.poll("r", &format!("cursor={cursor}")).await;
    assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (vec![1, 2], vec![1, 2, 3]));
    let gap = &got["gap"];
    assert_eq!(
        (&gap["reason"], &gap["normal"], &gap["priority"]),
        (&json!("epoch"), &json!(0), &json!(0)),
        "{gap}"
    );
    assert_eq!(gap["first_seq"], 1, "{gap}");
    assert!(gap.get("first_priority_seq").is_none(), "{gap}");
    let next = other.poll("r", &format!("cursor={}&timeout_ms=0", cursor_of(&got))).await;
    assert!(next.get("gap").is_none() && seqs(&next["messages"]).is_empty(), "{next}");
    assert_eq!(other.metric("bigroom_priority_gap_total", &[]).await, 0.0);
}

#[tokio::test]
async fn cursor_past_the_end_starts_over() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 2, 3).await;
    let epoch: Epoch = server.say("r", "4").await["epoch"].as_str().unwrap().parse().unwrap();
    let key = RoomKey::new(AppId::default(), RoomId::new("r").unwrap());
    let place = |priority, normal| Cursor {
        epoch,
        room: key.hash48(),
        seen: PerList { priority: Seq(priority), normal: Seq(normal) },
        served_at_ms: 0,
    };
    let text = |cursor: &Cursor| String::from_utf8(cursor.encode().to_vec()).unwrap();
    let end = server.poll("r", &format!("cursor={}&timeout_ms=0", text(&place(2, 4)))).await;
    assert!(end.get("gap").is_none(), "the end itself is no error: {end}");
    for beyond in [place(2, 5), place(3, 4), place(1 << 50, 1 << 50)] {
        let got = server.poll("r", &format!("cursor={}", text(&beyond))).await;
        assert_eq!(got["gap"]["reason"], "epoch", "{got}");
        assert_eq!((seqs(&got["priority"]), seqs(&got["messages"])), (vec![1, 2], vec![1, 2, 3, 4]));
    }
}

#[tokio::test]
async fn reader_behind_retention_is_moved_with_a_gap() {
    let server = Server::start(Options::default().and("[retention.normal]\ncount = 10\n")).await;
    fill(&server, "r", 0, 5).await;
    let cursor = server.cursor_now("r").await;
    fill(&server, "r", 2, 30).await;
    let got = server.poll("r", &format!("cursor={cursor}")).await;
    assert_eq!(seqs(&got["messages"]), (26..=35).collect::<Vec<_>>());
    assert_eq!(seqs(&got["priority"]), [1, 2]);
    let gap = &got["gap"];
    assert_eq!(
        (&gap["normal"], &gap["priority"], &gap["first_seq"]),
        (&json!(20), &json!(0), &json!(6)),
        "{gap}"
    );
    assert_eq!(gap["reason"], "retention", "{gap}");
    assert!(gap.get("first_priority_seq").is_none(), "{gap}");
    let next = server.poll("r", &format!("cursor={}&timeout_ms=0", cursor_of(&got))).await;
    assert!(next.get("gap").is_none(), "a gap is told once: {next}");
}

#[tokio::test]
async fn priority_behind_retention_is_told_and_counted() {
    let server = Server::start(Options::default().and("[retention.priority]\ncount = 10\n")).await;
    fill(&server, "r", 5, 0).await;
    let cursor = server.cursor_now("r").await;
    fill(&server, "r", 30, 0).await;
    let got = server.poll("r", &format!("cursor={cursor}")).await;
    assert_eq!(seqs(&got["priority"]), (26..=35).collect::<Vec<_>>());
    let gap = &got["gap"];
    assert_eq!((&gap["normal"], &gap["priority"]), (&json!(0), &json!(20)), "{gap}");
    assert_eq!((&gap["first_priority_seq"], &gap["reason"]), (&json!(6), &json!("retention")), "{gap}");
    assert!(server.metric("bigroom_priority_gap_total", &[]).await >= 1.0);
}

#[tokio::test]
async fn oldest_kept_has_no_gap() {
    let server = Server::start(Options::default().and("[retention.normal]\ncount = 10\n")).await;
    fill(&server, "r", 0, 30).await;
    let got = server.poll("r", "cursor=-1").await;
    assert_eq!(seqs(&got["messages"]), (21..=30).collect::<Vec<_>>());
    assert!(got.get("gap").is_none(), "{got}");
}

#[tokio::test]
async fn expiry_wakes_no_parked_poll() {
    let server = Server::start(Options::default().and("[retention.normal]\nage = \"1s\"\n")).await;
    server.say("r", "gone in a second").await;
    let cursor = server.cursor_now("r").await;
    let asked = Instant::now();
    let got = server.poll("r", &format!("cursor={cursor}&timeout_ms=2500")).await;
    assert!(asked.elapsed() >= Duration::from_millis(2_250), "answered after {:?}: {got}", asked.elapsed());
    assert_eq!((seqs(&got["messages"]), got.get("gap")), (vec![], None), "what it has read is no gap");
}
