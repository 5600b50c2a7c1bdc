//! Who is asking: tokens, and the keys that they are checked by.
//!
//! [`Verifier`] turns a token into a [`room::Identity`] by the keys of a JWK Set ([`KeySet`]), which can be
//! replaced while the server runs. [`Grant`] is the other side: what `bigroom token` signs. Signatures are
//! `ring`'s, the form of a token is `jsonwebtoken`'s, and what is in it is judged here.

mod fresh;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod grant;
mod keys;
mod signatures;
mod token;
mod verifier;

#[cfg(test)]
mod tests;

pub use fresh::fresh_key_set;
pub use grant::{Grant, GrantError};
pub use keys::{KeyAlgorithm, KeyFile, KeyFileError, KeySet, KeySetError};
pub use token::{EXPIRY_LEEWAY_S, TOKEN_BYTES_MAX};
pub use verifier::{Verified, Verifier};
