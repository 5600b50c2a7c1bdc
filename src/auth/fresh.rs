//! New keys, for who has none yet.

use anyhow::{Context, anyhow};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use super::{
    keys::{KeyAlgorithm, KeySet},
    signatures::PRIVATE_BYTES,
};

/// A JWK Set with one new private key: what `bigroom key` prints.
///
/// # Errors
/// If the system has no randomness.
pub fn fresh_key_set(algorithm: KeyAlgorithm, kid: &str) -> anyhow::Result<Value> {
    let mut key = match algorithm {
        KeyAlgorithm::Hs256 => json!({ "kty": "oct", "k": text(&random()?) }),
        KeyAlgorithm::EdDsa => {
            let private = random()?;
            let pair = Ed25519KeyPair::from_seed_unchecked(&private)
                .map_err(|error| anyhow!("make a key: {error}"))?;
            json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()), "d": text(&private) })
        }
        KeyAlgorithm::Es256 => {
            let document =
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                    .map_err(|_| anyhow!("make a key"))?;
            let [d, x, y] = p256_parts(document.as_ref())?;
            json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "d": text(d) })
        }
    };
    key["kid"] = kid.into();
    key["alg"] = algorithm.as_str().into();
    key["use"] = "sig".into();
    let set = json!({ "keys": [key] });
    KeySet::parse(set.to_string().as_bytes()).context("read back the new key")?;
    Ok(set)
}

/// Private key, x and y of a P-256 pair, from the one PKCS #8 form that ring writes (RFC 5915): 36 bytes of frame,
/// the private key, 5 bytes of frame, the uncompressed point. The set is read back, so a mistake can't get out.
fn p256_parts(document: &[u8]) -> anyhow::Result<[&[u8]; 3]> {
    const PRIVATE_AT: usize = 36;
    const POINT_AT: usize = PRIVATE_AT + PRIVATE_BYTES + 5;
    let part = |at: usize| document.get(at..at + PRIVATE_BYTES).context("take a new key apart");
    // The point begins with a 4, for "uncompressed".
    Ok([part(PRIVATE_AT)?, part(POINT_AT + 1)?, part(POINT_AT + 1 + PRIVATE_BYTES)?])
}

fn random() -> anyhow::Result<[u8; PRIVATE_BYTES]> {
    let mut bytes = [0; PRIVATE_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("read random bytes from the system"))?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
