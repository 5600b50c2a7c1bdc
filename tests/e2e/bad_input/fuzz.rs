//! Requests with random damage: whatever comes, every connection ends and the server goes on.
//!
//! `E2E_SEED` repeats the damage of an earlier run.

use std::env;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

use super::ROOM;
use crate::harness::{DEADLINE, H2, Options, Request, Server, eventually, within};

fn originals() -> Vec<Vec<u8>> {
    let chunked = "POST /v1/rooms/r/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\n{\"tex\r\n7\r\nt\":\"a\"}\r\n0\r\n\r\n";
    let several =
        [Request::poll(ROOM, "timeout_ms=0").encode(), Request::get("/v1/rooms/r/history").encode()];
    vec![
        Request::poll(ROOM, "cursor=now&limit=5&timeout_ms=0&user=u1&_=1").header("Accept", "*/*").encode(),
        Request::send(ROOM, &json!({ "id": "m1", "text": "a", "data": { "b": [1, null] } })).encode(),
        Request::new("PATCH", "/v1/rooms/r").json(&json!({ "cooldown_ms": 0, "muted": false })).encode(),
        Request::get("/v1/poll?rooms=a:now,b:-1&timeout_ms=0").encode(),
        Request::new("DELETE", "/v1/rooms/r/messages/normal/1").encode(),
        chunked.into(),
        several.concat(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x82".to_vec(),
    ]
}

fn damage(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..bytes.len());
        let to = random.random_range(at..=bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes.truncate(at + 1),
            3 => drop(bytes.drain(at..to.min(bytes.len() - 1).max(at))),
            4 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                bytes.insert(at, *b"\r\n :\0\x7f%&=,;\"{}[]".get(random.random_range(0..17)).unwrap_or(&b' '))
            }
        }
    }
}

#[tokio::test]
async fn damaged_requests_end_and_hurt_nobody() {
    let seed =
        env::var("E2E_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| rand::rng().random());
    eprintln!("E2E_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server =
        Server::start(Options::default().and("[http]\nheader_timeout = \"2s\"\nbody_timeout = \"2s\"\n"))
            .await;
    let originals = originals();
    let connections = server.metric("bigroom_connections", &[]).await;
    for _ in 0..40 {
        let attacks = (0..25).map(|_| {
            let mut bytes = originals[random.random_range(0..originals.len())].clone();
            damage(&mut random, &mut bytes);
            let server = &server;
            async move {
                let case = bytes.escape_ascii().to_string();
                let mut conn = server.conn().await;
                drop(conn.try_write(&bytes).await);
                let _ = conn.try_finish().await;
                // A poll that came through whole may be held: its client has left, so not for long.
                within(DEADLINE, &case, conn.expect_end()).await;
            }
        });
        futures_util::future::join_all(attacks).await;
    }
    server.await_unparked(0.0).await;
    eventually(DEADLINE, "all connections gone", || async {
        let now = server.metric("bigroom_connections", &[]).await;
        if now <= connections { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    server.call(Request::get("/openapi.json")).await.expect(200);
    H2::open(server.addr).await.call(&Request::get("/openapi.json")).await.expect(200);
    within(DEADLINE, "a poll", server.poll("other", "timeout_ms=100")).await;
}
