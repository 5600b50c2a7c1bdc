//! A reader: polls, checks what every answer must fulfil, and moves on.

use std::{future::poll_fn, rc::Rc};

use recvsvr::{Answer, Ask, Follower, Form, Start, Started, Worker, now_ms};
use room::{Cursor, List, PerList, Problem, RoomKey};
use serde_json::Value;

use super::within;

/// A poll that is answered `timeout_ms` from now at the latest.
pub(crate) fn ask_at(start: Start, limit: usize, timeout_ms: u64) -> Ask {
    Ask { start, limit, deadline_ms: now_ms() + timeout_ms, form: Form::JSON }
}

/// Waits for a poll's answer; tells whether it was parked.
pub(crate) async fn finish(
    follower: &mut Follower,
    room: &RoomKey,
    ask: &Ask,
    mut started: Started,
) -> Result<(Answer, bool), Problem> {
    let mut was_parked = false;
    loop {
        started = match started {
            Started::Answer(answer) => return Ok((answer, was_parked)),
            Started::Parked => {
                was_parked = true;
                poll_fn(|task| follower.poll_answer(task)).await
            }
            Started::Later(read) => match read.await? {
                Some(answer) => return Ok((answer, was_parked)),
                None => follower.ask_again(room, ask)?,
            },
        };
    }
}

/// An answer, read as a client reads it.
pub(crate) struct Got {
    pub(crate) answer: Answer,
    pub(crate) was_parked: bool,
    pub(crate) body: Value,
    pub(crate) cursor: Cursor,
    /// Sequences of the messages, per list.
    pub(crate) seqs: PerList<Vec<u64>>,
}

impl Got {
    pub(crate) fn read(answer: Answer, was_parked: bool, room: &RoomKey) -> Self {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let cursor = Cursor::decode(&answer.cursor, room.hash48()).unwrap();
        assert_eq!(body["next_cursor"].as_str().unwrap().as_bytes(), answer.cursor);
        let seqs = PerList::from_fn(|list| {
            let messages = body[field(list)].as_array().unwrap();
            messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
        });
        Self { answer, was_parked, body, cursor, seqs }
    }

    pub(crate) fn poll_after_ms(&self) -> u64 {
        self.body["poll_after_ms"].as_u64().unwrap()
    }

    /// How many messages of a list the gap counts.
    pub(crate) fn missing(&self, list: List) -> u64 {
        self.body["gap"][list.as_str()].as_u64().unwrap_or(0)
    }

    pub(crate) fn gap_reason(&self) -> Option<&str> {
        self.body["gap"]["reason"].as_str()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seqs.priority.is_empty() && self.seqs.normal.is_empty()
    }
}

/// Where an answer has the messages of a list.
pub(crate) fn field(list: List) -> &'static str {
    match list {
        List::Priority => "priority",
        List::Normal => "messages",
    }
}

/// A reader of one room.
pub(crate) struct Reader {
    follower: Follower,
    room: RoomKey,
    /// Where it polls next.
    pub(crate) at: Start,
    /// Most messages in an answer.
    pub(crate) limit: usize,
}

impl Reader {
    pub(crate) fn new(worker: &Rc<Worker>, room: &RoomKey, at: Start) -> Self {
        Self { follower: Follower::new(worker), room: room.clone(), at, limit: 200 }
    }

    /// Polls once and moves on to where the answer ends.
    pub(crate) async fn try_poll(&mut self, timeout_ms: u64) -> Result<Got, Problem> {
        let ask = ask_at(self.at, self.limit, timeout_ms);
        let started = self.follower.ask(&self.room, &ask)?;
        let (answer, was_parked) = finish(&mut self.follower, &self.room, &ask, started).await?;
        self.follower.delivered(&answer, was_parked);
        let got = Got::read(answer, was_parked, &self.room);
        self.check(&got);
        self.at = Start::At(got.cursor);
        Ok(got)
    }

    /// Polls once, and fails the test if the poll is refused or never answered.
    pub(crate) async fn poll(&mut self, timeout_ms: u64) -> Got {
        within("an answer", self.try_poll(timeout_ms)).await.unwrap()
    }

    /// Polls until it has been given `count` messages of a list, or more. Gives back all of that list.
    pub(crate) async fn take(&mut self, list: List, count: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        within("all messages", async {
            while taken.len() < count {
                taken.extend(self.try_poll(super::LONG_MS).await.unwrap().seqs[list].iter());
            }
        })
        .await;
        taken
    }

    /// What holds for every answer: each list contiguous up to its cursor, and a gap only right in front of it.
    fn check(&self, got: &Got) {
        let count = got.seqs.priority.len() + got.seqs.normal.len();
        assert!(count <= self.limit, "{count} messages where at most {} were asked for", self.limit);
        assert_eq!(got.answer.messages, count);
        for list in List::ALL {
            let seqs = &got.seqs[list];
            assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{list:?} has a hole: {seqs:?}");
            let end = got.cursor.seen[list].0;
            assert!(seqs.last().is_none_or(|last| *last == end), "{list:?}: cursor {end} after {seqs:?}");
            let Start::At(from) = self.at else { continue };
            if got.gap_reason() == Some("epoch") {
                continue;
            }
            let counted = got.missing(list) + seqs.len() as u64;
            let seen = from.seen[list].0;
            assert_eq!(seen + counted, end, "{list:?}: from {seen}, gap {}, {seqs:?}", got.missing(list));
            if got.missing(list) > 0 {
                let first = match list {
                    List::Priority => &got.body["gap"]["first_priority_seq"],
                    List::Normal => &got.body["gap"]["first_seq"],
                };
                assert_eq!(first.as_u64(), Some(seen + 1), "{list:?}: {}", got.body["gap"]);
            }
        }
    }
}
