//! What is read from a target and from fields.

use std::net::IpAddr;

use room::{ErrorCode, Problem};

use crate::config::TrustedProxies;
use crate::proxy::{
    access, addresses,
    fields::{Field, Fields, Key, Query},
    routes, session,
    target::Target,
};

/// A request without its body: the target in the first line, a field in each other (name, `:`, value).
///
/// # Panics
/// If a value is not what its percent-encoding says, or a refusal has a code that is none for it.
pub fn values(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(target)) = lines.next().map(std::str::from_utf8) else { return };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match Target::parse(path) {
        Ok(target) => check_target(path, &target),
        Err(problem) => {
            expect(&problem, &[ErrorCode::NotFound, ErrorCode::InvalidRoom, ErrorCode::InvalidParameter])
        }
    }
    let mut fields = Fields::default();
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let Ok(name) = std::str::from_utf8(name) else { return };
        if let Err(problem) = fields.add(name, value.get(1..).unwrap_or_default()) {
            return expect(&problem, &[ErrorCode::InvalidRequest]);
        }
    }
    let query = match Query::parse(query) {
        Ok(parsed) => {
            check_query(query, &parsed);
            parsed
        }
        Err(problem) => return expect(&problem, &[ErrorCode::InvalidParameter, ErrorCode::InvalidCursor]),
    };
    for key in Key::ALL {
        match (query.number(*key, 3..=1_000, 5), query.get(*key)) {
            (Ok(number), Some(text)) => assert_eq!(text.trim_start_matches('0'), number.to_string()),
            (Ok(number), None) => assert_eq!(number, 5),
            (Err(problem), _) => expect(&problem, &[ErrorCode::InvalidParameter]),
        }
    }
    check_client(&fields);
    match access::token(&fields, &query) {
        Ok(token) => assert!(query.get(Key::Token).is_none_or(|in_query| token == Some(in_query))),
        Err(problem) => expect(&problem, &[ErrorCode::InvalidParameter, ErrorCode::Unauthorized]),
    }
    if let Err(problem) = session::start(&fields, &query, room::RoomKey::canary().hash48()) {
        expect(&problem, &[ErrorCode::InvalidParameter, ErrorCode::InvalidCursor]);
    }
    let _ = (
        session::form(&fields),
        session::wants_events(&fields),
        fields.has_token(Field::Connection, "close"),
    );
    let _ = (session::limit(&query), session::timeout_ms(&query));
    routes::read_values(&fields, &query);
}

#[track_caller]
fn expect(problem: &Problem, codes: &[ErrorCode]) {
    assert!(codes.contains(&problem.code), "{problem}");
}

/// A request is its balancer's, or that of an address which is written in the field, behind which all are balancers'.
fn check_client(fields: &Fields<'_>) {
    let relay = IpAddr::from([10, 0, 0, 1]);
    let trusted = TrustedProxies::parse(["10.0.0.0/8", "fd00::/8"]).expect("these are prefixes");
    let forwarded = fields.get(Field::ForwardedFor);
    let client = addresses::client(&trusted, relay, forwarded);
    if client == relay {
        return;
    }
    let items: Vec<_> = forwarded.unwrap_or_default().split(',').collect();
    let is_client = |at: usize| {
        let alone = addresses::client(&trusted, relay, Some(items[at]));
        let behind = items[at + 1..]
            .iter()
            .all(|item| trusted.contains(addresses::client(&trusted, relay, Some(item))));
        alone == client && behind
    };
    assert!((0..items.len()).any(is_client), "{client} of {forwarded:?}");
}

/// A path means what its segments mean, each decoded by itself.
fn check_target(path: &str, target: &Target) {
    assert!(path.starts_with('/') && !path.contains("//") && !path.ends_with('/'));
    let segments: Vec<_> =
        path.split('/').skip(1).map(|text| decoded(text, false).unwrap_or_default()).collect();
    let segments: Vec<_> = segments.iter().map(String::as_str).collect();
    let spelt = match target {
        Target::Messages(room) => vec!["v1", "rooms", room.as_str(), "messages"],
        Target::Message(room, list, seq) => {
            assert!(segments[5].trim_start_matches('0') == seq.to_string() || seq.0 == 0);
            vec!["v1", "rooms", room.as_str(), "messages", list.as_str(), segments[5]]
        }
        Target::History(room) => vec!["v1", "rooms", room.as_str(), "history"],
        Target::Room(room) => vec!["v1", "rooms", room.as_str()],
        _ => return assert!(target.methods().ends_with("OPTIONS")),
    };
    assert_eq!(segments, spelt);
}

/// A query's values are those that a plain reading of it finds, and each is there once.
fn check_query(text: &str, query: &Query<'_>) {
    for key in Key::ALL {
        let mut values = text.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name, true).as_deref() == Some(key.name())).then(|| decoded(value, true))
        });
        assert_eq!(
            values.next().map(|value| value.expect("decodes")).as_deref(),
            query.get(*key),
            "{}",
            key.name()
        );
        assert_eq!(values.next(), None, "{} twice", key.name());
    }
}

/// Undoes percent-encoding, by its definition; `None` if it is broken.
fn decoded(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?].map(|digit| char::from(digit).to_digit(16));
                (digits[0]? * 16 + digits[1]?) as u8
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}
