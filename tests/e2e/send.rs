//! Sends that are taken: their answers, and what readers get of them.

mod batch;
mod idempotency;
mod limits;
mod moderation;

use serde_json::json;

use crate::harness::{Keys, Options, Request, Server, seqs};

#[tokio::test]
async fn send_answers_with_the_messages_place() {
    let server = Server::start(Options::default()).await;
    let answer = server.send("r", &json!({ "id": "c0ffee-1", "text": "hello" })).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let body = answer.expect_json(201);
    let mut keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["epoch", "id", "list", "sent_at_ms", "seq"]);
    assert_eq!((&body["id"], &body["seq"], &body["list"]), (&json!("c0ffee-1"), &json!(1), &json!("normal")));
    assert!(body["sent_at_ms"].as_u64().unwrap() > 1_600_000_000_000, "{body}");
    assert!(body["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{body}");
}

#[tokio::test]
async fn each_list_has_its_own_sequence() {
    let server = Server::start(Options::default()).await;
    for (priority, list, seq) in
        [("normal", "normal", 1), ("high", "priority", 1), ("low", "normal", 2), ("high", "priority", 2)]
    {
        let body = server.sent("r", &json!({ "text": "x", "priority": priority })).await;
        assert_eq!((&body["list"], &body["seq"]), (&json!(list), &json!(seq)), "{priority}");
    }
    let other = server.say("r2", "x").await;
    assert_eq!(other["seq"], 1, "another room begins anew");
}

#[tokio::test]
async fn message_without_an_id_is_given_one() {
    let server = Server::start(Options::default()).await;
    let (first, second) = (server.say("r", "a").await, server.say("r", "b").await);
    let id = first["id"].as_str().unwrap();
    assert!((1..=64).contains(&id.len()), "{id}");
    assert_ne!(first["id"], second["id"]);
    assert_eq!(server.history("r", "").await["messages"][0]["id"], id);
}

#[tokio::test]
async fn reader_gets_what_was_sent() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let token = keys.token("u1", "broadcaster");
    let message = json!({ "id": "m1", "type": "gift.rocket", "priority": "high", "text": "line 1\n\tline 2 é 😀",
        "data": { "gift": "rocket", "n": 3 } });
    let sent = server.call(Request::send("r", &message).bearer(&token)).await.expect_json(201);
    let poll = Request::poll("r", "cursor=-1&timeout_ms=0").bearer(&keys.token("u2", "viewer"));
    let got = server.call(poll).await.expect_json(200);
    let expect = json!([{ "seq": 1, "id": "m1", "type": "gift.rocket", "sender": { "id": "u1", "role": "broadcaster" },
        "text": "line 1\n\tline 2 é 😀", "data": { "gift": "rocket", "n": 3 }, "sent_at_ms": sent["sent_at_ms"] }]);
    assert_eq!(got["priority"], expect);
}

#[tokio::test]
async fn fields_without_a_value_are_left_out() {
    let server = Server::start(Options::default()).await;
    server.sent("r", &json!({ "text": "a" })).await;
    server.sent("r", &json!({ "data": [1] })).await;
    let got = server.poll("r", "cursor=-1&timeout_ms=0").await;
    let keys = |at: usize| got["messages"][at].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(!keys(0).contains(&"data".to_owned()), "{got}");
    assert!(!keys(1).contains(&"text".to_owned()), "{got}");
    assert_eq!(got["messages"][0]["type"], "text", "the type a message has if it names none");
}

#[tokio::test]
async fn data_is_passed_on_byte_for_byte() {
    let server = Server::start(Options::default()).await;
    let data = r#"{ "z":1.0e2,"a" :[ -0, 1.50,"\u00e9\/é", null ] , "n":123456789012345678901234567890}"#;
    let body = format!(r#"{{"data":{data},"type":"raw"}}"#);
    server.call(Request::post("/v1/rooms/r/messages").body("application/json", body)).await.expect(201);
    for target in ["/v1/rooms/r/messages?cursor=-1&timeout_ms=0", "/v1/rooms/r/history"] {
        let text = server.call(Request::get(target)).await.expect(200).text();
        assert!(text.contains(data), "{target}: {text}");
    }
}

#[tokio::test]
async fn any_json_value_is_data() {
    let server = Server::start(Options::default()).await;
    for (at, value) in
        [json!("text"), json!(5), json!(false), json!([]), json!({}), json!([[]])].iter().enumerate()
    {
        server.sent("r", &json!({ "data": value })).await;
        let history = server.history("r", &format!("since={at}")).await;
        assert_eq!(history["messages"][0]["data"], *value);
    }
}

#[tokio::test]
async fn largest_body_and_deepest_json_are_taken() {
    let server = Server::start(Options::default()).await;
    let frame = json!({ "text": "" }).to_string().len();
    let largest = json!({ "text": "x".repeat(16_384 - frame) });
    assert_eq!(largest.to_string().len(), 16_384);
    server.sent("r", &largest).await;
    let larger = json!({ "text": "x".repeat(16_385 - frame) });
    server.send("r", &larger).await.expect_problem(413, "body_too_large");

    let deep = |levels: usize| format!(r#"{{"data":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    let send =
        |body: String| server.call(Request::post("/v1/rooms/r/messages").body("application/json", body));
    send(deep(32)).await.expect(201);
    send(deep(33)).await.expect_problem(400, "invalid_json");
}

#[tokio::test]
async fn smaller_message_limit_is_kept_to() {
    let server = Server::start(crate::harness::config("[limits]\nmessage_bytes_max = 256\n")).await;
    server.say("r", "short").await;
    server.send("r", &json!({ "text": "x".repeat(256) })).await.expect_problem(413, "body_too_large");
}

#[tokio::test]
async fn content_type_may_say_utf8() {
    let server = Server::start(Options::default()).await;
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
    ] {
        let send = Request::post("/v1/rooms/r/messages").body(content_type, r#"{"text":"x"}"#);
        assert_eq!(server.call(send).await.status, 201, "{content_type}");
    }
}

#[tokio::test]
async fn ids_in_paths_are_percent_decoded() {
    let server = Server::start(Options::default()).await;
    server.say("live%3A42%2da", "x").await;
    let got = server.poll("live:42-a", "cursor=-1&timeout_ms=0").await;
    assert_eq!(seqs(&got["messages"]), [1]);
}

#[tokio::test]
async fn poll_after_the_answer_sees_the_message() {
    let server = Server::start(Options::default()).await;
    let (mut sender, mut reader) = (server.conn().await, server.conn().await);
    for round in 1..=200u64 {
        let priority = if round % 2 == 0 { "high" } else { "normal" };
        let send = Request::send("r", &json!({ "text": "x", "priority": priority }));
        let sent = sender.call(&send).await.expect_json(201);
        let poll = Request::poll("r", "cursor=now&tail=1&timeout_ms=0");
        let got = reader.call(&poll).await.expect_json(200);
        let list = if round % 2 == 0 { "priority" } else { "messages" };
        assert_eq!(got[list][0]["seq"], sent["seq"], "{got}");
    }
}

#[tokio::test]
async fn anonymous_sender_is_a_speaker() {
    let server = Server::start(Options::default()).await;
    server.say("r", "x").await;
    let named = Request::post("/v1/rooms/r/messages?user=u1&role=moderator").json(&json!({ "text": "y" }));
    server.call(named).await.expect(201);
    let got = server.poll("r", "cursor=-1&timeout_ms=0").await;
    assert_eq!(got["messages"][0]["sender"], json!({ "id": "anonymous", "role": "speaker" }));
    assert_eq!(got["messages"][1]["sender"], json!({ "id": "u1", "role": "moderator" }));
}

/// A send that comes whole with its head is served without being copied first, any other by the way of all requests.
#[tokio::test]
async fn both_ways_of_a_send_answer_alike() {
    let server = Server::start(Options::default()).await;
    let json = "Content-Type: application/json\r\n";
    let key = format!("{json}Idempotency-Key: k\r\n");
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(16_384));
    for (query, fields, body) in [
        ("", json, r#"{"text":"x"}"#),
        ("?user=u1", json, r#"{"id":"a","text":"x"}"#),
        ("?user=u1", &key, r#"{"text":"x"}"#),
        ("?user=u1", &key, r#"{"id":"other","text":"x"}"#),
        ("?user=u1", json, r#"[{"id":"b","text":"x"},{"text":1}]"#),
        ("?role=viewer", json, r#"{"text":"x"}"#),
        ("?role=king", json, r#"{"text":"x"}"#),
        ("?user=_x", json, r#"{"text":"x"}"#),
        ("?user=%ff", json, r#"{"text":"x"}"#),
        ("", "", r#"{"text":"x"}"#),
        ("", json, r#"{"text":"x","text":"y"}"#),
        ("", json, "{"),
        ("", json, ""),
        ("", json, &large),
    ] {
        let mut told = Vec::new();
        for room in ["r1", "%72%32"] {
            let mut conn = server.conn().await;
            let length = body.len();
            conn.write(format!(
                "POST /v1/rooms/{room}/messages{query} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
            ))
            .await;
            let answer = conn.answer().await;
            let mut body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            // Only these may differ: the one room is not the other, and time goes on.
            let places = match body.get_mut("results") {
                Some(results) => results.as_array_mut().unwrap().iter_mut().collect(),
                None => vec![&mut body],
            };
            for place in places {
                for name in ["seq", "sent_at_ms"] {
                    place.as_object_mut().unwrap().remove(name);
                }
                let id = place["id"].as_str().map(str::len);
                place["id"] = json!(id);
            }
            told.push((answer.status, answer.header("content-type").map(str::to_owned), body));
        }
        assert_eq!(told[0], told[1], "{query} {fields:?} {:.60}", body);
    }
    for (path, status) in [("/v1/rooms/_r/messages", 400), ("/v1/rooms/a~b/messages", 400)] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{json}Content-Length: 2\r\n\r\n{{}}");
        let mut conn = server.conn().await;
        conn.write(request).await;
        assert_eq!(conn.answer().await.expect_problem_of(status, &["invalid_room"])["code"], "invalid_room");
    }
}
