//! What is kept of a room beside its series and its viewers: the session, the peaks, and what was last shown.

use std::cmp::Reverse;

use super::block::{number, push};

const VERSION: u8 = 1;

/// The most users that were ever there, and when that was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Peak {
    /// Users online (count).
    pub(crate) users: u64,
    /// When there were first so many (Unix milliseconds); 0 if nobody was ever there.
    pub(crate) at_ms: u64,
}

impl Peak {
    /// Takes note of a number of users; says whether it is a new peak.
    pub(crate) fn observe(&mut self, users: u64, at_ms: u64) -> bool {
        let before = *self;
        *self = before.or(Self { users, at_ms });
        *self != before
    }

    /// The higher of two, of equal ones the earlier.
    pub(crate) fn or(self, other: Self) -> Self {
        if other.users > 0 && (other.users, Reverse(other.at_ms)) > (self.users, Reverse(self.at_ms)) {
            other
        } else {
            self
        }
    }
}

/// A room in a few numbers. Summaries of several nodes combine in any order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Summary {
    /// When the room was last opened (Unix milliseconds); 0 if it is open since its first use.
    pub(crate) session_ms: u64,
    /// The peak since then.
    pub(crate) session_peak: Peak,
    /// The peak of all time.
    pub(crate) total_peak: Peak,
    /// The most unique viewers of the session that were shown: it never shows fewer.
    pub(crate) session_shown: u64,
    /// The same of all time.
    pub(crate) total_shown: u64,
}

impl Summary {
    /// Combines what another node, or the store, knows with this.
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.session_ms > self.session_ms {
            self.begin_session(other.session_ms);
        }
        if other.session_ms == self.session_ms {
            self.session_peak = self.session_peak.or(other.session_peak);
            self.session_shown = self.session_shown.max(other.session_shown);
        }
        self.total_peak = self.total_peak.or(other.total_peak);
        self.total_shown = self.total_shown.max(other.total_shown);
    }

    /// Begins a session: its numbers start from nothing.
    pub(crate) fn begin_session(&mut self, at_ms: u64) {
        self.session_ms = at_ms;
        self.session_peak = Peak::default();
        self.session_shown = 0;
    }

    fn numbers(&self) -> [u64; 7] {
        let Self { session_ms, session_peak, total_peak, session_shown, total_shown } = *self;
        let (session, total) = (session_peak, total_peak);
        [session_ms, session.users, session.at_ms, total.users, total.at_ms, session_shown, total_shown]
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        // The store's numbers end at 2⁶³; a time beyond is nobody's.
        self.numbers().into_iter().for_each(|number| push(&mut bytes, number.min(1 << 56)));
        bytes
    }

    /// The summary that was encoded; `None` for any other bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (VERSION, mut rest) = bytes.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let mut next = || number(&mut rest);
        let summary = Self {
            session_ms: next()?,
            session_peak: Peak { users: next()?, at_ms: next()? },
            total_peak: Peak { users: next()?, at_ms: next()? },
            session_shown: next()?,
            total_shown: next()?,
        };
        rest.is_empty().then_some(summary)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn summary() -> impl Strategy<Value = Summary> {
        let peak =
            || (0u64..4, 0u64..4).prop_map(|(users, at_ms)| Peak { users, at_ms: at_ms * users.min(1) });
        (0u64..3, peak(), peak(), 0u64..9, 0u64..9).prop_map(
            |(session_ms, session_peak, total_peak, session_shown, total_shown)| Summary {
                session_ms,
                session_peak,
                total_peak,
                session_shown,
                total_shown,
            },
        )
    }

    fn merged(parts: impl IntoIterator<Item = Summary>) -> Summary {
        let mut merged = Summary::default();
        parts.into_iter().for_each(|part| merged.merge(&part));
        merged
    }

    proptest! {
        #[test]
        fn merging_is_free_of_order_and_repeats(a in summary(), b in summary(), c in summary()) {
            let all = merged([a, b, c]);
            for other in [merged([c, b, a]), merged([b, c, a, c]), merged([a, merged([b, c])]), merged([all, a])] {
                prop_assert_eq!(other, all);
            }
            prop_assert_eq!(Summary::decode(&all.encode()), Some(all));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Summary::decode(&[&[VERSION], &bytes[..]].concat());
            let _ = Summary::decode(&bytes);
        }
    }

    #[test]
    fn first_of_equal_peaks_stays() {
        let mut peak = Peak::default();
        assert!(!peak.observe(0, 5));
        assert!(peak.observe(7, 10));
        assert!(!peak.observe(7, 20) && !peak.observe(6, 30));
        assert_eq!(peak, Peak { users: 7, at_ms: 10 });
    }
}
