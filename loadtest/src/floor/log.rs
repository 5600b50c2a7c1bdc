//! The floor's messages, one behind the other, and the answer made last.

use std::io::Write as _;

/// Bytes of messages that are kept; the next one is refused.
const BYTES_MAX: usize = 256 << 20;

/// All messages since the start.
#[derive(Default)]
pub(super) struct Log {
    messages: Vec<u8>,
    /// The answer made last, whole, and the range of `messages` that it holds.
    answer: Vec<u8>,
    answered: (usize, usize),
}

impl Log {
    /// Where the log ends: a reader's place once it has everything.
    pub(super) fn end(&self) -> usize {
        self.messages.len()
    }

    /// Adds a message, if there is room.
    pub(super) fn append(&mut self, message: &[u8]) -> bool {
        let fits = self.messages.len() + message.len() <= BYTES_MAX;
        if fits {
            self.messages.extend_from_slice(message);
        }
        fits
    }

    /// The response with everything after a reader's place; `None` if there is nothing.
    pub(super) fn answer_after(&mut self, seen: usize) -> Option<&[u8]> {
        let body = self.messages.get(seen..).filter(|body| !body.is_empty())?;
        if self.answered != (seen, self.messages.len()) {
            self.answer.clear();
            write!(
                self.answer,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .expect("memory takes all writes");
            self.answer.extend_from_slice(body);
            self.answered = (seen, self.messages.len());
        }
        Some(&self.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_holds_what_came_after() {
        let mut log = Log::default();
        assert!(log.answer_after(0).is_none());
        assert!(log.append(b"one"));
        assert!(log.append(b"two"));
        assert!(log.answer_after(0).unwrap().ends_with(b"Content-Length: 6\r\n\r\nonetwo"));
        assert!(log.answer_after(3).unwrap().ends_with(b"Content-Length: 3\r\n\r\ntwo"));
        assert!(log.answer_after(6).is_none());
        assert_eq!(log.end(), 6);
    }
}
