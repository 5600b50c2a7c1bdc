//! The auditor: compares what was acknowledged, what the log holds and what each reader got.
//!
//! One audit is about one room, read from the beginning of an epoch. Any loss, repeat, disorder or silent skip
//! fails the test that it runs in.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

/// The two lists, in the order of delivery.
pub(crate) const LISTS: [&str; 2] = ["priority", "normal"];

/// What a poll answered, as far as delivery goes.
#[derive(Deserialize)]
pub(crate) struct Delivery {
    priority: Vec<Entry>,
    messages: Vec<Entry>,
    /// Where to go on.
    pub(crate) next_cursor: String,
    /// False when the limit cut the answer.
    pub(crate) up_to_date: bool,
    gap: Option<Gap>,
}

#[derive(Deserialize)]
struct Entry {
    seq: u64,
    id: String,
}

#[derive(Deserialize)]
struct Gap {
    #[serde(default)]
    normal: u64,
    #[serde(default)]
    priority: u64,
    first_seq: Option<u64>,
    reason: String,
}

/// The two lists as the log holds them: the id of each message, by its sequence less one.
#[derive(Default)]
pub(crate) struct Log {
    ids: [Vec<String>; 2],
    places: HashMap<String, (usize, u64)>,
}

impl Log {
    /// Adds what the history has after the last message known: contiguous, and no id that is there already.
    pub(crate) fn extend(&mut self, list: &str, messages: &[Value]) {
        let at = place_of(list);
        for message in messages {
            let (seq, id) = (message["seq"].as_u64().expect("a seq"), message["id"].as_str().expect("an id"));
            assert_eq!(seq, self.last(list) + 1, "the {list} list is not contiguous");
            let other = self.places.insert(id.to_owned(), (at, seq));
            assert_eq!(other, None, "message {id} is in the log twice, also at {list} {seq}");
            self.ids[at].push(id.to_owned());
        }
    }

    /// Fails the test unless `messages`, what the history keeps of a list, are the end of it.
    pub(crate) fn check_kept(&self, list: &str, messages: &[Value]) {
        let ids = &self.ids[place_of(list)];
        let kept = &ids[ids.len() - messages.len()..];
        let first = (ids.len() - messages.len()) as u64 + 1;
        for (seq, (id, message)) in (first..).zip(kept.iter().zip(messages)) {
            assert_eq!(
                (message["seq"].as_u64(), message["id"].as_str()),
                (Some(seq), Some(id.as_str())),
                "{list}"
            );
        }
    }

    /// The last sequence of a list.
    pub(crate) fn last(&self, list: &str) -> u64 {
        self.ids[place_of(list)].len() as u64
    }
}

fn place_of(list: &str) -> usize {
    LISTS.iter().position(|known| *known == list).expect("a list")
}

/// What senders were promised: the place of each acknowledged message.
#[derive(Default)]
pub(crate) struct Acknowledged(HashMap<String, (usize, u64)>);

impl Acknowledged {
    /// Takes the body of a 200 or 201 answer to a send.
    pub(crate) fn add(&mut self, answer: &Value) {
        let list = place_of(answer["list"].as_str().expect("a list"));
        let place = (list, answer["seq"].as_u64().expect("a seq"));
        let id = answer["id"].as_str().expect("an id");
        let before = self.0.insert(id.to_owned(), place);
        assert!(
            before.is_none_or(|before| before == place),
            "{id} was acknowledged at {before:?} and at {place:?}"
        );
    }

    /// How many messages were acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The log, where nothing but what was acknowledged was ever sent.
    pub(crate) fn log(&self) -> Log {
        let mut log = Log { ids: Default::default(), places: self.0.clone() };
        for (at, ids) in log.ids.iter_mut().enumerate() {
            let of_list = self.0.iter().filter(|(_, (list, _))| *list == at);
            let mut placed: Vec<_> = of_list.map(|(id, (_, seq))| (*seq, id)).collect();
            placed.sort_unstable();
            assert!(
                (1..).zip(&placed).all(|(at, (seq, _))| at == *seq),
                "{} has holes or repeats",
                LISTS[at]
            );
            ids.extend(placed.into_iter().map(|(_, id)| id.clone()));
        }
        log
    }

    /// Fails the test unless every acknowledged message is in the log where its sender was told.
    pub(crate) fn check(&self, log: &Log) {
        let lost: Vec<_> = self.0.iter().filter(|(id, place)| log.places.get(*id) != Some(place)).collect();
        assert!(lost.is_empty(), "{} acknowledged messages are not in the log as told: {lost:?}", lost.len());
    }
}

/// One reader, from a cursor before the first message on.
#[derive(Default)]
pub(crate) struct Reader {
    /// What it got, per list: sequence and id in the order of arrival.
    got: [Vec<Entry>; 2],
    /// Last sequence passed, per list: got or told of by a gap.
    seen: [u64; 2],
    /// Normal messages that gaps told of.
    skipped: u64,
}

impl Reader {
    /// Takes an answer to a poll, and checks that it continues the ones before.
    pub(crate) fn take(&mut self, delivery: Delivery) {
        if let Some(gap) = delivery.gap {
            assert_eq!(gap.priority, 0, "priority messages were skipped");
            assert_eq!(gap.first_seq, Some(self.seen[1] + 1), "a gap does not begin behind the last message");
            assert!(["shed", "retention"].contains(&gap.reason.as_str()), "gap.reason is {}", gap.reason);
            self.skipped += gap.normal;
            self.seen[1] += gap.normal;
        }
        for (at, entries) in [delivery.priority, delivery.messages].into_iter().enumerate() {
            for entry in entries {
                assert_eq!(entry.seq, self.seen[at] + 1, "{} goes on in the wrong place", LISTS[at]);
                self.seen[at] = entry.seq;
                self.got[at].push(entry);
            }
        }
    }

    /// Normal messages received.
    pub(crate) fn received(&self) -> u64 {
        self.got[1].len() as u64
    }

    /// Normal messages that gaps told of.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Fails the test unless this reader, who is up to date, has the whole log: all of the priority list, and of
    /// the normal list everything but what it was told it missed.
    pub(crate) fn check(&self, log: &Log) {
        for (at, list) in LISTS.into_iter().enumerate() {
            assert_eq!(self.seen[at], log.last(list), "the {list} list is not read to its end");
            let wrong = self.got[at].iter().find(|entry| log.ids[at][entry.seq as usize - 1] != entry.id);
            assert!(
                wrong.is_none(),
                "{list} {:?} is another message in the log",
                wrong.map(|entry| entry.seq)
            );
        }
        assert_eq!(self.got[0].len() as u64, log.last("priority"), "priority messages are missing");
        assert_eq!(
            self.received() + self.skipped,
            log.last("normal"),
            "normal messages are missing without a gap"
        );
    }
}
