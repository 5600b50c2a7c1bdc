//! Readers that are further behind than memory reaches, or ahead of what this node has heard of.

use std::{sync::Arc, time::Duration};

use recvsvr::{RecvOptions, Start, now_ms};
use room::{ErrorCode, List, PerList, Retention};
use store::{Append, Store as _, StoreOptions};

use crate::harness::{LONG_MS, Node, Reader, message, on_node, options, room, until, within};

fn small_tail() -> RecvOptions {
    RecvOptions { tail_messages_max: 8, ..options() }
}

/// A reader from before the first message of a room with `priority` and `normal` messages.
async fn reader_of(node: &Node, room: &room::RoomKey, priority: u64, normal: u64) -> Reader {
    node.send(room, List::Priority, priority).await;
    node.send(room, List::Normal, normal).await;
    Reader::new(node.worker(), room, Start::At(node.cursor(room, 0, 0, 0)))
}

#[test]
fn reader_behind_memory_gets_everything_from_the_log() {
    on_node(small_tail(), async |node| {
        let room = room("behind");
        let mut reader = reader_of(&node, &room, 100, 100).await;
        reader.limit = 30;
        let mut seqs = PerList::<Vec<u64>>::default();
        for answers in 1.. {
            let got = reader.poll(LONG_MS).await;
            seqs.priority.extend(got.seqs.priority);
            seqs.normal.extend(got.seqs.normal);
            assert_eq!(got.body["up_to_date"].as_bool(), Some(seqs.normal.len() == 100));
            assert_eq!(got.body.get("gap"), None);
            if seqs.normal.len() == 100 {
                assert_eq!(answers, 7);
                break;
            }
        }
        for list in List::ALL {
            assert_eq!(seqs[list], (1..=100).collect::<Vec<_>>());
        }
        assert!(node.metric("bigroom_pulls_total", "catch_up") >= 6.0);
        assert_eq!(node.metric("bigroom_priority_gap_total", ""), 0.0);
    });
}

#[test]
fn readers_at_one_place_share_one_read() {
    on_node(small_tail(), async |node| {
        let room = room("together");
        let mut first = reader_of(&node, &room, 0, 100).await;
        first.poll(LONG_MS).await; // The room is filled.
        let reads = node.metric("bigroom_pulls_total", "catch_up");
        node.store.hold_reads();
        let polls: Vec<_> = (0..50)
            .map(|_| {
                let mut reader = Reader::new(node.worker(), &room, Start::At(node.cursor(&room, 0, 10, 0)));
                tokio::task::spawn_local(async move { Arc::clone(&reader.poll(LONG_MS).await.answer) })
            })
            .collect();
        until("a read waits", || node.store.held_reads() == 1).await;
        node.store.release_reads();
        let answers = within("all answers", futures_util::future::join_all(polls)).await;
        let first = answers[0].as_ref().unwrap();
        assert!(answers.iter().all(|answer| Arc::ptr_eq(answer.as_ref().unwrap(), first)));
        assert_eq!(node.metric("bigroom_pulls_total", "catch_up"), reads + 1.0);
    });
}

#[test]
fn too_many_reads_move_normal_readers_forward_and_never_priority_readers() {
    on_node(small_tail(), async |node| {
        let room = room("flooded");
        drop(reader_of(&node, &room, 100, 100).await);
        Reader::new(node.worker(), &room, Start::Now { tail: Some(1) }).poll(0).await;
        node.store.hold_reads();
        let reader = |priority, normal| {
            Reader::new(node.worker(), &room, Start::At(node.cursor(&room, priority, normal, 0)))
        };
        let slow: Vec<_> = (0..64)
            .map(|normal| {
                let mut reader = reader(100, normal);
                tokio::task::spawn_local(async move { reader.poll(LONG_MS).await.seqs.normal.len() })
            })
            .collect();
        until("all reads are taken", || node.store.held_reads() == 64).await;
        let got = reader(100, 70).poll(LONG_MS).await;
        assert_eq!(got.gap_reason(), Some("shed"));
        assert_eq!((got.missing(List::Normal), got.seqs.normal), (22, (93..=100).collect()));
        assert_eq!(node.metric("bigroom_messages_skipped_total", "shed"), 22.0);
        let mut behind = reader(0, 70);
        let behind = tokio::task::spawn_local(async move { behind.poll(LONG_MS).await.seqs.priority.len() });
        tokio::task::yield_now().await;
        assert!(!behind.is_finished());
        node.store.release_reads();
        assert_eq!(within("the priority reader", behind).await.unwrap(), 100);
        for (normal, poll) in slow.into_iter().enumerate() {
            assert_eq!(poll.await.unwrap(), 100 - normal);
        }
    });
}

#[test]
fn retention_by_count_leaves_a_gap() {
    for tail_messages_max in [2_048, 4] {
        let mut store = StoreOptions::default();
        store.retention.normal.count = 10;
        on_node(RecvOptions { store, tail_messages_max, ..options() }, async |node| {
            let room = room("kept");
            let mut reader = reader_of(&node, &room, 2, 100).await;
            let got = reader.poll(LONG_MS).await;
            assert_eq!((got.gap_reason(), got.missing(List::Normal)), (Some("retention"), 90));
            assert_eq!(got.missing(List::Priority), 0);
            assert_eq!(got.seqs, PerList { priority: vec![1, 2], normal: (91..=100).collect() });
            let oldest = Reader::new(node.worker(), &room, Start::Oldest).poll(LONG_MS).await;
            assert_eq!((oldest.gap_reason(), oldest.seqs.normal.first()), (None, Some(&91)));
        });
    }
}

#[test]
fn retention_by_age_leaves_a_gap() {
    for tail_messages_max in [2_048, 4] {
        let retention = PerList::from_fn(|list| Retention {
            age: Duration::from_secs(3_600),
            ..Retention::default_of(list)
        });
        let store = StoreOptions { retention, ..StoreOptions::default() };
        on_node(RecvOptions { store, tail_messages_max, ..options() }, async |node| {
            let room = room("aged");
            let two_hours_ago_us = (now_ms() - 2 * 3_600_000) * 1_000;
            for list in List::ALL {
                for _ in 0..20 {
                    let old = Append { accepted_at_us: two_hours_ago_us, ..message(&room, list, "old") };
                    node.store.append(old).await.unwrap();
                }
            }
            let mut reader = reader_of(&node, &room, 5, 10).await;
            let got = reader.poll(LONG_MS).await;
            assert_eq!(got.gap_reason(), Some("retention"));
            assert_eq!((got.missing(List::Priority), got.missing(List::Normal)), (20, 20));
            assert_eq!(got.seqs, PerList { priority: (21..=25).collect(), normal: (21..=30).collect() });
            assert_eq!(node.metric("bigroom_priority_gap_total", ""), 20.0);
        });
    }
}

#[test]
fn smaller_retention_takes_effect_in_a_cached_room() {
    on_node(options(), async |node| {
        let room = room("shrunk");
        let mut reader = reader_of(&node, &room, 0, 50).await;
        assert_eq!(reader.poll(LONG_MS).await.seqs.normal.len(), 50);
        node.set(&room, |settings| {
            settings.retention.normal = Some(Retention { count: 3, age: Duration::from_secs(3_600) });
        })
        .await;
        reader.at = Start::At(node.cursor(&room, 0, 0, 0));
        let got = reader.poll(LONG_MS).await;
        assert_eq!((got.missing(List::Normal), got.seqs.normal), (47, vec![48, 49, 50]));
    });
}

#[test]
fn answer_from_the_log_is_not_ahead_of_the_room() {
    on_node(small_tail(), async |node| {
        let room = room("ahead");
        let mut reader = reader_of(&node, &room, 10, 10).await;
        Reader::new(node.worker(), &room, Start::Now { tail: Some(1) }).poll(0).await;
        node.notices.keep();
        node.send(&room, List::Priority, 10).await;
        node.send(&room, List::Normal, 10).await;
        let mut seqs = PerList::<Vec<u64>>::default();
        // Read through the log, while the room knows of half of it only.
        for _ in 0..3 {
            let got = reader.poll(0).await;
            assert_eq!(got.gap_reason(), None);
            seqs.priority.extend(got.seqs.priority);
            seqs.normal.extend(got.seqs.normal);
        }
        node.notices.release(|_| {});
        let got = reader.poll(0).await;
        seqs.priority.extend(got.seqs.priority);
        seqs.normal.extend(got.seqs.normal);
        for list in List::ALL {
            assert_eq!(seqs[list], (1..=20).collect::<Vec<_>>());
        }
    });
}

#[test]
fn cursor_of_a_node_that_heard_more_goes_on_there() {
    on_node(options(), async |node| {
        let room = room("moved");
        let mut reader = reader_of(&node, &room, 2, 5).await;
        reader.poll(LONG_MS).await;
        node.notices.lose();
        node.send(&room, List::Priority, 3).await;
        node.send(&room, List::Normal, 3).await;
        node.notices.pass();
        reader.at = Start::At(node.cursor(&room, 4, 7, 0));
        let got = reader.poll(LONG_MS).await;
        assert_eq!(got.gap_reason(), None);
        assert_eq!((got.seqs.priority, got.seqs.normal), (vec![5], vec![8]));
    });
}

#[test]
fn cursor_past_the_end_starts_over() {
    on_node(options(), async |node| {
        let room = room("past");
        let mut reader = reader_of(&node, &room, 2, 5).await;
        let mut foreign = node.cursor(&room, 1, 1, 0);
        foreign.epoch = room::Epoch(foreign.epoch.0.wrapping_add(1));
        for cursor in [node.cursor(&room, 3, 5, 0), node.cursor(&room, 2, 6, 0), foreign] {
            reader.at = Start::At(cursor);
            let got = reader.poll(LONG_MS).await;
            assert_eq!(got.gap_reason(), Some("epoch"));
            assert_eq!((got.missing(List::Priority), got.missing(List::Normal)), (0, 0));
            assert_eq!((got.seqs.priority.len(), got.seqs.normal.len()), (2, 5));
        }
    });
}

#[test]
fn poll_parked_at_now_keeps_its_place_in_a_burst() {
    on_node(small_tail(), async |node| {
        let room = room("burst");
        let mut reader = Reader::new(node.worker(), &room, Start::Now { tail: None });
        let (got, ()) = tokio::join!(reader.poll(2_000), async {
            node.until_parked(1).await;
            node.notices.keep();
            node.send(&room, List::Priority, 50).await;
            node.notices.release(|_| {});
        });
        assert_eq!(got.seqs.priority, (1..=50).collect::<Vec<_>>());
    });
}

#[test]
fn readers_ahead_of_the_room_all_wait_until_it_has_caught_up() {
    on_node(small_tail(), async |node| {
        let room = room("crowd");
        reader_of(&node, &room, 1, 1).await.poll(LONG_MS).await;
        node.notices.lose();
        node.send(&room, List::Priority, 40).await;
        node.send(&room, List::Normal, 40).await;
        node.store.hold_reads();
        let polls: Vec<_> = (0..5)
            .map(|_| {
                let mut reader = Reader::new(node.worker(), &room, Start::At(node.cursor(&room, 41, 41, 0)));
                tokio::task::spawn_local(async move { reader.poll(50).await.gap_reason().map(str::to_owned) })
            })
            .collect();
        until("all look at the log", || node.store.held_reads() >= 5).await;
        node.store.release_reads();
        for poll in polls {
            assert_eq!(within("an answer", poll).await.unwrap(), None);
        }
    });
}

#[test]
fn reader_of_a_log_that_is_replaced_while_it_is_read_starts_over() {
    on_node(small_tail(), async |node| {
        let room = room("replaced");
        let mut reader = reader_of(&node, &room, 0, 100).await;
        reader.limit = 30;
        assert_eq!(reader.poll(LONG_MS).await.seqs.normal, (1..=30).collect::<Vec<_>>());
        node.store.hold_reads();
        let poll = tokio::task::spawn_local(async move {
            let refusal = reader.try_poll(LONG_MS).await.err();
            (reader, refusal)
        });
        until("the read waits", || node.store.held_reads() == 1).await;
        node.store.renew();
        node.store.release_reads();
        let (mut reader, refusal) = within("the refusal", poll).await.unwrap();
        assert_eq!(refusal.unwrap().code, ErrorCode::LogUnavailable);
        // The room is read anew for it, though nothing was noticed that it lacks.
        let got = within("the new log", async {
            loop {
                match reader.try_poll(LONG_MS).await {
                    Ok(got) => break got,
                    Err(again) => assert_eq!(again.code, ErrorCode::LogUnavailable),
                }
            }
        })
        .await;
        assert_eq!(got.gap_reason(), Some("epoch"));
        assert_eq!(got.seqs.normal, (1..=30).collect::<Vec<_>>());
        let next = reader.poll(LONG_MS).await;
        assert_eq!(next.gap_reason(), None);
        assert_eq!(next.seqs.normal, (31..=60).collect::<Vec<_>>());
    });
}
