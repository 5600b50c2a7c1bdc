//! A server without keys: on loopback only, everybody may do everything, and says who they are.

use serde_json::json;

use crate::harness::{Options, Request, Server, config, spawn_refused};

#[tokio::test]
async fn everybody_may_do_everything() {
    let server = Server::start(Options::default()).await;
    server.signal("r", "high").await;
    server.patch_room("r", &json!({ "cooldown_ms": 0 })).await;
    server.call(Request::new("DELETE", "/v1/rooms/r/messages/priority/1")).await.expect(200);
    server.call(Request::new("DELETE", "/v1/rooms/r")).await.expect(204);
}

#[tokio::test]
async fn warning_says_that_there_are_no_keys() {
    let server = Server::start(Options::default()).await;
    let log = server.log();
    let warns = log.lines().any(|line| line.contains("\"WARN\"") && line.to_lowercase().contains("key"));
    assert!(warns, "{log}");
}

#[tokio::test]
async fn open_bind_needs_a_key_or_a_word() {
    let refusal = spawn_refused(config("").args(&["--listen", "0.0.0.0:0"])).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("0.0.0.0:0"), "the address is not named: {}", refusal.stderr);
    let server = Server::start(Options::default().args(&["--listen", "0.0.0.0:0", "--insecure"])).await;
    server.say("r", "x").await;
}
