pub(crate) mod memory;
mod model;

use std::sync::atomic::Ordering;

use ::room::{AppId, RoomId};
use bytes::Bytes;
use proptest::prelude::*;
use store::{RecordFamily, RocksStore, StoreOptions};

use self::{
    memory::MemoryStore,
    model::{Model, Node, T},
};
use super::*;
use crate::identity::mix;

fn room(name: &str) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal(name))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

#[derive(Clone, Debug)]
enum Act {
    /// So many seconds with about so many users.
    Watch {
        seconds: u64,
        users: u64,
    },
    /// Nobody looks for so long.
    Pause {
        seconds: u64,
    },
    Flush,
    Open,
    /// Flushed, then started anew.
    Restart,
    /// Started anew without a flush.
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1u64..40, 1u64..2_000).prop_map(|(seconds, users)| Act::Watch { seconds, users }),
        2 => (1u64..2_000).prop_map(|seconds| Act::Pause { seconds }),
        4 => Just(Act::Flush),
        1 => Just(Act::Open),
        1 => Just(Act::Restart),
        1 => Just(Act::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// One node, with restarts and crashes: what was flushed is there, whole, and nothing else is.
    #[test]
    fn history_is_that_of_a_plain_model(acts in proptest::collection::vec(act(), 1..40), seed in any::<u64>()) {
        run(async {
            let store = Arc::new(MemoryStore::default());
            let mut node = Node::new(&store, 1);
            let (mut model, mut flushed) = (Model::new(seed), Model::new(seed));
            for act in acts {
                match act {
                    Act::Watch { seconds, users } => {
                        for _ in 0..seconds {
                            let look = model.next_look(users);
                            node.observe(&look, &model);
                            node.history.load_pending().await.unwrap();
                        }
                    }
                    Act::Pause { seconds } => model.now += seconds,
                    Act::Flush => {
                        if node.flush(&model).await.rooms_forgotten > 0 {
                            node.forget_totals();
                        }
                        flushed = model.clone();
                    }
                    Act::Open => {
                        model.open();
                        node.history.opened(&room("r"), model.now_ms());
                    }
                    Act::Restart => {
                        node.flush(&model).await;
                        node = Node::new(&store, 1);
                        flushed = model.clone();
                    }
                    Act::Crash => {
                        node = Node::new(&store, 1);
                        let now = model.now;
                        model = flushed.clone();
                        model.now = now + 1;
                    }
                }
                node.check(&model).await;
            }
        });
    }

    /// A second node that takes shares loses nothing when the first one ends, with a store of its own or the same one.
    #[test]
    fn takeover_loses_nothing(
        parts in proptest::collection::vec((1u64..90, 1u64..500), 2..6),
        has_own_store in any::<bool>(),
        both_look in any::<bool>(),
        seed in any::<u64>(),
    ) {
        run(async {
            let mut store = Arc::new(MemoryStore::default());
            let mut model = Model::new(seed);
            let mut first = Node::new(&store, 1);
            for (turn, (seconds, users)) in parts.into_iter().enumerate() {
                if has_own_store {
                    store = Arc::new(MemoryStore::default());
                }
                let mut second = Node::new(&store, turn as u64 + 2);
                // The second one hears of the room now.
                second.adopt(&first, &model);
                for second_of_part in 0..seconds {
                    let look = model.next_look(users);
                    first.observe(&look, &model);
                    if both_look && turn == 0 {
                        second.observe(&look, &model);
                    }
                    first.history.load_pending().await.unwrap();
                    let late = first.history.share(&room("r"));
                    second.adopt(&first, &model);
                    second.adopt(&first, &model);
                    if second_of_part % 7 == 3 {
                        first.flush(&model).await;
                        second.flush(&model).await;
                    }
                    if let (Some(late), 20) = (late, second_of_part) {
                        second.history.adopt(&room("r"), &late, model.now_ms()).unwrap();
                    }
                }
                first = second;
                first.check_recent(&model).await;
            }
        });
    }
}

#[test]
fn room_survives_in_a_real_store() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::new(7);
        for users in [300, 20_000, 20] {
            let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
            let mut node = Node::over(Arc::clone(&store) as Arc<dyn Store>, 1);
            for _ in 0..400 {
                let look = model.next_look(users);
                node.observe(&look, &model);
                if look.second.is_multiple_of(9) {
                    node.flush(&model).await;
                }
            }
            node.flush(&model).await;
            node.check(&model).await;
            drop(node);
            store.close().await;
        }
        let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
        Node::over(store, 1).check(&model).await;
    });
}

#[test]
fn failing_store_delays_writes_and_loses_nothing() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let mut node = Node::new(&store, 1);
        let mut model = Model::new(3);
        for second in 0..1_200 {
            let look = model.next_look(50);
            node.observe(&look, &model);
            store.refuses.store((100..900).contains(&second), Ordering::SeqCst);
            if second % 5 == 0 {
                let flushed = node.history.flush(model.now_ms()).await;
                assert_eq!(flushed.error.is_some(), (100..900).contains(&second));
                assert_eq!(flushed.blocks_given_up, 0);
            }
        }
        node.flush(&model).await;
        Node::new(&store, 1).check(&model).await;
    });
}

#[test]
fn clock_set_back_before_the_first_write_loses_no_point() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let history = History::new(Arc::clone(&store) as Arc<dyn Store>, HistorySettings { node: 1 });
        // The clock goes back into a block that is full, and that the store does not have.
        for second in (0..361).chain(200..220) {
            let at_ms = T + second * 1_000;
            history.observe(&room("r"), Observation { at_ms, num_users: 3, ..Observation::default() }, &[]);
        }
        history.flush(T).await;
        let range = SeriesRange { from_ms: T, to_ms: T + 400_000, step: Step::TenSeconds };
        let again = History::new(Arc::clone(&store) as Arc<dyn Store>, HistorySettings { node: 1 });
        let points = again.series(&room("r"), range).await.unwrap().points;
        assert_eq!(
            points.iter().map(|point| (point.t_ms - T) / 10_000).collect::<Vec<_>>(),
            (0..37).collect::<Vec<_>>()
        );
    });
}

#[test]
fn memory_stays_bounded_while_the_store_fails() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let mut node = Node::new(&store, 1);
        let mut model = Model::new(3);
        let look = model.next_look(50);
        node.observe(&look, &model);
        node.flush(&model).await;
        store.refuses.store(true, Ordering::SeqCst);
        let mut given_up = 0;
        for _ in 0..5_000 {
            let look = model.next_look(50);
            node.observe(&look, &model);
            given_up += node.history.flush(model.now_ms()).await.blocks_given_up;
        }
        assert_eq!(given_up, 5_000 / 300 - 8);
        store.refuses.store(false, Ordering::SeqCst);
        let flushed = node.flush(&model).await;
        assert!(
            flushed.rooms_written == 1 && flushed.bytes_written <= store::RECORD_BATCH_BYTES_MAX,
            "{flushed:?}"
        );
    });
}

#[test]
fn quiet_room_is_forgotten_and_comes_back() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let mut node = Node::new(&store, 1);
        let mut model = Model::new(3);
        for _ in 0..100 {
            let look = model.next_look(50);
            node.observe(&look, &model);
        }
        node.flush(&model).await;
        model.now += 61;
        assert_eq!(node.flush(&model).await.rooms_forgotten, 1);
        assert!(node.history.share(&room("r")).is_none());
        node.check(&model).await;
        // Its tables were dropped as well.
        node.forget_totals();
        let look = model.next_look(50);
        node.observe(&look, &model);
        node.check_after_load(&model).await;
    });
}

#[test]
fn who_came_and_went_between_two_looks_is_remembered() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let new = || History::new(Arc::clone(&store) as Arc<dyn Store>, HistorySettings { node: 1 });
        let seen = Observation { at_ms: T, joins: 2, leaves: 2, ..Observation::default() };
        let history = new();
        // The store is asked before there is anything to write.
        history.observe(&room("r"), Observation { joins: 0, leaves: 0, ..seen }, &[]);
        history.flush(T).await;
        history.observe(&room("r"), seen, &[7, 8]);
        assert_eq!(history.flush(T).await.rooms_written, 1);
        // Nobody was ever seen, so there is no peak to tell of; what there is has to be found all the same.
        let again = new().standing(&room("r")).await.unwrap();
        assert_eq!((again.unique_viewers_total, again.peak_num_users), (2, 0));
    });
}

#[test]
fn unchanged_rooms_cost_no_writes_and_no_reads() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let history = History::new(Arc::clone(&store) as Arc<dyn Store>, HistorySettings::default());
        let seen = |second: u64, users| Observation {
            at_ms: T + second * 1_000,
            num_users: users,
            num_clients: users,
            ..Observation::default()
        };
        for name in 0..300 {
            history.observe(&room(&format!("r{name}")), seen(0, 3), &[1, 2, 3]);
        }
        let flushed = history.flush(T).await;
        assert_eq!((flushed.rooms_loaded, flushed.rooms_written), (300, 300));
        assert!(flushed.bytes_written < 300 * 400, "{flushed:?}");
        let reads = store.reads.load(Ordering::SeqCst);
        assert_eq!(reads, 300, "a room that was never there takes one read");
        for second in 1..60 {
            for name in 0..300 {
                history.observe(&room(&format!("r{name}")), seen(second, 0), &[]);
            }
            history.flush(T + second * 1_000).await;
        }
        let mut flushed = Flushed::default();
        // The minutes get their closing point as well, and then there is nothing more.
        for second in [200, 300, 301] {
            for name in 0..300 {
                history.observe(&room(&format!("r{name}")), seen(second, 0), &[]);
            }
            flushed = history.flush(T + second * 1_000).await;
        }
        assert_eq!((flushed.rooms_written, flushed.error.is_none()), (0, true));
        assert_eq!(store.reads.load(Ordering::SeqCst), reads);
    });
}

#[test]
fn damaged_records_leave_the_rest() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let mut node = Node::new(&store, 1);
        let mut model = Model::new(3);
        for _ in 0..700 {
            let look = model.next_look(50);
            node.observe(&look, &model);
            node.flush(&model).await;
        }
        let whole = node.series(Step::TenSeconds).await;
        let mut damaged = 0;
        for ((family, key), value) in store.records.lock().iter_mut() {
            let is_first_block = *family == RecordFamily::History && {
                let base = T / 10_000;
                *key == keys::block(&room("r"), Step::TenSeconds, base, 1)
            };
            if is_first_block || *family == RecordFamily::RoomStats {
                *value = Bytes::from_static(b"\x09rubbish");
                damaged += 1;
            }
        }
        assert_eq!(damaged, 2);
        let node = Node::new(&store, 1);
        assert_eq!(node.series(Step::TenSeconds).await, &whole[30..]);
        let standing = node.history.standing(&room("r")).await.unwrap();
        assert_eq!((standing.peak_num_users, standing.unique_viewers_total), (0, model.total.len() as u64));
    });
}

#[test]
fn share_of_anything_else_is_refused() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let mut node = Node::new(&store, 1);
        let mut model = Model::new(3);
        let look = model.next_look(50);
        node.observe(&look, &model);
        let good = node.history.share(&room("r")).unwrap();
        let other = Node::new(&store, 2);
        for length in 0..good.len() {
            let cut = other.history.adopt(&room("r"), &good[..length], T);
            assert_eq!(cut, Err(ShareError::Damaged), "{length} bytes");
        }
        for at in 0..good.len() {
            let mut edited = good.clone();
            edited[at] ^= 0x81;
            // A number more or less is none that can be told from a right one; what matters is that it is taken whole or not.
            let _ = other.history.adopt(&room("r"), &edited, T);
        }
        other.history.flush(T).await;
        assert_eq!(other.history.adopt(&room("r"), &[9], T), Err(ShareError::Version(9)));
    });
}

#[test]
fn late_opening_of_an_earlier_session_changes_nothing() {
    run(async {
        let store = Arc::new(MemoryStore::default());
        let history = History::new(store, HistorySettings::default());
        let key = room("r");
        history.opened(&key, T);
        let seen = Observation { at_ms: T + 1_000, num_users: 5, ..Observation::default() };
        let keys: Vec<u64> = (0..5).map(mix).collect();
        history.observe(&key, seen, &keys);
        history.opened(&key, T);
        history.opened(&key, T - 5_000);
        let standing = history.standing(&key).await.unwrap();
        assert_eq!(
            (standing.unique_viewers, standing.peak_num_users, standing.peak_at_ms),
            (5, 5, T + 1_000)
        );
        history.opened(&key, T + 2_000);
        history.flush(T + 2_000).await;
        let standing = history.standing(&key).await.unwrap();
        assert_eq!((standing.unique_viewers, standing.unique_viewers_total, standing.peak_at_ms), (0, 5, 0));
    });
}
