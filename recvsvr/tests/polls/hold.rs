//! The hold: how often a reader is given normal messages.

use std::time::Duration;

use recvsvr::{RecvOptions, Start, now_ms};
use room::{List, PollPolicy, PollWait};

use crate::harness::{LONG_MS, Node, Reader, on_node, options, room, until, within};

fn interval(ms: u64) -> RecvOptions {
    RecvOptions {
        policy: std::sync::Arc::new(PollPolicy::new(vec![(1, Duration::from_millis(ms))]).unwrap()),
        ..options()
    }
}

/// A reader who was just given a normal message, and when that was.
async fn served(node: &Node, room: &room::RoomKey) -> (Reader, u64) {
    node.send(room, List::Normal, 1).await;
    let mut reader = Reader::new(node.worker(), room, Start::Oldest);
    let got = reader.poll(LONG_MS).await;
    assert!(got.cursor.served_at_ms > 0 && got.cursor.served_at_ms <= now_ms());
    (reader, got.cursor.served_at_ms)
}

#[test]
fn time_of_a_poll_ends_in_its_last_tenth() {
    on_node(options(), async |node| {
        const NOW_MS: u64 = 1_000_000;
        for timeout_ms in [0, 1, 9, 100, 5_000, 30_000] {
            for _ in 0..1_000 {
                let lasts_ms = node.worker().deadline_ms(timeout_ms, NOW_MS) - NOW_MS;
                assert!(
                    (timeout_ms - timeout_ms / 10..=timeout_ms).contains(&lasts_ms),
                    "{lasts_ms} of {timeout_ms}"
                );
            }
        }
    });
}

#[test]
fn returning_reader_waits_for_the_interval() {
    const INTERVAL_MS: u64 = 400;
    on_node(interval(INTERVAL_MS), async |node| {
        let room = room("held");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        node.send(&room, List::Normal, 2).await;
        let got = reader.poll(LONG_MS).await;
        assert!(got.was_parked);
        assert!(now_ms() >= served_at_ms + INTERVAL_MS);
        assert_eq!(got.seqs.normal, [2, 3]);
        assert_eq!(got.poll_after_ms(), INTERVAL_MS);
    });
}

#[test]
fn message_within_the_hold_wakes_at_its_end() {
    const INTERVAL_MS: u64 = 400;
    on_node(interval(INTERVAL_MS), async |node| {
        let room = room("woken");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            node.until_parked(1).await;
            node.send(&room, List::Normal, 1).await;
        });
        assert!(now_ms() >= served_at_ms + INTERVAL_MS);
        assert_eq!(got.seqs.normal, [2]);
    });
}

#[test]
fn priority_cuts_through_the_hold_alone() {
    on_node(interval(30_000), async |node| {
        let room = room("cut");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        for seq in 1..=2 {
            let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
                node.until_parked(1).await;
                node.send(&room, List::Normal, 100).await;
                node.send(&room, List::Priority, 1).await;
            });
            assert_eq!((got.seqs.priority, got.seqs.normal), (vec![seq], vec![]));
            assert_eq!((got.cursor.seen.normal.0, got.cursor.served_at_ms), (1, served_at_ms));
            assert_eq!(got.body["up_to_date"], true);
        }
    });
}

#[test]
fn priority_that_waits_for_a_held_reader_is_given_at_once() {
    on_node(interval(30_000), async |node| {
        let room = room("ready");
        let (mut reader, _) = served(&node, &room).await;
        until("the poll before is counted", || node.metric("bigroom_polls_total", "") > 0.0).await;
        let ready = node.metric("bigroom_polls_total", "ready");
        node.send(&room, List::Normal, 1).await;
        node.send(&room, List::Priority, 1).await;
        let got = reader.poll(LONG_MS).await;
        assert_eq!((got.seqs.priority, got.seqs.normal), (vec![1], vec![]));
        until("it counts as ready", || node.metric("bigroom_polls_total", "ready") == ready + 1.0).await;
    });
}

#[test]
fn hold_goes_on_after_a_cut() {
    const INTERVAL_MS: u64 = 500;
    on_node(interval(INTERVAL_MS), async |node| {
        let room = room("twice");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            node.until_parked(1).await;
            node.send(&room, List::Normal, 1).await;
            node.send(&room, List::Priority, 1).await;
        });
        assert!((1..=INTERVAL_MS).contains(&got.poll_after_ms()), "{}", got.poll_after_ms());
        let got = reader.poll(5_000).await;
        assert_eq!(got.seqs.normal, [2]);
        assert!(now_ms() >= served_at_ms + INTERVAL_MS);
        assert!(now_ms() < served_at_ms + INTERVAL_MS + 2_000, "woken by its deadline only");
    });
}

fn held_by_server(ms: u64) -> RecvOptions {
    RecvOptions { wait: PollWait::Server, ..interval(ms) }
}

#[test]
fn server_that_waits_has_the_poll_parked_through_the_hold() {
    on_node(held_by_server(30_000), async |node| {
        let room = room("waits");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        for seq in 1..=2 {
            let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
                node.until_parked(1).await;
                node.send(&room, List::Normal, 1).await;
                node.send(&room, List::Priority, 1).await;
            });
            assert_eq!((&got.seqs.priority, &got.seqs.normal), (&vec![seq], &vec![]));
            assert_eq!((got.poll_after_ms(), got.cursor.served_at_ms), (0, served_at_ms));
        }
        // Who does not let itself be held is told how long to stay away.
        let got = reader.poll(0).await;
        assert!(got.is_empty() && got.poll_after_ms() > 20_000, "{}", got.poll_after_ms());
    });
}

#[test]
fn server_that_waits_keeps_the_interval() {
    const INTERVAL_MS: u64 = 400;
    on_node(held_by_server(INTERVAL_MS), async |node| {
        let room = room("kept");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        node.send(&room, List::Normal, 2).await;
        let got = reader.poll(LONG_MS).await;
        assert!(got.was_parked && now_ms() >= served_at_ms + INTERVAL_MS);
        assert_eq!((got.seqs.normal.as_slice(), got.poll_after_ms()), ([2, 3].as_slice(), 0));
    });
}

#[test]
fn deadline_within_the_hold_leaves_normal_messages_for_later() {
    const INTERVAL_MS: u64 = 3_000;
    on_node(interval(INTERVAL_MS), async |node| {
        let room = room("deadline");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        node.send(&room, List::Normal, 1).await;
        for timeout_ms in [0, 100] {
            let before_ms = now_ms();
            let got = reader.poll(timeout_ms).await;
            let left_ms = got.poll_after_ms();
            assert!(got.is_empty() && got.gap_reason().is_none());
            assert_eq!(got.cursor.seen.normal.0, 1);
            assert_eq!(got.cursor.served_at_ms, served_at_ms);
            assert!(left_ms <= INTERVAL_MS && left_ms % 50 == 0, "{left_ms}");
            assert!(left_ms + now_ms() >= served_at_ms + INTERVAL_MS, "{left_ms} is less than what is left");
            assert!(before_ms + left_ms < served_at_ms + INTERVAL_MS + 100, "{left_ms} is more than is left");
        }
        let got = reader.poll(LONG_MS).await;
        assert_eq!(got.seqs.normal, [2]);
    });
}

#[test]
fn held_reader_at_its_deadline_gets_priority_only() {
    on_node(interval(30_000), async |node| {
        let room = room("priority");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        node.send(&room, List::Normal, 1).await;
        node.send(&room, List::Priority, 2).await;
        let got = reader.poll(0).await;
        assert_eq!((&got.seqs.priority, &got.seqs.normal), (&vec![1, 2], &vec![]));
        assert_eq!((got.cursor.seen.normal.0, got.cursor.served_at_ms), (1, served_at_ms));
        assert!(got.poll_after_ms() > 20_000);
    });
}

#[test]
fn held_reader_behind_memory_gets_priority_only_at_its_deadline() {
    on_node(RecvOptions { tail_messages_max: 8, ..interval(30_000) }, async |node| {
        let room = room("priority");
        let (mut reader, served_at_ms) = served(&node, &room).await;
        node.send(&room, List::Normal, 1).await;
        node.send(&room, List::Priority, 20).await;
        let got = reader.poll(0).await;
        assert_eq!((got.seqs.priority.len(), got.seqs.normal.len()), (20, 0));
        assert_eq!((got.cursor.seen.normal.0, got.cursor.served_at_ms), (1, served_at_ms));
        assert!(node.metric("bigroom_pulls_total", "catch_up") >= 1.0);
    });
}

#[test]
fn interval_counts_from_the_cursor() {
    const INTERVAL_MS: u64 = 500;
    on_node(interval(INTERVAL_MS), async |node| {
        let room = room("counted");
        let (mut reader, _) = served(&node, &room).await;
        node.send(&room, List::Normal, 1).await;
        for (served_at_ms, waits) in
            [(0, false), (now_ms() - INTERVAL_MS, false), (now_ms() - 10, true), (now_ms() + 100_000, true)]
        {
            reader.at = Start::At(node.cursor(&room, 0, 1, served_at_ms));
            let asked_ms = now_ms();
            let got = reader.poll(LONG_MS).await;
            assert_eq!((got.was_parked, got.seqs.normal.len()), (waits, 1), "served at {served_at_ms}");
            if served_at_ms > asked_ms {
                let waited_ms = now_ms() - asked_ms;
                assert!((INTERVAL_MS..10 * INTERVAL_MS).contains(&waited_ms), "{waited_ms}");
            }
        }
    });
}

#[test]
fn cut_answer_is_never_held() {
    on_node(interval(30_000), async |node| {
        let room = room("long");
        node.send(&room, List::Normal, 5).await;
        let mut reader = Reader::new(node.worker(), &room, Start::Oldest);
        reader.limit = 2;
        for expect in [vec![1, 2], vec![3, 4], vec![5]] {
            let got = reader.poll(LONG_MS).await;
            let is_cut = expect.len() == 2;
            assert_eq!((got.was_parked, got.seqs.normal), (false, expect));
            assert_eq!(got.body["up_to_date"].as_bool(), Some(!is_cut));
            assert_eq!(got.body["poll_after_ms"], if is_cut { 0 } else { 30_000 });
            assert_eq!(got.cursor.served_at_ms == 0, is_cut);
        }
    });
}

#[test]
fn interval_grows_with_the_audience() {
    let policy = std::sync::Arc::new(PollPolicy::new(vec![(3, Duration::from_secs(20))]).unwrap());
    on_node(RecvOptions { policy, ..options() }, async |node| {
        let room = room("audience");
        node.send(&room, List::Normal, 1).await;
        let mut readers = Vec::new();
        for expect in [0, 0, 20_000] {
            readers.push(Reader::new(node.worker(), &room, Start::Oldest));
            await_poll_after(readers.last_mut().unwrap(), expect).await;
        }
        readers.pop();
        await_poll_after(&mut readers[0], 0).await;
    });
}

/// Polls from the oldest message until clients are told that interval: the policy is asked a few times a second.
async fn await_poll_after(reader: &mut Reader, interval_ms: u64) {
    let asked = async {
        loop {
            reader.at = Start::Oldest;
            if reader.poll(LONG_MS).await.poll_after_ms() == interval_ms {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the interval", asked).await;
}
