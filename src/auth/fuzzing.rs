//! Fuzz targets of tokens and key files.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use room::{AppId, ErrorCode, Role, UserId};
use serde_json::Value;

use super::{EXPIRY_LEEWAY_S, Grant, KeySet, TOKEN_BYTES_MAX, Verifier};

/// When tokens are checked (Unix seconds).
const NOW_S: u64 = 1_800_000_000;

/// A secret, and a pair of each curve (those of RFC 8037, appendix A, and RFC 7515, appendix A.3).
const KEYS: &str = r#"{"keys":[
  {"kty":"oct","kid":"h","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"},
  {"kty":"OKP","kid":"e","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
   "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"},
  {"kty":"EC","kid":"p","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
   "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}"#;

/// A token: the bytes as they are, and the bytes as header and claims (a line feed between them) behind a signature that
/// is right.
///
/// # Panics
/// If a token is taken that has no right signature, no claims, or is too old.
pub fn token(data: &[u8]) {
    static VERIFIER: LazyLock<Verifier> =
        LazyLock::new(|| Verifier::new(KeySet::parse(KEYS.as_bytes()).expect("good keys")));
    if let Ok(text) = std::str::from_utf8(data) {
        match VERIFIER.verify(text, NOW_S) {
            Err(problem) => assert_eq!(problem.code, ErrorCode::Unauthorized),
            Ok(_) => {
                assert!(
                    text.len() <= TOKEN_BYTES_MAX && text.bytes().filter(|byte| *byte == b'.').count() == 2
                );
                // One character of the claims is another: no signature goes with that.
                let claims = text.find('.').expect("counted above") + 1;
                let other = if text.as_bytes()[claims] == b'A' { 'B' } else { 'A' };
                let forged = format!("{}{other}{}", &text[..claims], &text[claims + 1..]);
                assert!(VERIFIER.verify(&forged, NOW_S).is_err(), "{forged}");
            }
        }
    }
    let (header, claims) = data
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or_else(|| (&br#"{"alg":"HS256","kid":"h"}"#[..], data), |at| (&data[..at], &data[at + 1..]));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let secret: [u8; 32] = std::array::from_fn(|at| at as u8);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let Ok(verified) = VERIFIER.verify(&token, NOW_S) else { return };
    assert!(verified.expires_at_s > NOW_S);
    // What is in a member that nobody looks at may be no text, or no number that a double holds.
    let (Ok(header), Ok(claims)) =
        (serde_json::from_slice::<Value>(header), serde_json::from_slice::<Value>(claims))
    else {
        return;
    };
    assert!(
        header["alg"] == "HS256" && header["kid"] == "h" && header.get("crit").is_none_or(Value::is_null)
    );
    let identity = verified.identity;
    assert_eq!(claims["sub"].as_str(), identity.user.as_ref().map(UserId::as_str));
    assert_eq!(claims["rooms"].as_array().map(Vec::len), Some(identity.rooms.len()));
    assert_eq!(claims.get("role").and_then(Value::as_str).unwrap_or("viewer"), identity.role.as_str());
    assert_eq!(identity.role, identity.rights);
    assert!(claims["exp"].as_f64().is_some_and(|exp| exp.ceil() + EXPIRY_LEEWAY_S as f64 > NOW_S as f64));
}

/// A key file: what is said of it shows no secret, and what its keys sign is taken.
///
/// # Panics
/// If a secret shows, or a good token is refused.
pub fn keys(data: &[u8]) {
    let said = match KeySet::parse(data) {
        Err(error) => error.to_string(),
        Ok(keys) => {
            sign_and_verify(&keys);
            format!("{} {:?} {keys:?}", keys.summary(), keys.notes())
        }
    };
    for secret in secrets(data) {
        assert!(!said.contains(&secret), "{secret:?} shows in: {said}");
    }
}

fn sign_and_verify(keys: &KeySet) {
    let grant = Grant {
        user: UserId::new("u").expect("a good id"),
        role: Role::Speaker,
        rooms: vec!["*".into()],
        ttl: std::time::Duration::from_secs(60),
        app: AppId::default(),
        device: None,
    };
    for key in &keys.keys {
        // A name may make a token too long.
        if key.kid.as_ref().is_none_or(|kid| kid.len() < 100) {
            let signed = grant.sign(keys, key.kid.as_deref(), NOW_S);
            assert_eq!(signed.is_ok(), key.signing.is_some(), "{signed:?} by {keys:?}");
        }
    }
}

/// The secret members of a key file's keys, as far as their text is in the file once: what is a name as well, shows.
fn secrets(data: &[u8]) -> Vec<String> {
    let (Ok(text), Ok(set)) = (std::str::from_utf8(data), serde_json::from_slice::<Value>(data)) else {
        return Vec::new();
    };
    let keys = set["keys"].as_array().into_iter().flatten();
    keys.flat_map(|key| [&key["k"], &key["d"]])
        .filter_map(Value::as_str)
        .filter(|secret| secret.len() >= 12 && text.matches(secret).count() == 1)
        .map(str::to_owned)
        .collect()
}
