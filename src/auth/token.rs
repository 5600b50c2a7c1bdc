//! What a token must say.

use std::collections::HashSet;

use jsonwebtoken::{DecodingKey, Validation, errors::ErrorKind};
use room::{AppId, DeviceId, Identity, Role, RoomPattern, UserId};
use serde::Deserialize;

use super::keys::{KeyAlgorithm, KeySet};

/// How long after `exp`, and before `nbf`, a token is still good (seconds): clocks differ.
pub const EXPIRY_LEEWAY_S: u64 = 5;
/// Longest token (bytes): it has to fit in a request's headers, next to everything else.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// The claims that we look at; issuers may add others.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    app: Option<String>,
    rooms: Option<Vec<String>>,
    role: Option<String>,
    device: Option<String>,
}

/// What a good token says.
pub(super) struct Said {
    pub(super) identity: Identity,
    /// From then on it is refused (Unix seconds).
    pub(super) good_before_s: u64,
}

/// Checks a token's signature and claims. The refusal is a sentence for its bearer.
pub(super) fn check(keys: &KeySet, token: &str, now_s: u64) -> Result<Said, String> {
    let claims = signed_claims(keys, token)?;

    let exp = claims.exp.ok_or("the token has no exp claim")?;
    // A NumericDate may have a fraction or be absurd; the cast saturates, and takes a negative one for 0.
    let good_before_s = (exp.ceil() as u64).saturating_add(EXPIRY_LEEWAY_S);
    if now_s >= good_before_s {
        return Err("the token has expired: get a new one".into());
    }
    if claims.nbf.is_some_and(|nbf| now_s.saturating_add(EXPIRY_LEEWAY_S) < nbf as u64) {
        return Err("the token is not valid yet (nbf)".into());
    }

    let sub = claims.sub.ok_or("the token has no sub claim")?;
    let user = UserId::new(&sub).map_err(|error| format!("the token's sub claim is no user id: {error}"))?;
    let app = match claims.app {
        Some(app) => {
            AppId::new(&app).map_err(|error| format!("the token's app claim is no app id: {error}"))?
        }
        None => AppId::default(),
    };
    let device = claims
        .device
        .map(|device| DeviceId::new(&device))
        .transpose()
        .map_err(|error| format!("the token's device claim is no device id: {error}"))?;
    let role = match claims.role {
        Some(role) => {
            role.parse().map_err(|error: room::UnknownRole| format!("the token's role claim: {error}"))?
        }
        None => Role::default(),
    };
    let rooms = claims.rooms.ok_or("the token has no rooms claim: an array of room patterns is needed")?;
    let rooms = rooms.iter().map(|glob| RoomPattern::new(glob)).collect();
    let identity = Identity { app, user: Some(user), device, role, rights: role, rooms };
    Ok(Said { identity, good_before_s })
}

/// The claims, once the signature is found to be that of the right key with the key's own algorithm.
fn signed_claims(keys: &KeySet, token: &str) -> Result<Claims, String> {
    const NO_JWT: &str = "the token is no JWT: three base64url parts with dots between them are needed";
    if token.len() > TOKEN_BYTES_MAX {
        return Err(format!("the token is longer than {TOKEN_BYTES_MAX} bytes"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
        // An algorithm that the parser doesn't know, `none` among them, comes as a JSON error.
        ErrorKind::Json(_) => "the token's header is malformed, or its alg is none of HS256, EdDSA, ES256",
        _ => NO_JWT,
    })?;
    if header.crit.is_some() || header.extras.inner().contains_key("crit") {
        return Err("the token's header has a crit member, and no extension is understood here".into());
    }
    let key = keys.checking(header.kid.as_deref())?;
    if header.alg != key.algorithm.jwt() {
        return Err(format!("the token's alg is not its key's, {}", key.algorithm));
    }
    verified(token, &key.checking, key.algorithm).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => "the token's signature is wrong".into(),
        ErrorKind::Json(_) => {
            "the token's claims are malformed: sub, app, role and device are strings, exp and \
                               nbf numbers, rooms an array of strings"
                .into()
        }
        _ => NO_JWT.into(),
    })
}

fn verified(token: &str, key: &DecodingKey, algorithm: KeyAlgorithm) -> jsonwebtoken::errors::Result<Claims> {
    let mut validation = Validation::new(algorithm.jwt());
    // Time comes in as an argument here, and what claims must be there is judged with sentences of our own.
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    // Tokens of a general issuer have audiences; which tokens are meant for bigroom is a matter of keys.
    validation.validate_aud = false;
    jsonwebtoken::decode(token, key, &validation).map(|data| data.claims)
}
