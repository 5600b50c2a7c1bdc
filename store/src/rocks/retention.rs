//! Which messages of a list are kept: the newest `count`, less those older than `age`.
//!
//! The rule is applied whenever a list is looked at, so it holds whether or not the bytes are gone yet.

use std::time::Duration;

use room::{List, PerList, Retention, RoomSettings};

use super::{record::Head, rooms::Stamp};

/// Fewest expired messages (count) that are worth a range deletion of their own while the list still has others.
pub(crate) const SWEEP_SLACK: u64 = 64;

/// How many expired messages an append leaves to lie before it deletes them in one range: few deletions beside many
/// appends, and at most an eighth more on the disk than asked for, or about a thousand messages.
pub(crate) fn append_slack(count: u64) -> u64 {
    (count / 8).max(1_024)
}

/// The retention of a room's list: its own, else the server's.
pub(crate) fn of(settings: &RoomSettings, defaults: &PerList<Retention>, list: List) -> Retention {
    settings.retention[list].unwrap_or(defaults[list])
}

/// Whether a message accepted at `sent_at_ms` is older than `age`.
pub(crate) fn is_over_age(sent_at_ms: u64, age: Duration, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(sent_at_ms)) > age.as_millis()
}

/// The oldest place that `count` leaves; `last + 1` when nothing is kept.
pub(crate) fn first_by_count(head: &Head, count: u64) -> u64 {
    head.first.max((head.last + 1).saturating_sub(count.max(1)))
}

/// The oldest place kept, where it can be told without looking at messages.
///
/// `oldest` is a message at or before that place, if one is known.
pub(crate) fn first_known(
    head: &Head,
    retention: Retention,
    oldest: Option<Stamp>,
    now_ms: u64,
) -> Option<u64> {
    let first = first_by_count(head, retention.count);
    if first > head.last || is_over_age(head.last_sent_at_ms, retention.age, now_ms) {
        return Some(head.last + 1);
    }
    // Times never fall along a list: what comes after a message that is young enough is young enough.
    oldest
        .is_some_and(|oldest| oldest.seq <= first && !is_over_age(oldest.sent_at_ms, retention.age, now_ms))
        .then_some(first)
}

/// The oldest place kept, and when that message was accepted unless nothing is.
///
/// `sent_at_ms` looks a message up. It is called a number of times logarithmic in how many have aged out since
/// `head.first` was last moved.
pub(crate) fn first_kept<E>(
    head: &Head,
    retention: Retention,
    now_ms: u64,
    mut sent_at_ms: impl FnMut(u64) -> Result<u64, E>,
) -> Result<(u64, Option<Stamp>), E> {
    if let Some(first) = first_known(head, retention, None, now_ms) {
        return Ok((first, None));
    }
    let mut over = first_by_count(head, retention.count); // aged out, once the loop has run
    let stamp = |seq, sent_at_ms| Some(Stamp { seq, sent_at_ms });
    let sent = sent_at_ms(over)?;
    if !is_over_age(sent, retention.age, now_ms) {
        return Ok((over, stamp(over, sent)));
    }
    // `last` is kept, or `first_known` would have told. Stride away from `over`, then halve what lies between.
    let mut kept = Stamp { seq: head.last, sent_at_ms: head.last_sent_at_ms };
    let mut stride = 1;
    while kept.seq - over > 1 {
        let probe = if over + stride < kept.seq { over + stride } else { over + (kept.seq - over) / 2 };
        let sent = sent_at_ms(probe)?;
        if is_over_age(sent, retention.age, now_ms) {
            over = probe;
            stride *= 2;
        } else {
            kept = Stamp { seq: probe, sent_at_ms: sent };
        }
    }
    Ok((kept.seq, stamp(kept.seq, kept.sent_at_ms)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn first_of(times: &[u64], first: u64, retention: Retention, now_ms: u64) -> (u64, usize) {
        let last = times.len() as u64;
        let head = Head { last, first, trimmed: 1, last_sent_at_ms: times.last().copied().unwrap_or(0) };
        let mut looks = 0;
        let found = first_kept(&head, retention, now_ms, |seq| {
            looks += 1;
            Ok::<_, Infallible>(times[seq as usize - 1])
        });
        (found.unwrap().0, looks)
    }

    proptest! {
        #[test]
        fn first_is_the_oldest_within_count_and_age(
            mut times in proptest::collection::vec(0u64..1_000, 0..200), count in 1u64..300, age in 0u64..1_200, first in 1u64..250,
        ) {
            times.sort_unstable();
            let last = times.len() as u64;
            let first = first.min(last + 1);
            let now = 1_100;
            let retention = Retention { count, age: Duration::from_millis(age) };
            let expect = (first..=last)
                .find(|seq| last - seq < count && now - times[*seq as usize - 1] <= age)
                .unwrap_or(last + 1);
            prop_assert_eq!(first_of(&times, first, retention, now).0, expect);
        }
    }

    #[test]
    fn search_looks_at_few_messages() {
        let times: Vec<u64> = (0..100_000).collect();
        let retention = Retention { count: 1_000_000, age: Duration::from_millis(1_000) };
        let (first, looks) = first_of(&times, 1, retention, 100_000);
        assert_eq!(first, 99_001);
        assert!(looks < 40, "{looks}");
        let retention = Retention { count: 1_000_000, age: Duration::from_millis(99_990) };
        let (first, looks) = first_of(&times, 1, retention, 100_000);
        assert_eq!(first, 11);
        assert!(looks < 40, "{looks}");
    }

    #[test]
    fn known_oldest_saves_the_look() {
        let head = Head { last: 10, first: 3, trimmed: 1, last_sent_at_ms: 900 };
        let retention = Retention { count: 100, age: Duration::from_millis(500) };
        let oldest = |seq, sent_at_ms| Some(Stamp { seq, sent_at_ms });
        for (known, now_ms, expect) in [
            (oldest(3, 800), 1_000, Some(3)),
            (oldest(2, 800), 1_000, Some(3)),
            (oldest(4, 800), 1_000, None),
            (oldest(3, 400), 1_000, None),
            (None, 1_000, None),
            (None, 1_401, Some(11)),
        ] {
            assert_eq!(first_known(&head, retention, known, now_ms), expect, "{known:?} at {now_ms}");
        }
        assert_eq!(first_known(&Head::EMPTY, retention, None, 0), Some(1));
    }
}
