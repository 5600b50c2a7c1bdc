//! Appending, reading, notices, settings, retraction, through the public interface.
#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod support;

use std::{sync::Arc, time::Duration};

use room::{Bounds, Change, Content, List, Message, MessageId, PerList, Retention, RoomState, Seq, UserId};
use store::{Append, Range, RocksStore, RoomLog as _, Store, StoreError, StoreOptions};
use support::{Heard, all, eventually, keep, message, named, now_us, open, room, seqs, text_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_senders_get_contiguous_sequences() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let heard = Heard::on(&*store);
    let room = room("busy");
    let mut senders = Vec::new();
    for sender in 0..64 {
        let (store, room) = (Arc::clone(&store), room.clone());
        senders.push(tokio::spawn(async move {
            let list = List::ALL[sender % 2];
            let mut got = Vec::new();
            for number in 0..50 {
                let appended =
                    store.append(message(&room, list, &format!("{sender}:{number}"))).await.unwrap();
                assert_eq!((appended.list, appended.is_duplicate), (list, false));
                got.push((appended.seq.0, format!("{sender}:{number}")));
            }
            assert!(got.is_sorted(), "one sender's messages keep their order");
            (list, got)
        }));
    }
    let mut acknowledged = PerList::<Vec<(u64, String)>>::default();
    for sender in senders {
        let (list, got) = sender.await.unwrap();
        acknowledged[list].extend(got);
    }
    for list in List::ALL {
        acknowledged[list].sort();
        let read: Vec<_> = all(&*store, &room, list)
            .await
            .iter()
            .map(|message| (message.seq.0, text_of(message).to_owned()))
            .collect();
        assert_eq!(read, acknowledged[list]);
        assert_eq!(heard.appended(&room, list), (1..=1600).collect::<Vec<_>>());
        assert_eq!(read.last().unwrap().0, 1600);
    }
}

#[tokio::test]
async fn notice_comes_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let heard = Heard::on(&*store);
    let room = room("r");
    for seq in 1..=20 {
        store.append(message(&room, List::Priority, "gift")).await.unwrap();
        assert_eq!(heard.appended(&room, List::Priority).last(), Some(&seq));
        let view = store.view(&room).await.unwrap();
        assert_eq!(view.bounds.priority, Bounds { first: Seq(1), last: Seq(seq) });
    }
    let heard = heard.0.lock().unwrap();
    let Change::Appended { messages, .. } = &heard[0].change else { panic!("{:?}", heard[0]) };
    assert_eq!((text_of(&messages[0]), heard[0].epoch), ("gift", store.epoch()));
}

#[tokio::test]
async fn made_ids_are_unique_and_legal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    let mut ids = Vec::new();
    for list in List::ALL {
        for _ in 0..5 {
            ids.push(store.append(message(&room, list, "x")).await.unwrap().id);
        }
    }
    assert!(ids.iter().all(|id| MessageId::new(id.as_str()).is_ok()), "{ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10);
}

#[tokio::test]
async fn sent_at_never_falls_along_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    let now = now_us();
    let mut sent = Vec::new();
    for accepted_at_us in [now, now - 5_000_000, now + 3_000] {
        let append = Append { accepted_at_us, ..message(&room, List::Normal, "x") };
        sent.push(store.append(append).await.unwrap().sent_at_ms);
    }
    assert_eq!(sent, [now / 1000, now / 1000, (now + 3_000) / 1000]);
    store.close().await;
    let store = open(dir.path());
    let append = Append { accepted_at_us: 1_000, ..message(&room, List::Normal, "x") };
    assert_eq!(store.append(append).await.unwrap().sent_at_ms, sent[2], "also after a restart");
}

#[tokio::test]
async fn pages_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    for number in 1..=10 {
        store.append(message(&room, List::Normal, &number.to_string())).await.unwrap();
    }
    for (range, limit, expect) in [
        (Range::After(Seq(0)), 3, vec![1, 2, 3]),
        (Range::After(Seq(8)), 100, vec![9, 10]),
        (Range::After(Seq(10)), 100, vec![]),
        (Range::After(Seq(99)), 100, vec![]),
        (Range::Before(Seq(u64::MAX)), 2, vec![9, 10]),
        (Range::Before(Seq(4)), 2, vec![2, 3]),
        (Range::Before(Seq(1)), 2, vec![]),
        (Range::After(Seq(0)), 0, vec![]),
    ] {
        let page = store.read(&room, List::Normal, range, limit).await.unwrap();
        assert_eq!(seqs(&page.messages), expect, "{range:?} {limit}");
        assert_eq!(page.bounds, Bounds { first: Seq(1), last: Seq(10) });
    }
}

#[tokio::test]
async fn unused_room_has_the_defaults_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let view = store.view(&room("ghost")).await.unwrap();
    assert_eq!(*view.settings, room::RoomSettings::default());
    assert_eq!(view.bounds, PerList { priority: Bounds::EMPTY, normal: Bounds::EMPTY });
    let page = store.read(&room("ghost"), List::Normal, Range::After(Seq(0)), 10).await.unwrap();
    assert_eq!((page.messages.len(), page.bounds), (0, Bounds::EMPTY));
    assert_eq!(
        store.retract(&room("ghost"), List::Normal, Seq(1)).await.unwrap_err().to_string(),
        StoreError::NotFound.to_string()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_id_makes_one_message_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let room = room("r");
    let first = {
        let store = open(dir.path());
        let mut answers = Vec::new();
        for _ in 0..100 {
            let (store, append) = (Arc::clone(&store), named(&room, List::Normal, "gift-1", "rocket"));
            answers.push(tokio::spawn(async move { store.append(append).await.unwrap() }));
        }
        let mut firsts = Vec::new();
        for answer in answers {
            let appended = answer.await.unwrap();
            assert_eq!((appended.seq, appended.id.as_str()), (Seq(1), "gift-1"));
            if !appended.is_duplicate {
                firsts.push(appended);
            }
        }
        assert_eq!(firsts.len(), 1);
        firsts.remove(0)
    };
    let store = open(dir.path());
    let again = store.append(named(&room, List::Priority, "gift-1", "rocket")).await.unwrap();
    assert!(again.is_duplicate);
    assert_eq!((again.seq, again.list, again.sent_at_ms), (first.seq, List::Normal, first.sent_at_ms));
    assert!(matches!(
        store.append(named(&room, List::Normal, "gift-1", "another")).await,
        Err(StoreError::IdReused)
    ));
    assert_eq!(all(&*store, &room, List::Normal).await.len(), 1);
    let (found, hash) = store.find(&room, &UserId::new("u").unwrap(), &again.id).await.unwrap().unwrap();
    assert_eq!((found.seq, hash), (Seq(1), named(&room, List::Normal, "gift-1", "rocket").content_hash));
}

#[tokio::test]
async fn an_id_belongs_to_its_room_and_sender() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (here, there) = (room("here"), room("there"));
    store.append(named(&here, List::Normal, "1", "a")).await.unwrap();
    assert!(!store.append(named(&there, List::Normal, "1", "b")).await.unwrap().is_duplicate);
    let mut other = named(&here, List::Normal, "1", "c");
    other.post.sender.id = UserId::new("other").unwrap();
    assert!(!store.append(other).await.unwrap().is_duplicate);
    let stranger = UserId::new("stranger").unwrap();
    assert!(store.find(&here, &stranger, &MessageId::new("1").unwrap()).await.unwrap().is_none());
}

#[tokio::test]
async fn an_id_is_free_again_when_its_window_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { idempotency_window: Duration::from_millis(300), ..StoreOptions::default() };
    let store = RocksStore::open(dir.path(), options).unwrap();
    let room = room("r");
    let first = store.append(named(&room, List::Normal, "1", "a")).await.unwrap();
    let sender = UserId::new("u").unwrap();
    eventually(10, || async {
        match store.find(&room, &sender, &first.id).await.unwrap() {
            None => Ok(()),
            Some(found) => Err(format!("{found:?}")),
        }
    })
    .await;
    let again = store.append(named(&room, List::Normal, "1", "other")).await.unwrap();
    assert_eq!((again.seq, again.is_duplicate), (Seq(2), false));
}

#[tokio::test]
async fn list_keeps_its_newest_count() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        retention: PerList::from_fn(|_| Retention { count: 10, age: Duration::from_secs(3600) }),
        ..StoreOptions::default()
    };
    let store = RocksStore::open(dir.path(), options).unwrap();
    let room = room("r");
    // Far enough for the bytes to be deleted, too.
    let mut last = 0;
    for batch in 0..30 {
        let mut appends = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (store, append) = (Arc::clone(&store), message(&room, List::Normal, "x"));
            appends.spawn(async move { store.append(append).await.unwrap().seq.0 });
        }
        last = appends.join_all().await.into_iter().fold(last, u64::max);
        let page = store.read(&room, List::Normal, Range::After(Seq(0)), 1_000).await.unwrap();
        assert_eq!(seqs(&page.messages), (last - 9..=last).collect::<Vec<_>>(), "batch {batch}");
        assert_eq!(store.view(&room).await.unwrap().bounds.normal, page.bounds);
    }
    assert_eq!(last, 3_000);
    store.close().await;
    let store = RocksStore::open(dir.path(), options).unwrap();
    assert_eq!(seqs(&all(&*store, &room, List::Normal).await), (2_991..=3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn messages_age_out_and_sequences_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    let hour_us = 3_600_000_000;
    let at = |hours_ago: u64| Append {
        accepted_at_us: now_us() - hours_ago * hour_us,
        ..message(&room, List::Normal, "x")
    };
    for _ in 0..5 {
        store.append(at(3)).await.unwrap();
    }
    let bounds = store.view(&room).await.unwrap().bounds.normal;
    assert_eq!(bounds, Bounds { first: Seq(6), last: Seq(5) }, "all of it is over an hour old");
    for _ in 0..3 {
        store.append(at(2)).await.unwrap();
    }
    for _ in 0..2 {
        store.append(at(0)).await.unwrap();
    }
    let page = store.read(&room, List::Normal, Range::After(Seq(0)), 100).await.unwrap();
    assert_eq!((seqs(&page.messages), page.bounds.first), (vec![9, 10], Seq(9)));
    assert_eq!(store.view(&room).await.unwrap().bounds.normal, page.bounds);
    store.close().await;
    let store = open(dir.path());
    assert_eq!(seqs(&all(&*store, &room, List::Normal).await), [9, 10]);
    assert_eq!(store.append(at(0)).await.unwrap().seq, Seq(11));
}

#[tokio::test]
async fn smaller_retention_takes_effect_at_once_and_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let heard = Heard::on(&*store);
    let room = room("r");
    for number in 0..200 {
        store.append(message(&room, List::Normal, &number.to_string())).await.unwrap();
    }
    let hour = Duration::from_secs(3600);
    let view = store.change_settings(&room, keep(List::Normal, 3, hour)).await.unwrap();
    assert_eq!(view.bounds.normal, Bounds { first: Seq(198), last: Seq(200) });
    assert_eq!(view.settings.retention.normal, Some(Retention { count: 3, age: hour }));
    {
        let heard = heard.0.lock().unwrap();
        let Change::Settings { settings, bounds } = &heard.last().unwrap().change else {
            panic!("no notice")
        };
        assert_eq!((settings, *bounds), (&view.settings, view.bounds));
    }
    assert_eq!(seqs(&all(&*store, &room, List::Normal).await), [198, 199, 200]);
    // What is gone does not come back, neither by new settings nor by a restart.
    let view = store.change_settings(&room, keep(List::Normal, 1_000, hour)).await.unwrap();
    assert_eq!(view.bounds.normal.first, Seq(198));
    drop(store);
    let store = open(dir.path());
    assert_eq!(seqs(&all(&*store, &room, List::Normal).await), [198, 199, 200]);
    assert_eq!(store.view(&room).await.unwrap().settings.retention.normal.unwrap().count, 1_000);
}

#[tokio::test]
async fn settings_are_changed_from_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    let (closed, muted) = tokio::join!(
        store.change_settings(
            &room,
            Box::new(|now| room::RoomSettings { state: RoomState::Closed, ..now.clone() })
        ),
        store.change_settings(&room, Box::new(|now| room::RoomSettings { muted: true, ..now.clone() })),
    );
    assert!(closed.is_ok() && muted.is_ok());
    drop(store);
    let settings = open(dir.path()).view(&room).await.unwrap().settings;
    assert!(settings.is_closed() && settings.muted);
}

#[tokio::test]
async fn panic_in_a_change_of_settings_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    assert!(store.change_settings(&room, Box::new(|_| panic!("on purpose"))).await.is_err());
    store.append(message(&room, List::Normal, "still there")).await.unwrap();
    assert_eq!(*store.view(&room).await.unwrap().settings, room::RoomSettings::default());
}

#[tokio::test]
async fn retraction_leaves_a_tombstone_and_tells_readers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let heard = Heard::on(&*store);
    let room = room("r");
    for number in 1..=3 {
        store.append(named(&room, List::Normal, &format!("m{number}"), "secret")).await.unwrap();
    }
    let before = all(&*store, &room, List::Normal).await;
    let retraction = store.retract(&room, List::Normal, Seq(2)).await.unwrap();
    assert_eq!((retraction.redact_seq, retraction.is_duplicate), (Seq(1), false));
    let again = store.retract(&room, List::Normal, Seq(2)).await.unwrap();
    assert_eq!((again.redact_seq, again.is_duplicate), (Seq(1), true));

    let after = all(&*store, &room, List::Normal).await;
    assert_eq!(*after[1], before[1].retracted(Seq(1)));
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    let redacts = all(&*store, &room, List::Priority).await;
    let expect = Content::Redact { list: List::Normal, seq: Seq(2), id: MessageId::new("m2").unwrap() };
    assert_eq!((redacts.len(), &redacts[0].content, redacts[0].id.as_str()), (1, &expect, "redact:normal:2"));
    {
        let heard = heard.0.lock().unwrap();
        let Change::Appended { list: List::Priority, messages, .. } = &heard.last().unwrap().change else {
            panic!("no notice of the redaction")
        };
        assert_eq!(messages[0].content, expect);
    }
    // A repeat of the send is answered as before.
    let repeat = store.append(named(&room, List::Normal, "m2", "secret")).await.unwrap();
    assert_eq!((repeat.seq, repeat.is_duplicate), (Seq(2), true));
    assert!(matches!(store.append(named(&room, List::Normal, "m2", "new")).await, Err(StoreError::IdReused)));

    drop(store);
    let store = open(dir.path());
    assert_eq!(*all(&*store, &room, List::Normal).await[1], before[1].retracted(Seq(1)));
    assert_eq!(store.retract(&room, List::Normal, Seq(2)).await.unwrap().redact_seq, Seq(1));
}

#[tokio::test]
async fn what_is_not_kept_cannot_be_retracted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    for _ in 0..3 {
        store.append(message(&room, List::Priority, "x")).await.unwrap();
    }
    store.change_settings(&room, keep(List::Priority, 2, Duration::from_secs(3600))).await.unwrap();
    let redact = store.retract(&room, List::Priority, Seq(3)).await.unwrap().redact_seq;
    assert_eq!(redact, Seq(4));
    for seq in [0, 1, 2, 4, 5, u64::MAX] {
        let refused = store.retract(&room, List::Priority, Seq(seq)).await;
        assert!(matches!(refused, Err(StoreError::NotFound)), "{seq}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn notices_follow_the_order_of_the_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let heard = Heard::on(&*store);
    let room = room("r");
    let mut tasks = Vec::new();
    for number in 0..200u64 {
        let (store, room) = (Arc::clone(&store), room.clone());
        tasks.push(tokio::spawn(async move {
            match number % 10 {
                0 => drop(store.change_settings(&room, Box::new(Clone::clone)).await.unwrap()),
                1 => drop(store.retract(&room, List::Normal, Seq(number / 10)).await),
                2..=4 => drop(store.append(message(&room, List::Priority, "p")).await.unwrap()),
                _ => drop(store.append(message(&room, List::Normal, "n")).await.unwrap()),
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for list in List::ALL {
        let kept = seqs(&all(&*store, &room, list).await);
        assert_eq!(heard.appended(&room, list), kept);
    }
    // Replaying the notices gives what is in the log.
    let mut replayed: PerList<Vec<Arc<Message>>> = PerList::default();
    for notice in heard.0.lock().unwrap().iter() {
        let Change::Appended { list, messages, .. } = &notice.change else {
            continue;
        };
        for message in messages {
            if let Content::Redact { list, seq, .. } = &message.content {
                let place = &mut replayed[*list][seq.0 as usize - 1];
                *place = Arc::new(place.retracted(message.seq));
            }
            replayed[*list].push(Arc::clone(message));
        }
    }
    for list in List::ALL {
        assert_eq!(replayed[list], all(&*store, &room, list).await);
    }
}

#[tokio::test]
async fn closed_store_refuses_everything_and_lets_go_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    store.append(message(&room, List::Normal, "x")).await.unwrap();
    tokio::join!(store.close(), store.close());
    store.close().await;
    assert!(matches!(store.append(message(&room, List::Normal, "x")).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.view(&room).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        store.read(&room, List::Normal, Range::After(Seq(0)), 1).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(store.health().is_err());
    let reopened = open(dir.path());
    assert_eq!(reopened.epoch(), store.epoch());
    assert_eq!(all(&*reopened, &room, List::Normal).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn close_finishes_what_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let room = room("r");
    let mut sends = Vec::new();
    for number in 0..500 {
        let (store, append) = (Arc::clone(&store), message(&room, List::Normal, &number.to_string()));
        sends.push(tokio::spawn(async move { store.append(append).await }));
    }
    tokio::task::yield_now().await;
    store.close().await;
    let mut acknowledged = Vec::new();
    for send in sends {
        match send.await.unwrap() {
            Ok(appended) => acknowledged.push(appended.seq.0),
            Err(StoreError::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    acknowledged.sort_unstable();
    let store = open(dir.path());
    assert_eq!(seqs(&all(&*store, &room, List::Normal).await), acknowledged);
}

#[test]
fn store_works_without_any_runtime_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let room = room("r");
    one.block_on(store.append(message(&room, List::Normal, "x"))).unwrap();
    drop(one);
    assert_eq!(other.block_on(all(&*store, &room, List::Normal)).len(), 1);
}
