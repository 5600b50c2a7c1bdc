//! Signing tokens.

use std::time::Duration;

use jsonwebtoken::Header;
use room::{AppId, DeviceId, Role, UserId};
use serde::Serialize;

use super::{keys::KeySet, token};

/// What a new token entitles to.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whom.
    pub user: UserId,
    /// To what.
    pub role: Role,
    /// In which rooms: globs, `*` for any run of characters.
    pub rooms: Vec<String>,
    /// For how long; counted in whole seconds.
    pub ttl: Duration,
    /// In which app.
    pub app: AppId,
    /// On which device only, if on one.
    pub device: Option<DeviceId>,
}

/// Why a token can't be signed.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// No key has this name.
    #[error("kid = {kid:?}: must be one of the key file's: {known}")]
    UnknownKid {
        /// What was asked for.
        kid: String,
        /// What there is.
        known: String,
    },
    /// The key can check only.
    #[error("kid = {0:?}: the key file has no private half of this key, so it can only check tokens")]
    PublicOnly(String),
    /// A server would refuse it.
    #[error("the token would be refused: {0}")]
    Refused(String),
    /// The signature could not be made.
    #[error("sign the token: {0}")]
    Signature(#[source] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    app: &'a str,
    role: &'a str,
    rooms: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    iat: u64,
    exp: u64,
}

impl Grant {
    /// Signs a token by the key named `kid`, or by the first key that can sign.
    ///
    /// # Errors
    /// If there is no such key, or if a server with these keys would refuse the token.
    pub fn sign(&self, keys: &KeySet, kid: Option<&str>, now_s: u64) -> Result<String, GrantError> {
        let key = keys
            .keys
            .iter()
            .find(|key| match kid {
                Some(kid) => key.kid.as_deref() == Some(kid),
                None => key.signing.is_some(),
            })
            .ok_or_else(|| match kid {
                Some(kid) => GrantError::UnknownKid { kid: kid.into(), known: keys.summary() },
                None => GrantError::PublicOnly(keys.summary()),
            })?;
        let signing =
            key.signing.as_ref().ok_or_else(|| GrantError::PublicOnly(kid.unwrap_or_default().into()))?;
        let mut header = Header::new(key.algorithm.jwt());
        header.kid = key.kid.as_deref().map(str::to_owned);
        let claims = Claims {
            sub: self.user.as_str(),
            app: self.app.as_str(),
            role: self.role.as_str(),
            rooms: &self.rooms,
            device: self.device.as_ref().map(DeviceId::as_str),
            iat: now_s,
            exp: now_s.saturating_add(self.ttl.as_secs()),
        };
        let text = jsonwebtoken::encode(&header, &claims, signing).map_err(GrantError::Signature)?;
        token::check(keys, &text, now_s).map_err(GrantError::Refused)?;
        Ok(text)
    }
}
