//! Messages that were noticed before what is in front of them is in memory.
//!
//! Reading the log takes a while, on another node more so, and notices go on coming. Without them kept, a room in which messages
//! come faster than a read returns would be read again and again, and never be whole.

use std::{collections::VecDeque, sync::Arc};

use room::Message;

/// Messages kept of one list of one room at the most; of more the oldest go, and are read.
const AHEAD_MAX: usize = 1_024;

/// The newest messages of a list that can't be appended yet: contiguous, ascending.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    messages: VecDeque<Arc<Message>>,
    /// When the newest was accepted (Unix microseconds).
    accepted_at_us: u64,
}

impl Ahead {
    /// Keeps the messages of a notice.
    pub(crate) fn keep(&mut self, messages: &[Arc<Message>], accepted_at_us: u64) {
        let (Some(first), Some(newest)) = (messages.first(), messages.last()) else { return };
        if let Some(last) = self.messages.back().map(|last| last.seq) {
            if newest.seq <= last {
                return;
            }
            if first.seq > last.next() {
                self.messages.clear();
            }
        }
        let last = self.messages.back().map(|last| last.seq);
        let new = messages.iter().filter(|message| last.is_none_or(|last| message.seq > last));
        self.messages.extend(new.cloned());
        self.accepted_at_us = accepted_at_us;
        let too_many = self.messages.len().saturating_sub(AHEAD_MAX);
        self.messages.drain(..too_many);
    }

    /// All that is kept, and when the newest was accepted.
    pub(crate) fn take(&mut self) -> (Vec<Arc<Message>>, u64) {
        (self.messages.drain(..).collect(), self.accepted_at_us)
    }
}

#[cfg(test)]
mod tests {
    use room::{Content, MessageId, MessageType, Post, Role, Sender, Seq, UserId};

    use super::*;

    fn message(seq: u64) -> Arc<Message> {
        let sender = Sender { id: UserId::internal("u"), role: Role::Speaker };
        let post = Post { kind: MessageType::default(), sender, text: Some("x".into()), data: None };
        Arc::new(Message {
            seq: Seq(seq),
            id: MessageId::internal("m"),
            sent_at_ms: seq * 10,
            content: Content::Post(post),
        })
    }

    fn run(seqs: std::ops::RangeInclusive<u64>) -> Vec<Arc<Message>> {
        seqs.map(message).collect()
    }

    fn kept(ahead: &mut Ahead) -> Vec<u64> {
        ahead.take().0.iter().map(|message| message.seq.0).collect()
    }

    #[test]
    fn what_follows_is_added_and_what_is_known_is_not() {
        let mut ahead = Ahead::default();
        ahead.keep(&run(5..=6), 1);
        ahead.keep(&run(6..=8), 2);
        ahead.keep(&run(5..=7), 3);
        assert_eq!(ahead.accepted_at_us, 2);
        assert_eq!(kept(&mut ahead), [5, 6, 7, 8]);
        assert_eq!(kept(&mut ahead), [0; 0]);
    }

    #[test]
    fn only_the_newest_run_is_kept() {
        let mut ahead = Ahead::default();
        ahead.keep(&run(1..=2), 1);
        ahead.keep(&run(9..=9), 1);
        assert_eq!(kept(&mut ahead), [9]);
        ahead.keep(&run(1..=AHEAD_MAX as u64 + 5), 1);
        assert_eq!(ahead.messages.front().map(|oldest| oldest.seq), Some(Seq(6)));
    }
}
