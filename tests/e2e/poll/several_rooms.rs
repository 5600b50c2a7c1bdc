//! One poll for several rooms.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{cursor_of, fill};
use crate::harness::{Hourglass, Keys, Options, Request, Server, claims, seqs, texts};

fn poll(rooms: &str, query: &str) -> Request {
    Request::get(format!("/v1/poll?rooms={rooms}&{query}"))
}

fn rooms_of(answer: &Value) -> Vec<&str> {
    let mut names: Vec<_> = answer["rooms"].as_object().expect("rooms").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn every_room_has_its_answer() {
    let server = Server::start(Options::default()).await;
    fill(&server, "a", 1, 2).await;
    fill(&server, "live:b", 0, 1).await;
    let got = server.call(poll("a:-1,live:b:-1,c:now", "timeout_ms=30000")).await.expect_json(200);
    assert_eq!(rooms_of(&got), ["a", "c", "live:b"]);
    let rooms = &got["rooms"];
    assert_eq!((seqs(&rooms["a"]["priority"]), seqs(&rooms["a"]["messages"])), (vec![1], vec![1, 2]));
    assert_eq!(seqs(&rooms["live:b"]["messages"]), [1]);
    assert_eq!(rooms["c"]["messages"], json!([]));
    for room in ["a", "live:b", "c"] {
        assert!(rooms[room]["epoch"].is_string() && rooms[room]["up_to_date"] == true, "{got}");
        let alone = server.poll(room, &format!("cursor={}&timeout_ms=0", cursor_of(&rooms[room]))).await;
        assert_eq!(alone["messages"], json!([]), "its cursor is the room's own");
    }
}

#[tokio::test]
async fn message_in_any_room_ends_the_wait() {
    let server = Server::start(Options::default()).await;
    let (mut a, mut b) = (server.cursor_now("a").await, server.cursor_now("b").await);
    for (room, quiet) in [("a", "b"), ("b", "a"), ("b", "a")] {
        let parked = server.park(poll(&format!("a:{a},b:{b}"), "timeout_ms=30000")).await;
        server.say(room, room).await;
        let got = parked.answer().await["rooms"].take();
        assert_eq!((texts(&got[room]["messages"]), texts(&got[quiet]["messages"])), (vec![room], vec![]));
        (a, b) = (cursor_of(&got["a"]), cursor_of(&got["b"]));
    }
}

#[tokio::test]
async fn quiet_rooms_time_out_together() {
    let server = Server::start(Options::default()).await;
    let asked = Instant::now();
    let got = server.call(poll("a:now,b:now", "timeout_ms=1000")).await.expect_json(200);
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    assert_eq!(rooms_of(&got), ["a", "b"]);
}

#[tokio::test]
async fn room_that_cannot_be_served_has_its_problem() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let mut claims = claims("u1", "viewer");
    claims["rooms"] = json!(["mine-*"]);
    let token = keys.sign(&claims);
    let glass = Request::poll("mine-3", Hourglass::LASTS).bearer(&token);
    let mut hourglass = Hourglass::turn(&server, &glass).await;
    let request = poll("mine-1:now,yours:now,mine-2:nonsense", "timeout_ms=30000").bearer(&token);
    let got = server.call(request).await.expect_json(200);
    hourglass.expect_running("the wait, which a problem ends").await;
    assert_eq!(got["rooms"]["mine-1"]["messages"], json!([]));
    for (room, status, code) in [("yours", 403, "forbidden"), ("mine-2", 400, "invalid_cursor")] {
        let problem = &got["rooms"][room];
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{got}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{got}");
    }
}

#[tokio::test]
async fn malformed_lists_of_rooms_are_refused() {
    let server = Server::start(Options::default()).await;
    let many = |count: usize| (0..count).map(|at| format!("r{at}:now")).collect::<Vec<_>>().join(",");
    server.call(poll(&many(20), "timeout_ms=0")).await.expect(200);
    for (rooms, codes) in [
        (many(21).as_str(), &["invalid_parameter"][..]),
        ("a:now,a:now", &["invalid_parameter"]),
        ("", &["invalid_parameter"]),
    ] {
        server.call(poll(rooms, "timeout_ms=0")).await.expect_problem_of(400, codes);
    }
    server.call(Request::get("/v1/poll?timeout_ms=0")).await.expect_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn limit_holds_for_each_room() {
    let server = Server::start(Options::default()).await;
    fill(&server, "a", 0, 5).await;
    fill(&server, "b", 0, 2).await;
    let got = server.call(poll("a:-1,b:-1", "limit=3")).await.expect_json(200);
    let rooms = &got["rooms"];
    assert_eq!((seqs(&rooms["a"]["messages"]), &rooms["a"]["up_to_date"]), (vec![1, 2, 3], &json!(false)));
    assert_eq!((seqs(&rooms["b"]["messages"]), &rooms["b"]["up_to_date"]), (vec![1, 2], &json!(true)));
}
