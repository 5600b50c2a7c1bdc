//! Retraction: the content goes everywhere, the place stays, and readers are told.

use serde_json::{Value, json};

use crate::harness::{Options, Request, Server, cursor, seqs};

async fn retract(server: &Server, list: &str, seq: u64) -> Value {
    server.call(Request::new("DELETE", format!("/v1/rooms/r/messages/{list}/{seq}"))).await.expect_json(200)
}

fn check_tombstone(message: &Value, sent: &Value) {
    let expect = json!({ "seq": sent["seq"], "id": sent["id"], "type": "retracted", "sent_at_ms": sent["sent_at_ms"] });
    assert_eq!(*message, expect);
}

#[tokio::test]
async fn retracted_message_is_a_tombstone_everywhere() {
    let server = Server::start(Options::default()).await;
    server.say("r", "before").await;
    let sent = server.sent("r", &json!({ "id": "m2", "text": "SECRET", "data": "SECRET" })).await;
    server.say("r", "after").await;
    let answer = retract(&server, "normal", 2).await;
    assert_eq!(answer, json!({ "list": "normal", "seq": 2, "redact_seq": 1 }));

    let check_everywhere = async |server: &Server| {
        let got = server.poll("r", "cursor=-1&timeout_ms=0").await;
        assert_eq!(seqs(&got["messages"]), [1, 2, 3]);
        check_tombstone(&got["messages"][1], &sent);
        check_tombstone(&server.history("r", "").await["messages"][1], &sent);
        check_tombstone(&server.poll("r", "tail=2").await["messages"][0], &sent);
        let redact = &got["priority"][0];
        assert_eq!((&redact["seq"], &redact["type"]), (&json!(1), &json!("redact")));
        assert_eq!(redact["data"], json!({ "list": "normal", "seq": 2, "id": "m2" }));
        let text = server.call(Request::poll("r", "cursor=-1&timeout_ms=0")).await.text();
        assert!(!text.contains("SECRET"), "{text}");
    };
    check_everywhere(&server).await;
    let server = server.kill9().start().await;
    check_everywhere(&server).await;
}

#[tokio::test]
async fn retracting_again_answers_the_same() {
    let server = Server::start(Options::default()).await;
    server.say("r", "x").await;
    let first = retract(&server, "normal", 1).await;
    assert_eq!(retract(&server, "normal", 1).await, first);
    let server = server.kill9().start().await;
    assert_eq!(retract(&server, "normal", 1).await, first);
    assert_eq!(seqs(&server.history("r", "list=priority").await["messages"]), [1], "one redaction");
}

#[tokio::test]
async fn priority_messages_can_be_retracted() {
    let server = Server::start(Options::default()).await;
    let sent = server.signal("r", "oops").await;
    assert_eq!(
        retract(&server, "priority", 1).await,
        json!({ "list": "priority", "seq": 1, "redact_seq": 2 })
    );
    let got = server.poll("r", "cursor=-1").await;
    check_tombstone(&got["priority"][0], &sent);
    assert_eq!(got["priority"][1]["data"], json!({ "list": "priority", "seq": 1, "id": sent["id"] }));
    let redaction = Request::new("DELETE", "/v1/rooms/r/messages/priority/2");
    server.call(redaction).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn parked_poll_is_told_of_a_retraction() {
    let server = Server::start(Options::default()).await;
    server.say("r", "shown already").await;
    let got = server.poll("r", "cursor=-1").await;
    let parked = server.park(Request::poll("r", &format!("cursor={}&timeout_ms=30000", cursor(&got)))).await;
    retract(&server, "normal", 1).await;
    let told = parked.answer().await;
    assert_eq!((seqs(&told["priority"]), seqs(&told["messages"])), (vec![1], vec![]));
    assert_eq!(told["priority"][0]["type"], "redact");
    assert_eq!(told["priority"][0]["data"]["seq"], 1);
}

#[tokio::test]
async fn unknown_messages_are_not_found() {
    let server = Server::start(Options::default().and("[retention.normal]\ncount = 2\n")).await;
    for _ in 0..5 {
        server.say("r", "x").await;
    }
    for seq in [0, 1, 3, 6] {
        let request = Request::new("DELETE", format!("/v1/rooms/r/messages/normal/{seq}"));
        let answer = server.call(request).await;
        assert!(matches!(answer.status, 400 | 404), "{seq}: {answer:?}");
        assert!(seq == 0 || answer.status == 404, "{seq}: {answer:?}");
    }
    assert_eq!(server.history("r", "list=priority").await["last_seq"], 0, "no redaction without a message");
}

#[tokio::test]
async fn repeat_of_a_retracted_send_stays_a_repeat() {
    let server = Server::start(Options::default()).await;
    let message = json!({ "id": "m1", "text": "oops" });
    let first = server.sent("r", &message).await;
    retract(&server, "normal", 1).await;
    let again = server.send("r", &message).await.expect_json(200);
    assert_eq!(
        (&again["seq"], &again["duplicate"], &again["sent_at_ms"]),
        (&json!(1), &json!(true), &first["sent_at_ms"])
    );
    let other = json!({ "id": "m1", "text": "other" });
    server.send("r", &other).await.expect_problem(409, "id_reused");
}

#[tokio::test]
async fn concurrent_retractions_make_one_redaction() {
    let server = Server::start(Options::default()).await;
    server.say("r", "x").await;
    let all = futures_util::future::join_all((0..20).map(|_| retract(&server, "normal", 1))).await;
    assert!(all.iter().all(|answer| *answer == all[0]), "{all:?}");
    assert_eq!(server.history("r", "list=priority").await["last_seq"], 1);
}
