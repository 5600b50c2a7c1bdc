//! Records against a plain map, under random changes, reopenings and crashes.
#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use store::{RecordBatch, RecordChange, RecordFamily, RecordRange, Store, StoreError};
use support::{copy, open};

const FAMILIES: [RecordFamily; 3] = [RecordFamily::History, RecordFamily::Unique, RecordFamily::RoomStats];

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<RecordChange>),
    Read { range: RecordRange, limit: usize },
    Reopen,
    Crash,
}

fn key() -> impl Strategy<Value = Bytes> {
    // Few keys, some of them the beginning of others, and the bytes at both ends.
    proptest::collection::vec(prop_oneof![Just(0u8), Just(7), Just(0xff)], 1..4).prop_map(Bytes::from)
}

fn range() -> impl Strategy<Value = RecordRange> {
    let family = proptest::sample::select(FAMILIES.to_vec());
    prop_oneof![
        (family.clone(), key()).prop_map(|(family, key)| RecordRange::beginning_with(family, &key)),
        (family.clone(), key()).prop_map(|(family, key)| RecordRange::only(family, &key)),
        (family.clone(), key(), key()).prop_map(|(family, from, to)| RecordRange { family, from, to }),
        family.prop_map(|family| RecordRange::beginning_with(family, b"")),
    ]
}

fn change() -> impl Strategy<Value = RecordChange> {
    let family = proptest::sample::select(FAMILIES.to_vec());
    let value = proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    // Long gone, never, or after any test.
    let expiry = prop_oneof![Just(Some(1_000)), Just(None), Just(Some(4_000_000_000_000))];
    prop_oneof![
        5 => (family, key(), value, expiry).prop_map(|(family, key, value, expires_at_ms)| {
            RecordChange::Put { family, key, value, expires_at_ms }
        }),
        1 => range().prop_map(RecordChange::Delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => proptest::collection::vec(change(), 0..12).prop_map(Step::Write),
        8 => (range(), 1usize..8).prop_map(|(range, limit)| Step::Read { range, limit }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

type Model = BTreeMap<(RecordFamily, Bytes), Option<Bytes>>;

fn apply(model: &mut Model, change: &RecordChange) {
    match change {
        RecordChange::Put { family, key, value, expires_at_ms } => {
            let shown = (*expires_at_ms != Some(1_000)).then(|| value.clone());
            model.insert((*family, key.clone()), shown);
        }
        RecordChange::Delete(range) => model.retain(|(family, key), _| {
            *family != range.family || *key < range.from || *key >= range.to || range.from >= range.to
        }),
    }
}

/// All records of a range, page by page, each of at most `limit`.
async fn read_all(store: &dyn Store, mut range: RecordRange, limit: usize) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    loop {
        let page = store.read_records(range.clone(), limit).await.unwrap();
        assert!(page.damaged.is_empty() && page.records.len() <= limit);
        found.extend(page.records.into_iter().map(|record| (record.key, record.value)));
        match page.next {
            Some(next) => range.from = next,
            None => return found,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn records_are_those_of_a_plain_map(steps in proptest::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let (mut dir, mut model) = (tempfile::tempdir().unwrap(), Model::new());
            let mut store = open(dir.path());
            for step in steps {
                match step {
                    Step::Write(changes) => {
                        let mut batch = RecordBatch::default();
                        for change in changes {
                            apply(&mut model, &change);
                            batch.push(change).unwrap();
                        }
                        store.write_records(batch).await.unwrap();
                    }
                    Step::Read { range, limit } => {
                        let expect: Vec<_> = model
                            .iter()
                            .filter(|((family, key), _)| {
                                *family == range.family && range.from <= *key && *key < range.to
                            })
                            .filter_map(|((_, key), value)| Some((key.clone(), value.clone()?)))
                            .collect();
                        assert_eq!(read_all(&*store, range, limit).await, expect);
                    }
                    Step::Reopen => {
                        store.close().await;
                        drop(store);
                        store = open(dir.path());
                    }
                    Step::Crash => {
                        let image = tempfile::tempdir().unwrap();
                        copy(dir.path(), image.path());
                        drop(store);
                        dir = image;
                        store = open(dir.path());
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn page_ends_where_it_gets_large() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let large = Bytes::from(vec![7; store::RECORD_VALUE_BYTES_MAX]);
    for key in 0u8..40 {
        let mut batch = RecordBatch::default();
        let put = RecordChange::Put {
            family: RecordFamily::Unique,
            key: vec![key].into(),
            value: large.clone(),
            expires_at_ms: None,
        };
        batch.push(put).unwrap();
        store.write_records(batch).await.unwrap();
    }
    let range = RecordRange::beginning_with(RecordFamily::Unique, b"");
    let page = store.read_records(range.clone(), 1_000).await.unwrap();
    assert!(page.records.len() < 40 && page.next.is_some());
    assert_eq!(read_all(&*store, range.clone(), 1_000).await.len(), 40);
    store.close().await;
    assert!(matches!(store.read_records(range, 1).await, Err(StoreError::Unavailable(_))));
}
