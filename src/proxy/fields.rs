//! The header fields and query keys that bigroom reads, found in one pass and looked up by number.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use room::{ErrorCode, Problem};

macro_rules! names {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident $name:literal)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $enum { $($variant,)+ }

        impl $enum {
            const NAMES: &'static [&'static str] = &[$($name,)+];
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub(crate) const fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }
        }
    };
}

names! {
    /// A header field that bigroom reads.
    Field {
        Accept "accept"
        AcceptEncoding "accept-encoding"
        RequestHeaders "access-control-request-headers"
        RequestMethod "access-control-request-method"
        Authorization "authorization"
        Connection "connection"
        ContentEncoding "content-encoding"
        ContentLength "content-length"
        ContentType "content-type"
        Cookie "cookie"
        Expect "expect"
        Host "host"
        IdempotencyKey "idempotency-key"
        LastEventId "last-event-id"
        Origin "origin"
        TransferEncoding "transfer-encoding"
        ForwardedFor "x-forwarded-for"
    }
}

impl Field {
    fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name().eq_ignore_ascii_case(name))
    }

    /// Fields whose values may come in several lines, which mean the same as one line with commas (or, for
    /// cookies, semicolons) between.
    const fn is_list(self) -> bool {
        matches!(
            self,
            Self::Accept
                | Self::AcceptEncoding
                | Self::Connection
                | Self::Cookie
                | Self::ForwardedFor
                | Self::RequestHeaders
        )
    }
}

/// The fields of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields<'a> {
    values: [Option<Cow<'a, str>>; Field::ALL.len()],
}

impl<'a> Fields<'a> {
    /// Takes a field of the request, if it is one that is read.
    ///
    /// # Errors
    /// `invalid_request` if it is there already and may not be, or is not text.
    pub(crate) fn add(&mut self, name: &str, value: &'a [u8]) -> Result<(), Problem> {
        let Some(field) = Field::find(name) else { return Ok(()) };
        let value = match std::str::from_utf8(value) {
            Ok(value) => value,
            Err(_) if field == Field::ForwardedFor => text_at_the_end(value),
            Err(_) => return Err(malformed(format!("the field {} must be text", field.name()))),
        };
        let slot = &mut self.values[field as usize];
        *slot = Some(match slot.take() {
            None => Cow::Borrowed(value.trim_matches([' ', '\t'])),
            Some(first) if field.is_list() => {
                let comma = if field == Field::Cookie { "; " } else { ", " };
                Cow::Owned(format!("{first}{comma}{value}"))
            }
            Some(_) => return Err(malformed(format!("the field {} may be given once only", field.name()))),
        });
        Ok(())
    }

    pub(crate) fn get(&self, field: Field) -> Option<&str> {
        self.values[field as usize].as_deref()
    }

    /// A field's value, which is then no longer there.
    pub(crate) fn take(&mut self, field: Field) -> Option<Cow<'a, str>> {
        self.values[field as usize].take()
    }

    /// The elements of a comma-separated field, without their parameters, in lower case compared.
    pub(crate) fn has_token(&self, field: Field, token: &str) -> bool {
        self.get(field)
            .is_some_and(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    }

    pub(crate) fn into_owned(self) -> Fields<'static> {
        Fields { values: self.values.map(|value| value.map(|value| Cow::Owned(value.into_owned()))) }
    }
}

/// The end of a list that is not text, from the comma behind the last element that is none: what a client has claimed of its
/// address must not hide what a balancer has added to it.
pub(super) fn text_at_the_end(list: &[u8]) -> &str {
    let behind = list.iter().rposition(|byte| !byte.is_ascii()).map_or(0, |at| at + 1);
    let comma = list[behind..].iter().position(|byte| *byte == b',').map_or(list.len(), |at| behind + at);
    std::str::from_utf8(&list[comma..]).unwrap_or_default()
}

fn malformed(detail: String) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, detail)
}

names! {
    /// A query key that bigroom reads.
    Key {
        After "after"
        Before "before"
        Cursor "cursor"
        Device "device"
        FromMs "from_ms"
        Limit "limit"
        List "list"
        Reverse "reverse"
        Role "role"
        Rooms "rooms"
        Since "since"
        StepS "step_s"
        Tail "tail"
        TimeoutMs "timeout_ms"
        ToMs "to_ms"
        Token "token"
        Top "top"
        User "user"
    }
}

/// The query of a request. Unknown keys are passed over, so that a client can defeat caches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query<'a> {
    values: [Option<Cow<'a, str>>; Key::ALL.len()],
}

impl<'a> Query<'a> {
    /// Reads what follows the `?`.
    ///
    /// # Errors
    /// `invalid_parameter` if a known key is given twice or its value is not percent-encoded UTF-8.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Problem> {
        let mut query = Self::default();
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (pair, others) = cut(text, b'&');
            rest = others;
            let (name, value) = cut(pair, b'=');
            let value = value.unwrap_or("");
            let Some(key) = Key::find(name) else { continue };
            let slot = &mut query.values[key as usize];
            if slot.is_some() {
                return Err(invalid(key, "is given twice: give it once"));
            }
            *slot = Some(decode(value).ok_or_else(|| {
                let problem = invalid(key, "is not percent-encoded UTF-8");
                let code = if key == Key::Cursor { ErrorCode::InvalidCursor } else { problem.code };
                Problem { code, ..problem }
            })?);
        }
        Ok(query)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&str> {
        self.values[key as usize].as_deref()
    }

    /// A whole number within bounds, or `default` if the key is absent.
    ///
    /// # Errors
    /// `invalid_parameter`, naming the bounds.
    pub(crate) fn number(
        &self,
        key: Key,
        range: std::ops::RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, Problem> {
        let Some(text) = self.get(key) else { return Ok(default) };
        let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if is_plain && range.contains(&number) => Ok(number),
            _ => {
                let (least, most) = (range.start(), range.end());
                Err(invalid(key, &format!("must be a whole number from {least} to {most}")))
            }
        }
    }
}

impl Key {
    fn find(name: &str) -> Option<Self> {
        let known = |name: &str| Self::ALL.iter().copied().find(|key| key.name() == name);
        known(name)
            .or_else(|| name.contains('%').then(|| decode(name)).flatten().and_then(|name| known(&name)))
    }
}

/// What comes before the first `byte`, which is ASCII, and what after it.
pub(crate) fn cut(text: &str, byte: u8) -> (&str, Option<&str>) {
    match memchr::memchr(byte, text.as_bytes()) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Undoes percent-encoding; `None` if it is broken or does not make UTF-8.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    let Some(first) = memchr::memchr2(b'%', b'+', text.as_bytes()) else { return Some(Cow::Borrowed(text)) };
    if memchr::memchr(b'%', &text.as_bytes()[first..]).is_none() {
        return Some(Cow::Owned(text.replace('+', " ")));
    }
    decode_segment(&text.replace('+', " ")).map(|decoded| Cow::Owned(decoded.into_owned()))
}

/// Undoes percent-encoding in a path, where a plus is a plus.
pub(crate) fn decode_segment(text: &str) -> Option<Cow<'_, str>> {
    let is_sound = text
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit));
    if !is_sound {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}

/// A query value that breaks its rule.
pub(crate) fn invalid(key: Key, rule: &str) -> Problem {
    Problem::new(ErrorCode::InvalidParameter, format!("{} {rule}", key.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_takes_known_keys_once() {
        let query = Query::parse("cursor=now&x=1&x=2&limit=5&user=a%2Eb").unwrap();
        assert_eq!(query.get(Key::Cursor), Some("now"));
        assert_eq!(query.get(Key::User), Some("a.b"));
        assert_eq!(query.number(Key::Limit, 1..=9, 3), Ok(5));
        assert_eq!(query.number(Key::Tail, 1..=9, 3), Ok(3));
        for (text, code) in [
            ("limit=1&limit=1", ErrorCode::InvalidParameter),
            ("limit=1&%6cimit=1", ErrorCode::InvalidParameter),
            ("user=%", ErrorCode::InvalidParameter),
            ("user=%f", ErrorCode::InvalidParameter),
            ("user=%ff", ErrorCode::InvalidParameter),
            ("cursor=%ff", ErrorCode::InvalidCursor),
        ] {
            assert_eq!(Query::parse(text).err().map(|p| p.code), Some(code), "{text}");
        }
        for text in [
            "limit=0",
            "limit=10",
            "limit=",
            "limit=+5",
            "limit=5.0",
            "limit=-1",
            "limit=99999999999999999999",
        ] {
            assert!(Query::parse(text).unwrap().number(Key::Limit, 1..=9, 3).is_err(), "{text}");
        }
    }

    #[test]
    fn repeated_fields_join_or_are_refused() {
        let mut fields = Fields::default();
        fields.add("Accept", b"a").unwrap();
        fields.add("accept", b"b").unwrap();
        assert_eq!(fields.get(Field::Accept), Some("a, b"));
        assert!(fields.has_token(Field::Accept, "B"));
        fields.add("Host", b"x").unwrap();
        assert_eq!(fields.add("host", b"x").unwrap_err().code, ErrorCode::InvalidRequest);
        assert_eq!(fields.add("Origin", b"\xff").unwrap_err().code, ErrorCode::InvalidRequest);
        fields.add("X-Unknown", b"\xff").unwrap();
    }

    #[test]
    fn forwarded_addresses_never_refuse_a_request() {
        for (lines, expect) in [
            (&[&b"192.0.2.1"[..]][..], "192.0.2.1"),
            (&[b"192.0.2.1", b"192.0.2.2"], "192.0.2.1, 192.0.2.2"),
            (&[b"\xff, 192.0.2.1"], ", 192.0.2.1"),
            (&[b"a, \xffb, 192.0.2.1,10.0.0.1"], ", 192.0.2.1,10.0.0.1"),
            (&[b"\xff192.0.2.1"], ""),
            (&[b"\xff", b"192.0.2.1"], ", 192.0.2.1"),
        ] {
            let mut fields = Fields::default();
            for line in lines {
                fields.add("X-Forwarded-For", line).unwrap();
            }
            assert_eq!(fields.take(Field::ForwardedFor).as_deref(), Some(expect), "{lines:?}");
            assert_eq!(fields.get(Field::ForwardedFor), None);
        }
    }
}
