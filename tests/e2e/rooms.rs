//! A room's settings.

use serde_json::{Value, json};

use crate::harness::{Options, Request, Server, config, seqs};

async fn get(server: &Server, room: &str) -> Value {
    server.call(Request::get(format!("/v1/rooms/{room}"))).await.expect_json(200)
}

async fn put(server: &Server, room: &str, settings: &Value) -> Value {
    server.call(Request::new("PUT", format!("/v1/rooms/{room}")).json(settings)).await.expect_json(200)
}

#[tokio::test]
async fn room_never_used_has_the_defaults() {
    let server = Server::start(config("")).await;
    let settings = get(&server, "r").await;
    assert_eq!((&settings["room"], &settings["state"]), (&json!("r"), &json!("live")));
    assert_eq!((&settings["muted"], &settings["cooldown_ms"]), (&json!(false), &json!(0)));
    assert_eq!(settings["limits"], json!({ "room_rate": 200, "user_rate": 5 }));
    let expect = json!({ "normal": { "count": 10_000, "age_s": 3_600 }, "priority": { "count": 100_000, "age_s": 86_400 } });
    assert_eq!(settings["retention"], expect);
}

#[tokio::test]
async fn defaults_are_the_configurations() {
    let toml = "[limits]\nroom_rate = 7\nuser_rate = 3\n[retention.normal]\ncount = 9\nage = \"2m\"\n";
    let server = Server::start(config(toml)).await;
    let settings = get(&server, "r").await;
    assert_eq!(settings["limits"], json!({ "room_rate": 7, "user_rate": 3 }));
    assert_eq!(settings["retention"]["normal"], json!({ "count": 9, "age_s": 120 }));
}

#[tokio::test]
async fn patch_merges_and_answers_with_the_whole() {
    let server = Server::start(config("")).await;
    let defaults = get(&server, "r").await;
    let change = json!({ "muted": true, "cooldown_ms": 1_500, "limits": { "user_rate": 1 },
        "retention": { "priority": { "count": 5 } } });
    let answer = server.patch_room("r", &change).await;
    let mut expect = defaults;
    expect["muted"] = json!(true);
    expect["cooldown_ms"] = json!(1_500);
    expect["limits"]["user_rate"] = json!(1);
    expect["retention"]["priority"]["count"] = json!(5);
    assert_eq!(answer, expect);
    assert_eq!(get(&server, "r").await, expect);
    assert_eq!(server.patch_room("r", &json!({})).await, expect, "an empty change changes nothing");
    expect["muted"] = json!(false);
    assert_eq!(server.patch_room("r", &json!({ "muted": false })).await, expect);
}

#[tokio::test]
async fn put_replaces_everything() {
    let server = Server::start(config("")).await;
    let defaults = get(&server, "r").await;
    server
        .patch_room("r", &json!({ "muted": true, "cooldown_ms": 1_000, "limits": { "room_rate": 1 } }))
        .await;
    let answer = put(&server, "r", &json!({ "cooldown_ms": 2_000 })).await;
    let mut expect = defaults.clone();
    expect["cooldown_ms"] = json!(2_000);
    assert_eq!(answer, expect);
    assert_eq!(put(&server, "r", &json!({})).await, defaults);
}

/// What a moderator's page does: get, change one thing, put back.
#[tokio::test]
async fn what_get_gives_put_takes() {
    let server = Server::start(config("")).await;
    let mut settings = get(&server, "r").await;
    settings["cooldown_ms"] = json!(700);
    let answer = server.call(Request::new("PUT", "/v1/rooms/r").json(&settings)).await;
    assert_eq!(answer.expect_json(200), settings);
}

#[tokio::test]
async fn settings_survive_a_crash() {
    let server = Server::start(config("")).await;
    let set =
        server.patch_room("r", &json!({ "muted": true, "retention": { "normal": { "age_s": 60 } } })).await;
    server.call(Request::new("DELETE", "/v1/rooms/closed")).await.expect(204);
    let server = server.kill9().start().await;
    assert_eq!(get(&server, "r").await, set);
    assert_eq!(get(&server, "closed").await["state"], "closed");
}

#[tokio::test]
async fn closing_destroys_nothing() {
    let server = Server::start(Options::default()).await;
    server.say("r", "x").await;
    server.call(Request::new("DELETE", "/v1/rooms/r")).await.expect(204);
    server.call(Request::new("DELETE", "/v1/rooms/r")).await.expect(204);
    assert_eq!(get(&server, "r").await["state"], "closed");
    assert_eq!(seqs(&server.history("r", "").await["messages"]), [1]);
    assert_eq!(server.patch_room("r", &json!({ "state": "live" })).await["state"], "live");
    assert_eq!(server.patch_room("r", &json!({ "state": "closed" })).await["state"], "closed");
    assert_eq!(get(&server, "r").await["state"], "closed");
}

#[tokio::test]
async fn settings_are_the_rooms_own() {
    let server = Server::start(Options::default()).await;
    server.patch_room("a", &json!({ "muted": true })).await;
    assert_eq!(get(&server, "b").await["muted"], false);
    server.say("b", "not muted").await;
}

#[tokio::test]
async fn concurrent_patches_lose_none() {
    let server = Server::start(config("")).await;
    let changes = [
        json!({ "muted": true }),
        json!({ "cooldown_ms": 5 }),
        json!({ "limits": { "room_rate": 6 } }),
        json!({ "limits": { "user_rate": 7 } }),
        json!({ "retention": { "normal": { "count": 8 } } }),
        json!({ "retention": { "normal": { "age_s": 9 } } }),
        json!({ "retention": { "priority": { "count": 10 } } }),
    ];
    futures_util::future::join_all(changes.iter().map(|change| server.patch_room("r", change))).await;
    let settings = get(&server, "r").await;
    assert_eq!((&settings["muted"], &settings["cooldown_ms"]), (&json!(true), &json!(5)));
    assert_eq!(settings["limits"], json!({ "room_rate": 6, "user_rate": 7 }));
    assert_eq!(settings["retention"]["normal"], json!({ "count": 8, "age_s": 9 }));
    assert_eq!(settings["retention"]["priority"]["count"], 10);
}
