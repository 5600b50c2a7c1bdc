//! `kill -9` at any moment loses nothing that was acknowledged.
//!
//! The test starts itself again as a child process that appends without end and prints what is acknowledged.
#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod support;

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use room::{List, RoomKey};
use store::{Range, RoomLog as _, Store};
use support::{all, named, open, room, text_of};

const CHILD_DIR: &str = "BIGROOM_TEST_CRASH_DIR";
const CHILD_ROUND: &str = "BIGROOM_TEST_CRASH_ROUND";
const ROUNDS: u64 = 8;
const SENDERS: u64 = 64;

/// Sender `n` sends to one of four rooms, to one of the lists.
fn place(sender: u64) -> (RoomKey, List) {
    (room(&format!("room-{}", sender % 4)), List::ALL[(sender / 4 % 2) as usize])
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    if let Ok(dir) = env::var(CHILD_DIR) {
        append_until_killed(Path::new(&dir), &env::var(CHILD_ROUND).unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // What was acknowledged, by place in the log.
    let mut acknowledged: BTreeMap<(RoomKey, List, u64), String> = BTreeMap::new();
    let mut epoch = None;
    for round in 0..ROUNDS {
        let before = acknowledged.len();
        for (key, id) in killed_while_appending(dir.path(), round) {
            assert_eq!(acknowledged.insert(key.clone(), id), None, "{key:?} was given twice");
        }
        assert!(acknowledged.len() > before, "round {round}: nothing was acknowledged");
        runtime.block_on(async {
            let store = open(dir.path());
            assert_eq!(*epoch.get_or_insert(store.epoch()), store.epoch());
            for ((room, list, seq), id) in &acknowledged {
                let at = Range::After(room::Seq(seq - 1));
                let page = store.read(room, *list, at, 1).await.unwrap();
                assert_eq!((page.messages[0].seq.0, page.messages[0].id.as_str()), (*seq, id.as_str()));
            }
            for sender in 0..8 {
                let (room, list) = place(sender);
                let kept = all(&*store, &room, list).await;
                let mut ids: Vec<_> = kept.iter().map(|message| message.id.clone()).collect();
                assert!(kept.iter().zip(1..).all(|(message, seq)| message.seq.0 == seq), "contiguous");
                ids.sort();
                ids.dedup();
                assert_eq!(ids.len(), kept.len(), "none is there twice");
            }
            // A sender that got no answer asks again, and gets the same message or a new one, but never two.
            let (room, list) = place(0);
            let last = all(&*store, &room, list).await.pop().unwrap();
            let repeat = store.append(named(&room, list, last.id.as_str(), text_of(&last))).await.unwrap();
            assert_eq!((repeat.seq, repeat.is_duplicate), (last.seq, true));
        });
    }
}

fn killed_while_appending(dir: &Path, round: u64) -> Vec<((RoomKey, List, u64), String)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill_9_loses_nothing_that_was_acknowledged", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    // Killed after so many answers: at another moment of the log's life in every round.
    let mut left = 5 + round * 331;
    for line in lines {
        let Ok(line) = line else { break };
        let Some(answer) = line.strip_prefix("ack ") else {
            continue;
        };
        // The last line may be cut short by the kill.
        if let [sender, seq, id, "."] = answer.split(' ').collect::<Vec<_>>()[..] {
            let (room, list) = place(sender.parse().unwrap());
            acknowledged.push(((room, list, seq.parse().unwrap()), id.to_owned()));
        }
        left = left.saturating_sub(1);
        if left == 0 {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    acknowledged
}

fn append_until_killed(dir: &Path, round: &str) -> ! {
    let store = open(dir);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for sender in 0..SENDERS {
        let (store, round) = (Arc::clone(&store), round.to_owned());
        runtime.spawn(async move {
            let (room, list) = place(sender);
            for number in 0u64.. {
                let id = format!("{round}.{sender}.{number}");
                let appended = store.append(named(&room, list, &id, &id)).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {sender} {} {id} .", appended.seq).unwrap();
            }
        });
    }
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}
