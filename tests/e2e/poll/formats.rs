//! The forms of an answer: JSON, protobuf, compressed.

use std::io::Read;

use prost::Message as _;
use proto::v1::PollAnswer;
use serde_json::json;

use super::{cursor_of, fill};
use crate::harness::{Answer, Options, Request, Server, seqs};

async fn ask(server: &Server, query: &str, headers: &[(&str, &str)]) -> Answer {
    let poll =
        headers.iter().fold(Request::poll("r", query), |poll, (name, value)| poll.header(name, *value));
    server.call(poll).await.expect(200)
}

#[tokio::test]
async fn protobuf_says_the_same_as_json() {
    let server = Server::start(Options::default().and("[retention.normal]\ncount = 3\n")).await;
    let start = server.cursor_now("r").await;
    fill(&server, "r", 1, 5).await;
    server.sent("r", &json!({ "data": { "a": [1, 2] }, "type": "gift" })).await;
    let query = format!("cursor={start}");
    let json = server.poll("r", &query).await;
    let answer = ask(&server, &query, &[("Accept", "application/x-protobuf")]).await;
    assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    let wire = PollAnswer::decode(&answer.body[..]).unwrap();

    assert_eq!(
        (json!(wire.epoch), json!(wire.up_to_date)),
        (json["epoch"].clone(), json["up_to_date"].clone())
    );
    let places = |messages: &[proto::v1::Message]| messages.iter().map(|m| m.seq).collect::<Vec<_>>();
    assert_eq!(places(&wire.priority), seqs(&json["priority"]));
    assert_eq!(places(&wire.messages), seqs(&json["messages"]));
    assert_eq!(places(&wire.messages), [4, 5, 6]);
    let gap = wire.gap.unwrap();
    assert_eq!(json!([gap.normal, gap.first_seq, gap.reason]), json!([3, 1, "retention"]));
    assert_eq!(json!(wire.room.unwrap().state), json["room"]["state"]);
    let (ours, theirs) = (wire.messages.last().unwrap(), &json["messages"][2]);
    assert_eq!(
        json!([ours.id, ours.r#type, ours.sent_at_ms]),
        json!([theirs["id"], "gift", theirs["sent_at_ms"]])
    );
    assert_eq!(ours.data.as_deref(), Some(&br#"{"a":[1,2]}"#[..]));
    assert_eq!(ours.text, None);
    let sender = ours.sender.as_ref().unwrap();
    assert_eq!((sender.id.as_str(), sender.role.as_str()), ("anonymous", "speaker"));
    assert_eq!(wire.messages[0].text.as_deref(), Some("4"));
    server.poll("r", &format!("cursor={}&timeout_ms=0", wire.next_cursor)).await;
}

#[tokio::test]
async fn refusals_are_json_also_for_protobuf() {
    let server = Server::start(Options::default()).await;
    let poll = Request::poll("r", "limit=0").header("Accept", "application/x-protobuf");
    server.call(poll).await.expect_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn anything_else_is_answered_in_json() {
    let server = Server::start(Options::default()).await;
    for accept in [
        "*/*",
        "application/json",
        "text/html, */*;q=0.1",
        "text/plain",
        "application/xml",
        "",
        "garbage,,;q=x",
    ] {
        let answer = ask(&server, "timeout_ms=0", &[("Accept", accept)]).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "Accept: {accept}");
    }
}

#[tokio::test]
async fn large_answers_are_compressed_on_request() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 0, 50).await;
    let plain = ask(&server, "cursor=-1", &[]).await;
    assert_eq!(plain.header("content-encoding"), None);
    assert!(plain.body.len() > 1_024);
    let ungzip = |bytes: &[u8]| {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    };
    for (accepted, expect) in [
        ("gzip", Some("gzip")),
        ("zstd", Some("zstd")),
        ("GZIP", Some("gzip")),
        ("gzip;q=0.5, br", Some("gzip")),
        ("deflate, br", None),
        ("gzip;q=0", None),
        ("identity", None),
        ("", None),
        ("zstd;q=0, gzip;q=0", None),
    ] {
        for accept in ["application/json", "application/x-protobuf"] {
            let answer =
                ask(&server, "cursor=-1", &[("Accept-Encoding", accepted), ("Accept", accept)]).await;
            assert_eq!(answer.header("content-encoding"), expect, "Accept-Encoding: {accepted}");
            let body = match expect {
                Some("gzip") => ungzip(&answer.body),
                Some(_) => zstd::decode_all(&answer.body[..]).unwrap(),
                None => answer.body.clone(),
            };
            assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
            match accept {
                "application/json" => {
                    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(json["messages"], plain.json()["messages"]);
                }
                _ => assert_eq!(PollAnswer::decode(&body[..]).unwrap().messages.len(), 50),
            }
        }
    }
    let both = ask(&server, "cursor=-1", &[("Accept-Encoding", "gzip, deflate, br, zstd")]).await;
    assert!(
        both.header("content-encoding").is_some_and(|coding| ["gzip", "zstd"].contains(&coding)),
        "{both:?}"
    );
}

#[tokio::test]
async fn small_answers_stay_as_they_are() {
    let server = Server::start(Options::default()).await;
    let answer = ask(&server, "timeout_ms=0", &[("Accept-Encoding", "gzip, zstd")]).await;
    assert_eq!(answer.header("content-encoding"), None);
}

#[tokio::test]
async fn every_answer_says_what_it_varies_by() {
    let server = Server::start(Options::default()).await;
    fill(&server, "r", 0, 50).await;
    for (query, headers) in [
        ("timeout_ms=0", vec![]),
        ("cursor=-1", vec![("Accept-Encoding", "gzip")]),
        ("cursor=-1", vec![("Accept", "application/x-protobuf")]),
        ("timeout_ms=100", vec![]),
    ] {
        let answer = ask(&server, query, &headers).await;
        let vary = answer.header_list("vary");
        assert!(
            ["accept", "accept-encoding"].iter().all(|name| vary.contains(&(*name).to_owned())),
            "{answer:?}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    }
}

#[tokio::test]
async fn parked_polls_get_each_their_own_form() {
    let server = Server::start(Options::default()).await;
    let cursor = server.cursor_now("r").await;
    let poll = Request::poll("r", &format!("cursor={cursor}&timeout_ms=30000"));
    let mut conns = Vec::new();
    for accept in ["application/json", "application/x-protobuf"] {
        for coding in ["identity", "gzip", "zstd"] {
            for _ in 0..3 {
                let mut conn = server.conn().await;
                conn.send(&poll.clone().header("Accept", accept).header("Accept-Encoding", coding)).await;
                conns.push((accept, coding, conn));
            }
        }
    }
    server.await_parked(18.0).await;
    let encoded = server.metric("bigroom_answers_encoded_total", &[]).await;
    server.sent("r", &json!({ "text": "x".repeat(2_000) })).await;
    for (accept, coding, conn) in &mut conns {
        let answer = conn.answer().await.expect(200);
        assert_eq!(answer.header("content-type"), Some(*accept));
        assert_eq!(answer.header("content-encoding").unwrap_or("identity"), *coding);
    }
    let encoded = server.metric("bigroom_answers_encoded_total", &[]).await - encoded;
    assert!(encoded <= 6.0, "18 polls in 6 forms took {encoded} encodings");
    let labels = server.metrics().await;
    for (label, values) in [("format", ["json", "protobuf"].as_slice()), ("compression", &["gzip", "zstd"])] {
        let known = labels.label_values("bigroom_answers_encoded_total", label);
        assert!(values.iter().all(|value| known.contains(value)), "{label}: {known:?}");
    }
    assert_eq!(cursor_of(&server.poll("r", "timeout_ms=0").await).len(), cursor.len());
}
