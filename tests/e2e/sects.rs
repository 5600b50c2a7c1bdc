//! Sects: which room lives where, by whose word, and what its readers notice of a move: its pace, and nothing else.

mod cluster;

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{DEADLINE, Options, Request, Server, config, cursor, eventually, spawn_refused};

/// Nobody is gone before he leaves.
const LONG_WINDOW: &str = "[online]\nwindow = \"10m\"\n";

/// An ordinary sect that answers at once, and a VIP sect whose pace is told by `poll_after_ms`.
const SECTS: &str = "[[sect]]\nname = \"a\"\npolicy = \"off\"\n\
                     [[sect]]\nname = \"vip\"\nkind = \"vip\"\npolicy = { 0 = \"20s\" }\n";
const VIP_PACE_MS: u64 = 20_000;

/// From three viewers on a room is promoted; it comes back when it has had one at most for a second.
const ROUTING: &str = "[routing]\npromote_at = 3\ndemote_at = 2\ndemote_after = \"1s\"\n";

/// The file of a sect table.
struct Table(TempDir);

impl Table {
    fn new(text: &str) -> Self {
        let table = Self(TempDir::with_prefix("bigroom-sects-").unwrap());
        table.replace(text);
        table
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("sects.toml")
    }

    /// Writes it anew, so that nobody reads half of it.
    fn replace(&self, bytes: impl AsRef<[u8]>) {
        let new = self.0.path().join("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// Has all nodes started with it.
    fn given_to(&self, options: Options) -> Options {
        options.env("BIGROOM_SECTS", self.path().to_str().unwrap())
    }
}

async fn serve(table: &Table) -> Server {
    Server::start(table.given_to(Options::default().and(LONG_WINDOW))).await
}

async fn sects(server: &Server) -> Value {
    server.call(Request::get("/v1/sects")).await.expect_json(200)
}

async fn put(server: &Server, room: &str, sect: Value) -> Value {
    let request = Request::new("PUT", format!("/v1/rooms/{room}/sect")).json(&json!({ "sect": sect }));
    server.call(request).await.expect_json(200)
}

/// Puts a message into a room, as the one who asks for its pace: who sends is there.
async fn say(server: &Server, room: &str) {
    let request = Request::post(format!("/v1/rooms/{room}/messages?user=pace"));
    server.call(request.json(&json!({ "text": "x" }))).await.expect(201);
}

/// The sect that a room says it is in.
async fn sect_of(server: &Server, room: &str) -> String {
    let settings = server.call(Request::get(format!("/v1/rooms/{room}"))).await.expect_json(200);
    settings["sect"].as_str().unwrap().to_owned()
}

async fn await_sect(server: &Server, room: &str, sect: &str) {
    eventually(DEADLINE, &format!("{room} in {sect}"), || async {
        let is = sect_of(server, room).await;
        if is == sect { Ok(()) } else { Err(is) }
    })
    .await;
}

/// Waits until readers of a room that has messages are told that pace.
async fn await_pace(server: &Server, room: &str, pace_ms: u64) {
    eventually(DEADLINE, &format!("a pace of {pace_ms} ms in {room}"), || async {
        let answer = server.poll(room, "cursor=-1&timeout_ms=0&user=pace").await;
        if answer["poll_after_ms"] == pace_ms { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

async fn visit(server: &Server, room: &str, users: &[&str]) {
    for user in users {
        server.poll(room, &format!("user={user}&cursor=now&timeout_ms=0")).await;
    }
}

async fn leave(server: &Server, room: &str, users: &[&str]) {
    for user in users {
        server.call(Request::post(format!("/v1/rooms/{room}/leave?user={user}"))).await.expect(204);
    }
}

async fn moves(server: &Server, why: &str) -> f64 {
    server.metric("bigroom_room_moves_total", &[("why", why)]).await
}

#[tokio::test]
async fn operator_sees_the_table_and_moves_a_room() {
    let table =
        Table::new(&format!("{}{ROUTING}", SECTS.replace("kind", "nodes = [\"10.0.0.1:7071\"]\nkind")));
    let server = serve(&table).await;
    let listed = sects(&server).await;
    let sect = |name: &str, kind: &str, policy: Value, nodes: Value| {
        json!({
            "sect": name, "kind": kind, "weight": 1, "policy": policy, "nodes": nodes,
            "num_rooms": 0, "num_users": 0, "num_clients": 0,
        })
    };
    let away = json!([{ "address": "10.0.0.1:7071", "state": "away" }]);
    let vip_policy = json!([{ "num_users": 0, "interval_ms": VIP_PACE_MS }]);
    let expect = json!({
        "version": 1,
        "sects": [sect("a", "ordinary", json!([]), json!([])), sect("vip", "vip", vip_policy, away)],
        "promote_at": 3, "demote_at": 2, "demote_after_ms": 1_000,
    });
    assert_eq!(listed, expect);

    say(&server, "r").await;
    await_pace(&server, "r", 0).await;
    assert_eq!(put(&server, "r", json!("vip")).await, json!({ "room": "r", "sect": "vip", "by": "api" }));
    assert_eq!(sect_of(&server, "r").await, "vip");
    await_pace(&server, "r", VIP_PACE_MS).await;
    eventually(DEADLINE, "the viewer in the sums of the sect", || async {
        let all = server.call(Request::get("/v1/stats")).await.expect_json(200);
        let by_sect = sects(&server).await;
        let vip = json!({ "sect": "vip", "num_users": 1, "num_clients": 1, "num_rooms": 1 });
        let is_so = all["sects"][1] == vip
            && all["rooms"][0]["sect"] == "vip"
            && (&by_sect["sects"][0]["num_rooms"], &by_sect["sects"][1]["num_rooms"])
                == (&json!(0), &json!(1));
        if is_so { Ok(()) } else { Err(format!("{all} {by_sect}")) }
    })
    .await;

    // It is kept, and taken back by a word.
    let server = server.stop().await.start().await;
    assert_eq!(sect_of(&server, "r").await, "vip");
    let request = Request::new("PUT", "/v1/rooms/r/sect").json(&json!({ "sect": "nowhere" }));
    let refused = server.call(request).await.expect_problem(400, "invalid_message");
    assert!(refused["detail"].as_str().unwrap().contains("a, vip"), "{refused}");
    assert_eq!(put(&server, "r", Value::Null).await, json!({ "room": "r", "sect": "a" }));
    await_pace(&server, "r", 0).await;
    assert_eq!((moves(&server, "pinned").await, moves(&server, "unpinned").await), (0.0, 1.0));
}

#[tokio::test]
async fn crowd_promotes_its_room_and_an_empty_one_comes_back_after_a_while() {
    let table = Table::new(&format!("{SECTS}{ROUTING}"));
    let server = serve(&table).await;
    say(&server, "r").await;
    visit(&server, "quiet", &["u1", "u2"]).await;
    visit(&server, "r", &["u1", "u2", "u3"]).await;
    await_sect(&server, "r", "vip").await;
    await_pace(&server, "r", VIP_PACE_MS).await;
    assert_eq!(sect_of(&server, "quiet").await, "a");
    leave(&server, "r", &["u1", "u2", "u3"]).await;
    // `pace` is there still: fewer than two.
    await_sect(&server, "r", "a").await;
    await_pace(&server, "r", 0).await;
    assert_eq!((moves(&server, "promoted").await, moves(&server, "demoted").await), (1.0, 1.0));
}

#[tokio::test]
async fn table_is_replaced_by_a_good_one_only_and_its_pins_end_promotions() {
    let table = Table::new(&format!("{SECTS}{ROUTING}"));
    let server = serve(&table).await;
    visit(&server, "r", &["u1", "u2", "u3"]).await;
    visit(&server, "big", &["u1", "u2", "u3"]).await;
    put(&server, "moved", json!("vip")).await;
    await_sect(&server, "r", "vip").await;
    await_sect(&server, "big", "vip").await;
    let gauge = async || {
        let metrics = server.metrics().await;
        let mut names: Vec<_> = metrics.label_values("bigroom_online_users", "sect");
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(gauge().await, "a vip", "and no default");

    let before = sects(&server).await;
    table.replace("[[sect]]\nname = \"v\"\nkind = \"vip\"\n");
    eventually(DEADLINE, "a word on the bad table", || {
        let log = server.log();
        let is_said = log.contains("at least one sect of kind ordinary");
        std::future::ready(if is_said { Ok(()) } else { Err(log) })
    })
    .await;
    assert_eq!(sects(&server).await["sects"], before["sects"]);

    // A pin holds before a promotion, and what the operator said of one room before a pin.
    let pin = "[[pin]]\nrooms = \"*o*\"\nsect = \"a\"\n[[pin]]\nrooms = \"r\"\nsect = \"a\"\n";
    table.replace(format!("{SECTS}{pin}{ROUTING}"));
    await_sect(&server, "r", "a").await;
    assert_eq!(
        (sect_of(&server, "big").await, sect_of(&server, "moved").await),
        ("vip".into(), "vip".into())
    );

    // Rooms of a sect that is gone are home, and it is forgotten that they were there: when it comes back they have to grow again.
    table.replace(format!("{}{ROUTING}", &SECTS[..SECTS.rfind("[[sect]]").unwrap()]));
    await_sect(&server, "big", "a").await;
    assert_eq!(sect_of(&server, "moved").await, "a");
    assert_eq!(gauge().await, "a");
    eventually(DEADLINE, "both demoted", || async {
        let demoted = moves(&server, "demoted").await;
        if demoted == 2.0 { Ok(()) } else { Err(demoted.to_string()) }
    })
    .await;
    leave(&server, "big", &["u1", "u2", "u3"]).await;
    eventually(DEADLINE, "an empty room", || async {
        let numbers = server.call(Request::get("/v1/rooms/big/stats")).await.expect_json(200);
        if numbers["num_users"] == 0 { Ok(()) } else { Err(numbers.to_string()) }
    })
    .await;
    table.replace(format!("{SECTS}{ROUTING}"));
    await_sect(&server, "moved", "vip").await;
    assert_eq!(sect_of(&server, "big").await, "a");
    assert_eq!(gauge().await, "a vip");
}

#[tokio::test]
async fn table_that_is_no_good_ends_the_start_with_one_sentence() {
    for (bytes, parts) in [
        (&b"[[sect]]\nname = \"\xe9\"\n"[..], &["sects.toml: line 2", "must be UTF-8"][..]),
        (b"[[sect]]\nname = \"a\"\n[routing]\ndemote_at = 0\n", &["demote_at = 0 must be 1 or more"]),
    ] {
        let table = Table::new("");
        table.replace(bytes);
        let refusal = spawn_refused(table.given_to(config(""))).await;
        assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
        assert!(parts.iter().all(|part| refusal.stderr.contains(part)), "{parts:?}: {}", refusal.stderr);
        assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
    }
}

#[tokio::test]
async fn reader_who_waits_is_served_through_a_move() {
    let table = Table::new(&format!("{SECTS}{ROUTING}"));
    let server = serve(&table).await;
    let now = server.cursor_now("r").await;
    let waiting = server.park(Request::poll("r", &format!("cursor={now}"))).await;
    put(&server, "r", json!("vip")).await;
    let sent = server.signal("r", "to all").await;
    let answer = crate::harness::within(DEADLINE, "the message", waiting.answer()).await;
    assert_eq!(answer["priority"][0]["seq"], sent["seq"]);
    assert!(answer.get("gap").is_none() && !cursor(&answer).is_empty());
}
