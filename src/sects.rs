//! The sect table's file: `sects.toml`, as operators write it.
//!
//! It is read with serde, since its sections are lists; every error names sect, key, value and rule. The sample at the root of the
//! repository lists every key.

use std::{collections::BTreeMap, path::Path, time::Duration};

use room::{AppId, Pin, PollPolicy, Promotions, RoomPattern, Sect, SectKind, SectName, SectTable};
use serde::Deserialize;

use crate::config::{ConfigError, is_node_address};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

/// Longest interval that a policy may set.
const INTERVAL_MAX: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    sect: Vec<SectText>,
    #[serde(default)]
    pin: Vec<PinText>,
    #[serde(default)]
    routing: RoutingText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SectText {
    name: String,
    #[serde(default)]
    kind: Kind,
    weight: Option<i64>,
    /// From users to interval; `off` for none.
    policy: Option<PolicyText>,
    #[serde(default)]
    nodes: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Ordinary,
    Vip,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PolicyText {
    Name(String),
    Steps(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinText {
    #[serde(default = "default_app")]
    app: String,
    rooms: String,
    sect: String,
}

fn default_app() -> String {
    AppId::default().as_str().to_owned()
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RoutingText {
    promote_at: Option<i64>,
    demote_at: Option<i64>,
    demote_after: Option<String>,
}

/// The table that a file's text describes; `file` is its name, for errors.
///
/// # Errors
/// One sentence with file, sect, key, value and rule.
pub fn parse(text: &str, file: &str) -> Result<SectTable, String> {
    let read = || -> Result<SectTable, String> {
        let read: File = toml::from_str(text).map_err(|error| line(&error, text))?;
        if read.sect.is_empty() {
            return Err("must have at least one [[sect]]".to_owned());
        }
        let sects = read.sect.into_iter().map(sect).collect::<Result<Vec<_>, _>>()?;
        let pins = read.pin.into_iter().map(pin).collect::<Result<Vec<_>, _>>()?;
        SectTable::new(sects, pins, promotions(&read.routing)?).map_err(|error| error.to_string())
    };
    read().map_err(|error| format!("{file}: {error}"))
}

/// The text of a file and the table that it describes; `file` is its name, for errors.
///
/// # Errors
/// For bytes that are no text, and as [`parse`].
pub fn parse_bytes<'a>(bytes: &'a [u8], file: &str) -> Result<(&'a str, SectTable), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let number = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{file}: line {number}: must be UTF-8 text: byte {} of the file is not", good.len() + 1)
    })?;
    Ok((text, parse(text, file)?))
}

/// The text of a file, checked.
///
/// # Errors
/// For a file that can't be read, or that [`parse_bytes`] refuses.
pub fn read(path: &Path) -> Result<(String, SectTable), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { key: "sects", path: path.to_owned(), source };
    let bytes = crate::reload::read(path).map_err(unreadable)?;
    let (text, table) =
        parse_bytes(&bytes, &path.display().to_string()).map_err(ConfigError::Contradiction)?;
    Ok((text.to_owned(), table))
}

/// What TOML says, in one line, with the place.
fn line(error: &toml::de::Error, text: &str) -> String {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let number = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("line {number}: {}", error.message().split_whitespace().collect::<Vec<_>>().join(" "))
}

fn sect(text: SectText) -> Result<Sect, String> {
    let refuse = |key: &str, value: &dyn std::fmt::Display, rule: &str| {
        format!("sect {:?}: {key} = {value} {rule}", text.name)
    };
    let name = SectName::new(&text.name).map_err(|rule| format!("sect: name = {:?} {rule}", text.name))?;
    let weight = match text.weight {
        None => 1,
        Some(weight) => u32::try_from(weight)
            .ok()
            .filter(|weight| (1..=1_000_000).contains(weight))
            .ok_or_else(|| refuse("weight", &weight, "must be 1 or more, at most 1000000"))?,
    };
    let policy = match &text.policy {
        None => PollPolicy::default(),
        Some(PolicyText::Name(name)) if name == "default" => PollPolicy::default(),
        Some(PolicyText::Name(name)) if name == "off" => PollPolicy::off(),
        Some(PolicyText::Name(name)) => {
            let rule = "must be \"default\", \"off\" or a table from users to interval";
            return Err(refuse("policy", &format_args!("{name:?}"), rule));
        }
        Some(PolicyText::Steps(steps)) => {
            policy(steps).map_err(|(value, rule)| refuse("policy", &value, rule))?
        }
    };
    if let Some(node) = text.nodes.iter().find(|node| !is_node_address(node)) {
        return Err(refuse("nodes", &format_args!("{node:?}"), "must be addresses such as 10.0.0.1:7071"));
    }
    let kind = match text.kind {
        Kind::Ordinary => SectKind::Ordinary,
        Kind::Vip => SectKind::Vip,
    };
    Ok(Sect { name, kind, weight, policy, nodes: text.nodes.into_iter().map(Into::into).collect() })
}

/// A policy from its steps: `{ 1000 = "500ms" }`.
fn policy(steps: &BTreeMap<String, String>) -> Result<PollPolicy, (String, &'static str)> {
    let mut read = Vec::new();
    for (users, interval) in steps {
        let shown = || format!("{{ {users} = {interval:?} }}");
        let users: u64 = users.parse().map_err(|_| (shown(), "must have whole numbers of users"))?;
        let interval = humantime::parse_duration(interval)
            .ok()
            .filter(|interval| *interval <= INTERVAL_MAX)
            .ok_or_else(|| (shown(), "must have durations with their unit, at most 30s"))?;
        read.push((users, interval));
    }
    read.sort_unstable();
    PollPolicy::new(read).map_err(|_| (format!("{steps:?}"), "must not name a number of users twice"))
}

fn pin(text: PinText) -> Result<Pin, String> {
    let app = AppId::new(&text.app)
        .map_err(|rule| format!("pin of {:?}: app = {:?}: {rule}", text.rooms, text.app))?;
    if text.rooms.is_empty() {
        return Err("pin: rooms = \"\" must be a room, or a pattern such as \"live-*\"".to_owned());
    }
    Ok(Pin { app, rooms: RoomPattern::new(&text.rooms), sect: SectName::internal(&text.sect) })
}

fn promotions(text: &RoutingText) -> Result<Promotions, String> {
    let default = Promotions::default();
    let users = |key: &str, value: Option<i64>, default: u64| match value {
        None => Ok(default),
        Some(value) => {
            u64::try_from(value).map_err(|_| format!("routing: {key} = {value} must be 0 or more users"))
        }
    };
    let promote_at = users("promote_at", text.promote_at, default.promote_at)?;
    // Where only the one is set, the other keeps its distance.
    let demote_at = users("demote_at", text.demote_at, (promote_at / 5 * 3).max(promote_at.min(1)))?;
    let demote_after = match &text.demote_after {
        None => default.demote_after,
        Some(text) => humantime::parse_duration(text)
            .ok()
            .filter(|after| *after <= Duration::from_secs(7 * 86_400))
            .ok_or_else(|| {
                format!("routing: demote_after = {text:?} must be a duration with its unit, at most 7days")
            })?,
    };
    Ok(Promotions { promote_at, demote_at, demote_after })
}

#[cfg(test)]
mod tests {
    use room::{RoomId, RoomKey};

    use super::*;

    #[test]
    fn minimal_table_is_valid() {
        let table = parse("[[sect]]\nname = \"a\"\n", "sects.toml").unwrap();
        assert_eq!((table.sects().len(), table.sects()[0].weight), (1, 1));
        assert_eq!(table.promotions(), Promotions::default());
    }

    #[test]
    fn sample_has_every_key_at_its_default() {
        let table = parse(include_str!("../sects.toml"), "sects.toml").unwrap();
        assert_eq!(table.sects()[0].name.as_str(), "default");
        assert_eq!(table.promotions(), Promotions::default());
        for sect in table.sects() {
            assert_eq!(sect.policy, PollPolicy::default(), "{}", sect.name);
        }
        let room = RoomKey::new(AppId::default(), RoomId::new("any").unwrap());
        assert_eq!(table.home(&room).name.as_str(), "default");
        assert_eq!(table.vip_home(&room).unwrap().name.as_str(), "vip-1");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let (text, _) = parse_bytes("[[sect]]\nname = \"a\" # \u{e9}\n".as_bytes(), "f").unwrap();
        assert!(text.ends_with("\u{e9}\n"));
        let refused = parse_bytes(b"[[sect]]\nname = \"a\" # \xe9\n", "f").unwrap_err();
        assert_eq!(refused, "f: line 2: must be UTF-8 text: byte 23 of the file is not");
        assert!(parse_bytes(b"", "f").unwrap_err().contains("at least one"));
    }

    #[test]
    fn steps_may_come_in_any_order() {
        let text = "[[sect]]\nname = \"a\"\npolicy = { 10000 = \"1s\", 900 = \"250ms\" }\n";
        let table = parse(text, "f").unwrap();
        let policy = &table.sects()[0].policy;
        assert_eq!(policy.interval(899), Duration::ZERO);
        assert_eq!((policy.interval(900).as_millis(), policy.interval(20_000).as_secs()), (250, 1));
    }

    #[test]
    fn errors_name_key_value_and_rule() {
        let one = |rest: &str| format!("[[sect]]\nname = \"vip-1\"\n{rest}\n");
        for (text, expect) in [
            (String::new(), "f: must have at least one [[sect]]"),
            (one("weight = -2"), "f: sect \"vip-1\": weight = -2 must be 1 or more, at most 1000000"),
            (
                one("policy = \"fast\""),
                "f: sect \"vip-1\": policy = \"fast\" must be \"default\", \"off\" or a table from users to interval",
            ),
            (
                one("policy = { 10 = \"1\" }"),
                "f: sect \"vip-1\": policy = { 10 = \"1\" } must have durations with their unit, at most 30s",
            ),
            (
                one("policy = { x = \"1s\" }"),
                "f: sect \"vip-1\": policy = { x = \"1s\" } must have whole numbers of users",
            ),
            (
                one("nodes = [\"a\"]"),
                "f: sect \"vip-1\": nodes = \"a\" must be addresses such as 10.0.0.1:7071",
            ),
            (one("kind = \"vip\""), "f: a sect table must have at least one sect of kind ordinary"),
            (
                one("[[sect]]\nname = \"vip-1\""),
                "f: sect \"vip-1\": the name must not be that of another sect",
            ),
            (
                one("[[pin]]\nrooms = \"a*\"\nsect = \"b\""),
                "f: pin of \"a*\": sect = \"b\" must be a sect of the table",
            ),
            (
                one("[[pin]]\nrooms = \"\"\nsect = \"vip-1\""),
                "f: pin: rooms = \"\" must be a room, or a pattern such as \"live-*\"",
            ),
            (one("[routing]\npromote_at = -1"), "f: routing: promote_at = -1 must be 0 or more users"),
            (
                one("[routing]\npromote_at = 10\ndemote_at = 20"),
                "f: demote_at = 20 must be at most promote_at = 10",
            ),
            (
                one("[routing]\npromote_at = 10\ndemote_at = 0"),
                "f: demote_at = 0 must be 1 or more: no room has fewer than 0 users, and none would come back",
            ),
            (
                one("nodes = [\"h:1\"]\n[[sect]]\nname = \"b\"\nnodes = [\"h:2\", \"h:1\"]"),
                "f: sect \"b\": nodes = \"h:1\" must not be a node of sect \"vip-1\" too",
            ),
            (
                one("[routing]\ndemote_after = \"5\""),
                "f: routing: demote_after = \"5\" must be a duration with its unit, at most 7days",
            ),
        ] {
            assert_eq!(parse(&text, "f").unwrap_err(), expect);
        }
        for (text, word) in
            [(one("color = 1"), "color"), ("x".to_owned(), "line 1"), (one("kind = \"x\""), "ordinary")]
        {
            let error = parse(&text, "f").unwrap_err();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        assert!(parse("[[sect]]\nname = \"_x\"\n", "f").unwrap_err().contains("name = \"_x\" must be"));
    }
}
