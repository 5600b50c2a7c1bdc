//! Bounds of the HTTP contract that no configuration changes. Configurable limits have their defaults in the
//! binary's configuration.

/// Longest hold of a poll (milliseconds).
pub const POLL_TIMEOUT_MAX_MS: u64 = 30_000;
/// Hold of a poll that does not say (milliseconds): below the 30 s after which many proxies give up.
pub const POLL_TIMEOUT_DEFAULT_MS: u64 = 25_000;
/// Most messages in one answer, both lists together.
pub const POLL_LIMIT_MAX: usize = 1_000;
/// Messages in one answer when the client does not say.
pub const POLL_LIMIT_DEFAULT: usize = 200;
/// Most messages of each list that `tail` may ask for.
pub const TAIL_MAX: usize = 1_000;
/// Messages in a page of history when the client does not say; the most is [`POLL_LIMIT_MAX`].
pub const HISTORY_LIMIT_DEFAULT: usize = 50;
/// Most rooms that one `GET /v1/poll` follows.
pub const MULTI_POLL_ROOMS_MAX: usize = 20;
/// Most messages in one batch.
pub const BATCH_MESSAGES_MAX: usize = 100;
/// Largest body of a batch (bytes).
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of a JSON body (arrays and objects).
pub const JSON_DEPTH_MAX: usize = 32;
/// Largest request line and headers together (bytes).
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
