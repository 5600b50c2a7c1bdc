//! Marks: what a message of the load test carries, so that whoever gets it knows which one it is and how old.
//!
//! A mark survives every encoding that a server may wrap around a message, so one scan finds the messages of any
//! server's answer.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

/// Bytes of a mark: `~n3.0000000012@000123456789~`.
pub(crate) const MARK_BYTES: usize = 28;
const EDGE: u8 = b'~';

/// Senders of normal messages. Several, because one that waits for every acknowledgement would wait for the disk
/// once a message, and a log that makes many senders share one sync would look slower than it is.
pub(crate) const NORMAL_SENDERS: usize = 8;

/// Numberings of messages: one of priority messages, one of each sender of normal ones.
pub(crate) const NUMBERINGS: usize = 1 + NORMAL_SENDERS;

/// The list that a message was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum List {
    /// Complete, and ahead of everything else, where the server has such a list.
    Priority,
    /// Everything else.
    Normal,
}

impl List {
    /// Both, in the order of [`List::index`].
    pub(crate) const ALL: [Self; 2] = [Self::Priority, Self::Normal];

    /// Place in arrays of one value a list.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Priority => 0,
            Self::Normal => 1,
        }
    }

    /// As the wire and the reports name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Normal => "normal",
        }
    }

    const fn letter(self) -> u8 {
        match self {
            Self::Priority => b'p',
            Self::Normal => b'n',
        }
    }
}

/// Which message it is, and when it was due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) list: List,
    /// Which of the list's senders sent it; the priority list has one.
    pub(crate) sender: u8,
    /// From 0, without holes, in the order of this sender's messages, each of which is acknowledged before the next.
    pub(crate) number: u32,
    /// When it was to be sent (microseconds since the run began).
    pub(crate) due_us: u64,
}

impl Mark {
    /// The numbering that `number` belongs to, below [`NUMBERINGS`].
    pub(crate) fn numbering(&self) -> usize {
        match self.list {
            List::Priority => 0,
            List::Normal => 1 + usize::from(self.sender),
        }
    }

    /// A text of `bytes` that begins with the mark; never shorter than the mark.
    pub(crate) fn text(&self, bytes: usize) -> String {
        let mut text = format!(
            "~{}{}.{:010}@{:012}~",
            self.list.letter() as char,
            self.sender,
            self.number,
            self.due_us
        );
        while text.len() < bytes {
            text.push('x');
        }
        text
    }

    /// Appends the id of the message: unique within a run.
    pub(crate) fn write_id(&self, out: &mut Vec<u8>) {
        write!(out, "{}{}.{}", self.list.letter() as char, self.sender, self.number)
            .expect("memory takes all writes");
    }

    /// The mark that `bytes` begin with.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..MARK_BYTES)?;
        if bytes[0] != EDGE || bytes[3] != b'.' || bytes[14] != b'@' || bytes[MARK_BYTES - 1] != EDGE {
            return None;
        }
        let list = List::ALL.into_iter().find(|list| list.letter() == bytes[1])?;
        let sender = u8::try_from(decimal(&bytes[2..3])?).ok()?;
        let number = u32::try_from(decimal(&bytes[4..14])?).ok()?;
        let mark = Self { list, sender, number, due_us: decimal(&bytes[15..MARK_BYTES - 1])? };
        (mark.numbering() < NUMBERINGS).then_some(mark)
    }
}

/// The marks in `body`, in its order.
pub(crate) fn marks_in(body: &[u8]) -> impl Iterator<Item = Mark> {
    let mut rest = body;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[memchr::memchr(EDGE, rest)?..];
            let found = Mark::parse(rest);
            rest = &rest[if found.is_some() { MARK_BYTES } else { 1 }..];
            if found.is_some() {
                return found;
            }
        }
    })
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for digit in digits {
        value = value * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_again_in_any_wrapping() {
        let first = Mark { list: List::Normal, sender: 7, number: 7, due_us: 123 };
        let second = Mark { list: List::Priority, sender: 0, number: u32::MAX, due_us: 999_999_999_999 };
        let body = format!("{{\"text\":\"{}\"}} ~ ~n12 {}", first.text(200), second.text(0));
        assert_eq!(marks_in(body.as_bytes()).collect::<Vec<_>>(), [first, second]);
    }

    #[test]
    fn text_has_the_length_asked_for() {
        let mark = Mark { list: List::Normal, sender: 0, number: 0, due_us: 0 };
        assert_eq!(mark.text(200).len(), 200);
        assert_eq!(mark.text(0).len(), MARK_BYTES);
    }

    #[test]
    fn what_only_looks_like_a_mark_is_none() {
        for text in [
            "~n0.000000001x@000000000001~",
            "~z0.0000000012@000000000001~",
            "~n8.0000000012@000000000001~",
            "~n0.9999999999@000000000001~",
            "~~~~",
            "",
        ] {
            assert_eq!(marks_in(text.as_bytes()).count(), 0, "{text}");
        }
    }
}
