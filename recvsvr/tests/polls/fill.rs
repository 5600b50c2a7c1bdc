//! Cold rooms: filled from the log by whoever asks first.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use recvsvr::{Follower, Rooms, Start, Started, Worker};
use room::{ErrorCode, List, NoticeSink};
use store::RoomLog;

use crate::harness::{LONG_MS, Reader, ask_at, message, on_node, options, room, until, within};

const FROM_START: Start = Start::Oldest;

#[test]
fn cold_room_shows_what_the_log_has() {
    on_node(options(), async |node| {
        let room = room("cold");
        node.send(&room, List::Normal, 7).await;
        node.send(&room, List::Priority, 3).await;
        node.set(&room, |settings| settings.muted = true).await;
        let got = Reader::new(node.worker(), &room, FROM_START).poll(LONG_MS).await;
        assert_eq!((got.seqs.priority.len(), got.seqs.normal.len()), (3, 7));
        assert_eq!(got.body["room"]["state"], "muted");
    });
}

#[test]
fn first_polls_share_one_fill() {
    on_node(options(), async |node| {
        let room = room("shared");
        node.send(&room, List::Normal, 7).await;
        node.store.hold_reads();
        let polls: Vec<_> = (0..100)
            .map(|_| {
                let mut reader = Reader::new(node.worker(), &room, FROM_START);
                tokio::task::spawn_local(async move { reader.poll(LONG_MS).await.seqs.normal.len() })
            })
            .collect();
        until("a read waits", || node.store.held_reads() == 1).await;
        node.store.release_reads();
        for poll in polls {
            assert_eq!(poll.await.unwrap(), 7);
        }
        assert_eq!(node.metric("bigroom_pulls_total", "fill"), 1.0);
    });
}

#[test]
fn messages_sent_during_a_fill_are_delivered() {
    on_node(options(), async |node| {
        let room = room("filling");
        node.send(&room, List::Normal, 3).await;
        node.store.hold_reads();
        let mut reader = Reader::new(node.worker(), &room, FROM_START);
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            until("the fill reads", || node.store.held_reads() == 1).await;
            node.send(&room, List::Normal, 2).await;
            node.send(&room, List::Priority, 2).await;
            node.store.release_reads();
        });
        assert_eq!((got.seqs.priority, got.seqs.normal), (vec![1, 2], vec![1, 2, 3, 4, 5]));
    });
}

#[test]
fn room_in_which_messages_come_faster_than_reads_return_is_filled_and_followed() {
    const TIMES: usize = 200;
    on_node(options(), async |node| {
        let room = room("busy");
        node.send(&room, List::Normal, 3).await;
        let both = vec![message(&room, List::Priority, "p"), message(&room, List::Normal, "n")];
        node.store.append_after_reads(both, TIMES);
        let mut reader = Reader::new(node.worker(), &room, FROM_START);
        let mut got = reader.poll(LONG_MS).await.seqs;
        // One read of each list, as in a room at rest.
        assert_eq!(node.store.appends_left(), TIMES - 2);
        assert_eq!((got.priority.as_slice(), got.normal.as_slice()), (&[1, 2][..], &[1, 2, 3, 4, 5][..]));
        // The same where notices were lost: one read of each list makes up for it.
        node.notices.lose();
        node.send(&room, List::Normal, 2).await;
        node.notices.pass();
        node.send(&room, List::Normal, 1).await;
        while got.normal.last() < Some(&10) {
            let more = reader.poll(LONG_MS).await.seqs;
            got.priority.extend(more.priority);
            got.normal.extend(more.normal);
        }
        until("the pull is done", || node.store.appends_left() == TIMES - 4).await;
        assert_eq!(got.normal, (1..=10).collect::<Vec<_>>());
    });
}

#[test]
fn settings_changed_during_a_fill_hold() {
    on_node(options(), async |node| {
        let room = room("closing");
        node.send(&room, List::Normal, 1).await;
        node.store.hold_reads();
        let mut reader = Reader::new(node.worker(), &room, Start::Now { tail: Some(1) });
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            until("the fill reads", || node.store.held_reads() == 1).await;
            node.close_room(&room).await;
            node.store.release_reads();
        });
        assert_eq!(got.body["room"]["state"], "closed");
    });
}

#[test]
fn failed_fill_refuses_all_and_the_next_poll_tries_again() {
    on_node(options(), async |node| {
        let room = room("failing");
        node.send(&room, List::Normal, 1).await;
        node.store.refuse_reads(true);
        let mut readers = [0, 1, 2].map(|_| Reader::new(node.worker(), &room, FROM_START));
        for refused in futures_util::future::join_all(readers.iter_mut().map(|r| r.try_poll(LONG_MS))).await {
            let problem = refused.err().expect("a room that can't be read is refused");
            assert_eq!(problem.code, ErrorCode::LogUnavailable);
            assert!(problem.retry_after_s().is_some());
        }
        node.store.refuse_reads(false);
        assert_eq!(readers[0].poll(LONG_MS).await.seqs.normal, [1]);
    });
}

#[test]
fn fill_goes_on_when_who_began_it_leaves() {
    on_node(options(), async |node| {
        let room = room("left");
        node.send(&room, List::Normal, 1).await;
        node.store.hold_reads();
        let mut first = Follower::new(node.worker());
        let started = first.ask(&room, &ask_at(FROM_START, 10, LONG_MS)).unwrap();
        let Started::Later(fill) = started else { panic!("a cold room is read first") };
        let mut fill = Box::pin(fill);
        assert!(futures_util::FutureExt::now_or_never(&mut fill).is_none());
        let mut second = Reader::new(node.worker(), &room, FROM_START);
        let second = tokio::task::spawn_local(async move { second.poll(LONG_MS).await.seqs.normal });
        until("the fill reads", || node.store.held_reads() == 1).await;
        drop(fill);
        drop(first);
        node.store.release_reads();
        assert_eq!(within("the second reader", second).await.unwrap(), [1]);
        assert_eq!(node.metric("bigroom_pulls_total", "fill"), 1.0);
    });
}

#[test]
fn fill_ends_while_messages_keep_coming() {
    on_node(options(), async |node| {
        let room = room("flooded");
        let flood: Vec<_> = (0..32)
            .map(|_| {
                let (node, room) = (Rc::clone(&node), room.clone());
                tokio::task::spawn_local(async move {
                    loop {
                        node.send(&room, List::Normal, 1).await;
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            // Read for the first time by another node, each time.
            let other = Rooms::new(
                Arc::clone(&node.store) as Arc<dyn RoomLog>,
                options(),
                Arc::new(room::NobodyCounts),
            );
            node.store.subscribe(Arc::clone(&other) as Arc<dyn NoticeSink>);
            let worker = Worker::new(other, 0);
            let mut reader = Reader::new(&worker, &room, Start::Now { tail: Some(1) });
            let asked = Instant::now();
            reader.poll(LONG_MS).await;
            assert!(asked.elapsed() < Duration::from_secs(2), "filled after {:?}", asked.elapsed());
        }
        flood.iter().for_each(tokio::task::JoinHandle::abort);
    });
}
