use proptest::prelude::*;

use super::*;
use crate::run::{
    answer::Gap,
    facts::{Numbers, RunVerdict},
    outcome::RunOutcome,
};

const NORMAL: usize = List::Normal.index();

fn answer(seqs: &[u64], gap: Option<(u64, u64)>) -> Answer {
    let message = |seq: &u64| format!(r#"{{"seq":{seq}}}"#);
    let messages: Vec<_> = seqs.iter().map(message).collect();
    let text = format!(
        r#"{{"priority":[],"messages":[{}],"next_cursor":"c","up_to_date":true}}"#,
        messages.join(",")
    );
    let mut answer = Answer::parse(text.as_bytes()).unwrap();
    answer.gap = gap.map(|(first_seq, normal)| Gap {
        normal,
        priority: 0,
        first_seq,
        first_priority_seq: 0,
        reason: "shed".to_owned(),
    });
    answer
}

/// Facts of a reader that got these answers one after the other.
fn facts(answers: &[Answer]) -> (Place, Facts) {
    let (mut place, mut facts) = (Place::default(), Facts::default());
    answers.iter().for_each(|answer| place.take(answer, 0, &mut facts));
    (place, facts)
}

/// Lost, repeated, out of order of the normal list.
fn check(answers: &[&[u64]], expect: [u64; 3]) {
    let answers: Vec<_> = answers.iter().map(|seqs| answer(seqs, None)).collect();
    let (_, facts) = facts(&answers);
    let odd = facts.oddities;
    assert_eq!([odd.lost[NORMAL], odd.repeated[NORMAL], odd.out_of_order[NORMAL]], expect, "{answers:?}");
    let passed = facts.received[NORMAL] - odd.repeated[NORMAL] + odd.lost[NORMAL];
    assert_eq!(facts.spanned[NORMAL], passed, "{answers:?}");
}

#[test]
fn every_kind_of_mistake_is_counted() {
    check(&[&[5], &[6, 7], &[], &[8]], [0, 0, 0]);
    check(&[&[5], &[7]], [1, 0, 0]);
    check(&[&[5, 7]], [1, 0, 0]);
    check(&[&[5], &[5, 6]], [0, 1, 0]);
    check(&[&[5, 6, 7], &[5, 6]], [0, 2, 0]);
    check(&[&[5], &[7], &[6]], [0, 0, 1]);
    check(&[&[5], &[10], &[7], &[6], &[7]], [2, 1, 2]);
    check(&[&[6, 5]], [0, 1, 0]);
    check(&[&[5], &[4]], [0, 1, 0]);
}

#[test]
fn announced_gap_is_skipped_not_lost() {
    let (place, facts) = facts(&[answer(&[5], None), answer(&[9, 10], Some((6, 3))), answer(&[11], None)]);
    assert_eq!((facts.skipped[NORMAL], facts.oddities), (3, Oddities::default()));
    assert_eq!((place.next[NORMAL], facts.spanned[NORMAL]), (12, 7));
}

#[test]
fn gap_without_messages_moves_the_place() {
    let (place, facts) = facts(&[answer(&[5], None), answer(&[], Some((6, 3))), answer(&[9], None)]);
    assert_eq!((place.next[NORMAL], facts.oddities), (10, Oddities::default()));
}

#[test]
fn gap_that_does_not_add_up_is_found() {
    for gap in [(6, 2), (7, 3), (5, 4), (0, 3), (u64::MAX, 3)] {
        let (_, facts) = facts(&[answer(&[5], None), answer(&[9], Some(gap))]);
        assert_eq!(facts.oddities.gap_arithmetic, 1, "{gap:?}");
    }
}

#[test]
fn reader_of_an_empty_list_tells_where_it_began() {
    let (_, mut facts) = facts(&[answer(&[], None), answer(&[3, 4], None)]);
    assert_eq!(facts.room(0)[NORMAL].starts, [(3, 1)].into());
    let (_, mut facts) = super::tests::facts(&[answer(&[3], None), answer(&[4], None)]);
    assert!(facts.room(0)[NORMAL].starts.is_empty(), "a list that had messages says where it stood");
    let (_, mut facts) = super::tests::facts(&[answer(&[], None), answer(&[9], Some((6, 3)))]);
    assert_eq!(facts.room(0)[NORMAL].starts, [(6, 1)].into(), "what it was spared comes first");
}

#[test]
fn new_epoch_starts_over() {
    let mut fresh = answer(&[1, 2], Some((0, 0)));
    fresh.gap.as_mut().unwrap().reason = "epoch".to_owned();
    let (place, facts) = facts(&[answer(&[50], None), fresh, answer(&[3], None)]);
    assert_eq!((facts.oddities.epoch_changes, place.next[NORMAL]), (1, 4));
    assert_eq!(facts.oddities.lost, [0, 0]);
}

/// What may go wrong on the way to a reader.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    Lose,
    Repeat,
    Swap,
    Exchange,
}

proptest! {
    /// A stream of answers without a fault is clean; with one fault put into it anywhere, it is not.
    #[test]
    fn seeded_fault_is_caught(
        sizes in prop::collection::vec(0_usize..5, 4..20),
        at in 0.0_f64..1.0,
        fault in prop::sample::select(vec![None, Some(Fault::Lose), Some(Fault::Repeat), Some(Fault::Swap), Some(Fault::Exchange)]),
    ) {
        let count: usize = sizes.iter().sum();
        prop_assume!(count >= 4);
        // Sequence numbers from 100 on, the run's numbers from 0 on.
        let mut stream: Vec<(u64, u32)> = (0..count).map(|nth| (100 + nth as u64, nth as u32)).collect();
        let place = ((count - 2) as f64 * at) as usize + 1;
        match fault {
            None => {}
            Some(Fault::Lose) => { stream.remove(place); }
            Some(Fault::Repeat) => stream.insert(place + 1, stream[place]),
            Some(Fault::Swap) => stream.swap(place - 1, place),
            // The right sequence number with the message of another.
            Some(Fault::Exchange) => stream[place].1 = stream[place - 1].1,
        }
        let mut facts = Facts { sent: [0, count as u64], ..Facts::default() };
        let mut reader = Place::default();
        reader.take(&answer(&[], None), 0, &mut facts);
        let mut rest = stream.as_slice();
        for size in sizes.iter().copied().chain([count]) {
            let (now, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let seqs: Vec<_> = now.iter().map(|(seq, _)| *seq).collect();
            reader.take(&answer(&seqs, None), 0, &mut facts);
            for (seq, number) in now {
                let was_new = facts.room(0)[NORMAL].seen.note(*seq, *number);
                facts.oddities.dissent += u64::from(!was_new);
            }
        }
        let list = &mut facts.room(0)[NORMAL];
        list.acknowledged = Numbers::default();
        (0..count).for_each(|nth| { list.acknowledged.note(100 + nth as u64, nth as u32); });
        *list.ends.entry(reader.next[NORMAL]).or_default() += 1;
        let verdict = RunVerdict::of(&RunOutcome { facts, ..RunOutcome::default() }, &Default::default());
        prop_assert_eq!(verdict.is_clean(), fault.is_none(), "{:?}: {}", fault, verdict.summary());
    }
}
