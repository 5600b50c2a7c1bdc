//! Notices that get lost, come twice or out of order.

use std::{rc::Rc, time::Duration};

use recvsvr::{RecvOptions, Start};
use room::{List, Seq};
use store::Store as _;

use crate::harness::{LONG_MS, Node, Reader, on_node, options, room, until};

/// A look comes once a second and is quick; the rest is for a machine that is busy.
const FOUND_BY_A_LOOK: Duration = Duration::from_millis(2_500);

/// A reader from the start of a room that it has seen the state of.
async fn settled(node: &Rc<Node>, room: &room::RoomKey) -> Reader {
    let mut reader = Reader::new(node.worker(), room, Start::Now { tail: None });
    reader.poll(0).await;
    reader
}

#[test]
fn lost_notice_is_found_by_a_look_at_the_log() {
    on_node(options(), async |node| {
        for list in List::ALL {
            let room = room(list.as_str());
            let mut reader = settled(&node, &room).await;
            node.notices.lose();
            let sent = std::time::Instant::now();
            let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
                node.until_parked(1).await;
                node.send(&room, list, 2).await;
            });
            assert!(sent.elapsed() < FOUND_BY_A_LOOK, "found after {:?}", sent.elapsed());
            let rest = if got.seqs[list].len() == 2 { got } else { reader.poll(LONG_MS).await };
            assert_eq!(rest.cursor.seen[list], Seq(2));
            node.notices.pass();
        }
        assert!(node.metric("bigroom_pulls_total", "look") >= 2.0);
    });
}

#[test]
fn what_could_not_be_read_is_read_by_a_later_look() {
    on_node(options(), async |node| {
        let room = room("refused");
        let mut reader = settled(&node, &room).await;
        node.store.refuse_reads(true);
        node.notices.lose();
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            node.until_parked(1).await;
            node.send(&room, List::Priority, 1).await;
            until("a look has tried", || node.metric("bigroom_pulls_total", "look") >= 1.0).await;
            // It has noticed that a notice is missing, and knows of no other by now.
            node.store.refuse_reads(false);
        });
        assert_eq!(got.seqs.priority, [1]);
    });
}

#[test]
fn look_finds_that_the_log_is_another_one() {
    on_node(options(), async |node| {
        let (quiet, other) = (room("quiet"), room("other"));
        node.send(&quiet, List::Normal, 3).await;
        let mut reader = settled(&node, &quiet).await;
        node.notices.lose();
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            node.until_parked(1).await;
            node.store.renew();
            // A notice is missing, of whatever room: the look begins, and finds no more messages here than there were.
            node.send(&other, List::Normal, 1).await;
        });
        assert_eq!(got.gap_reason(), Some("epoch"), "a poll that was parked begins anew");
    });
}

#[test]
fn one_look_finds_more_than_the_tail_holds() {
    on_node(RecvOptions { tail_messages_max: 8, ..options() }, async |node| {
        let room = room("burst");
        let mut reader = settled(&node, &room).await;
        node.notices.lose();
        node.send(&room, List::Priority, 100).await;
        let lost = std::time::Instant::now();
        assert_eq!(reader.take(List::Priority, 100).await, (1..=100).collect::<Vec<_>>());
        assert!(lost.elapsed() < FOUND_BY_A_LOOK, "found after {:?}", lost.elapsed());
    });
}

#[test]
fn gap_between_notices_is_pulled_at_once() {
    on_node(options(), async |node| {
        let room = room("gap");
        let mut reader = settled(&node, &room).await;
        for list in List::ALL {
            node.send(&room, list, 3).await;
            node.notices.lose();
            node.send(&room, list, 5).await;
            node.notices.pass();
            node.send(&room, list, 2).await;
            assert_eq!(reader.take(list, 10).await, (1..=10).collect::<Vec<_>>());
        }
        assert!(node.metric("bigroom_pulls_total", "gap") >= 1.0);
    });
}

#[test]
fn late_repeated_and_reordered_notices_do_no_harm() {
    on_node(options(), async |node| {
        let room = room("shuffled");
        let mut reader = settled(&node, &room).await;
        node.notices.keep();
        for _ in 0..10 {
            for list in List::ALL {
                node.send(&room, list, 2).await;
            }
        }
        node.notices.release(|notices| {
            let again = notices.clone();
            notices.extend(again);
            notices.reverse();
        });
        let mut seqs = room::PerList::<Vec<u64>>::default();
        while seqs.priority.len() < 20 || seqs.normal.len() < 20 {
            let got = reader.poll(LONG_MS).await;
            for list in List::ALL {
                seqs[list].extend(&got.seqs[list]);
            }
        }
        for list in List::ALL {
            assert_eq!(seqs[list], (1..=20).collect::<Vec<_>>());
        }
        assert!(reader.poll(20).await.is_empty());
    });
}

#[test]
fn lost_settings_are_found_by_a_look_at_the_log() {
    on_node(options(), async |node| {
        let room = room("settings");
        let mut reader = settled(&node, &room).await;
        node.notices.lose();
        let lost = std::time::Instant::now();
        let (got, ()) = tokio::join!(reader.poll(4_000), async {
            node.until_parked(1).await;
            node.close_room(&room).await;
        });
        assert!(got.answer.is_closed, "{}", got.body);
        assert!(lost.elapsed() < FOUND_BY_A_LOOK, "found after {:?}", lost.elapsed());
    });
}

/// What readers get as the type of a normal message.
async fn kind_of(node: &Rc<Node>, room: &room::RoomKey, seq: u64) -> String {
    let at = Start::At(node.cursor(room, 0, seq - 1, 0));
    let got = Reader::new(node.worker(), room, at).poll(0).await;
    got.body["messages"][0]["type"].as_str().unwrap().to_owned()
}

#[test]
fn retraction_reaches_the_cache_though_its_notice_is_lost() {
    on_node(options(), async |node| {
        let room = room("retract");
        let mut reader = settled(&node, &room).await;
        node.send(&room, List::Normal, 5).await;
        assert_eq!(kind_of(&node, &room, 3).await, "text");
        node.notices.lose();
        node.store.retract(&room, List::Normal, Seq(3)).await.unwrap();
        assert_eq!(reader.take(List::Priority, 1).await, [1]);
        assert_eq!(kind_of(&node, &room, 3).await, "retracted");
        assert_eq!(kind_of(&node, &room, 4).await, "text");
    });
}

#[test]
fn retraction_that_overtakes_its_message_holds() {
    on_node(options(), async |node| {
        let room = room("overtaken");
        let mut reader = settled(&node, &room).await;
        node.notices.keep();
        node.send(&room, List::Normal, 1).await;
        node.store.retract(&room, List::Normal, Seq(1)).await.unwrap();
        node.notices.release(|notices| notices.reverse());
        let mut kinds = Vec::new();
        while kinds.len() < 2 {
            let got = reader.poll(LONG_MS).await;
            for field in ["priority", "messages"] {
                let messages = got.body[field].as_array().unwrap();
                kinds.extend(messages.iter().map(|message| message["type"].as_str().unwrap().to_owned()));
            }
        }
        assert_eq!(kinds, ["redact", "retracted"]);
    });
}

#[test]
fn kept_back_notices_are_of_no_use_after_a_look() {
    on_node(options(), async |node| {
        let room = room("stale");
        let mut reader = settled(&node, &room).await;
        node.notices.keep();
        node.send(&room, List::Normal, 4).await;
        assert_eq!(reader.take(List::Normal, 4).await, [1, 2, 3, 4]);
        node.notices.release(|_| {});
        let encoded = node.metric("bigroom_answers_encoded_total", "");
        assert!(reader.poll(30).await.is_empty());
        until("the look counts", || node.metric("bigroom_pulls_total", "look") >= 1.0).await;
        assert!(node.metric("bigroom_answers_encoded_total", "") <= encoded + 1.0);
    });
}
