//! Clients that leave, by word or with their connection, while others of their polls may go on.

use super::*;

#[test]
fn close_and_leave_take_effect_at_once() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collectors = [sandbox.collector()];
    let now_ms = sandbox.now_ms();
    let closes = collectors[0].parked(&room("r"), visitor(1, 1), None, 0, now_ms);
    let leaves = collectors[0].parked(&room("r"), visitor(2, 1), None, 0, now_ms);
    collectors[0].seen(&room("r"), &visitor(2, 2), None, now_ms);
    sandbox.wait(1_200, &mut collectors);
    assert_eq!(sandbox.seen("r"), (2, 3));
    collectors[0].closed(closes, sandbox.now_ms());
    collectors[0].left(&room("r"), &visitor(2, 1), sandbox.now_ms());
    collectors[0].ended(leaves);
    sandbox.wait(100, &mut collectors);
    assert_eq!(sandbox.seen("r"), (1, 1), "the second device is still there");
    let back = collectors[0].parked(&room("r"), visitor(1, 1), None, 0, sandbox.now_ms());
    sandbox.wait(1_200, &mut collectors);
    assert_eq!(sandbox.seen("r"), (2, 2));
    collectors[0].ended(back);
}

#[test]
fn client_with_another_poll_on_any_thread_stays() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collectors = [sandbox.collector(), sandbox.collector()];
    let now_ms = sandbox.now_ms();
    let [one, two] =
        [0, 0].map(|core: usize| collectors[core].parked(&room("r"), visitor(1, 1), None, 0, now_ms));
    let three = collectors[1].parked(&room("r"), visitor(1, 1), None, 0, now_ms);
    let alone = collectors[0].parked(&room("r"), visitor(2, 1), None, 0, now_ms);
    sandbox.wait(1_200, &mut collectors);
    for (core, parked, left) in [(0, one, 2), (0, two, 2), (1, three, 1), (0, alone, 0)] {
        collectors[core].closed(parked, sandbox.now_ms());
        for _ in 0..10 {
            sandbox.wait(50, &mut collectors);
            let (users, _) = sandbox.seen("r");
            assert!(users == left || users == left + 1, "never fewer than {left}, {users}");
        }
        assert_eq!(sandbox.seen("r").0, left);
    }
}

#[test]
fn leave_and_poll_of_one_client_at_once_on_two_threads_hide_it_for_two_seconds_at_most() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collectors = [sandbox.collector(), sandbox.collector()];
    let early = collectors[0].parked(&room("r"), visitor(1, 1), None, 0, sandbox.now_ms());
    sandbox.wait(3_000, &mut collectors);
    collectors[0].left(&room("r"), &visitor(1, 1), sandbox.now_ms());
    collectors[0].ended(early);
    let poll = collectors[1].parked(&room("r"), visitor(1, 1), None, 0, sandbox.now_ms());
    // Another poll comes to its place meanwhile, and is not told of for the first one.
    let brief = collectors[1].parked(&room("r"), visitor(2, 1), None, 0, sandbox.now_ms());
    collectors[1].ended(brief);
    sandbox.wait(2_100, &mut collectors);
    assert_eq!(sandbox.seen("r"), (2, 2), "the other one for a window");
    sandbox.wait(40_000, &mut collectors);
    assert_eq!(sandbox.seen("r"), (1, 1));
    collectors[1].ended(poll);
}

#[test]
fn polls_of_who_has_left_are_found_and_prove_nothing() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collectors = [sandbox.collector()];
    let now_ms = sandbox.now_ms();
    let [first, second, third] =
        [1, 2, 3].map(|seat| collectors[0].parked(&room("r"), visitor(1, 1), None, seat, now_ms));
    let other = collectors[0].parked(&room("r"), visitor(1, 2), None, 9, now_ms);
    // One from the middle of the client's list.
    collectors[0].answered(second, now_ms);
    sandbox.wait(1_200, &mut collectors);
    assert_eq!(sandbox.seen("r"), (1, 2));
    collectors[0].left(&room("r"), &visitor(1, 1), sandbox.now_ms());
    assert_eq!(collectors[0].take_ended(), [3, 1]);
    assert!(collectors[0].take_ended().is_empty());
    sandbox.wait(40_000, &mut collectors);
    assert_eq!(sandbox.seen("r"), (1, 1), "the other device is still there");
    collectors[0].answered(first, sandbox.now_ms());
    collectors[0].closed(third, sandbox.now_ms());
    sandbox.wait(1_200, &mut collectors);
    assert_eq!((sandbox.seen("r"), collectors[0].num_parked()), ((1, 1), 1));
    collectors[0].ended(other);
}

#[test]
fn poll_that_is_answered_while_its_client_leaves_elsewhere_proves_nothing() {
    for later_ms in [0, 1, 40] {
        let sandbox = Sandbox::new(1, StatsSettings::default());
        let mut collectors = [sandbox.collector(), sandbox.collector()];
        let poll = collectors[0].parked(&room("r"), visitor(1, 1), None, 7, sandbox.now_ms());
        sandbox.wait(5_000, &mut collectors);
        assert_eq!(sandbox.seen("r"), (1, 1));
        collectors[1].left(&room("r"), &visitor(1, 1), sandbox.now_ms());
        // Before the thread has come to anything else.
        sandbox.hand.fetch_add(later_ms, Ordering::Relaxed);
        assert!(collectors[0].answered(poll, sandbox.now_ms()), "nothing should go on in its client's name");
        assert!(collectors[0].take_ended().is_empty(), "it has ended");
        sandbox.wait(1_200, &mut collectors);
        assert_eq!(sandbox.seen("r"), (0, 0), "answered {later_ms} ms later");
    }
}

#[test]
fn leave_wins_over_what_its_client_did_elsewhere_just_before() {
    // Ages travel in steps of 10 ms, from the time of each batch.
    for (before_ms, sent_ms) in
        (0..12).flat_map(|before_ms| [1_000, 1_005, 1_009].map(|sent| (before_ms, sent)))
    {
        let sandbox = Sandbox::new(1, StatsSettings::default());
        let mut collectors = [sandbox.collector(), sandbox.collector()];
        collectors[0].seen(&room("r"), &visitor(1, 1), None, sandbox.now_ms());
        collectors[0].seen(&room("r"), &visitor(2, 1), None, sandbox.now_ms());
        sandbox.hand.fetch_add(before_ms, Ordering::Relaxed);
        collectors[1].left(&room("r"), &visitor(1, 1), sandbox.now_ms());
        sandbox.deliver(&mut collectors[1]);
        sandbox.hand.fetch_add(sent_ms - before_ms, Ordering::Relaxed);
        sandbox.tick(&mut collectors[0]);
        sandbox.settle();
        assert_eq!(sandbox.seen("r"), (1, 1), "{before_ms} ms before, sent after {sent_ms} ms");
    }
}

#[test]
fn what_is_begun_after_a_leave_counts_on_any_thread() {
    for core in [0, 1] {
        let sandbox = Sandbox::new(1, StatsSettings::default());
        let mut collectors = [sandbox.collector(), sandbox.collector()];
        collectors[0].seen(&room("r"), &visitor(1, 1), None, sandbox.now_ms());
        collectors[1].left(&room("r"), &visitor(1, 1), sandbox.now_ms());
        let back = collectors[core].parked(&room("r"), visitor(1, 1), None, 7, sandbox.now_ms());
        sandbox.wait(2_100, &mut collectors);
        assert_eq!(sandbox.seen("r"), (1, 1));
        assert!(collectors[core].take_ended().is_empty());
        sandbox.wait(40_000, &mut collectors);
        assert!(!collectors[core].answered(back, sandbox.now_ms()));
        assert_eq!(sandbox.seen("r"), (1, 1));
    }
}

#[test]
fn moment_tells_who_has_left_since() {
    let sandbox = Sandbox::new(1, StatsSettings::default());
    let mut collectors = [sandbox.collector(), sandbox.collector()];
    let began = collectors[0].moment();
    assert!(!collectors[0].has_left_since(began, &room("r"), &visitor(1, 1)));
    collectors[1].left(&room("r"), &visitor(1, 1), sandbox.now_ms());
    assert!(collectors[0].has_left_since(began, &room("r"), &visitor(1, 1)));
    for (name, user, device) in [("s", 1, 1), ("r", 2, 1), ("r", 1, 2)] {
        assert!(!collectors[0].has_left_since(began, &room(name), &visitor(user, device)));
    }
    let later = collectors[0].moment();
    assert!(!collectors[0].has_left_since(later, &room("r"), &visitor(1, 1)));
}
