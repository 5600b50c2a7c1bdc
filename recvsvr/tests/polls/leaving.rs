//! Readers that leave.

use std::future::poll_fn;

use recvsvr::{Follower, RecvOptions, Start, Started};
use room::List;

use crate::harness::{LONG_MS, Node, Reader, ask_at, on_node, options, room, until, within};

const NOW: Start = Start::Now { tail: None };

/// Followers with one parked poll each.
async fn parked(node: &Node, room: &room::RoomKey, polls: usize) -> Vec<Follower> {
    Reader::new(node.worker(), room, NOW).poll(0).await; // The room is filled.
    let park = |_| {
        let mut follower = Follower::new(node.worker());
        let started = follower.ask(room, &ask_at(NOW, 10, LONG_MS)).unwrap();
        assert!(matches!(started, Started::Parked));
        follower
    };
    (0..polls).map(park).collect()
}

#[test]
fn follower_that_leaves_frees_its_place_at_once() {
    on_node(RecvOptions { rooms_max: 1, ..options() }, async |node| {
        let mut followers = parked(&node, &room("left"), 300).await;
        while followers.pop().is_some() {
            assert_eq!(node.rooms.parked_polls(), followers.len());
        }
        // Nobody is left: the room makes way for another.
        drop(parked(&node, &room("next"), 1).await);
        assert_eq!(node.rooms.parked_polls(), 0);
        until("all are counted", || node.metric("bigroom_polls_total", "gone") == 301.0).await;
    });
}

#[test]
fn leaving_amid_the_fan_out_disturbs_nobody() {
    const POLLS: usize = 2_000;
    on_node(options(), async |node| {
        let room = room("fan");
        let mut followers = parked(&node, &room, POLLS).await;
        node.send(&room, List::Normal, 1).await;
        let is_answered =
            |started: Started| matches!(started, Started::Answer(answer) if answer.messages == 1);
        assert!(is_answered(
            within("the first answer", poll_fn(|task| followers[0].poll_answer(task))).await
        ));
        // Some are answered by now, others are not: every third leaves.
        let amid = node.rooms.parked_polls();
        let mut at = 0;
        followers.retain(|_| {
            at += 1;
            at % 3 != 0
        });
        for follower in &mut followers[1..] {
            assert!(is_answered(within("an answer", poll_fn(|task| follower.poll_answer(task))).await));
        }
        assert_eq!(node.rooms.parked_polls(), 0);
        until("all are counted", || {
            let count = |outcome| node.metric("bigroom_polls_total", outcome);
            count("woken") + count("gone") == POLLS as f64 && (amid == 0 || count("gone") > 0.0)
        })
        .await;
    });
}

#[test]
fn place_of_a_leaver_goes_to_the_next_without_its_news() {
    on_node(options(), async |node| {
        let (old, new) = (room("old"), room("new"));
        let leaver = parked(&node, &old, 1).await;
        node.send(&old, List::Normal, 1).await;
        drop(leaver);
        let mut next = parked(&node, &new, 1).await.remove(0);
        assert!(matches!(next.ask(&old, &ask_at(NOW, 10, LONG_MS)), Ok(Started::Parked)));
        assert!(matches!(next.ask(&new, &ask_at(NOW, 10, LONG_MS)), Ok(Started::Parked)));
        assert_eq!(node.rooms.parked_polls(), 1);
        node.send(&old, List::Normal, 1).await;
        node.send(&new, List::Priority, 1).await;
        let Started::Answer(answer) = within("an answer", poll_fn(|task| next.poll_answer(task))).await
        else {
            panic!("memory has the answer")
        };
        assert_eq!(crate::harness::Got::read(answer, true, &new).seqs.priority, [1]);
    });
}

#[test]
fn asking_again_ends_the_poll_before() {
    on_node(options(), async |node| {
        let room = room("again");
        let mut follower = parked(&node, &room, 1).await.remove(0);
        for _ in 0..200 {
            assert!(matches!(follower.ask(&room, &ask_at(NOW, 10, LONG_MS)), Ok(Started::Parked)));
            assert_eq!(node.rooms.parked_polls(), 1);
        }
        node.send(&room, List::Normal, 1).await;
        let started = within("an answer", poll_fn(|task| follower.poll_answer(task))).await;
        assert!(matches!(started, Started::Answer(_)));
        assert_eq!(node.rooms.parked_polls(), 0);
    });
}
