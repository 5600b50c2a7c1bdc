//! Strict JSON: one pass over the bytes that says whether two parsers could read them differently.
//!
//! RFC 8259 leaves duplicate keys, lone surrogates, byte-order marks and deep nesting to the parser. A message is
//! passed on byte for byte to parsers that we don't know, so those are refused here.

use std::{borrow::Cow, collections::HashSet};

/// What is wrong with a body, and where (bytes from its start).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// What is wrong.
    pub what: &'static str,
    /// Where.
    pub at: usize,
}

/// Checks that `bytes` are exactly one JSON value: valid UTF-8 without a byte-order mark, no duplicate keys in an
/// object (compared after unescaping), no lone surrogates, nested at most `depth_max` deep, nothing behind it but
/// white space.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(bytes: &[u8], depth_max: usize) -> Result<(), JsonError> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(JsonError { what: "invalid UTF-8", at: error.valid_up_to() });
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonError { what: "a byte-order mark", at: 0 });
    }
    let mut scan = Scan { bytes, at: 0, depth_left: depth_max };
    scan.space();
    scan.value()?;
    scan.space();
    if scan.at == bytes.len() { Ok(()) } else { scan.fail("something behind the JSON value") }
}

/// Keys of one object that are compared with each other; where there are more, they are hashed.
const KEYS_COMPARED_MAX: usize = 8;

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    depth_left: usize,
}

impl<'a> Scan<'a> {
    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError { what, at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string(&mut Plain::Unwanted),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.fail("an unexpected character"),
            None => self.fail("the end, where a value should be"),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        let Some(left) = self.depth_left.checked_sub(1) else {
            return self.fail("too deep a nesting");
        };
        self.depth_left = left;
        self.at += 1;
        self.space();
        inner(self)?;
        self.depth_left += 1;
        Ok(())
    }

    fn object(&mut self) -> Result<(), JsonError> {
        if self.take(b'}') {
            return Ok(());
        }
        let mut keys = Keys::default();
        loop {
            let key_at = self.at;
            if self.peek() != Some(b'"') {
                return self.fail("no key, where one should be");
            }
            if !keys.insert(self.key()?) {
                return Err(JsonError { what: "a duplicate key", at: key_at });
            }
            self.space();
            if !self.take(b':') {
                return self.fail("no colon behind a key");
            }
            self.space();
            self.value()?;
            self.space();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.fail("neither a comma nor the end of the object");
            }
            self.space();
        }
    }

    fn array(&mut self) -> Result<(), JsonError> {
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value()?;
            self.space();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.fail("neither a comma nor the end of the array");
            }
            self.space();
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.fail("an unexpected character");
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.fail("no digit, where one should be") } else { Ok(()) }
    }

    /// Reads a string and gives back what it stands for.
    fn key(&mut self) -> Result<Cow<'a, [u8]>, JsonError> {
        let from = self.at + 1;
        let mut plain = Plain::Same;
        self.string(&mut plain)?;
        Ok(match plain {
            Plain::Other(bytes) => Cow::Owned(bytes),
            Plain::Same | Plain::Unwanted => Cow::Borrowed(&self.bytes[from..self.at - 1]),
        })
    }

    /// Reads a string.
    fn string(&mut self, plain: &mut Plain) -> Result<(), JsonError> {
        self.at += 1;
        let from = self.at;
        loop {
            let length = plain_length(&self.bytes[self.at..]);
            if let Plain::Other(bytes) = plain {
                bytes.extend_from_slice(&self.bytes[self.at..self.at + length]);
            }
            self.at += length;
            match self.peek() {
                None => return self.fail("the end, within a string"),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    if matches!(plain, Plain::Same) {
                        *plain = Plain::Other(self.bytes[from..self.at].to_vec());
                    }
                    self.at += 1;
                    self.escape(plain)?;
                }
                Some(_) => return self.fail("a bare control character within a string"),
            }
        }
    }

    fn escape(&mut self, plain: &mut Plain) -> Result<(), JsonError> {
        let byte = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let char = self.unicode_escape()?;
                plain.push(char.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.fail("an unknown escape"),
        };
        plain.push(&[byte]);
        self.at += 1;
        Ok(())
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let start = self.at - 1;
        let lone = JsonError { what: "a lone surrogate", at: start };
        let unit = self.hex4()?;
        let code = match unit {
            0xd800..0xdc00 => {
                if !(self.take(b'\\') && self.peek() == Some(b'u')) {
                    return Err(lone);
                }
                match self.hex4()? {
                    low @ 0xdc00..0xe000 => 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
                    _ => return Err(lone),
                }
            }
            _ => unit,
        };
        char::from_u32(code).ok_or(lone)
    }

    /// Reads `uXXXX`, standing on the `u`.
    fn hex4(&mut self) -> Result<u32, JsonError> {
        self.at += 1;
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return self.fail("no hex digit, where one should be");
            };
            value = value << 4 | digit;
            self.at += 1;
        }
        Ok(value)
    }
}

/// What a string stands for.
enum Plain {
    /// Its bytes, so far.
    Same,
    /// Others, because of what is escaped in it.
    Other(Vec<u8>),
    /// Nobody asks.
    Unwanted,
}

impl Plain {
    fn push(&mut self, bytes: &[u8]) {
        if let Self::Other(plain) = self {
            plain.extend_from_slice(bytes);
        }
    }
}

/// The keys of an object.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, [u8]>>,
    many: HashSet<Cow<'a, [u8]>>,
}

impl<'a> Keys<'a> {
    /// Takes a key; says whether it is new.
    fn insert(&mut self, key: Cow<'a, [u8]>) -> bool {
        if self.few.len() == KEYS_COMPARED_MAX {
            self.many.extend(self.few.drain(..));
        }
        if !self.many.is_empty() {
            return self.many.insert(key);
        }
        let is_new = !self.few.contains(&key);
        self.few.push(key);
        is_new
    }
}

/// How many bytes come before the first that ends a string, escapes in it, or may not be in it.
fn plain_length(bytes: &[u8]) -> usize {
    const STEP: usize = 8;
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    // Eight bytes at a time: a byte below `n` shows as a high bit of `word - n`, a byte equal to one as zero in their
    // difference. A borrow may make a later byte look so, never hide one, and the exact look follows.
    // (S. E. Anderson, Bit Twiddling Hacks: "Determine if a word has a byte less than n".)
    let may_end = |chunk: &[u8; STEP]| {
        let word = u64::from_le_bytes(*chunk);
        let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let is_control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        is_control | is_zero(word ^ (ONES * 0x22)) | is_zero(word ^ (ONES * 0x5c)) != 0
    };
    let (chunks, _) = bytes.as_chunks::<STEP>();
    let skipped = chunks.iter().take_while(|chunk| !may_end(chunk)).count() * STEP;
    let rest = &bytes[skipped..];
    skipped + rest.iter().position(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strict_json_is_told_from_the_rest() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        for (text, expect) in [
            (r#"{"a":1,"b":[true,false,null,-0.5e+3,"x\n\u00e9\ud83d\ude00"]}"#.to_owned(), None),
            (" 1e999 ".into(), None),
            ("123456789012345678901234567890".into(), None),
            (deep(32), None),
            (deep(33), Some("too deep a nesting")),
            (r#"{"a":1,"a":2}"#.into(), Some("a duplicate key")),
            (r#"{"a":1,"\u0061":2}"#.into(), Some("a duplicate key")),
            (r#"{"x":{"a":1,"a":2}}"#.into(), Some("a duplicate key")),
            ("\u{feff}1".into(), Some("a byte-order mark")),
            ("1 2".into(), Some("something behind the JSON value")),
            (r#""\ud800""#.into(), Some("a lone surrogate")),
            (r#""\udc00""#.into(), Some("a lone surrogate")),
            (r#""\ud800\u0041""#.into(), Some("a lone surrogate")),
            ("\"\t\"".into(), Some("a bare control character within a string")),
            ("01".into(), Some("something behind the JSON value")),
            ("1.".into(), Some("no digit, where one should be")),
            ("-".into(), Some("no digit, where one should be")),
            ("tru".into(), Some("an unexpected character")),
            ("".into(), Some("the end, where a value should be")),
            ("{,}".into(), Some("no key, where one should be")),
            ("[1,]".into(), Some("an unexpected character")),
            (r#"{"a" 1}"#.into(), Some("no colon behind a key")),
            (r#""\x""#.into(), Some("an unknown escape")),
            ("\"a".into(), Some("the end, within a string")),
        ] {
            assert_eq!(check(text.as_bytes(), 32).err().map(|e| e.what), expect, "{text}");
        }
        assert_eq!(check(b"\"\xff\"", 32).unwrap_err().what, "invalid UTF-8");
    }

    proptest! {
        #[test]
        fn whatever_it_accepts_serde_json_accepts(text in r#"[\[\]{}:,"\\a-c0-9eE+.\-tfn u]{0,24}"#) {
            if check(text.as_bytes(), 32).is_ok() {
                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok(), "{}", text);
            }
        }

        #[test]
        fn strings_end_where_they_end(bytes in proptest::collection::vec(prop_oneof![4 => 0x20u8..0xff, 1 => any::<u8>()], 0..64)) {
            let expect = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(&bytes), expect);
        }

        #[test]
        fn second_of_a_key_is_found(count in 1usize..40, first in any::<prop::sample::Index>(), again in any::<prop::sample::Index>()) {
            let keys: Vec<String> = (0..count).map(|number| format!("\"k{number}\":0")).collect();
            let object = |keys: &[String]| format!("{{{}}}", keys.join(","));
            let once = check(object(&keys).as_bytes(), 4);
            prop_assert_eq!(once, Ok(()));
            // Once more, and written otherwise.
            let copy = keys[first.index(count)].replace('k', "\\u006b");
            let mut twice = keys;
            twice.insert(again.index(count + 1), copy);
            let found = check(object(&twice).as_bytes(), 4);
            prop_assert_eq!(found.map_err(|error| error.what), Err("a duplicate key"));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = check(&bytes, 4);
        }
    }
}
