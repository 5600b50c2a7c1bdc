//! The three signature algorithms, by `ring`, in the form that `jsonwebtoken` asks for.
//!
//! `jsonwebtoken` hands a key's bytes over as they are. Ours are: the secret (HS256); for signing the private
//! and then the public key, for checking the public key alone (EdDSA; ES256 with the point uncompressed).

use ::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};

/// Bytes of a private key of either curve.
pub(super) const PRIVATE_BYTES: usize = 32;
/// Bytes of an Ed25519 public key.
pub(super) const ED25519_PUBLIC_BYTES: usize = 32;
/// Bytes of an uncompressed P-256 point: 4, x, y.
pub(super) const P256_PUBLIC_BYTES: usize = 65;

/// Makes `jsonwebtoken` use this module, for the whole process. Doing it again changes nothing.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| {
            Signing::new(*algorithm, key).map(|it| Box::new(it) as Box<dyn JwtSigner>)
        },
        verifier_factory: |algorithm, key| {
            Checking::new(*algorithm, key).map(|it| Box::new(it) as Box<dyn JwtVerifier>)
        },
        // Only asked for thumbprints and for JWKs made of PEM keys, which we have no use for.
        key_utils: KeyUtils::new_unimplemented(),
    };
    let _ = PROVIDER.install_default();
}

enum Signing {
    Hs256(hmac::Key),
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
}

impl Signing {
    fn new(algorithm: Algorithm, key: &EncodingKey) -> Result<Self, Error> {
        let bytes = key.as_bytes();
        match algorithm {
            Algorithm::HS256 => Ok(Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
            Algorithm::EdDSA => {
                let (private, public) =
                    bytes.split_at_checked(PRIVATE_BYTES).ok_or(ErrorKind::InvalidEddsaKey)?;
                Ed25519KeyPair::from_seed_and_public_key(private, public)
                    .map(Self::EdDsa)
                    .map_err(|_| ErrorKind::InvalidEddsaKey.into())
            }
            Algorithm::ES256 => {
                let (private, public) =
                    bytes.split_at_checked(PRIVATE_BYTES).ok_or(ErrorKind::InvalidEcdsaKey)?;
                EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    private,
                    public,
                    &SystemRandom::new(),
                )
                .map(Self::Es256)
                .map_err(|_| ErrorKind::InvalidEcdsaKey.into())
            }
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        }
    }
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        match self {
            Self::Hs256(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Es256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignatureError::new()),
        }
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::HS256,
            Self::EdDsa(_) => Algorithm::EdDSA,
            Self::Es256(_) => Algorithm::ES256,
        }
    }
}

enum Checking {
    Hs256(hmac::Key),
    EdDsa(Vec<u8>),
    Es256(Vec<u8>),
}

impl Checking {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        // A public key must never serve as a secret, nor the other way round.
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        let bytes = key.try_get_as_bytes()?;
        match algorithm {
            Algorithm::HS256 => Ok(Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
            Algorithm::EdDSA => Ok(Self::EdDsa(bytes.to_vec())),
            Algorithm::ES256 => Ok(Self::Es256(bytes.to_vec())),
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        }
    }
}

impl Verifier<Vec<u8>> for Checking {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let by = |algorithm, key: &[u8]| UnparsedPublicKey::new(algorithm, key).verify(message, signature);
        match self {
            // In constant time.
            Self::Hs256(key) => hmac::verify(key, message, signature),
            Self::EdDsa(key) => by(&ED25519 as &dyn VerificationAlgorithm, key),
            Self::Es256(key) => by(&ECDSA_P256_SHA256_FIXED, key),
        }
        .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Checking {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::HS256,
            Self::EdDsa(_) => Algorithm::EdDSA,
            Self::Es256(_) => Algorithm::ES256,
        }
    }
}
