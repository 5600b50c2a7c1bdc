//! The keys of a JWK Set (RFC 7517) that tokens are checked and signed by.

use std::{
    collections::HashSet,
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::signature;
use serde::Deserialize;
use serde_json::Value;

use super::signatures::{self, ED25519_PUBLIC_BYTES, P256_PUBLIC_BYTES, PRIVATE_BYTES};
use crate::reload;

/// Secrets below this can be guessed from a single token (RFC 7518 section 3.2 asks for as much).
const SECRET_BYTES_SAFE: usize = 32;

/// What a key signs with. The key decides, never the token: that is what `alg` attacks live on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyAlgorithm {
    /// A shared secret, `kty` = `oct`.
    Hs256,
    /// Ed25519, `kty` = `OKP`.
    EdDsa,
    /// P-256, `kty` = `EC`.
    Es256,
}

impl KeyAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hs256, Self::EdDsa, Self::Es256];

    /// Its name in a token's header (RFC 7518, RFC 8037).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    pub(super) const fn jwt(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| "must be HS256, EdDSA or ES256".into())
    }
}

/// One key, ready for use.
pub(super) struct Key {
    /// Its name, which tokens carry. Always there where there is more than one key.
    pub(super) kid: Option<Box<str>>,
    pub(super) algorithm: KeyAlgorithm,
    pub(super) checking: DecodingKey,
    /// Absent for the public half of a pair.
    pub(super) signing: Option<EncodingKey>,
}

/// The usable keys of a JWK Set: at least one, and each with its own `kid` if there are several.
pub struct KeySet {
    pub(super) keys: Vec<Key>,
    notes: Vec<String>,
}

impl fmt::Debug for KeySet {
    /// The keys' names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| (&key.kid, key.algorithm))).finish()
    }
}

/// Why a text holds no keys for us.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Nothing in it.
    #[error("it is empty; `bigroom key` makes a key")]
    Empty,
    /// Not a JWK Set.
    #[error("it is no JWK Set, {{\"keys\": […]}}: {0}")]
    Malformed(String),
    /// All keys are of other kinds, or for other uses.
    #[error("it has no usable key (oct for HS256, OKP Ed25519 for EdDSA, EC P-256 for ES256){0}")]
    NoUsableKey(String),
    /// Several keys, and a token could not say which.
    #[error("it has several keys, so each needs a kid of its own, but {0}")]
    Ambiguous(String),
}

/// Why a key file is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read.
    #[error("auth_key_file = {path:?}: the file can't be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It holds no keys for us.
    #[error("auth_key_file = {path:?}: {source}")]
    Bad {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KeySetError,
    },
}

/// A key file as it was read, with the bytes that tell a later change.
#[derive(Debug)]
pub struct KeyFile {
    /// The file.
    pub path: PathBuf,
    /// What it held.
    pub bytes: Vec<u8>,
    /// Its keys.
    pub keys: KeySet,
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let bytes = reload::read(path)
            .map_err(|source| KeyFileError::Unreadable { path: path.to_owned(), source })?;
        let keys =
            KeySet::parse(&bytes).map_err(|source| KeyFileError::Bad { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), bytes, keys })
    }
}

impl KeySet {
    /// Reads a JWK Set. Keys that we can't use are left out and noted, as RFC 7517 section 5 wants.
    ///
    /// # Errors
    /// If it is no JWK Set, or if no key is left, or if several are left that tokens can't tell apart.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        signatures::install();
        if bytes.trim_ascii().is_empty() {
            return Err(KeySetError::Empty);
        }
        // The parser's own message may quote the text, and with it a secret.
        let set: Jwks = serde_json::from_slice(bytes).map_err(|error| {
            KeySetError::Malformed(format!("line {}, column {}", error.line(), error.column()))
        })?;
        let (mut keys, mut notes) = (Vec::new(), Vec::new());
        for (index, jwk) in set.keys.into_iter().enumerate() {
            match Key::from_jwk(jwk) {
                Ok((key, note)) => {
                    notes.extend(note.map(|note| format!("key {}: {note}", index + 1)));
                    keys.push(key);
                }
                Err(why) => notes.push(format!("key {} is left out: {why}", index + 1)),
            }
        }
        if keys.is_empty() {
            let why = notes.iter().map(|note| format!("; {note}")).collect();
            return Err(KeySetError::NoUsableKey(why));
        }
        if keys.len() > 1 {
            let mut seen = HashSet::new();
            for key in &keys {
                match &key.kid {
                    None => return Err(KeySetError::Ambiguous("one has none".into())),
                    Some(kid) if !seen.insert(kid) => {
                        return Err(KeySetError::Ambiguous(format!("{kid:?} is there twice")));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(Self { keys, notes })
    }

    /// What an operator should know about the set: keys left out, weak secrets. Never a secret itself.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The names and algorithms of the keys, for the log.
    #[must_use]
    pub fn summary(&self) -> String {
        let name = |key: &Key| format!("{} ({})", key.kid.as_deref().unwrap_or("without kid"), key.algorithm);
        self.keys.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// The key that a token with this `kid` in its header must be checked by.
    pub(super) fn checking(&self, kid: Option<&str>) -> Result<&Key, &'static str> {
        match (self.keys.as_slice(), kid) {
            // A lone key that has no name goes for every name.
            ([only], kid) if only.kid.is_none() || kid.is_none() || only.kid.as_deref() == kid => Ok(only),
            (_, None) => Err("there are several keys, so the token's header must have a kid"),
            (keys, Some(kid)) => keys
                .iter()
                .find(|key| key.kid.as_deref() == Some(kid))
                .ok_or("the token's kid is none of the server's keys"),
        }
    }
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// The members of a JWK that we look at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    k: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<String>,
}

impl Key {
    /// The key, and what to say about it; or why it can't be used.
    fn from_jwk(value: Value) -> Result<(Self, Option<String>), String> {
        let jwk: Jwk = serde_json::from_value(value)
            .map_err(|_| "a member is missing or has the wrong type".to_owned())?;
        let (algorithm, checking, signing) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("oct", _) => jwk.secret()?,
            ("OKP", Some("Ed25519")) => jwk.ed25519()?,
            ("EC", Some("P-256")) => jwk.p256()?,
            (kty, None) => return Err(format!("kty {kty:?} is not supported")),
            (kty, Some(crv)) => return Err(format!("kty {kty:?} with crv {crv:?} is not supported")),
        };
        if let Some(alg) = jwk.alg.as_deref().filter(|alg| *alg != algorithm.as_str()) {
            return Err(format!("alg {alg:?} does not go with its kty, {algorithm} does"));
        }
        if jwk.r#use.as_deref().is_some_and(|of| of != "sig") {
            return Err("its use is not sig".into());
        }
        if jwk.key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify" || op == "sign")) {
            return Err("its key_ops are neither verify nor sign".into());
        }
        let is_weak = checking.try_get_as_bytes().is_ok_and(|secret| secret.len() < SECRET_BYTES_SAFE);
        let note = (algorithm == KeyAlgorithm::Hs256 && is_weak)
            .then(|| format!("its secret is shorter than {SECRET_BYTES_SAFE} bytes and can be guessed"));
        let kid = jwk.kid.map(String::into_boxed_str);
        Ok((Self { kid, algorithm, checking, signing }, note))
    }
}

/// What becomes of a key's members.
type Halves = (KeyAlgorithm, DecodingKey, Option<EncodingKey>);

impl Jwk {
    fn secret(&self) -> Result<Halves, String> {
        let secret =
            bytes("k", self.k.as_deref())?.filter(|k| !k.is_empty()).ok_or("k is missing or empty")?;
        let signing = EncodingKey::from_secret(&secret);
        Ok((KeyAlgorithm::Hs256, DecodingKey::from_secret(&secret), Some(signing)))
    }

    fn ed25519(&self) -> Result<Halves, String> {
        let public = sized("x", self.x.as_deref(), ED25519_PUBLIC_BYTES)?.ok_or("x is missing")?;
        let signing = match sized("d", self.d.as_deref(), PRIVATE_BYTES)? {
            Some(private) => {
                signature::Ed25519KeyPair::from_seed_and_public_key(&private, &public)
                    .map_err(|_| "d does not belong to x")?;
                Some(EncodingKey::from_ed_der(&[private, public.clone()].concat()))
            }
            None => None,
        };
        Ok((KeyAlgorithm::EdDsa, DecodingKey::from_ed_der(&public), signing))
    }

    fn p256(&self) -> Result<Halves, String> {
        let coordinate = P256_PUBLIC_BYTES / 2;
        let x = sized("x", self.x.as_deref(), coordinate)?.ok_or("x is missing")?;
        let y = sized("y", self.y.as_deref(), coordinate)?.ok_or("y is missing")?;
        let public = [vec![4], x, y].concat();
        let signing = match sized("d", self.d.as_deref(), PRIVATE_BYTES)? {
            Some(private) => {
                signature::EcdsaKeyPair::from_private_key_and_public_key(
                    &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                    &private,
                    &public,
                    &ring::rand::SystemRandom::new(),
                )
                .map_err(|_| "d does not belong to x and y")?;
                Some(EncodingKey::from_ec_der(&[private, public.clone()].concat()))
            }
            None => None,
        };
        Ok((KeyAlgorithm::Es256, DecodingKey::from_ec_der(&public), signing))
    }
}

fn bytes(member: &str, text: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    text.map(|text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')))
        .transpose()
        .map_err(|_| format!("{member} is not base64url"))
}

fn sized(member: &str, text: Option<&str>, length: usize) -> Result<Option<Vec<u8>>, String> {
    match bytes(member, text)? {
        Some(bytes) if bytes.len() != length => {
            Err(format!("{member} has {} bytes instead of {length}", bytes.len()))
        }
        bytes => Ok(bytes),
    }
}
