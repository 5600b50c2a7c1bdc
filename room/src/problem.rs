//! Refusals: every error code with its HTTP and gRPC status in one table, and the problem document (RFC 9457).

use std::{borrow::Cow, fmt, time::Duration};

use serde_json::{Map, Value, json};

macro_rules! codes {
    ($($variant:ident $code:literal $http:literal $grpc:ident $title:literal)+) => {
        /// The stable code of a refusal: what clients match on.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $code, "`: ", $title)] $variant,)+
        }

        impl ErrorCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The HTTP status that it travels with.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)+ }
            }

            /// The gRPC status that it travels with, by its number in the gRPC specification.
            #[must_use]
            pub const fn grpc_status(self) -> i32 {
                match self { $(Self::$variant => grpc::$grpc,)+ }
            }

            /// What it means in general, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

mod grpc {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ALREADY_EXISTS: i32 = 6;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const ABORTED: i32 = 10;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

codes! {
    InvalidParameter     "invalid_parameter"      400 INVALID_ARGUMENT    "A query parameter is wrong"
    InvalidJson          "invalid_json"           400 INVALID_ARGUMENT    "The body is not strict JSON"
    InvalidMessage       "invalid_message"        400 INVALID_ARGUMENT    "The body does not have the right shape"
    InvalidId            "invalid_id"             400 INVALID_ARGUMENT    "An id is wrong"
    InvalidRoom          "invalid_room"           400 INVALID_ARGUMENT    "The room id is wrong"
    InvalidCursor        "invalid_cursor"         400 INVALID_ARGUMENT    "The cursor is wrong"
    InvalidRequest       "invalid_request"        400 INVALID_ARGUMENT    "The HTTP request is malformed"
    Unauthorized         "unauthorized"           401 UNAUTHENTICATED     "A valid token is needed"
    Forbidden            "forbidden"              403 PERMISSION_DENIED   "The token does not give this right"
    Muted                "muted"                  403 PERMISSION_DENIED   "Sending is muted"
    Banned               "banned"                 403 PERMISSION_DENIED   "The user is banned"
    NotFound             "not_found"              404 NOT_FOUND           "There is no such thing"
    MethodNotAllowed     "method_not_allowed"     405 UNIMPLEMENTED       "The method does not fit the path"
    RequestTimeout       "request_timeout"        408 DEADLINE_EXCEEDED   "The request came too slowly"
    IdReused             "id_reused"              409 ALREADY_EXISTS      "The id was used for another message"
    RoomClosed           "room_closed"            409 FAILED_PRECONDITION "The room is closed"
    VersionConflict      "version_conflict"       409 ABORTED             "Somebody else changed it first"
    BodyTooLarge         "body_too_large"         413 RESOURCE_EXHAUSTED  "The body is too large"
    BatchTooLarge        "batch_too_large"        413 RESOURCE_EXHAUSTED  "The batch has too many messages"
    UriTooLong           "uri_too_long"           414 INVALID_ARGUMENT    "The request line is too long"
    UnsupportedMediaType "unsupported_media_type" 415 INVALID_ARGUMENT    "The body has the wrong type"
    ExpectationFailed    "expectation_failed"     417 INVALID_ARGUMENT    "The expectation can't be met"
    RateLimited          "rate_limited"           429 RESOURCE_EXHAUSTED  "Too many requests"
    SlowMode             "slow_mode"              429 RESOURCE_EXHAUSTED  "The room is in slow mode"
    HeaderTooLarge       "header_too_large"       431 INVALID_ARGUMENT    "The headers are too large"
    Internal             "internal"               500 INTERNAL            "Something is broken on our side"
    LogUnavailable       "log_unavailable"        503 UNAVAILABLE         "The message log can't be written"
    NodeFull             "node_full"              503 RESOURCE_EXHAUSTED  "The node has no place left"
    Draining             "draining"               503 UNAVAILABLE         "The node is going down"
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal as the client sees it: a stable code, a sentence that says what to do, and what belongs to the code.
///
/// Causes and paths stay in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// What was wrong here and what to do about it.
    pub detail: Cow<'static, str>,
    /// When to try again; rounded up to whole seconds, at least one. 429 and 503 always carry it.
    pub retry_after: Option<Duration>,
    /// Which limit was hit: `room`, `user`, `priority` or `ip`.
    pub scope: Option<&'static str>,
    /// What is left of a slow mode's cool-down (milliseconds).
    pub cooldown_ms: Option<u64>,
    /// When a mute or ban ends (Unix milliseconds).
    pub until_ms: Option<u64>,
    /// The methods that a path has, for `Allow`.
    pub allow: Option<&'static str>,
}

impl Problem {
    /// A refusal with `detail` as its sentence.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = matches!(code.http_status(), 429 | 503).then_some(Duration::from_secs(1));
        Self {
            code,
            detail: detail.into(),
            retry_after,
            scope: None,
            cooldown_ms: None,
            until_ms: None,
            allow: None,
        }
    }

    /// Says which limit was hit, and when it will have room again.
    #[must_use]
    pub fn rate_limited(scope: &'static str, wait: Duration, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { scope: Some(scope), retry_after: Some(wait), ..Self::new(ErrorCode::RateLimited, detail) }
    }

    /// `Retry-After` in whole seconds, at least 1.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_millis().div_ceil(1000).clamp(1, u128::from(u64::MAX)) as u64)
    }

    /// The problem document, as `application/problem+json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".into(), json!(format!("urn:bigroom:problem:{}", self.code)));
        body.insert("title".into(), json!(self.code.title()));
        body.insert("status".into(), json!(self.code.http_status()));
        body.insert("detail".into(), json!(self.detail));
        body.insert("code".into(), json!(self.code.as_str()));
        if let Some(scope) = self.scope {
            body.insert("scope".into(), json!(scope));
        }
        if let Some(cooldown_ms) = self.cooldown_ms {
            body.insert("cooldown_ms".into(), json!(cooldown_ms));
        }
        if let Some(until_ms) = self.until_ms {
            body.insert("until_ms".into(), json!(until_ms));
        }
        Value::Object(body)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let mut texts: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|code| (400..600).contains(&code.http_status())));
    }

    #[test]
    fn waiting_helps_says_so() {
        assert_eq!(Problem::new(ErrorCode::Draining, "x").retry_after_s(), Some(1));
        assert_eq!(Problem::new(ErrorCode::Forbidden, "x").retry_after_s(), None);
        let limited = Problem::rate_limited("user", Duration::from_millis(1_001), "x");
        assert_eq!(limited.retry_after_s(), Some(2));
        assert_eq!(limited.to_json()["scope"], "user");
    }
}
