//! Answers to polls: parsed once, however many readers get the same.

use std::{collections::HashMap, rc::Rc};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::http::Head;
use crate::mark::{List, marks_in};

/// Bytes of answers that are kept to be recognised.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// Number of a message that is none of the run's.
pub(super) const FOREIGN: u32 = u32::MAX - 1;

/// What a poll was answered.
#[derive(PartialEq, Debug)]
pub(super) struct Answer {
    /// Goes into the next poll.
    pub(super) cursor: Rc<[u8]>,
    /// Messages by list: stretches of consecutive sequence numbers, in their order; one stretch, if all is well.
    pub(super) stretches: [Vec<Stretch>; 2],
    /// When they were due (microseconds since the run's start), by list; those of the run alone.
    pub(super) due_us: [Vec<u64>; 2],
    /// Sequence numbers and the run's numbers of messages, by list.
    pub(super) numbers: [Vec<(u64, u32)>; 2],
    pub(super) gap: Option<Gap>,
    pub(super) up_to_date: bool,
    pub(super) poll_after_ms: u32,
    /// Whether the room is open.
    pub(super) is_live: bool,
    pub(super) num_users: Option<u64>,
    /// Whether a priority message came behind a normal one.
    pub(super) is_disordered: bool,
}

/// Consecutive sequence numbers, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Stretch {
    pub(super) const fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a reader can't get any more.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
pub(super) struct Gap {
    #[serde(default)]
    pub(super) normal: u64,
    #[serde(default)]
    pub(super) priority: u64,
    #[serde(default)]
    pub(super) first_seq: u64,
    #[serde(default)]
    pub(super) first_priority_seq: u64,
    #[serde(default)]
    pub(super) reason: String,
}

impl Gap {
    /// First missed sequence number of a list, and how many are missed.
    pub(super) const fn of(&self, list: List) -> (u64, u64) {
        match list {
            List::Priority => (self.first_priority_seq, self.priority),
            List::Normal => (self.first_seq, self.normal),
        }
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    priority: Vec<Message<'a>>,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    next_cursor: String,
    up_to_date: bool,
    gap: Option<Gap>,
    #[serde(default)]
    poll_after_ms: u32,
    stats: Option<Stats>,
    room: Option<Room>,
}

#[derive(Deserialize)]
struct Message<'a> {
    seq: u64,
    #[serde(borrow, default)]
    text: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Stats {
    num_users: Option<u64>,
}

#[derive(Deserialize)]
struct Room {
    state: String,
}

impl Answer {
    /// Parses the body of an answer with status 200.
    ///
    /// # Errors
    /// If it is not as the contract has it.
    pub(super) fn parse(body: &[u8]) -> Result<Self> {
        let parsed: Body<'_> = serde_json::from_slice(body).context("parse an answer")?;
        // Keys and not values: what somebody writes into a message has its quotation marks escaped.
        let place = |key: &[u8]| memchr::memmem::find(body, key);
        let priority_at = place(b"\"priority\":[");
        let is_disordered = !parsed.priority.is_empty() && priority_at > place(b"\"messages\":[");
        let (mut due_us, mut numbers) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let lists = [(List::Priority, &parsed.priority), (List::Normal, &parsed.messages)];
        for (list, messages) in lists {
            for message in messages {
                let mark = message.text.as_deref().and_then(|text| marks_in(text.as_bytes()).next());
                let mark = mark.filter(|mark| mark.list == list);
                if let Some(mark) = mark {
                    due_us[list.index()].push(mark.due_us);
                }
                numbers[list.index()].push((message.seq, mark.map_or(FOREIGN, |mark| mark.number)));
            }
        }
        Ok(Self {
            cursor: parsed.next_cursor.into_bytes().into(),
            stretches: [stretches(&parsed.priority), stretches(&parsed.messages)],
            due_us,
            numbers,
            gap: parsed.gap,
            up_to_date: parsed.up_to_date,
            poll_after_ms: parsed.poll_after_ms,
            is_live: parsed.room.is_none_or(|room| room.state != "closed"),
            num_users: parsed.stats.and_then(|stats| stats.num_users),
            is_disordered,
        })
    }

    /// Messages of both lists.
    pub(super) fn count(&self) -> usize {
        self.numbers[0].len() + self.numbers[1].len()
    }
}

fn stretches(messages: &[Message<'_>]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for &Message { seq, .. } in messages {
        match stretches.last_mut() {
            Some(stretch) if stretch.last.checked_add(1) == Some(seq) => stretch.last = seq,
            _ => stretches.push(Stretch { first: seq, last: seq }),
        }
    }
    stretches
}

/// Recognises answers: in a fan-out all are alike, and a parser's work for each reader would make the client dearer than
/// the server that it measures.
#[derive(Default)]
pub(super) struct Answers {
    /// The last response, whole.
    last: Option<(Vec<u8>, Head, Rc<Answer>)>,
    /// By hash of the body; the body, to be sure.
    kept: HashMap<u64, (Box<[u8]>, Rc<Answer>)>,
    kept_bytes: usize,
}

/// An answer, and whether it was seen for the first time.
pub(super) struct Recognised {
    pub(super) answer: Rc<Answer>,
    pub(super) is_new: bool,
}

impl Answers {
    /// The head and answer of a response that equals the last one.
    pub(super) fn repeated(&self, response: &[u8]) -> Option<(Head, Rc<Answer>)> {
        let (last, head, answer) = self.last.as_ref()?;
        (last == response).then(|| (*head, Rc::clone(answer)))
    }

    /// The answer in a whole response with status 200.
    ///
    /// # Errors
    /// If it is not as the contract has it.
    pub(super) fn read(&mut self, response: &[u8], head: &Head) -> Result<Recognised> {
        let body = &response[head.head..];
        let hash = xxh3_64(body);
        let known = self.kept.get(&hash).filter(|(bytes, _)| **bytes == *body);
        let (answer, is_new) = match known {
            Some((_, answer)) => (Rc::clone(answer), false),
            None => (Rc::new(Answer::parse(body)?), true),
        };
        if is_new {
            if self.kept_bytes + body.len() > KEPT_BYTES_MAX {
                // All at once: what is still in use comes back with its next reader.
                self.kept.clear();
                self.kept_bytes = 0;
            }
            self.kept_bytes += body.len();
            self.kept.insert(hash, (body.into(), Rc::clone(&answer)));
        }
        let (last, last_head, last_answer) =
            self.last.get_or_insert_with(|| (Vec::new(), *head, Rc::clone(&answer)));
        last.clear();
        last.extend_from_slice(response);
        (*last_head, *last_answer) = (*head, Rc::clone(&answer));
        Ok(Recognised { answer, is_new })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Mark;

    fn message(seq: u64, list: List, number: u32) -> String {
        let mark = Mark { list, sender: 0, number, due_us: u64::from(number) * 10 };
        format!(r#"{{"seq":{seq},"id":"x","text":"{}"}}"#, mark.text(40))
    }

    fn body(priority: &[String], messages: &[String], rest: &str) -> String {
        format!(
            r#"{{"epoch":"e","priority":[{}],"messages":[{}],"next_cursor":"abc","up_to_date":true{rest}}}"#,
            priority.join(","),
            messages.join(",")
        )
    }

    #[test]
    fn answer_has_stretches_and_numbers() {
        let messages =
            [message(7, List::Normal, 0), message(8, List::Normal, 1), message(10, List::Normal, 3)];
        let text = body(
            &[message(1, List::Priority, 0)],
            &messages,
            r#","gap":{"normal":2,"priority":0,"first_seq":5,"reason":"shed"},"poll_after_ms":500,"stats":{"num_users":9},"room":{"state":"live"}"#,
        );
        let answer = Answer::parse(text.as_bytes()).unwrap();
        assert_eq!(answer.stretches[1], [Stretch { first: 7, last: 8 }, Stretch { first: 10, last: 10 }]);
        assert_eq!(answer.numbers[1], [(7, 0), (8, 1), (10, 3)]);
        assert_eq!((answer.due_us[0].as_slice(), answer.due_us[1].as_slice()), (&[0][..], &[0, 10, 30][..]));
        assert_eq!((answer.poll_after_ms, answer.num_users, answer.is_live), (500, Some(9), true));
        assert_eq!(answer.gap.as_ref().unwrap().of(List::Normal), (5, 2));
        assert!(!answer.is_disordered);
    }

    #[test]
    fn priority_behind_normal_is_seen() {
        let text = format!(
            r#"{{"messages":[{}],"priority":[{}],"next_cursor":"abc","up_to_date":true}}"#,
            message(1, List::Normal, 0),
            message(1, List::Priority, 0)
        );
        assert!(Answer::parse(text.as_bytes()).unwrap().is_disordered);
    }

    #[test]
    fn message_of_somebody_else_has_no_number() {
        let foreign = r#"{"seq":3,"text":"hello"}"#.to_owned();
        let wrong_list = message(4, List::Priority, 0);
        let answer = Answer::parse(body(&[], &[foreign, wrong_list], "").as_bytes()).unwrap();
        assert_eq!(answer.numbers[1], [(3, FOREIGN), (4, FOREIGN)]);
    }

    #[test]
    fn answer_against_the_contract_is_an_error() {
        for text in ["", "[]", "{}", r#"{"priority":[],"messages":[],"up_to_date":true}"#] {
            assert!(Answer::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn same_answer_is_parsed_once() {
        let text = body(&[], &[message(1, List::Normal, 0)], "");
        let response = |date: &str| {
            format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: {}\r\n\r\n{text}", text.len())
        };
        let mut answers = Answers::default();
        let mut read = |response: &str| {
            let head = Head::of(response.as_bytes()).unwrap().unwrap();
            answers.read(response.as_bytes(), &head).unwrap().is_new
        };
        assert!(read(&response("one")));
        assert!(!read(&response("two")), "another head, the same body");
        assert!(answers.repeated(response("two").as_bytes()).is_some());
        assert!(answers.repeated(response("one").as_bytes()).is_none());
    }
}
