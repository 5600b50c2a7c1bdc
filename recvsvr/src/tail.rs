//! The recent messages of one list: an immutable value that grows by making the next one.

use std::sync::{Arc, OnceLock};

use room::{Bounds, Content, Message, Retention, Seq};

use crate::encode::json;

/// Messages to a chunk. A new tail copies the pointers of the last chunk and of the chunk list, nothing else.
const CHUNK: usize = 64;

/// A message in the cache, with its JSON once somebody asked for it.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) message: Arc<Message>,
    json: OnceLock<Box<[u8]>>,
}

impl Cached {
    fn new(message: Arc<Message>) -> Arc<Self> {
        Arc::new(Self { message, json: OnceLock::new() })
    }

    /// The message as JSON, written at the first call.
    pub(crate) fn json(&self) -> &[u8] {
        self.json.get_or_init(|| json::message(&self.message).into_boxed_slice())
    }

    /// Memory that it takes, its JSON included (bytes).
    fn bytes(&self) -> usize {
        2 * self.message.size_hint()
    }
}

/// How much of a list is held in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailLimits {
    /// Most messages.
    pub(crate) messages: usize,
    /// Most bytes.
    pub(crate) bytes: usize,
}

/// The newest messages of a list, contiguous up to its end.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// Never empty chunks, each but the first and last full; ascending.
    chunks: Vec<Arc<Vec<Arc<Cached>>>>,
    /// Messages at the front of the first chunk that are no longer part of the tail.
    skip: usize,
    /// Messages held.
    len: usize,
    bytes: usize,
    /// The newest message of the list, in memory or not.
    last: Seq,
    /// The oldest one kept in the log, as far as is known; it may have moved on since.
    first_known: Seq,
    retention: Retention,
}

impl Tail {
    /// A tail that holds nothing yet of a list with these bounds.
    pub(crate) fn new(bounds: Bounds, retention: Retention) -> Self {
        Self {
            chunks: Vec::new(),
            skip: 0,
            len: 0,
            bytes: 0,
            last: bounds.last,
            first_known: bounds.first,
            retention,
        }
    }

    pub(crate) fn last(&self) -> Seq {
        self.last
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first message held; `last + 1` if none is.
    pub(crate) fn start(&self) -> Seq {
        Seq(self.last.0 + 1 - self.len as u64)
    }

    pub(crate) fn set_retention(&mut self, retention: Retention, bounds: Bounds) {
        self.retention = retention;
        self.first_known = self.first_known.max(bounds.first);
    }

    /// Adds the messages that follow, and lets the oldest go as `limits` demand.
    ///
    /// Messages that the tail has already are passed over.
    ///
    /// # Errors
    /// The sequence before the first message, if messages between it and the tail's end are missing.
    pub(crate) fn extend(&mut self, messages: &[Arc<Message>], limits: TailLimits) -> Result<(), Seq> {
        for message in messages {
            if message.seq <= self.last {
                continue;
            }
            if message.seq != self.last.next() {
                return Err(Seq(message.seq.0 - 1));
            }
            self.push(Cached::new(Arc::clone(message)));
        }
        self.shrink(limits);
        Ok(())
    }

    /// Puts messages that end right before [`Tail::start`] in front: how a cold tail is filled.
    pub(crate) fn fill(&mut self, messages: &[Arc<Message>]) {
        let start = self.start();
        debug_assert_eq!(self.len, 0, "only an empty tail is filled");
        let Some(newest) = messages.last() else { return };
        if newest.seq.next() != start {
            return;
        }
        self.last = Seq(messages[0].seq.0 - 1);
        for message in messages {
            self.push(Cached::new(Arc::clone(message)));
        }
    }

    fn push(&mut self, cached: Arc<Cached>) {
        self.last = cached.message.seq;
        self.bytes += cached.bytes();
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => Arc::make_mut(chunk).push(cached),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(cached);
                self.chunks.push(Arc::new(chunk));
            }
        }
    }

    /// Lets the oldest messages go until `limits` hold.
    pub(crate) fn shrink(&mut self, limits: TailLimits) {
        let mut whole_chunks = 0;
        while self.len > limits.messages || (self.bytes > limits.bytes && self.len > 1) {
            self.bytes -= self.chunks[whole_chunks][self.skip].bytes();
            self.len -= 1;
            self.skip += 1;
            if self.skip == self.chunks[whole_chunks].len() {
                whole_chunks += 1;
                self.skip = 0;
            }
        }
        self.chunks.drain(..whole_chunks);
    }

    /// Replaces a message that was retracted by its tombstone, if it is held.
    pub(crate) fn retract(&mut self, seq: Seq, redact_seq: Seq) {
        let Some(at) = self.index(seq) else { return };
        let chunk = Arc::make_mut(&mut self.chunks[at.0]);
        let old = &chunk[at.1];
        if matches!(old.message.content, Content::Retracted { .. }) {
            return;
        }
        let new = Cached::new(Arc::new(old.message.retracted(redact_seq)));
        self.bytes = self.bytes - old.bytes() + new.bytes();
        chunk[at.1] = new;
    }

    /// Chunk and place in it of a message that is held.
    fn index(&self, seq: Seq) -> Option<(usize, usize)> {
        if seq < self.start() || seq > self.last {
            return None;
        }
        let first_chunk = self.chunks[0].len();
        let at = seq.since(self.start()) as usize + self.skip;
        Some(if at < first_chunk {
            (0, at)
        } else {
            (1 + (at - first_chunk) / CHUNK, (at - first_chunk) % CHUNK)
        })
    }

    fn get(&self, seq: Seq) -> Option<&Arc<Cached>> {
        self.index(seq).map(|(chunk, at)| &self.chunks[chunk][at])
    }

    /// The messages after `after`, at most `take`; `after` must not lie before the tail.
    pub(crate) fn after(&self, after: Seq, take: usize) -> impl Iterator<Item = &Arc<Cached>> {
        let until = Seq(self.last.0.min(after.0 + take as u64));
        (after.0 + 1..=until.0).filter_map(|seq| self.get(Seq(seq)))
    }

    /// The oldest message that retention leaves at `now_ms`, as far as memory can tell: messages before the tail
    /// may have grown too old as well. `last + 1` if nothing is left.
    pub(crate) fn kept_from(&self, now_ms: u64) -> Seq {
        let by_count = Seq((self.last.0 + 1).saturating_sub(self.retention.count).max(1));
        let first = self.first_known.max(by_count);
        let oldest_ms = now_ms.saturating_sub(self.retention.age.as_millis() as u64);
        let is_young = |seq: Seq| self.get(seq).is_none_or(|cached| cached.message.sent_at_ms >= oldest_ms);
        let start = self.start().max(first);
        if is_young(start) {
            return first;
        }
        // Binary search: `sent_at_ms` never falls along a list.
        let (mut old, mut young) = (start.0, self.last.0 + 1);
        while young - old > 1 {
            let middle = old + (young - old) / 2;
            if is_young(Seq(middle)) {
                young = middle;
            } else {
                old = middle;
            }
        }
        Seq(young)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use room::{MessageId, MessageType, Post, Role, Sender, UserId};

    use super::*;

    fn message(seq: u64) -> Arc<Message> {
        Arc::new(Message {
            seq: Seq(seq),
            id: MessageId::internal("m"),
            sent_at_ms: seq * 10,
            content: Content::Post(Post {
                kind: MessageType::default(),
                sender: Sender { id: UserId::internal("u"), role: Role::Speaker },
                text: Some("x".into()),
                data: None,
            }),
        })
    }

    fn range(from: u64, to: u64) -> Vec<Arc<Message>> {
        (from..=to).map(message).collect()
    }

    const RETENTION: Retention = Retention { count: 1_000, age: Duration::from_millis(5_000) };
    const LIMITS: TailLimits = TailLimits { messages: 100, bytes: usize::MAX };

    fn seqs(tail: &Tail, after: u64, take: usize) -> Vec<u64> {
        tail.after(Seq(after), take).map(|c| c.message.seq.0).collect()
    }

    #[test]
    fn gap_is_refused_and_repeat_is_passed_over() {
        let mut tail = Tail::new(Bounds::EMPTY, RETENTION);
        assert_eq!(tail.extend(&range(1, 3), LIMITS), Ok(()));
        assert_eq!(tail.extend(&range(2, 4), LIMITS), Ok(()));
        assert_eq!(tail.extend(&range(6, 7), LIMITS), Err(Seq(5)));
        assert_eq!(seqs(&tail, 0, 10), [1, 2, 3, 4]);
    }

    #[test]
    fn filled_tail_goes_on_where_the_log_ends() {
        let mut tail = Tail::new(Bounds { first: Seq(1), last: Seq(500) }, RETENTION);
        tail.fill(&range(301, 500));
        assert_eq!(tail.start(), Seq(301));
        assert_eq!(tail.extend(&range(501, 501), LIMITS), Ok(()));
        assert_eq!((tail.start(), tail.last()), (Seq(402), Seq(501)));
    }

    #[test]
    fn retraction_leaves_a_tombstone() {
        let mut tail = Tail::new(Bounds::EMPTY, RETENTION);
        tail.extend(&range(1, 100), LIMITS).unwrap();
        let before = tail.clone();
        tail.retract(Seq(70), Seq(9));
        let kind = |tail: &Tail| tail.get(Seq(70)).unwrap().message.kind().to_owned();
        assert_eq!((kind(&before).as_str(), kind(&tail).as_str()), ("text", "retracted"));
    }

    #[test]
    fn retention_moves_the_first_kept() {
        let mut tail = Tail::new(Bounds::EMPTY, Retention { count: 50, ..RETENTION });
        tail.extend(&range(1, 100), LIMITS).unwrap();
        assert_eq!(tail.kept_from(0), Seq(51));
        assert_eq!(tail.kept_from(5_000 + 600), Seq(60));
        assert_eq!(tail.kept_from(5_000 + 601), Seq(61));
        assert_eq!(tail.kept_from(1 << 40), Seq(101));
    }

    proptest! {
        #[test]
        fn tail_holds_the_newest_whatever_the_steps(steps in proptest::collection::vec(1u64..40, 1..40), cap in 1usize..150) {
            let mut tail = Tail::new(Bounds::EMPTY, RETENTION);
            let mut last = 0;
            for step in steps {
                tail.extend(&range(last + 1, last + step), TailLimits { messages: cap, bytes: usize::MAX }).unwrap();
                last += step;
                let start = (last + 1).saturating_sub(cap as u64).max(1);
                prop_assert_eq!(tail.start(), Seq(start));
                prop_assert_eq!(seqs(&tail, start - 1, 1_000), (start..=last).collect::<Vec<_>>());
            }
        }
    }
}
