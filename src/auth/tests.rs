use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use room::{ErrorCode, Role, UserId};
use serde_json::{Value, json};

use super::*;
use crate::auth::keys::KeyAlgorithm::{EdDsa, Es256, Hs256};

const NOW: u64 = 1_800_000_000;

/// One new key's JWK.
fn jwk(algorithm: KeyAlgorithm, kid: &str) -> Value {
    fresh_key_set(algorithm, kid).unwrap()["keys"][0].clone()
}

fn set(keys: &[&Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// The key without its private half.
fn public(jwk: &Value) -> Value {
    let mut jwk = jwk.clone();
    jwk.as_object_mut().unwrap().remove("d");
    jwk
}

fn good_claims() -> Value {
    json!({ "sub": "u1", "exp": NOW + 60, "rooms": ["live-*"] })
}

/// A token with any header and claims, signed by a key's own algorithm whatever the header says.
fn forge(jwk: &Value, header: &Value, claims: &Value) -> String {
    let keys = set(&[jwk]);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = &keys.keys[0];
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), key.signing.as_ref().unwrap(), key.algorithm.jwt());
    format!("{message}.{}", signature.unwrap())
}

fn with_claims(jwk: &Value, claims: &Value) -> String {
    forge(jwk, &json!({ "alg": jwk["alg"], "kid": jwk["kid"] }), claims)
}

fn refusal(keys: KeySet, token: &str) -> String {
    let problem = Verifier::new(keys).verify(token, NOW).unwrap_err();
    assert_eq!(problem.code, ErrorCode::Unauthorized);
    problem.detail.into_owned()
}

fn grant() -> Grant {
    Grant {
        user: UserId::new("u1").unwrap(),
        role: Role::Broadcaster,
        rooms: vec!["live-*".into(), "x".into()],
        ttl: std::time::Duration::from_secs(60),
        app: room::AppId::new("shop").unwrap(),
        device: Some(room::DeviceId::new("phone").unwrap()),
    }
}

#[test]
fn signed_grants_are_verified_with_every_algorithm() {
    for algorithm in KeyAlgorithm::ALL {
        let key = jwk(algorithm, "k1");
        let token = grant().sign(&set(&[&key]), None, NOW).unwrap();
        let verified = Verifier::new(set(&[&public(&key)])).verify(&token, NOW).unwrap();
        assert_eq!(verified.identity.user.as_ref().unwrap().as_str(), "u1", "{algorithm}");
        assert_eq!(verified.identity.role, Role::Broadcaster);
        assert_eq!(verified.identity.rights, Role::Broadcaster);
        assert_eq!(verified.identity.app.as_str(), "shop");
        assert_eq!(verified.identity.device.as_ref().unwrap().as_str(), "phone");
        assert!(verified.identity.may_enter(&room::RoomId::new("live-7").unwrap()));
        assert!(!verified.identity.may_enter(&room::RoomId::new("other").unwrap()));
        assert_eq!(verified.expires_at_s, NOW + 60 + EXPIRY_LEEWAY_S);
    }
}

#[test]
fn published_example_token_is_verified() {
    // RFC 7515 appendix A.1: a key and a signature that are not of our making. Its claims lack what we need, so
    // the refusal must be about them, which comes after the signature.
    let key = json!({
        "kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    });
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(refusal(set(&[&key]), token), "the token has expired: get a new one");
}

#[test]
fn published_ed25519_key_pair_is_read() {
    // RFC 8037 appendix A.1 and A.4.
    let key = json!({
        "kty": "OKP", "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    });
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                 hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    // The signature is right; what it signs is no claims.
    assert!(refusal(set(&[&key]), token).starts_with("the token's claims are malformed"));
}

#[test]
fn defaults_are_the_least() {
    let key = jwk(Hs256, "k1");
    let verified = Verifier::new(set(&[&key])).verify(&with_claims(&key, &good_claims()), NOW).unwrap();
    assert_eq!(verified.identity.role, Role::Viewer);
    assert_eq!(verified.identity.app, room::AppId::default());
    assert_eq!(verified.identity.device, None);
}

#[test]
fn claims_follow_their_rules() {
    let key = jwk(Hs256, "k1");
    for (change, expect) in [
        (json!({ "exp": NOW - 4 }), Ok(())),
        (json!({ "exp": NOW - 5 }), Err("expired")),
        (json!({ "exp": (NOW as f64) + 0.5 }), Ok(())),
        (json!({ "exp": -1 }), Err("expired")),
        (json!({ "exp": 1e300 }), Ok(())),
        (json!({ "exp": null }), Err("no exp")),
        (json!({ "exp": "soon" }), Err("claims are malformed")),
        (json!({ "nbf": NOW + 5 }), Ok(())),
        (json!({ "nbf": NOW + 6 }), Err("not valid yet")),
        (json!({ "sub": null }), Err("no sub")),
        (json!({ "sub": "" }), Err("sub claim is no user id")),
        (json!({ "sub": "_canary" }), Err("reserved")),
        (json!({ "sub": 7 }), Err("claims are malformed")),
        (json!({ "rooms": null }), Err("no rooms")),
        (json!({ "rooms": "live-*" }), Err("claims are malformed")),
        (json!({ "rooms": [1] }), Err("claims are malformed")),
        (json!({ "rooms": [] }), Ok(())),
        (json!({ "role": "ops" }), Ok(())),
        (json!({ "role": "root" }), Err("unknown role")),
        (json!({ "role": "Ops" }), Err("unknown role")),
        (json!({ "app": "a/b" }), Err("app claim is no app id")),
        (json!({ "device": ".." }), Err("device claim is no device id")),
        (json!({ "aud": "elsewhere", "iss": "x", "iat": NOW, "jti": "1", "scope": ["a"] }), Ok(())),
    ] {
        let mut claims = good_claims();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let verified = Verifier::new(set(&[&key])).verify(&with_claims(&key, &claims), NOW);
        match (verified, expect) {
            (Ok(_), Ok(())) => {}
            (Err(problem), Err(part)) if problem.detail.contains(part) => {}
            (got, expect) => panic!("{change}: {got:?}, expected {expect:?}"),
        }
    }
}

#[test]
fn header_can_not_choose_how_it_is_checked() {
    let secret = jwk(Hs256, "k1");
    let pair = jwk(EdDsa, "k1");
    let curve = jwk(Es256, "k1");
    for (jwk, header, expect) in [
        (&secret, json!({ "alg": "none" }), "alg is none of"),
        (&secret, json!({ "alg": "None" }), "alg is none of"),
        (&secret, json!({}), "alg is none of"),
        (&secret, json!({ "alg": "HS512" }), "not its key's, HS256"),
        (&secret, json!({ "alg": "EdDSA" }), "not its key's, HS256"),
        (&pair, json!({ "alg": "HS256" }), "not its key's, EdDSA"),
        (&curve, json!({ "alg": "RS256" }), "not its key's, ES256"),
        (&curve, json!({ "alg": "ES384" }), "not its key's, ES256"),
        (&secret, json!({ "alg": "HS256", "kid": "k2" }), "none of the server's keys"),
        (&secret, json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), "crit"),
    ] {
        let token = forge(jwk, &header, &good_claims());
        let sentence = refusal(set(&[jwk]), &token);
        assert!(sentence.contains(expect), "{header}: {sentence}");
    }
}

#[test]
fn public_key_is_no_secret() {
    // The classic forgery: the public key, which everybody has, taken for an HMAC secret.
    let pair = jwk(EdDsa, "k1");
    let secret = json!({ "kty": "oct", "kid": "k1", "k": pair["x"] });
    let token = forge(&secret, &json!({ "alg": "HS256", "kid": "k1" }), &good_claims());
    assert!(refusal(set(&[&pair]), &token).contains("not its key's"));
}

#[test]
fn forged_tokens_are_refused() {
    for algorithm in KeyAlgorithm::ALL {
        let (key, other) = (jwk(algorithm, "k1"), jwk(algorithm, "k1"));
        let token = with_claims(&key, &good_claims());
        assert!(refusal(set(&[&other]), &token).contains("signature is wrong"), "{algorithm}");

        let mut claims = good_claims();
        claims["role"] = json!("ops");
        let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
        parts[1] = URL_SAFE_NO_PAD.encode(claims.to_string());
        assert!(refusal(set(&[&key]), &parts.join(".")).contains("signature is wrong"), "{algorithm}");
        parts[2].clear();
        assert!(refusal(set(&[&key]), &parts.join(".")).contains("signature is wrong"), "{algorithm}");
    }
}

#[test]
fn texts_that_are_no_tokens_are_refused() {
    let key = jwk(Hs256, "k1");
    let good = with_claims(&key, &good_claims());
    for text in [
        "",
        "a",
        "a.b",
        "..",
        "a.b.c.d",
        "é.b.c",
        &format!("{good}."),
        &format!(" {good}"),
        &format!("{good}="),
    ] {
        refusal(set(&[&key]), text);
    }
    assert!(refusal(set(&[&key]), &"x".repeat(TOKEN_BYTES_MAX + 1)).contains("longer than"));
}

#[test]
fn kid_tells_several_keys_apart() {
    let (a, b) = (jwk(Hs256, "a"), jwk(EdDsa, "b"));
    let keys = || set(&[&a, &b]);
    for key in [&a, &b] {
        Verifier::new(keys()).verify(&with_claims(key, &good_claims()), NOW).unwrap();
    }
    let without = forge(&a, &json!({ "alg": "HS256" }), &good_claims());
    assert!(refusal(keys(), &without).contains("must have a kid"));
    Verifier::new(set(&[&a])).verify(&without, NOW).unwrap();
    let swapped = forge(&a, &json!({ "alg": "HS256", "kid": "b" }), &good_claims());
    assert!(refusal(keys(), &swapped).contains("not its key's"));
}

#[test]
fn lone_key_without_name_takes_any_kid() {
    let key = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 32]) });
    let token = forge(&key, &json!({ "alg": "HS256", "kid": "theirs" }), &good_claims());
    Verifier::new(set(&[&key])).verify(&token, NOW).unwrap();
}

#[test]
fn replaced_keys_end_old_tokens() {
    let (old, new) = (jwk(Hs256, "k1"), jwk(Hs256, "k2"));
    let verifier = Verifier::new(set(&[&old]));
    let token = with_claims(&old, &good_claims());
    assert_eq!(verifier.verify(&token, NOW).unwrap().generation, verifier.generation());
    let before = verifier.generation();
    verifier.replace(set(&[&new, &old]));
    assert!(verifier.generation() > before);
    verifier.verify(&token, NOW).unwrap();
    verifier.replace(set(&[&new]));
    assert!(verifier.verify(&token, NOW).is_err());
    verifier.verify(&with_claims(&new, &good_claims()), NOW).unwrap();
}

#[test]
fn key_file_is_reloaded_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let (old, new) = (jwk(Hs256, "k1"), jwk(EdDsa, "k2"));
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write(&json!({ "keys": [old] }).to_string());
    let (verifier, watched) = Verifier::of_file(KeyFile::read(&path).unwrap());
    let _reloader =
        crate::reload::Reloader::start(vec![watched], std::time::Duration::from_millis(1)).unwrap();

    write("{");
    write(&json!({ "keys": [new] }).to_string());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while verifier.generation() == 1 {
        assert!(std::time::Instant::now() < deadline, "the keys were not reloaded");
        std::thread::yield_now();
    }
    verifier.verify(&with_claims(&new, &good_claims()), NOW).unwrap();
    assert!(verifier.verify(&with_claims(&old, &good_claims()), NOW).is_err());
    assert_eq!(verifier.generation(), 2, "the bad file was not put in use");
}

#[test]
fn key_sets_follow_their_rules() {
    let (secret, pair, curve) = (jwk(Hs256, "a"), jwk(EdDsa, "b"), jwk(Es256, "c"));
    let changed = |jwk: &Value, member: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[member] = value;
        jwk
    };
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r" });
    for (keys, expect) in [
        (json!([secret, pair, curve]), "a (HS256), b (EdDSA), c (ES256)"),
        (json!([rsa, secret]), "a (HS256)"),
        (json!([rsa]), "kty \"RSA\" is not supported"),
        (json!([]), "no usable key"),
        (json!([1]), "a member is missing or has the wrong type"),
        (json!([changed(&secret, "k", json!(""))]), "k is missing or empty"),
        (json!([changed(&secret, "k", json!("!"))]), "k is not base64url"),
        (json!([changed(&secret, "alg", json!("HS512"))]), "alg \"HS512\" does not go with its kty"),
        (json!([changed(&secret, "use", json!("enc"))]), "its use is not sig"),
        (json!([changed(&secret, "key_ops", json!(["encrypt"]))]), "neither verify nor sign"),
        (json!([changed(&secret, "key_ops", json!(["verify"]))]), "a (HS256)"),
        (json!([changed(&pair, "crv", json!("X25519"))]), "crv \"X25519\" is not supported"),
        (json!([changed(&pair, "x", json!("AQAB"))]), "x has 3 bytes instead of 32"),
        (json!([changed(&pair, "d", secret["k"].clone())]), "d does not belong to x"),
        (json!([changed(&curve, "d", secret["k"].clone())]), "d does not belong to x and y"),
        (json!([secret, changed(&pair, "kid", json!("a"))]), "\"a\" is there twice"),
        (json!([secret, changed(&pair, "kid", json!(null))]), "one has none"),
    ] {
        let text = json!({ "keys": keys }).to_string();
        let outcome = match KeySet::parse(text.as_bytes()) {
            Ok(set) => set.summary(),
            Err(error) => error.to_string(),
        };
        assert!(outcome.contains(expect), "{text}: {outcome}");
    }
}

#[test]
fn texts_that_are_no_key_sets_are_refused() {
    for (text, expect) in [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("secret", "no JWK Set"),
        ("{}", "no JWK Set"),
        ("[]", "no JWK Set"),
    ] {
        let error = KeySet::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expect) && !error.contains("secret"), "{text:?}: {error}");
    }
}

#[test]
fn short_secret_is_noted_without_showing_it() {
    let short = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode("hush") });
    let keys = set(&[&short]);
    assert_eq!(keys.notes(), ["key 1: its secret is shorter than 32 bytes and can be guessed"]);
    assert!(!format!("{keys:?}").contains("hush"));
}

#[test]
fn grants_are_signed_by_the_right_key() {
    let (a, b) = (jwk(EdDsa, "a"), jwk(EdDsa, "b"));
    let keys = set(&[&public(&a), &b]);
    let kid = |token: String| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    assert_eq!(kid(grant().sign(&keys, None, NOW).unwrap()), "b", "the first that can sign");
    assert!(matches!(grant().sign(&keys, Some("a"), NOW), Err(GrantError::PublicOnly(_))));
    assert!(matches!(grant().sign(&keys, Some("c"), NOW), Err(GrantError::UnknownKid { .. })));
    assert!(matches!(grant().sign(&set(&[&public(&a)]), None, NOW), Err(GrantError::PublicOnly(_))));
    let many = Grant { rooms: vec!["room".into(); 1000], ..grant() };
    assert!(matches!(many.sign(&keys, None, NOW), Err(GrantError::Refused(_))), "too long to be carried");
}
