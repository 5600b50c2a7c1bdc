//! Parked polls: who wakes them, and with what.

use std::{
    rc::Rc,
    sync::{Arc, mpsc::sync_channel},
    thread,
};

use recvsvr::{Compression, Follower, Form, Format, Start, Started, Worker};
use room::List;

use crate::harness::{LONG_MS, Reader, ask_at, finish, local_runtime, on_node, options, room, within};

const NOW: Start = Start::Now { tail: None };

#[test]
fn message_of_either_list_wakes_parked_poll() {
    on_node(options(), async |node| {
        for list in List::ALL {
            let room = room(list.as_str());
            let mut reader = Reader::new(node.worker(), &room, NOW);
            let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
                node.until_parked(1).await;
                node.send(&room, list, 1).await;
            });
            assert!(got.was_parked);
            assert_eq!((got.seqs[list].as_slice(), got.answer.messages), ([1].as_slice(), 1));
            assert_eq!(got.body["up_to_date"], true);
        }
    });
}

#[test]
fn message_of_another_room_wakes_nobody() {
    on_node(options(), async |node| {
        let mut reader = Reader::new(node.worker(), &room("a"), NOW);
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            node.until_parked(1).await;
            node.send(&room("b"), List::Priority, 1).await;
            node.send(&room("a"), List::Normal, 1).await;
        });
        assert_eq!((got.seqs.priority.len(), got.seqs.normal.len()), (0, 1));
    });
}

#[test]
fn polls_on_two_threads_share_one_encoding() {
    const POLLS: usize = 600;
    on_node(options(), async |node| {
        let room = room("shared");
        let rooms = recvsvr::Rooms::new(
            Arc::clone(&node.store) as Arc<dyn store::Store>,
            recvsvr::RecvOptions { workers: 2, ..options() },
            Arc::new(room::NobodyCounts),
        );
        store::RoomLog::subscribe(&*node.store, Arc::clone(&rooms) as Arc<dyn room::NoticeSink>);
        let (sender, receiver) = sync_channel(2 * POLLS);
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let (rooms, room, sender, recorder) =
                    (Arc::clone(&rooms), room.clone(), sender.clone(), node.recorder);
                thread::spawn(move || {
                    let _counted = metrics::set_default_local_recorder(recorder);
                    local_runtime().block_on(async {
                        let worker = Worker::new(rooms, index);
                        tokio::task::spawn_local(Rc::clone(&worker).run());
                        let polls = (0..POLLS).map(|_| async {
                            let mut follower = Follower::new(&worker);
                            let ask = ask_at(NOW, 100, LONG_MS);
                            let started = follower.ask(&room, &ask).unwrap();
                            let (answer, _) = finish(&mut follower, &room, &ask, started).await.unwrap();
                            sender.send(Arc::clone(&answer)).unwrap();
                        });
                        within("all answers", futures_util::future::join_all(polls)).await;
                    });
                })
            })
            .collect();
        crate::harness::until("all polls parked", || rooms.parked_polls() == 2 * POLLS).await;
        node.send(&room, List::Priority, 1).await;
        crate::harness::until("the threads end", || threads.iter().all(thread::JoinHandle::is_finished))
            .await;
        for thread in threads {
            thread.join().unwrap();
        }
        drop(sender);
        let answers: Vec<_> = receiver.iter().collect();
        assert_eq!(answers.len(), 2 * POLLS);
        assert!(answers.iter().all(|answer| Arc::ptr_eq(answer, &answers[0])));
        assert_eq!(node.metric("bigroom_answers_encoded_total", ""), 1.0);
    });
}

#[test]
fn limits_that_cut_nothing_share_and_forms_do_not() {
    on_node(options(), async |node| {
        let room = room("forms");
        let json = Form::JSON;
        let protobuf = Form { format: Format::Protobuf, compression: Compression::None };
        let polls = [(10, json), (1_000, json), (10, protobuf)].map(|(limit, form)| {
            let (node, room) = (Rc::clone(&node), room.clone());
            tokio::task::spawn_local(async move {
                let mut follower = Follower::new(node.worker());
                let ask = recvsvr::Ask { form, ..ask_at(NOW, limit, LONG_MS) };
                let started = follower.ask(&room, &ask).unwrap();
                finish(&mut follower, &room, &ask, started).await.unwrap().0
            })
        });
        node.until_parked(3).await;
        node.send(&room, List::Normal, 1).await;
        let answers = within("all answers", futures_util::future::join_all(polls)).await;
        let [small, large, proto] = &answers[..] else { panic!("three polls have three answers") };
        let (small, large, proto) =
            (small.as_ref().unwrap(), large.as_ref().unwrap(), proto.as_ref().unwrap());
        assert!(Arc::ptr_eq(small, large));
        assert_eq!((small.format, proto.format), (Format::Json, Format::Protobuf));
        assert_eq!(node.metric("bigroom_answers_encoded_total", ""), 2.0);
    });
}

#[test]
fn deadline_answers_with_nothing_and_keeps_the_place() {
    on_node(options(), async |node| {
        let room = room("quiet");
        node.send(&room, List::Normal, 3).await;
        let mut reader = Reader::new(node.worker(), &room, NOW);
        for timeout_ms in [0, 30, 60] {
            let got = reader.poll(timeout_ms).await;
            assert!(got.is_empty() && got.gap_reason().is_none());
            assert_eq!(got.was_parked, timeout_ms > 0);
            assert_eq!((got.cursor.seen.normal.0, got.poll_after_ms()), (3, 0));
            assert_eq!(got.body["up_to_date"], true);
        }
    });
}

#[test]
fn closing_answers_parked_and_later_polls() {
    on_node(options(), async |node| {
        let room = room("closing");
        let mut reader = Reader::new(node.worker(), &room, NOW);
        let (got, ()) = tokio::join!(reader.poll(LONG_MS), async {
            node.until_parked(1).await;
            node.close_room(&room).await;
        });
        assert!(got.answer.is_closed && got.is_empty());
        let got = reader.poll(LONG_MS).await;
        assert_eq!((got.was_parked, &got.body["room"]["state"]), (false, &"closed".into()));
    });
}

#[test]
fn tail_of_now_is_answered_at_once() {
    on_node(options(), async |node| {
        let room = room("tail");
        let mut reader = Reader::new(node.worker(), &room, Start::Now { tail: Some(5) });
        assert!(reader.poll(LONG_MS).await.is_empty());
        node.send(&room, List::Normal, 8).await;
        node.send(&room, List::Priority, 2).await;
        reader.at = Start::Now { tail: Some(5) };
        let got = reader.poll(LONG_MS).await;
        assert_eq!(got.seqs.normal, [4, 5, 6, 7, 8]);
        assert_eq!(got.seqs.priority, [1, 2]);
    });
}

#[test]
fn message_sent_before_the_ask_is_never_slept_on() {
    on_node(options(), async |node| {
        let room = room("ordered");
        let mut reader = Reader::new(node.worker(), &room, NOW);
        let seen = reader.poll(0).await.cursor;
        let mut follower = Follower::new(node.worker());
        for at in 1..=50 {
            node.send(&room, List::Normal, 1).await;
            let mut cursor = seen;
            cursor.seen.normal = room::Seq(at - 1);
            let started = follower.ask(&room, &ask_at(Start::At(cursor), 10, LONG_MS)).unwrap();
            assert!(matches!(started, Started::Answer(_)), "the poll after message {at} waits for it");
        }
    });
}
