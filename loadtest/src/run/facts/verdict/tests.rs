use super::*;
use crate::run::facts::{Numbers, Oddities};

const NORMAL: usize = List::Normal.index();

fn numbers(pairs: impl IntoIterator<Item = (u64, u32)>) -> Numbers {
    let mut numbers = Numbers::default();
    pairs.into_iter().for_each(|(seq, number)| assert!(numbers.note(seq, number)));
    numbers
}

/// Three normal messages, which two readers got to the end.
fn good() -> RunOutcome {
    let mut facts = Facts { sent: [0, 3], received: [0, 6], spanned: [0, 6], ..Facts::default() };
    let list = &mut facts.room(0)[NORMAL];
    list.acknowledged = numbers([(5, 0), (6, 1), (7, 2)]);
    list.seen = numbers([(5, 0), (6, 1), (7, 2)]);
    list.ends = [(8, 2)].into();
    list.starts = [(5, 2)].into();
    RunOutcome { facts, ..RunOutcome::default() }
}

/// Findings after a change of a good run.
fn findings(change: impl FnOnce(&mut RunOutcome)) -> Vec<String> {
    let mut outcome = good();
    change(&mut outcome);
    let verdict = RunVerdict::of(&outcome, &Expect::default());
    verdict.findings.iter().map(|finding| format!("{} {}", finding.count, finding.what)).collect()
}

#[test]
fn good_run_counts() {
    assert_eq!(findings(|_| {}), Vec::<String>::new());
}

#[test]
fn reader_that_ends_early_has_lost() {
    assert_eq!(
        findings(|run| run.facts.room(0)[NORMAL].ends = [(8, 1), (6, 1)].into()),
        ["2 lost normal messages"]
    );
    assert_eq!(
        findings(|run| run.facts.room(0)[NORMAL].ends = [(8, 1), (0, 1)].into()),
        ["3 lost normal messages"]
    );
}

#[test]
fn reader_that_begins_late_in_an_empty_list_has_lost() {
    assert_eq!(
        findings(|run| run.facts.room(0)[NORMAL].starts = [(6, 1)].into()),
        ["1 lost normal messages"]
    );
}

#[test]
fn other_message_than_acknowledged_is_found() {
    let swapped = |run: &mut RunOutcome| run.facts.room(0)[NORMAL].seen = numbers([(5, 1), (6, 0), (7, 2)]);
    assert_eq!(findings(swapped), ["2 readers saw another message under the same sequence number"]);
}

#[test]
fn message_twice_in_the_log_is_found() {
    let doubled =
        |run: &mut RunOutcome| run.facts.room(0)[NORMAL].seen = numbers([(5, 0), (6, 1), (7, 2), (8, 2)]);
    assert_eq!(findings(doubled), ["1 messages twice in the log"]);
}

#[test]
fn message_that_was_never_sent_is_found() {
    let more =
        |run: &mut RunOutcome| run.facts.room(0)[NORMAL].seen = numbers([(5, 0), (6, 1), (7, 2), (8, 3)]);
    assert_eq!(findings(more), ["1 messages that were never sent"]);
}

#[test]
fn every_oddity_spoils_the_run() {
    let changes: [fn(&mut Oddities); 10] = [
        |odd| odd.repeated[0] = 1,
        |odd| odd.out_of_order[1] = 1,
        |odd| odd.dissent = 1,
        |odd| odd.unknown = 1,
        |odd| odd.priority_after_normal = 1,
        |odd| odd.gap_arithmetic = 1,
        |odd| odd.epoch_changes = 1,
        |odd| odd.answer_rules = 1,
        |odd| odd.early_empty = 1,
        |odd| odd.send_order = 1,
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        let found = findings(|run| {
            change(&mut run.facts.oddities);
            run.facts.received[0] = run.facts.oddities.repeated[0];
        });
        assert_eq!(found.len(), 1, "{nth}: {found:?}");
    }
}

#[test]
fn loss_is_counted_and_accounted_for() {
    let found = findings(|run| {
        run.facts.oddities.lost[NORMAL] = 1;
        run.facts.received[NORMAL] = 5;
    });
    assert_eq!(found, ["1 lost normal messages"]);
    let found = findings(|run| run.facts.received[NORMAL] = 5);
    assert_eq!(found, ["1 sequence numbers unaccounted for"]);
}

#[test]
fn skips_are_for_the_profile_to_allow_in_the_normal_list_alone() {
    let mut outcome = good();
    outcome.facts.skipped = [1, 1];
    outcome.facts.spanned = [1, 7];
    let expect = Expect { normal_gap: true, ..Expect::default() };
    let verdict = RunVerdict::of(&outcome, &expect);
    assert_eq!(verdict.findings, [Finding { what: "skipped priority messages".to_owned(), count: 1 }]);
    assert_eq!(verdict.remarks, [Finding { what: "skipped normal messages".to_owned(), count: 1 }]);
}

#[test]
fn errors_spoil_unless_expected() {
    let failed = |run: &mut RunOutcome| run.totals.add_error("poll 503 node_full", 2);
    assert_eq!(findings(failed), ["2 poll 503 node_full"]);
    let mut outcome = good();
    failed(&mut outcome);
    let expect = Expect { errors: vec!["poll 503*".to_owned()], ..Expect::default() };
    assert!(RunVerdict::of(&outcome, &expect).is_clean());
}

#[test]
fn silence_shows_nothing() {
    let verdict = RunVerdict::of(&RunOutcome::default(), &Expect::default());
    assert!(!verdict.is_clean());
}

#[test]
fn bounds_on_latency_and_lateness_hold() {
    let mut outcome = good();
    let mut recorder = crate::run::latencies::LatencyRecorder::new();
    recorder.record(2_000_000, 10);
    outcome.ages[0] = recorder.take();
    outcome.totals.due = [0, 3];
    outcome.totals.late = [0, 2];
    let expect = Expect {
        priority_p99_max: Some(std::time::Duration::from_secs(1)),
        late_share_max: 0.5,
        ..Expect::default()
    };
    let verdict = RunVerdict::of(&outcome, &expect);
    assert_eq!(verdict.findings.len(), 2, "{verdict:?}");
}

#[test]
fn probes_are_held_to_their_bound_whatever_the_crowd_sees() {
    let mut outcome = good();
    let mut recorder = crate::run::latencies::LatencyRecorder::new();
    outcome.ages = [(); 2].map(|()| {
        recorder.record(2_000_000, 10);
        recorder.take()
    });
    let expect = Expect { probes_p99_max: Some(std::time::Duration::from_secs(1)), ..Expect::default() };
    assert!(RunVerdict::of(&outcome, &expect).is_clean());
    recorder.record(2_000_000, 10);
    outcome.probe_ages[NORMAL] = recorder.take();
    let findings = RunVerdict::of(&outcome, &expect).findings;
    assert_eq!(findings[0].what, "ms is the p99 age of normal messages, seen by probes, above 1s");
}

#[test]
fn server_is_held_to_its_bounds() {
    use crate::run::outcome::{Sample, ServerSample};
    let second = |at_s, memory_mib: u64, priority_gap| {
        let memory_bytes = Some(memory_mib << 20);
        let server =
            Some(ServerSample { memory_bytes, priority_gap: Some(priority_gap), ..ServerSample::default() });
        Sample { at_s, connected: 10, server, ..Sample::default() }
    };
    let mut outcome = good();
    outcome.samples = vec![second(0, 30, 0), second(1, 50, 0), second(2, 40, 0)];
    outcome.totals.polls = 60;
    let expect = |mib, polls| Expect {
        server_memory_max_mib: Some(mib),
        polls_per_client_max: Some(polls),
        ..Expect::default()
    };
    let findings = |outcome: &RunOutcome, expect: &Expect| -> Vec<_> {
        RunVerdict::of(outcome, expect)
            .findings
            .into_iter()
            .map(|finding| (finding.count, finding.what))
            .collect()
    };
    let unknown = RunVerdict::of(&good(), &expect(50, 2.0));
    assert_eq!((unknown.is_clean(), unknown.remarks.len()), (true, 1), "{unknown:?}");
    assert_eq!(findings(&outcome, &expect(50, 2.0)), []);
    assert_eq!(findings(&outcome, &Expect::default()), []);
    let found = findings(&outcome, &expect(49, 1.9));
    assert_eq!(found.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [50, 60], "{found:?}");
    outcome.samples.push(second(3, 40, 2));
    let found = findings(&outcome, &Expect::default());
    assert_eq!(found, [(2, "priority messages that the server counts as skipped".to_owned())]);
}

#[test]
fn counts_are_held_to_who_was_there() {
    use crate::run::{
        Sample,
        presence::{Present, Span},
    };
    let present = |users| Present { users, clients: users };
    let findings = |told: Option<u64>| {
        let mut outcome = good();
        outcome.samples = (0..6)
            .map(|at_s| Sample {
                at_s,
                watched: Span { least: present(7), most: present(9) },
                told: told.map(present),
                ..Sample::default()
            })
            .collect();
        let expect = Expect { counts_within: Some(std::time::Duration::from_secs(1)), ..Expect::default() };
        let verdict = RunVerdict::of(&outcome, &expect);
        verdict
            .findings
            .iter()
            .map(|finding| format!("{} {}", finding.count, finding.what))
            .collect::<Vec<_>>()
    };
    assert_eq!(findings(Some(7)), Vec::<String>::new());
    assert_eq!(findings(None), ["1 times at which the server did not tell who is online"]);
    let other = "1 times at which other users or clients were told than had been there within 1s";
    assert_eq!(findings(Some(10)), [other]);
    assert_eq!(findings(Some(6)), [other]);
}
