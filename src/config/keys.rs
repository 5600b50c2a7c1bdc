//! The table of all keys: name, place in [`Config`], rule. A new key is a field there and a line here.

use std::{fmt, ops::RangeInclusive, sync::LazyLock, time::Duration};

use room::List;

use super::{
    ByteSize, Config,
    setting::{Raw, Setting},
};

/// One thing that can be set.
pub(super) struct Key {
    /// Its name in the file, with the section: `limits.room_rate`.
    pub(super) name: &'static str,
    /// Its environment variable: `BIGROOM_LIMITS__ROOM_RATE`.
    pub(super) env: String,
    /// What a good value is: "must be …".
    pub(super) rule: String,
    /// Puts a value in its place, or says that it breaks the rule.
    pub(super) set: Set,
}

type Set = Box<dyn Fn(&mut Config, &Raw) -> Result<(), BreaksRule> + Send + Sync>;

/// A value that its key's rule refuses.
pub(super) struct BreaksRule;

/// Every key there is.
pub(super) fn all() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(table);
    &KEYS
}

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    all().iter().find(|key| key.name == name)
}

/// The names of all keys, with their sections: what the sample file and the reference must list.
pub fn key_names() -> impl Iterator<Item = &'static str> {
    all().iter().map(|key| key.name)
}

/// The environment variables of all keys, in the order of [`key_names`].
pub fn env_names() -> impl Iterator<Item = &'static str> {
    all().iter().map(|key| key.env.as_str())
}

const NO_LIMIT_TO_A_MILLION: RangeInclusive<u32> = 0..=1_000_000;
const ONE_TO_A_BILLION: RangeInclusive<u64> = 1..=1_000_000_000;
const UP_TO_AN_HOUR: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn table() -> Vec<Key> {
    use std::time::Duration as D;
    let age = || D::from_secs(1)..=DAY * 365;
    vec![
        any("listen", |c| &mut c.listen),
        any("ops_listen", |c| &mut c.ops_listen),
        any("data_dir", |c| &mut c.data_dir),
        any("sects", |c| &mut c.sects),
        any("auth_key_file", |c| &mut c.auth_key_file),
        any("insecure", |c| &mut c.insecure),
        within("limits.room_rate", NO_LIMIT_TO_A_MILLION, |c| &mut c.limits.room_rate),
        within("limits.user_rate", NO_LIMIT_TO_A_MILLION, |c| &mut c.limits.user_rate),
        within("limits.user_burst", 1..=1_000_000, |c| &mut c.limits.user_burst),
        within("limits.priority_rate", NO_LIMIT_TO_A_MILLION, |c| &mut c.limits.priority_rate),
        within("limits.message_bytes_max", 1..=1_048_576, |c| &mut c.limits.message_bytes_max),
        within("limits.polls_per_user", NO_LIMIT_TO_A_MILLION, |c| &mut c.limits.polls_per_user),
        within("limits.connections_per_ip", NO_LIMIT_TO_A_MILLION, |c| &mut c.limits.connections_per_ip),
        within("limits.parked_polls_max", 1..=50_000_000, |c| &mut c.limits.parked_polls_max),
        within("limits.rooms_cached_max", 1..=100_000_000, |c| &mut c.limits.rooms_cached_max),
        within("retention.priority.count", ONE_TO_A_BILLION, |c| &mut c.retention_mut(List::Priority).count),
        within("retention.priority.age", age(), |c| &mut c.retention_mut(List::Priority).age),
        within("retention.normal.count", ONE_TO_A_BILLION, |c| &mut c.retention_mut(List::Normal).count),
        within("retention.normal.age", age(), |c| &mut c.retention_mut(List::Normal).age),
        within("online.window", D::from_secs(1)..=D::from_secs(3600), |c| &mut c.online.window),
        any("cluster.listen", |c| &mut c.cluster.listen),
        any("cluster.advertise", |c| &mut c.cluster.advertise),
        any("cluster.sendsvr", |c| &mut c.cluster.sendsvr),
        key(
            "cluster.sect",
            "must be the name of a sect: 1 to 64 of A-Z a-z 0-9 _ - . :, not beginning with _",
            |name: &String| room::RoomId::new(name).is_ok(),
            |c| &mut c.cluster.sect,
        ),
        any("cluster.tls.cert", |c| &mut c.cluster.tls.cert),
        any("cluster.tls.key", |c| &mut c.cluster.tls.key),
        any("cluster.tls.ca", |c| &mut c.cluster.tls.ca),
        any("cluster.tls.name", |c| &mut c.cluster.tls.name),
        any("stats.listen", |c| &mut c.stats.listen),
        any("stats.nodes", |c| &mut c.stats.nodes),
        within("stats.rooms_max", 1..=100_000_000, |c| &mut c.stats.rooms_max),
        within("stats.names_per_room_max", 0..=100_000_000, |c| &mut c.stats.names_per_room_max),
        within("idempotency.window", D::from_secs(120)..=DAY * 7, |c| &mut c.idempotency.window),
        within("http.header_timeout", UP_TO_AN_HOUR, |c| &mut c.http.header_timeout),
        within("http.body_timeout", UP_TO_AN_HOUR, |c| &mut c.http.body_timeout),
        within("http.idle_timeout", UP_TO_AN_HOUR, |c| &mut c.http.idle_timeout),
        any("http.cors_origins", |c| &mut c.http.cors_origins),
        any("http.trusted_proxies", |c| &mut c.http.trusted_proxies),
        any("http.proxy_protocol", |c| &mut c.http.proxy_protocol),
        within("http.workers", 0..=1024, |c| &mut c.http.workers),
        within("cache.bytes_max", ByteSize(1 << 20)..=ByteSize(1 << 50), |c| &mut c.cache.bytes_max),
        any("poll.policy", |c| &mut c.poll.policy),
        any("poll.wait", |c| &mut c.poll.wait),
        any("pressure.enabled", |c| &mut c.pressure.enabled),
        any("tls.cert", |c| &mut c.tls.cert),
        any("tls.key", |c| &mut c.tls.key),
        any("log.format", |c| &mut c.log.format),
        key(
            "log.level",
            crate::logging::LEVEL_RULE,
            |text: &String| crate::logging::is_level(text),
            |c| &mut c.log.level,
        ),
        within("drain.grace", UP_TO_AN_HOUR, |c| &mut c.drain.grace),
    ]
}

/// A key that takes every value of its type.
fn any<T: Setting + 'static>(name: &'static str, place: fn(&mut Config) -> &mut T) -> Key {
    key(name, format!("must be {}", T::NOUN), |_| true, place)
}

/// A key that takes the values of a range.
fn within<T>(name: &'static str, range: RangeInclusive<T>, place: fn(&mut Config) -> &mut T) -> Key
where
    T: Setting + PartialOrd + Shown + Send + Sync + 'static,
{
    let rule = format!("must be {} from {} to {}", T::NOUN, range.start().shown(), range.end().shown());
    key(name, rule, move |value| range.contains(value), place)
}

fn key<T: Setting + 'static>(
    name: &'static str,
    rule: impl Into<String>,
    fits: impl Fn(&T) -> bool + Send + Sync + 'static,
    place: fn(&mut Config) -> &mut T,
) -> Key {
    Key {
        name,
        env: format!("BIGROOM_{}", name.to_ascii_uppercase().replace('.', "__")),
        rule: rule.into(),
        set: Box::new(move |config, raw| {
            *place(config) = T::read(raw).filter(|value| fits(value)).ok_or(BreaksRule)?;
            Ok(())
        }),
    }
}

/// How the ends of a range are written.
trait Shown {
    fn shown(&self) -> impl fmt::Display;
}

macro_rules! shown_as_displayed {
    ($($kind:ty)+) => {$(
        impl Shown for $kind {
            fn shown(&self) -> impl fmt::Display {
                self
            }
        }
    )+};
}

shown_as_displayed! { u32 u64 usize ByteSize }

impl Shown for Duration {
    /// In the largest unit that needs no fraction: 365days, where the usual form would speak of months.
    fn shown(&self) -> impl fmt::Display {
        const UNITS: [(&str, u128); 5] =
            [("days", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let ms = self.as_millis();
        let (unit, length) =
            UNITS.into_iter().find(|(_, length)| ms.is_multiple_of(*length)).unwrap_or(("ms", 1));
        format!("{}{unit}", ms / length)
    }
}
