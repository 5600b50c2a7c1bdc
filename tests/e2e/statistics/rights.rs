//! Who may have which statistics, and of which rooms.

use serde_json::{Value, json};

use super::{LONG_WINDOW, counts, users};
use crate::harness::{DEADLINE, Keys, Options, Request, Server, claims, eventually};

#[tokio::test]
async fn each_role_has_its_part_of_the_statistics() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let signal = Request::send("r", &json!({ "text": "x", "priority": "high" }));
    server.call(signal.bearer(&keys.token("o", "ops"))).await.expect(201);
    // The role from which on it is allowed: viewer 0, speaker 1, broadcaster 2, moderator 3, ops 4.
    for (case, method, path, from, status) in [
        ("numbers", "GET", "/v1/rooms/r/stats", 0, 200),
        ("history", "GET", "/v1/rooms/r/stats/history", 0, 200),
        ("leave", "POST", "/v1/rooms/r/leave", 0, 204),
        ("viewers", "GET", "/v1/rooms/r/viewers", 3, 200),
        ("one viewer", "GET", "/v1/rooms/r/viewers/u", 3, 200),
        ("reach", "GET", "/v1/rooms/r/signals/1/reach", 3, 200),
        ("totals", "GET", "/v1/stats", 4, 200),
    ] {
        server.call(Request::new(method, path)).await.expect_problem(401, "unauthorized");
        for (at, role) in ["viewer", "speaker", "broadcaster", "moderator", "ops"].into_iter().enumerate() {
            eprintln!("case: {case} by {role}");
            let answer = server.call(Request::new(method, path).bearer(&keys.token(role, role))).await;
            if at >= from {
                answer.expect(status);
            } else {
                answer.expect_problem(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn statistics_are_those_of_the_tokens_rooms() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().keys(&keys)).await;
    let mut claims = claims("m", "moderator");
    claims["rooms"] = json!(["live-*"]);
    let token = keys.sign(&claims);
    for path in ["stats", "stats/history", "viewers", "viewers/u", "signals/1/reach"] {
        let ask = |room: &str| server.call(Request::get(format!("/v1/rooms/{room}/{path}")).bearer(&token));
        ask("other").await.expect_problem(403, "forbidden");
        let allowed = ask("live-1").await;
        assert!(matches!(allowed.status, 200 | 404), "{path}: {allowed:?}");
    }
    server.call(Request::post("/v1/rooms/other/leave").bearer(&token)).await.expect_problem(403, "forbidden");
    server.call(Request::post("/v1/rooms/live-1/leave").bearer(&token)).await.expect(204);
}

#[tokio::test]
async fn apps_do_not_see_each_other() {
    let keys = Keys::hs256();
    let server = Server::start(Options::default().and(LONG_WINDOW).keys(&keys)).await;
    let token = |app: &str, user: &str| {
        let mut claims = claims(user, "ops");
        claims["app"] = json!(app);
        keys.sign(&claims)
    };
    let poll = |room: &str| Request::poll(room, "timeout_ms=0");
    for (app, user, room) in
        [("one", "a", "r"), ("one", "b", "r"), ("two", "a", "r"), ("two", "a", "only-two")]
    {
        server.call(poll(room).bearer(&token(app, user))).await.expect(200);
    }
    let ask = async |app: &str, path: &str| -> Value {
        server.call(Request::get(path).bearer(&token(app, "o"))).await.expect_json(200)
    };
    for (app, sum, rooms) in [
        ("one", (2, 2), &[("r", 2)][..]),
        ("two", (2, 2), &[("only-two", 1), ("r", 1)]),
        ("three", (0, 0), &[]),
    ] {
        let shown = eventually(DEADLINE, "the totals of an app", || async {
            let all = ask(app, "/v1/stats").await;
            if counts(&all) == sum { Ok(all) } else { Err(all.to_string()) }
        })
        .await;
        let shown = shown["rooms"].as_array().expect("rooms").iter();
        let shown: Vec<_> =
            shown.map(|room| (room["room"].as_str().unwrap(), room["num_users"].as_u64().unwrap())).collect();
        assert_eq!(shown, rooms, "of {app}");
    }
    assert_eq!(users(&ask("one", "/v1/rooms/r/viewers").await), ["a", "b"]);
    assert_eq!(users(&ask("two", "/v1/rooms/r/viewers").await), ["a"]);
    assert_eq!(ask("three", "/v1/rooms/r/viewers/a").await["online"], false);
    let leave = Request::post("/v1/rooms/r/leave").bearer(&token("two", "b"));
    server.call(leave).await.expect(204);
    server.call(Request::post("/v1/rooms/r/leave").bearer(&token("two", "a"))).await.expect(204);
    eventually(DEADLINE, "a user who has left", || async {
        let numbers = ask("two", "/v1/rooms/r/stats").await;
        if counts(&numbers) == (0, 0) { Ok(()) } else { Err(numbers.to_string()) }
    })
    .await;
    assert_eq!(counts(&ask("one", "/v1/rooms/r/stats").await), (2, 2), "the same ids in another app");
}
