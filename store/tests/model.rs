//! The store against a plain model of it, under random histories.
#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod support;

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;
use room::{Bounds, Content, List, MessageId, PerList, Retention, RoomState, Seq};
use store::{Append, Range, RoomLog as _, Store, StoreError};
use support::{copy, keep, message, now_us, open, room, text_of};

const MINUTE_US: u64 = 60_000_000;
const ROOMS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// `minutes_ago` moves towards now: 20, 40 … minutes from the limits of an hour that decide what is kept.
    Append {
        room: usize,
        list: List,
        id: Option<u8>,
        text: u8,
        minutes_ago: u64,
    },
    Retract {
        room: usize,
        list: List,
        seq: u64,
    },
    Keep {
        room: usize,
        list: List,
        count: u64,
        hours: u64,
    },
    Close {
        room: usize,
        closed: bool,
    },
    Read {
        room: usize,
        list: List,
        range: Range,
        limit: usize,
    },
    Reopen,
    Crash,
}

fn list() -> impl Strategy<Value = List> {
    prop_oneof![Just(List::Priority), Just(List::Normal)]
}

fn step() -> impl Strategy<Value = Step> {
    let minutes = (0u64..10).prop_map(|steps| steps * 20 + 10);
    let range = prop_oneof![
        (0u64..40).prop_map(|seq| Range::After(Seq(seq))),
        (0u64..40).prop_map(|seq| Range::Before(Seq(seq))),
        Just(Range::Before(Seq(u64::MAX))),
    ];
    prop_oneof![
        12 => (0..ROOMS, list(), proptest::option::of(0u8..12), 0u8..3, minutes)
            .prop_map(|(room, list, id, text, minutes_ago)| Step::Append { room, list, id, text, minutes_ago }),
        3 => (0..ROOMS, list(), 0u64..30).prop_map(|(room, list, seq)| Step::Retract { room, list, seq }),
        1 => (0..ROOMS, list(), 1u64..12, 1u64..4)
            .prop_map(|(room, list, count, hours)| Step::Keep { room, list, count, hours }),
        1 => (0..ROOMS, any::<bool>()).prop_map(|(room, closed)| Step::Close { room, closed }),
        4 => (0..ROOMS, list(), range, 0usize..20)
            .prop_map(|(room, list, range, limit)| Step::Read { room, list, range, limit }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

/// What the model keeps of a message: its id, when it was sent, and its content in a word.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    id: String,
    sent_at_ms: u64,
    content: String,
}

#[derive(Default)]
struct ModelRoom {
    lists: PerList<Vec<Kept>>,
    /// Places before this are gone for good.
    gone: PerList<u64>,
    retention: PerList<Option<Retention>>,
    closed: bool,
    ids: HashMap<u8, (u8, List, u64)>,
}

impl ModelRoom {
    fn bounds(&mut self, list: List, now_ms: u64) -> Bounds {
        let kept = self.retention[list].unwrap_or(Retention::default_of(list));
        let messages = &self.lists[list];
        let last = messages.len() as u64;
        let age_ms = u64::try_from(kept.age.as_millis()).unwrap();
        let first = (1..=last)
            .find(|seq| {
                last - seq < kept.count
                    && now_ms.saturating_sub(messages[*seq as usize - 1].sent_at_ms) <= age_ms
            })
            .unwrap_or(last + 1);
        // Looked at or not, what has expired stays so.
        self.gone[list] = self.gone[list].max(first);
        Bounds { first: Seq(self.gone[list]), last: Seq(last) }
    }

    fn push(&mut self, list: List, id: String, at_ms: u64, content: String) -> u64 {
        let sent_at_ms = self.lists[list].last().map_or(0, |message| message.sent_at_ms).max(at_ms);
        self.lists[list].push(Kept { id, sent_at_ms, content });
        self.lists[list].len() as u64
    }
}

fn word(content: &Content, text: &str) -> String {
    match content {
        Content::Post(_) => text.to_owned(),
        Content::Redact { list, seq, id } => format!("redact {} {seq} {id}", list.as_str()),
        Content::Retracted { redact_seq } => format!("retracted {redact_seq}"),
    }
}

async fn check(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut model: Vec<ModelRoom> = (0..ROOMS).map(|_| ModelRoom::default()).collect();
    let names: Vec<_> = (0..ROOMS).map(|number| room(&format!("room-{number}"))).collect();
    let start_us = now_us();
    // Far enough from every boundary that the time the test takes does not matter.
    let now_ms = start_us / 1_000;
    for step in steps {
        match step {
            Step::Append { room, list, id, text, minutes_ago } => {
                let text_sent = format!("text {text}");
                let append = Append {
                    id: id.map(|id| MessageId::new(&format!("id-{id}")).unwrap()),
                    accepted_at_us: start_us - minutes_ago * MINUTE_US,
                    ..message(&names[room], list, &text_sent)
                };
                let at_ms = append.accepted_at_us / 1_000;
                let answer = store.append(append).await;
                let known = &mut model[room];
                match id.and_then(|id| known.ids.get(&id).copied()) {
                    Some((first_text, ..)) if first_text != text => {
                        prop_assert!(matches!(answer, Err(StoreError::IdReused)), "{:?}", answer);
                    }
                    Some((_, first_list, seq)) => {
                        let answer = answer.unwrap();
                        prop_assert_eq!(
                            (answer.list, answer.seq.0, answer.is_duplicate),
                            (first_list, seq, true)
                        );
                    }
                    None => {
                        let answer = answer.unwrap();
                        // Appending takes note of what has expired by count.
                        let seq = known.push(list, answer.id.to_string(), at_ms, text_sent);
                        known.bounds(list, now_ms);
                        let sent = known.lists[list].last().unwrap().sent_at_ms;
                        prop_assert_eq!(
                            (answer.seq.0, answer.is_duplicate, answer.sent_at_ms),
                            (seq, false, sent)
                        );
                        if let Some(id) = id {
                            known.ids.insert(id, (text, list, seq));
                        }
                    }
                }
            }
            Step::Retract { room, list, seq } => {
                let answer = store.retract(&names[room], list, Seq(seq)).await;
                let known = &mut model[room];
                let kept = known.bounds(list, now_ms);
                let content = (kept.first.0..=kept.last.0)
                    .contains(&seq)
                    .then(|| known.lists[list][seq as usize - 1].clone());
                match content {
                    Some(message) if message.content.starts_with("text") => {
                        let redact_seq = known.lists.priority.len() as u64 + 1;
                        let redact = format!("redact {} {seq} {}", list.as_str(), message.id);
                        known.lists[list][seq as usize - 1].content = format!("retracted {redact_seq}");
                        known.push(List::Priority, format!("redact:{}:{seq}", list.as_str()), now_ms, redact);
                        known.bounds(List::Priority, now_ms);
                        let answer = answer.unwrap();
                        prop_assert_eq!((answer.redact_seq.0, answer.is_duplicate), (redact_seq, false));
                        // The only time that the store reads off its own clock: take it over.
                        let at = Range::After(Seq(redact_seq - 1));
                        let page = store.read(&names[room], List::Priority, at, 1).await.unwrap();
                        known.lists.priority.last_mut().unwrap().sent_at_ms = page.messages[0].sent_at_ms;
                    }
                    Some(message) if message.content.starts_with("retracted") => {
                        let answer = answer.unwrap();
                        prop_assert_eq!(format!("retracted {}", answer.redact_seq), message.content);
                        prop_assert!(answer.is_duplicate);
                    }
                    Some(_) | None => {
                        prop_assert!(matches!(answer, Err(StoreError::NotFound)), "{:?}", answer)
                    }
                }
            }
            Step::Keep { room, list, count, hours } => {
                let age = Duration::from_secs(hours * 3600);
                let view = store.change_settings(&names[room], keep(list, count, age)).await.unwrap();
                let known = &mut model[room];
                let _ = (known.bounds(List::Priority, now_ms), known.bounds(List::Normal, now_ms));
                known.retention[list] = Some(Retention { count, age });
                prop_assert_eq!(view.bounds[list], known.bounds(list, now_ms));
                prop_assert_eq!(view.settings.retention, known.retention);
            }
            Step::Close { room, closed } => {
                let state = if closed { RoomState::Closed } else { RoomState::Live };
                let change = move |now: &room::RoomSettings| room::RoomSettings { state, ..now.clone() };
                store.change_settings(&names[room], Box::new(change)).await.unwrap();
                model[room].closed = closed;
            }
            Step::Read { room, list, range, limit } => {
                let page = store.read(&names[room], list, range, limit).await.unwrap();
                let known = &mut model[room];
                let bounds = known.bounds(list, now_ms);
                prop_assert_eq!(page.bounds, bounds);
                let kept = bounds.first.0..=bounds.last.0;
                let expect: Vec<u64> = match range {
                    Range::After(Seq(after)) => kept.filter(|seq| *seq > after).take(limit).collect(),
                    Range::Before(Seq(before)) => {
                        let mut back: Vec<_> = kept.rev().filter(|seq| *seq < before).take(limit).collect();
                        back.reverse();
                        back
                    }
                };
                prop_assert_eq!(support::seqs(&page.messages), expect);
                for message in &page.messages {
                    let found = Kept {
                        id: message.id.to_string(),
                        sent_at_ms: message.sent_at_ms,
                        content: word(&message.content, text_of(message)),
                    };
                    prop_assert_eq!(&found, &known.lists[list][message.seq.0 as usize - 1]);
                }
                let view = store.view(&names[room]).await.unwrap();
                prop_assert_eq!(view.bounds[list], bounds);
                prop_assert_eq!(view.settings.is_closed(), known.closed);
            }
            Step::Reopen => {
                store.close().await;
                store = open(dir.path());
            }
            Step::Crash => {
                // What is on the disk while the store is open is what a crash would leave.
                let image = tempfile::tempdir().unwrap();
                copy(dir.path(), image.path());
                store = open(image.path());
                dir = image;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn store_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..120)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check(steps))?;
    }
}
