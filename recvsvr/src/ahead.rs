//! Messages that were noticed before what is in front of them is in memory.
//!
//! Reading the log takes a while, on another node more so, and notices go on coming. Without them kept, a room in which messages
//! come faster than a read returns would be read again and again, and never be whole.

use std::{collections::VecDeque, sync::Arc};

use room::{Message, Seq};

use crate::tail::TailLimits;

/// Messages kept of one list of one room at the most, where its tail may hold more.
const AHEAD_MAX: usize = 1_024;

/// The newest messages of a list that can't be appended yet: contiguous, ascending.
///
/// What does not fit falls out at the front, and is read like everything else before it.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    /// When the newest was accepted (Unix microseconds).
    accepted_at_us: u64,
}

impl Ahead {
    /// Keeps the messages of a notice, as far as `limits` let it.
    pub(crate) fn keep(&mut self, messages: &[Arc<Message>], accepted_at_us: u64, limits: TailLimits) {
        let (Some(first), Some(newest)) = (messages.first(), messages.last()) else { return };
        let last = self.messages.back().map(|last| last.seq);
        if last.is_some_and(|last| newest.seq <= last) {
            return;
        }
        if last.is_some_and(|last| first.seq > last.next()) {
            self.messages.clear();
            self.bytes = 0;
        }
        for message in messages.iter().filter(|message| last.is_none_or(|last| message.seq > last)) {
            self.bytes += message.size_hint();
            self.messages.push_back(Arc::clone(message));
        }
        self.accepted_at_us = accepted_at_us;
        self.shrink(limits);
    }

    /// Lets the oldest go until `limits` hold. Unlike a tail it may be left with none.
    pub(crate) fn shrink(&mut self, limits: TailLimits) {
        while (self.messages.len() > AHEAD_MAX.min(limits.messages) || self.bytes > limits.bytes)
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= oldest.size_hint();
        }
    }

    /// The oldest that is kept.
    pub(crate) fn first(&self) -> Option<Seq> {
        self.messages.front().map(|oldest| oldest.seq)
    }

    /// Memory of what is kept (bytes).
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All that is kept, and when the newest was accepted.
    pub(crate) fn take(&mut self) -> (Vec<Arc<Message>>, u64) {
        self.bytes = 0;
        (std::mem::take(&mut self.messages).into(), self.accepted_at_us)
    }
}

#[cfg(test)]
mod tests {
    use room::{Content, MessageId, MessageType, Post, Role, Sender, Seq, UserId};

    use super::*;

    fn message(seq: u64, text_bytes: usize) -> Arc<Message> {
        let sender = Sender { id: UserId::internal("u"), role: Role::Speaker };
        let post =
            Post { kind: MessageType::default(), sender, text: Some("x".repeat(text_bytes)), data: None };
        Arc::new(Message {
            seq: Seq(seq),
            id: MessageId::internal("m"),
            sent_at_ms: seq * 10,
            content: Content::Post(post),
        })
    }

    fn run(seqs: std::ops::RangeInclusive<u64>) -> Vec<Arc<Message>> {
        seqs.map(|seq| message(seq, 1)).collect()
    }

    fn kept(ahead: &mut Ahead) -> Vec<u64> {
        ahead.take().0.iter().map(|message| message.seq.0).collect()
    }

    fn counted(ahead: &Ahead) -> usize {
        ahead.messages.iter().map(|message| message.size_hint()).sum()
    }

    const LIMITS: TailLimits = TailLimits { messages: usize::MAX, bytes: usize::MAX };

    #[test]
    fn what_follows_is_added_and_what_is_known_is_not() {
        let mut ahead = Ahead::default();
        ahead.keep(&run(5..=6), 1, LIMITS);
        ahead.keep(&run(6..=8), 2, LIMITS);
        ahead.keep(&run(5..=7), 3, LIMITS);
        assert_eq!((ahead.accepted_at_us, ahead.bytes()), (2, counted(&ahead)));
        assert_eq!(ahead.first(), Some(Seq(5)));
        assert_eq!(kept(&mut ahead), [5, 6, 7, 8]);
        assert_eq!((kept(&mut ahead), ahead.bytes(), ahead.first()), (vec![], 0, None));
    }

    #[test]
    fn only_the_newest_run_is_kept() {
        let mut ahead = Ahead::default();
        ahead.keep(&run(1..=2), 1, LIMITS);
        ahead.keep(&run(9..=9), 1, LIMITS);
        assert_eq!(ahead.bytes(), counted(&ahead));
        assert_eq!(kept(&mut ahead), [9]);
        ahead.keep(&run(1..=AHEAD_MAX as u64 + 5), 1, LIMITS);
        assert_eq!(ahead.first(), Some(Seq(6)));
        assert_eq!(ahead.bytes(), counted(&ahead));
    }

    #[test]
    fn bytes_are_bounded_and_the_oldest_go() {
        let large = message(1, 10_000).size_hint();
        let limits = TailLimits { bytes: 3 * large, ..LIMITS };
        let mut ahead = Ahead::default();
        for seq in 1..=100 {
            ahead.keep(&[message(seq, 10_000)], 1, limits);
            assert_eq!(ahead.bytes(), large * seq.min(3) as usize);
        }
        ahead.keep(&(101..=120).map(|seq| message(seq, 10_000)).collect::<Vec<_>>(), 1, limits);
        assert_eq!((ahead.bytes(), counted(&ahead)), (3 * large, 3 * large));
        ahead.shrink(TailLimits { bytes: 3 * large - 1, ..LIMITS });
        assert_eq!(ahead.first(), Some(Seq(119)));
        ahead.shrink(TailLimits { messages: 1, ..LIMITS });
        assert_eq!(ahead.bytes(), large);
        assert_eq!(kept(&mut ahead), [120]);
    }

    #[test]
    fn message_beyond_the_bound_is_not_kept_and_the_next_are() {
        let limits = TailLimits { bytes: 5_000, ..LIMITS };
        let mut ahead = Ahead::default();
        ahead.keep(&run(1..=2), 1, limits);
        ahead.keep(&[message(3, 10_000)], 2, limits);
        assert_eq!((ahead.first(), ahead.bytes()), (None, 0));
        ahead.keep(&run(4..=5), 3, limits);
        assert_eq!(kept(&mut ahead), [4, 5]);
    }
}
