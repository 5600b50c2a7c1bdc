//! Keys: kinds, rotation, reload.

use serde_json::json;

use super::POLL;
use crate::harness::{
    DEADLINE, Keys, Options, Request, Server, claims, compact, config, eventually, spawn_refused,
};

const SECRET: &str = "a secret of thirty-two bytes, at least";

#[tokio::test]
async fn every_kind_of_key_is_good() {
    for keys in [Keys::hs256(), Keys::none().and_ed25519(None), Keys::none().and_p256(None)] {
        let server = Server::start(Options::default().keys(&keys)).await;
        server.call(Request::get(POLL).bearer(&keys.token("u1", "viewer"))).await.expect(200);
        let mut damaged = keys.token("u1", "viewer").into_bytes();
        let last = damaged.len() - 5;
        damaged[last] = if damaged[last] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(damaged).unwrap();
        server.call(Request::get(POLL).bearer(&damaged)).await.expect_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn several_keys_are_told_apart_by_kid() {
    let keys = Keys::none().and_hs256(Some("old"), SECRET).and_p256(Some("ec")).and_ed25519(Some("new"));
    let server = Server::start(Options::default().keys(&keys)).await;
    let claims = claims("u1", "viewer");
    let ask = |token: String| server.call(Request::get(POLL).bearer(&token));
    ask(keys.sign(&claims)).await.expect(200);
    ask(Keys::none().and_hs256(Some("old"), SECRET).sign(&claims)).await.expect(200);
    for kid in [None, Some("old"), Some("ec"), Some("unknown"), Some("")] {
        ask(keys.sign_as(kid, &claims)).await.expect_problem(401, "unauthorized");
    }
}

/// The classic mix-up: a public key, known to everybody, taken for a shared secret.
#[tokio::test]
async fn public_keys_are_no_secrets() {
    let keys = Keys::none().and_ed25519(Some("ed"));
    let server = Server::start(Options::default().keys(&keys)).await;
    for secret in ["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", keys.jwk_set().as_str()] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": "ed" });
        let token =
            compact(&header, &claims("u1", "ops"), |text| ring::hmac::sign(&key, text).as_ref().to_vec());
        server.call(Request::get(POLL).bearer(&token)).await.expect_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn replaced_keys_take_effect() {
    let old = Keys::none().and_hs256(Some("old"), SECRET);
    let both = old.clone().and_hs256(Some("new"), "another secret of thirty-two bytes");
    let new = Keys::none().and_hs256(Some("new"), "another secret of thirty-two bytes");
    let server = Server::start(Options::default().keys(&old)).await;
    let (by_old, by_new) = (old.token("u1", "viewer"), new.token("u1", "viewer"));
    let mut conn = server.conn().await;
    conn.call(&Request::get(POLL).bearer(&by_old)).await.expect(200);
    let until = async |token: &str, status: u16| {
        eventually(DEADLINE, "the new keys in effect", || async {
            let got = server.call(Request::get(POLL).bearer(token)).await.status;
            if got == status { Ok(()) } else { Err(got.to_string()) }
        })
        .await;
    };
    server.call(Request::get(POLL).bearer(&by_new)).await.expect_problem(401, "unauthorized");
    server.replace_keys(&both.jwk_set());
    until(&by_new, 200).await;
    server.call(Request::get(POLL).bearer(&by_old)).await.expect(200);
    server.replace_keys(&new.jwk_set());
    until(&by_old, 401).await;
    // A connection remembers the token, but not beyond its key.
    conn.call(&Request::get(POLL).bearer(&by_old)).await.expect_problem(401, "unauthorized");
    for bad in ["", "{", "{\"keys\":[]}"] {
        server.replace_keys(bad);
        eventually(DEADLINE, "a word in the log", || async {
            let log = server.log();
            if log.contains("keys.json") { Ok(()) } else { Err(log) }
        })
        .await;
        server.call(Request::get(POLL).bearer(&by_new)).await.expect(200);
    }
}

#[tokio::test]
async fn key_file_without_a_usable_key_is_no_start() {
    for contents in [Keys::none(), Keys::none().and_hs256(None, "")] {
        let refusal = spawn_refused(config("").keys(&contents)).await;
        assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
        assert!(refusal.stderr.contains("keys.json"), "the file is not named: {}", refusal.stderr);
    }
    let refusal = spawn_refused(config("").args(&["--auth-key-file", "/nowhere/keys.json"])).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    assert!(refusal.stderr.contains("/nowhere/keys.json"), "{}", refusal.stderr);
}
