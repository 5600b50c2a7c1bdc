use proptest::prelude::*;

use super::*;
use crate::identity::mix;

/// The keys of viewers `from..to` of a room of this number: evenly distributed, as hashes are.
fn keys(room: u64, from: u64, to: u64) -> impl Iterator<Item = u64> {
    (from..to).map(move |viewer| mix(mix(room + 1).wrapping_add(viewer)))
}

fn set(keys: impl Iterator<Item = u64>) -> UniqueViewers {
    let mut set = UniqueViewers::new();
    keys.for_each(|key| {
        set.insert(key);
    });
    set
}

#[test]
fn count_is_exact_up_to_the_switch_and_within_two_percent_above() {
    for room in 0..20 {
        let mut viewers = UniqueViewers::new();
        let mut come = 0;
        for size in [0, 1, 100, 1_000, 9_999, 10_000] {
            keys(room, come, size).for_each(|key| assert!(viewers.insert(key)));
            come = size;
            assert_eq!(viewers.count(), UniqueCount { count: size, error: 0.0 });
        }
        for size in [10_001, 12_000, 20_000, 50_000, 100_000, 300_000] {
            keys(room, come, size).for_each(|key| {
                viewers.insert(key);
            });
            come = size;
            let UniqueCount { count, error } = viewers.count();
            let off = (count as f64 / size as f64 - 1.0).abs();
            assert!(off < 0.02, "room {room}: {count} of {size} is off by {off}");
            assert_eq!(error, ERROR_BOUND);
        }
    }
}

#[test]
fn count_neither_jumps_at_the_switch_nor_ever_falls() {
    for room in 0..20 {
        let mut viewers = UniqueViewers::new();
        let mut last = 0;
        for (come, key) in keys(room, 0, 40_000).enumerate() {
            viewers.insert(key);
            let count = viewers.count().count;
            assert!(count >= last, "room {room}: {last} fell to {count}");
            if come < 10_200 {
                assert!(count <= last + 20, "room {room}: jumped from {last} to {count}");
                assert!(count.abs_diff(come as u64 + 1) <= 30, "room {room}: {count} of {}", come + 1);
            }
            last = count;
        }
    }
}

#[test]
fn sketch_after_the_switch_is_the_one_written_from_the_start() {
    let mut beside = Sketch::new();
    keys(1, 0, 10_001).for_each(|key| {
        beside.insert(key);
    });
    match set(keys(1, 0, 10_001)).0 {
        Form::Sketched { sketch, .. } => assert!(*sketch == beside),
        Form::Exact(_) => panic!("10,001 are too many for the table"),
    }
}

#[test]
fn repeats_change_nothing() {
    for size in [500, 30_000] {
        let mut viewers = set(keys(1, 0, size));
        let before = viewers.encode();
        assert!(keys(1, 0, size).all(|key| !viewers.insert(key)));
        assert!(!viewers.merge(&set(keys(1, 0, size / 2))));
        assert!(!viewers.merge(&viewers.clone()));
        assert_eq!(viewers.encode(), before);
    }
}

#[test]
fn extreme_keys_are_counted() {
    let mut viewers = set([0, 1, 1 << 63, u64::MAX].into_iter());
    assert_eq!(viewers.count().count, 4);
    let mut sketch = Sketch::new();
    assert_eq!(sketch.estimate(), 0.0);
    for key in [0, 1 << 63, u64::MAX] {
        assert!(sketch.insert(key) && !sketch.insert(key));
    }
    assert!(!sketch.insert(1), "0 has the longer run in the same register");
    assert_eq!(sketch.estimate().round(), 3.0);
    // Every register at its end: a number, if no sensible one.
    (0..1 << 16).for_each(|register| {
        sketch.insert(register << 48);
    });
    assert!(sketch.estimate() > 1e15);
    viewers.merge(&UniqueViewers(Form::Sketched { sketch: Box::new(sketch), anchor: 10_000.0 }));
    assert!(viewers.count().count > 1_000_000_000);
}

#[test]
fn forms_take_what_they_say() {
    let exact = set(keys(1, 0, 10_000));
    assert_eq!((exact.encode().len(), exact.encoded_bytes()), (80_003, 80_003));
    let sketched = set(keys(1, 0, 10_001));
    assert_eq!((sketched.encode().len(), sketched.encoded_bytes()), (49_164, 49_164));
}

#[test]
fn bytes_of_no_set_are_refused() {
    let table = set(keys(1, 0, 3)).encode();
    let sketch = set(keys(1, 0, 10_001)).encode();
    for good in [&table, &sketch] {
        assert_eq!(&UniqueViewers::decode(good).unwrap().encode(), good);
        assert_eq!(UniqueViewers::decode(&good[..good.len() - 1]).unwrap_err(), UniqueError::Damaged);
        assert_eq!(UniqueViewers::decode(&[good, &[0][..]].concat()).unwrap_err(), UniqueError::Damaged);
    }
    let edited = |good: &[u8], at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        UniqueViewers::decode(&bytes).unwrap_err()
    };
    assert_eq!(edited(&table, 0, 9), UniqueError::Unknown { version: 9, hasher: 1 });
    assert_eq!(edited(&table, 1, 9), UniqueError::Unknown { version: 1, hasher: 9 });
    assert_eq!(edited(&table, 2, 2), UniqueError::Damaged);
    assert_eq!(edited(&table, 3, 0xff), UniqueError::Damaged, "not in order");
    assert_eq!(edited(&sketch, 3, 40), UniqueError::Damaged, "precision");
    assert_eq!(edited(&sketch, 4, 0x7f), UniqueError::Damaged, "anchor");
    assert_eq!(edited(&sketch, 12, 0xff), UniqueError::Damaged, "register of more than 49");
    let mut empty = sketch.clone();
    empty[12..].fill(0);
    assert_eq!(UniqueViewers::decode(&empty).unwrap_err(), UniqueError::Damaged, "fewer than a table holds");
    let long: Vec<u8> = (0..=EXACT_MAX as u64).flat_map(u64::to_be_bytes).collect();
    assert_eq!(UniqueViewers::decode(&[&table[..3], &long].concat()).unwrap_err(), UniqueError::Damaged);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Sets of overlapping parts, of sizes around the switch, merged in two orders and over the wire.
    #[test]
    fn merging_is_free_of_order_and_repeats(
        parts in proptest::collection::vec((0u64..12_000, 0u64..9_000), 1..6),
        order in any::<proptest::sample::Index>(),
    ) {
        let sets: Vec<_> = parts.iter().map(|(from, size)| set(keys(3, *from, from + size))).collect();
        let whole = set(parts.iter().flat_map(|(from, size)| keys(3, *from, from + size)));
        let truth = parts.iter().flat_map(|(from, size)| *from..from + size).collect::<std::collections::HashSet<_>>().len();
        let mut forward = UniqueViewers::new();
        sets.iter().for_each(|set| { forward.merge(set); });
        let mut other = UniqueViewers::new();
        let turn = order.index(sets.len());
        for set in sets[turn..].iter().chain(&sets).rev() {
            other.merge(&UniqueViewers::decode(&set.encode()).unwrap());
        }
        for merged in [&forward, &other] {
            match (&merged.0, &whole.0) {
                (Form::Exact(merged), Form::Exact(whole)) => {
                    prop_assert_eq!(merged, whole);
                    prop_assert_eq!(merged.len(), truth);
                }
                (Form::Sketched { sketch: merged, .. }, Form::Sketched { sketch: whole, .. }) => prop_assert!(merged == whole),
                (merged, whole) => prop_assert!(false, "{merged:?} is not {whole:?}"),
            }
            let off = merged.count().count as f64 / truth.max(1) as f64 - 1.0;
            prop_assert!(truth == 0 || off.abs() < 0.02, "{off}");
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(
        kind in 0u8..3, body in proptest::collection::vec(any::<u8>(), 0..200), edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let _ = UniqueViewers::decode(&[&[VERSION, HASHER, kind], &body[..]].concat());
        let mut bytes = set(keys(5, 0, 10_500)).encode();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(mut decoded) = UniqueViewers::decode(&bytes) {
            decoded.merge(&set(keys(5, 0, 20)));
            prop_assert!(decoded.count().count > EXACT_MAX as u64);
        }
    }
}
