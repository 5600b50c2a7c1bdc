//! Keys and tokens, made as an application would make them.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// A JWK Set and the private halves that sign for it.
#[derive(Clone)]
pub(crate) struct Keys {
    set: Vec<Value>,
    signers: Vec<Signer>,
}

#[derive(Clone)]
struct Signer {
    kid: Option<String>,
    secret: Secret,
}

#[derive(Clone)]
enum Secret {
    Hs256(hmac::Key),
    EdDsa(Arc<Ed25519KeyPair>),
    Es256(Arc<EcdsaKeyPair>),
}

impl Secret {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::EdDsa(_) => "EdDSA",
            Self::Es256(_) => "ES256",
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Hs256(key) => hmac::sign(key, text).as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(text).as_ref().to_vec(),
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), text).expect("sign").as_ref().to_vec(),
        }
    }
}

/// RFC 8037, appendix A: an Ed25519 key pair.
const ED25519_SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const ED25519_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unbase64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// The text of a token: header and claims as given, signed by `sign`.
pub(crate) fn compact(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", base64(signature))
}

impl Keys {
    /// No key at all.
    pub(crate) fn none() -> Self {
        Self { set: Vec::new(), signers: Vec::new() }
    }

    /// One HS256 key without a `kid`.
    pub(crate) fn hs256() -> Self {
        Self::none().and_hs256(None, "a secret of thirty-two bytes, at least")
    }

    /// Adds an HS256 key.
    pub(crate) fn and_hs256(self, kid: Option<&str>, secret: &str) -> Self {
        let jwk = json!({ "kty": "oct", "alg": "HS256", "k": base64(secret) });
        self.and(jwk, kid, Secret::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// Adds an EdDSA key, the same each time.
    pub(crate) fn and_ed25519(self, kid: Option<&str>) -> Self {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": ED25519_PUBLIC });
        let pair =
            Ed25519KeyPair::from_seed_and_public_key(&unbase64(ED25519_SEED), &unbase64(ED25519_PUBLIC));
        self.and(jwk, kid, Secret::EdDsa(Arc::new(pair.expect("a key pair"))))
    }

    /// Adds a new ES256 key.
    pub(crate) fn and_p256(self, kid: Option<&str>) -> Self {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a new key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        let pair = pair.expect("the new key");
        let point = pair.public_key().as_ref();
        assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point");
        let jwk =
            json!({ "kty": "EC", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..]) });
        self.and(jwk, kid, Secret::Es256(Arc::new(pair)))
    }

    fn and(mut self, mut jwk: Value, kid: Option<&str>, secret: Secret) -> Self {
        if let Some(kid) = kid {
            jwk["kid"] = json!(kid);
        }
        self.set.push(jwk);
        self.signers.push(Signer { kid: kid.map(str::to_owned), secret });
        self
    }

    /// The JWK Set.
    pub(crate) fn jwk_set(&self) -> String {
        json!({ "keys": self.set }).to_string()
    }

    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, self.jwk_set()).expect("write the key file");
    }

    /// A token by the latest key.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let signer = self.signers.last().expect("a key");
        self.sign_as(signer.kid.as_deref(), claims)
    }

    /// A token by the latest key that says `kid`, whatever the key's own is.
    pub(crate) fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let signer = self.signers.last().expect("a key");
        let mut header = json!({ "typ": "JWT", "alg": signer.secret.algorithm() });
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        self.sign_with(&header, claims)
    }

    /// A token signed by the latest key, under a header that may say otherwise.
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let signer = self.signers.last().expect("a key");
        compact(header, claims, |text| signer.secret.sign(text))
    }

    /// A token for all rooms, good for an hour.
    pub(crate) fn token(&self, sub: &str, role: &str) -> String {
        self.sign(&claims(sub, role))
    }
}

/// Claims for all rooms, good for an hour.
pub(crate) fn claims(sub: &str, role: &str) -> Value {
    json!({ "sub": sub, "role": role, "rooms": ["*"], "exp": in_seconds(3600) })
}

/// The Unix time that many seconds from now.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("a time") + seconds
}
