//! Any number of readers, whatever happens: each gets all of what it may get, once and in order.

use std::{cell::Cell, rc::Rc, time::Duration};

use proptest::{prelude::*, test_runner::Config};
use recvsvr::{RecvOptions, Start, Worker};
use room::{List, PerList, PollPolicy, Retention, RoomState, Seq};
use store::{RoomLog as _, Store as _};

use crate::harness::{Node, Reader, on_node, options, room, within};

/// What happens to the room.
#[derive(Clone, Debug)]
enum Step {
    Send(List, u64),
    Retract(List, u64),
    Keep(u64),
    SetState(RoomState),
    LoseNotices,
    KeepNotices,
    PassNotices,
    ShuffleNotices(u64),
    Pause,
}

/// How somebody reads.
#[derive(Clone, Debug)]
struct Habit {
    worker: usize,
    limit: usize,
    timeout_ms: u64,
    /// How many of what is there at the start it has seen (percent).
    seen: PerList<u64>,
    /// Every so many polls it hangs up before the answer and comes back as somebody new; 0 for never.
    leaves_every: u32,
}

fn list() -> impl Strategy<Value = List> {
    prop_oneof![1 => Just(List::Priority), 3 => Just(List::Normal)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (list(), 1u64..20).prop_map(|(list, count)| Step::Send(list, count)),
        3 => (list(), prop_oneof![0u64..100, Just(100)]).prop_map(|(list, percent)| Step::Retract(list, percent)),
        1 => (5u64..80).prop_map(Step::Keep),
        1 => prop_oneof![Just(RoomState::Live), Just(RoomState::Closed)].prop_map(Step::SetState),
        2 => Just(Step::LoseNotices),
        2 => Just(Step::KeepNotices),
        3 => Just(Step::PassNotices),
        2 => any::<u64>().prop_map(Step::ShuffleNotices),
        4 => Just(Step::Pause),
    ]
}

fn habit() -> impl Strategy<Value = Habit> {
    (0usize..2, 1usize..60, 0u64..120, 0u64..=100, 0u64..=100, prop_oneof![Just(0), 2u32..6]).prop_map(
        |(worker, limit, timeout_ms, priority, normal, leaves_every)| Habit {
            worker,
            limit,
            timeout_ms,
            seen: PerList { priority, normal },
            leaves_every,
        },
    )
}

/// Reads until it has reached the end, which is told once everything was sent.
async fn read(
    node: Rc<Node>,
    room: room::RoomKey,
    habit: Habit,
    from: PerList<Seq>,
    end: Rc<Cell<Option<PerList<Seq>>>>,
) {
    let worker = |polls: u32| -> &Rc<Worker> { &node.workers[(habit.worker + polls as usize) % 2] };
    let reader = |polls, at| {
        let mut reader = Reader::new(worker(polls), &room, at);
        reader.limit = habit.limit;
        reader
    };
    let mut me = reader(0, Start::At(node.cursor(&room, from.priority.0, from.normal.0, 0)));
    let mut next = from;
    let mut counted = PerList::<u64>::default();
    for polls in 1.. {
        if habit.leaves_every > 0 && polls % habit.leaves_every == 0 {
            let at = me.at;
            let cut_short =
                tokio::time::timeout(Duration::from_millis(1), me.try_poll(habit.timeout_ms)).await;
            if cut_short.is_err() {
                me = reader(polls, at);
                continue;
            }
            me.at = at; // The answer did not reach the client.
        }
        let got = me.poll(habit.timeout_ms).await;
        assert_ne!(got.gap_reason(), Some("epoch"), "thrown back from {next:?}");
        assert_eq!(got.missing(List::Priority), 0);
        for list in List::ALL {
            let first = next[list].0 + got.missing(list) + 1;
            assert!(got.seqs[list].first().is_none_or(|seq| *seq == first), "{list:?} after {next:?}");
            counted[list] += got.missing(list) + got.seqs[list].len() as u64;
        }
        next = got.cursor.seen;
        if end.get().is_some_and(|end| end == next) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(counted, PerList::from_fn(|list| next[list].since(from[list])));
}

/// Every message that is still kept, as a new reader gets it: those retracted without their content.
async fn check_retracted(node: &Rc<Node>, room: &room::RoomKey, retracted: &[(List, Seq)]) {
    let mut reader = Reader::new(node.worker(), room, Start::Oldest);
    loop {
        let got = reader.poll(0).await;
        for list in List::ALL {
            for message in got.body[crate::harness::field(list)].as_array().unwrap() {
                let seq = Seq(message["seq"].as_u64().unwrap());
                let is_retracted = retracted.contains(&(list, seq));
                assert_eq!(message["type"] == "retracted", is_retracted, "{list:?} {seq}");
            }
        }
        if got.body["up_to_date"] == true {
            return;
        }
    }
}

async fn last(node: &Node, room: &room::RoomKey) -> PerList<Seq> {
    let view = node.store.view(room).await.unwrap();
    PerList::from_fn(|list| view.bounds[list].last)
}

async fn run(
    node: Rc<Node>,
    room: room::RoomKey,
    before: PerList<u64>,
    steps: Vec<Step>,
    habits: Vec<Habit>,
) {
    for list in List::ALL {
        node.send(&room, list, before[list]).await;
    }
    let end = Rc::new(Cell::new(None));
    let readers: Vec<_> = habits
        .into_iter()
        .map(|habit| {
            let from = PerList::from_fn(|list| Seq(before[list] * habit.seen[list] / 100));
            tokio::task::spawn_local(read(Rc::clone(&node), room.clone(), habit, from, Rc::clone(&end)))
        })
        .collect();
    let mut retracted = Vec::new();
    for step in steps {
        match step {
            Step::Send(list, count) => node.send(&room, list, count).await,
            Step::Retract(list, percent) => {
                let seq = Seq(last(&node, &room).await[list].0 * percent / 100);
                if node.store.retract(&room, list, seq).await.is_ok() {
                    retracted.push((list, seq));
                }
            }
            Step::Keep(count) => {
                let age = Duration::from_secs(3_600);
                node.set(&room, move |s| s.retention.normal = Some(Retention { count, age })).await;
            }
            Step::SetState(state) => node.set(&room, move |s| s.state = state).await,
            Step::LoseNotices => node.notices.lose(),
            Step::KeepNotices => node.notices.keep(),
            Step::PassNotices => node.notices.release(|_| {}),
            Step::ShuffleNotices(seed) => node.notices.release(|notices| {
                let length = notices.len().max(1);
                for at in 0..notices.len() {
                    notices.swap(at, (seed as usize).wrapping_mul(at + 1) % length);
                }
            }),
            Step::Pause => {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    // What was lost is noticed with the next message of its list.
    node.notices.release(|_| {});
    for list in List::ALL {
        node.send(&room, list, 1).await;
    }
    end.set(Some(last(&node, &room).await));
    for reader in readers {
        within("all readers reach the end", reader).await.unwrap();
    }
    check_retracted(&node, &room, &retracted).await;
}

#[test]
fn every_reader_gets_everything_once_and_in_order() {
    let policy =
        PollPolicy::new(vec![(3, Duration::from_millis(10)), (6, Duration::from_millis(40))]).unwrap();
    let options =
        RecvOptions { workers: 2, tail_messages_max: 24, policy: std::sync::Arc::new(policy), ..options() };
    let cases = (
        (0u64..40, 0u64..60).prop_map(|(priority, normal)| PerList { priority, normal }),
        proptest::collection::vec(step(), 1..40),
        proptest::collection::vec(habit(), 1..9),
    );
    // A case takes up to a second where a lost notice waits for the look at the log.
    let config = Config { cases: 32, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    proptest!(config, |((before, steps, habits) in cases)| {
        on_node(options.clone(), async move |node| run(node, room("model"), before, steps, habits).await);
    });
}
