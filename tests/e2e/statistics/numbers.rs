//! A room's numbers: in its statistics, in the answers of polls, in the totals of an app, in metrics.

use prost::Message as _;
use proto::v1::PollAnswer;
use serde_json::{Value, json};

use super::{
    LONG_WINDOW, await_counts, await_stats, counts, leave, now_ms, parked, settled, stats, stay, visit,
};
use crate::harness::{DEADLINE, Options, Request, Server, cursor, eventually};

/// Lets users come, one device each.
async fn come(server: &Server, room: &str, users: &[&str]) {
    let mut conn = server.conn().await;
    for user in users {
        conn.call(&visit(room, user)).await.expect(200);
    }
}

async fn go(server: &Server, room: &str, users: &[&str]) {
    let mut conn = server.conn().await;
    for user in users {
        conn.call(&leave(room, &format!("user={user}"))).await.expect(204);
    }
}

#[tokio::test]
async fn room_that_nobody_was_in_has_zeros() {
    let server = Server::start(Options::default()).await;
    let before_ms = now_ms();
    let mut numbers = stats(&server, "never").await;
    let as_of_ms = numbers.as_object_mut().unwrap().remove("as_of_ms").unwrap();
    assert!(as_of_ms.as_u64().is_some_and(|as_of_ms| as_of_ms.abs_diff(before_ms) < 60_000), "{as_of_ms}");
    assert_eq!(
        numbers,
        json!({
            "num_users": 0, "num_clients": 0, "exact": true, "peak_num_users": 0, "peak_at_ms": 0,
            "unique_viewers": 0, "unique_viewers_total": 0, "unique_error": 0.0,
        })
    );
}

#[tokio::test]
async fn answers_tell_how_many_are_online() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let first = server.call(visit("r", "u0")).await.expect_json(200);
    assert!(first.get("stats").is_none(), "nobody is counted yet: {first}");
    let _phone = parked(&server, &stay("r", "u1", "phone")).await;
    let _desk = parked(&server, &stay("r", "u1", "desk")).await;
    await_counts(&server, "r", (2, 3)).await;

    let shown = eventually(DEADLINE, "statistics in an answer", || async {
        let answer = server.call(visit("r", "u0")).await.expect_json(200);
        let shown = answer["stats"].clone();
        if shown.is_object() && counts(&shown) == (2, 3) { Ok(shown) } else { Err(answer.to_string()) }
    })
    .await;
    assert_eq!(shown.as_object().unwrap().len(), 3, "{shown}");
    assert!(super::as_of_ms(&shown).abs_diff(now_ms()) < 60_000, "{shown}");

    let protobuf = visit("r", "u0").header("Accept", "application/x-protobuf");
    let answer = server.call(protobuf).await.expect(200);
    let wire = PollAnswer::decode(&answer.body[..]).unwrap().stats.expect("statistics");
    assert_eq!((wire.num_users, wire.num_clients), (2, 3));
    assert!(wire.as_of_ms.abs_diff(now_ms()) < 60_000);

    let mut waiting = parked(&server, &stay("r", "u0", "d")).await;
    await_counts(&server, "r", (2, 4)).await;
    server.await_parked(3.0).await;
    let send = Request::post("/v1/rooms/r/messages?user=u1").json(&json!({ "text": "x" }));
    server.call(send).await.expect(201);
    let answer = waiting.answer().await.expect_json(200);
    assert_eq!(answer["stats"]["num_users"], 2, "{answer}");

    let several = Request::get("/v1/poll?rooms=r:now,empty:now&user=u0&timeout_ms=0");
    let several = server.call(several).await.expect_json(200);
    assert_eq!(several["rooms"]["r"]["stats"]["num_users"], 2, "{several}");
    assert!(several["rooms"]["empty"].get("stats").is_none(), "{several}");
}

#[tokio::test]
async fn peak_and_unique_viewers_outlast_the_viewers() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let before_ms = now_ms();
    come(&server, "r", &["u1", "u2", "u3"]).await;
    await_counts(&server, "r", (3, 3)).await;
    go(&server, "r", &["u1", "u2", "u3"]).await;
    let numbers = await_counts(&server, "r", (0, 0)).await;
    let shown = |numbers: &Value| {
        let keys = ["peak_num_users", "unique_viewers", "unique_viewers_total", "unique_error"];
        json!(keys.map(|key| numbers[key].clone()))
    };
    assert_eq!(shown(&numbers), json!([3, 3, 3, 0.0]), "{numbers}");
    let peak_at_ms = numbers["peak_at_ms"].as_u64().unwrap();
    assert!((before_ms..=now_ms()).contains(&peak_at_ms), "{numbers}");

    come(&server, "r", &["u1", "u4"]).await;
    let numbers = await_counts(&server, "r", (2, 2)).await;
    assert_eq!(shown(&numbers), json!([3, 4, 4, 0.0]), "{numbers}");
    assert_eq!(numbers["peak_at_ms"], peak_at_ms, "the peak was before");
}

#[tokio::test]
async fn reopened_room_counts_its_viewers_anew() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    come(&server, "r", &["u1", "u2", "u3"]).await;
    await_counts(&server, "r", (3, 3)).await;
    go(&server, "r", &["u1", "u2", "u3"]).await;
    await_counts(&server, "r", (0, 0)).await;
    server.patch_room("r", &json!({ "state": "closed" })).await;
    let closed = settled(&server, "r").await;
    assert_eq!((&closed["unique_viewers"], &closed["unique_viewers_total"]), (&json!(3), &json!(3)));

    server.patch_room("r", &json!({ "state": "live" })).await;
    let unique = |session: u64, total: u64| {
        move |numbers: &Value| {
            (&numbers["unique_viewers"], &numbers["unique_viewers_total"]) == (&json!(session), &json!(total))
        }
    };
    await_stats(&server, "r", "a new session", unique(0, 3)).await;
    come(&server, "r", &["u1"]).await;
    await_stats(&server, "r", "one who was there before", unique(1, 3)).await;
    come(&server, "r", &["u4"]).await;
    let numbers = await_stats(&server, "r", "one more", unique(2, 4)).await;
    assert_eq!(numbers["peak_num_users"], 2, "{numbers}");
    // A room that is live stays in its session.
    server.patch_room("r", &json!({ "state": "live" })).await;
    let numbers = settled(&server, "r").await;
    assert!(unique(2, 4)(&numbers), "{numbers}");
}

#[tokio::test]
async fn who_stays_while_a_room_reopens_is_in_the_new_session() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    come(&server, "r", &["u1", "u2"]).await;
    await_counts(&server, "r", (2, 2)).await;
    server.patch_room("r", &json!({ "state": "closed" })).await;
    server.patch_room("r", &json!({ "state": "live" })).await;
    come(&server, "r", &["u1", "u2", "u3"]).await;
    await_stats(&server, "r", "three viewers of the session", |numbers| numbers["unique_viewers"] == 3).await;
}

#[tokio::test]
async fn poll_policy_goes_by_people_online() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    let mut conns = Vec::new();
    for _ in 0..4 {
        conns.push(server.conn().await);
    }
    let at = |room: &str, number: usize, device: &str| {
        Request::poll(room, &format!("user=u{number}&device={device}&timeout_ms=0"))
    };
    // As many devices as make a big room, if they were people.
    for number in 0..500 {
        for (conn, device) in conns.iter_mut().zip(["a", "b", "c", "d"]) {
            conn.send(&at("devices", number, device)).await;
        }
        for conn in &mut conns {
            conn.answer().await.expect(200);
        }
    }
    for number in 0..250 {
        for (part, conn) in conns.iter_mut().enumerate() {
            conn.send(&at("people", number * 4 + part, "d")).await;
        }
        for conn in &mut conns {
            conn.answer().await.expect(200);
        }
    }
    await_counts(&server, "devices", (500, 2_000)).await;
    await_counts(&server, "people", (1_000, 1_000)).await;
    let interval = async |room: &str| {
        let start = cursor(&server.call(visit(room, "u1")).await.expect_json(200));
        let send = Request::post(format!("/v1/rooms/{room}/messages?user=u1")).json(&json!({ "text": "x" }));
        server.call(send).await.expect(201);
        let poll = Request::poll(room, &format!("cursor={start}&user=u1"));
        server.call(poll).await.expect_json(200)["poll_after_ms"].clone()
    };
    eventually(DEADLINE, "the interval of a big room", || async {
        let interval = interval("people").await;
        if interval == 500 { Ok(()) } else { Err(interval.to_string()) }
    })
    .await;
    assert_eq!(interval("devices").await, 0);
}

#[tokio::test]
async fn totals_are_those_of_the_busiest_rooms_and_all() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    for (room, users) in [("b", 2), ("a", 2), ("big", 3), ("small", 1)] {
        let names: Vec<_> = (0..users).map(|at| format!("{room}-{at}")).collect();
        come(&server, room, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let _phone = parked(&server, &stay("small", "small-0", "phone")).await;
    let all = eventually(DEADLINE, "all in the totals", || async {
        let all = server.call(Request::get("/v1/stats")).await.expect_json(200);
        if counts(&all) == (8, 9) { Ok(all) } else { Err(all.to_string()) }
    })
    .await;
    let names = |all: &Value| -> Vec<String> {
        let rooms = all["rooms"].as_array().expect("rooms");
        rooms.iter().map(|room| room["room"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&all), ["big", "a", "b", "small"]);
    let small = json!({
        "room": "small", "num_users": 1, "num_clients": 2, "unique_viewers": 1, "sect": "default",
    });
    assert_eq!(all["rooms"][3], small);
    assert_eq!(
        all["sects"],
        json!([{ "sect": "default", "num_users": 8, "num_clients": 9, "num_rooms": 4 }])
    );
    let top = server.call(Request::get("/v1/stats?top=2")).await.expect_json(200);
    assert_eq!((names(&top), counts(&top)), (vec!["big".to_owned(), "a".to_owned()], (8, 9)));
    for query in ["top=0", "top=1001", "top=x", "top=", "top=1&top=2"] {
        let refused = server.call(Request::get(format!("/v1/stats?{query}"))).await;
        refused.expect_problem(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn metrics_tell_of_heartbeats_and_who_is_online() {
    let server = Server::start(Options::default().and(LONG_WINDOW)).await;
    come(&server, "a", &["u1", "u2"]).await;
    come(&server, "b", &["u1"]).await;
    await_counts(&server, "b", (1, 1)).await;
    eventually(DEADLINE, "three places taken by users", || async {
        let online = server.metric("bigroom_online_users", &[("sect", "default")]).await;
        if online == 3.0 { Ok(()) } else { Err(online.to_string()) }
    })
    .await;
    let beats = server.metric("bigroom_heartbeats_total", &[]).await;
    assert!(beats >= 3.0, "{beats}");
    come(&server, "b", &["u2"]).await;
    await_counts(&server, "b", (2, 2)).await;
    assert!(server.metric("bigroom_heartbeats_total", &[]).await > beats);
}
