//! Going down: everybody is answered and told to come back, not all at once.

use std::collections::HashSet;

use recvsvr::Start;
use room::List;

use crate::harness::{LONG_MS, Reader, on_node, options, room, within};

#[test]
fn drain_answers_parked_polls_spread_with_few_encodings() {
    const POLLS: usize = 700;
    on_node(options(), async |node| {
        let polls: Vec<_> = (0..POLLS)
            .map(|at| {
                let name = if at % 2 == 0 { "even" } else { "odd" };
                let mut reader = Reader::new(node.worker(), &room(name), Start::Now { tail: None });
                tokio::task::spawn_local(async move { reader.poll(LONG_MS).await })
            })
            .collect();
        node.until_parked(POLLS).await;
        node.rooms.drain();
        let mut spread = HashSet::new();
        for got in within("all answers", futures_util::future::join_all(polls)).await {
            let got = got.unwrap();
            assert!(got.answer.is_drain && got.is_empty());
            assert!(got.poll_after_ms() <= 5_000);
            spread.insert(got.poll_after_ms());
        }
        assert!(spread.len() >= 8, "{spread:?}");
        assert!(spread.iter().any(|ms| *ms < 1_000) && spread.iter().any(|ms| *ms > 4_000), "{spread:?}");
        assert!(node.metric("bigroom_answers_encoded_total", "") <= 2.0 * spread.len() as f64);
        assert_eq!(node.rooms.parked_polls(), 0);
    });
}

#[test]
fn poll_of_a_draining_node_is_never_parked() {
    on_node(options(), async |node| {
        let room = room("late");
        node.send(&room, List::Normal, 2).await;
        let mut reader = Reader::new(node.worker(), &room, Start::Oldest);
        node.rooms.drain();
        for expect in [vec![1, 2], vec![]] {
            let got = reader.poll(LONG_MS).await;
            assert!(got.answer.is_drain && !got.was_parked && got.poll_after_ms() <= 5_000);
            assert_eq!(got.seqs.normal, expect);
        }
    });
}

#[test]
fn drained_reader_is_not_held_elsewhere() {
    on_node(options(), async |node| {
        let room = room("moved");
        node.send(&room, List::Priority, 1).await;
        node.rooms.drain();
        let got = Reader::new(node.worker(), &room, Start::Oldest).poll(LONG_MS).await;
        assert_eq!((got.seqs.priority.len(), got.cursor.served_at_ms), (1, 0));
    });
}
