//! A node under load: how the wake-ups of a big room are spread, and who is turned away.

use std::{cell::Cell, rc::Rc};

use recvsvr::{Answer, Delivery, Follower, Outlet, Start, Started};
use room::{
    ErrorCode, List,
    pressure::{PressureStep, SPREAD_FROM_POLLS},
};

use crate::harness::{DEADLINE, LONG_MS, Node, Reader, ask_at, on_node, options, room};

const NOW: Start = Start::Now { tail: None };

/// Counts what it takes.
#[derive(Default)]
struct Counting(Cell<usize>);

impl Outlet for Counting {
    fn deliver(&self, _answer: &Answer) -> Delivery {
        self.0.set(self.0.get() + 1);
        Delivery::Written
    }
}

/// How `polls` parked polls of a room were woken by a message, in turns of the thread.
#[derive(Debug)]
struct Wakeups {
    /// Most woken in one turn.
    burst: usize,
    /// Times at which, with some woken and some not, more than a few turns in a row woke nobody.
    rests: usize,
}

async fn wake_up(node: &Node, polls: usize, list: List) -> Wakeups {
    /// Turns that the runtime may put between two chunks of one fan-out.
    const TURNS_BETWEEN: usize = 4;
    let room = room("crowd");
    Reader::new(node.worker(), &room, Start::Now { tail: Some(0) }).poll(0).await;
    let woken = Rc::new(Counting::default());
    let mut followers = Vec::with_capacity(polls);
    for _ in 0..polls {
        let mut follower = Follower::new(node.worker());
        follower.set_outlet(Some(Rc::clone(&woken) as Rc<dyn Outlet>));
        assert!(matches!(follower.ask(&room, &ask_at(NOW, 10, LONG_MS)), Ok(Started::Parked)));
        followers.push(follower);
    }
    node.until_parked(polls).await;
    node.send(&room, list, 1).await;
    let started = std::time::Instant::now();
    let (mut before, mut still, mut wakeups) = (woken.0.get(), 0, Wakeups { burst: 0, rests: 0 });
    while woken.0.get() < polls {
        tokio::task::yield_now().await;
        let now = woken.0.get();
        wakeups.burst = wakeups.burst.max(now - before);
        still = if now == before && now > 0 { still + 1 } else { 0 };
        wakeups.rests += usize::from(still == TURNS_BETWEEN + 1);
        before = now;
        assert!(started.elapsed() < DEADLINE, "{now} of {polls} were woken: {wakeups:?}");
    }
    assert_eq!(node.rooms.parked_polls(), 0);
    wakeups
}

#[test]
fn wakeups_of_a_big_room_are_spread_for_normal_messages() {
    on_node(options(), async |node| {
        let wakeups = wake_up(&node, 2 * SPREAD_FROM_POLLS, List::Normal).await;
        // Some rests on the slowest machine, too; and a chunk, or two where turns fall together.
        assert!(wakeups.rests >= 3 && wakeups.burst <= 256, "{wakeups:?}");
    });
}

#[test]
fn priority_is_never_spread() {
    on_node(options(), async |node| {
        let wakeups = wake_up(&node, 2 * SPREAD_FROM_POLLS, List::Priority).await;
        assert!(wakeups.rests == 0 && wakeups.burst > 256, "{wakeups:?}");
    });
}

#[test]
fn room_below_the_bound_is_not_spread() {
    on_node(options(), async |node| {
        let wakeups = wake_up(&node, SPREAD_FROM_POLLS / 2, List::Normal).await;
        assert_eq!(wakeups.rests, 0, "{wakeups:?}");
    });
}

#[test]
fn priority_overtakes_a_spread_that_is_under_way() {
    on_node(options(), async |node| {
        let room = room("crowd");
        let polls = 2 * SPREAD_FROM_POLLS;
        Reader::new(node.worker(), &room, Start::Now { tail: Some(0) }).poll(0).await;
        let woken = Rc::new(Counting::default());
        let mut followers: Vec<_> = (0..polls).map(|_| Follower::new(node.worker())).collect();
        for follower in &mut followers {
            follower.set_outlet(Some(Rc::clone(&woken) as Rc<dyn Outlet>));
            assert!(matches!(follower.ask(&room, &ask_at(NOW, 10, LONG_MS)), Ok(Started::Parked)));
        }
        node.send(&room, List::Normal, 1).await;
        node.send(&room, List::Priority, 1).await;
        crate::harness::until("all are woken once", || woken.0.get() == polls).await;
        // And the next news finds them again.
        woken.0.set(0);
        for follower in &mut followers {
            assert!(follower.take_delivered());
            assert!(matches!(follower.ask(&room, &ask_at(NOW, 10, LONG_MS)), Ok(Started::Parked)));
        }
        node.send(&room, List::Normal, 1).await;
        crate::harness::until("all are woken again", || woken.0.get() == polls).await;
    });
}

#[test]
fn highest_step_turns_new_readers_away_and_lets_others_go_on() {
    on_node(options(), async |node| {
        let room = room("full");
        let mut reader = Reader::new(node.worker(), &room, NOW);
        reader.poll(0).await;
        node.rooms.pressure().hold(1.0, PressureStep::MAX);
        for start in [NOW, Start::Oldest, Start::Now { tail: Some(3) }] {
            let mut newcomer = Follower::new(node.worker());
            let problem = newcomer.ask(&room, &ask_at(start, 10, LONG_MS)).err().expect("it is refused");
            assert_eq!(problem.code, ErrorCode::NodeFull);
            assert!((1..=5).contains(&problem.retry_after_s().unwrap()));
        }
        node.send(&room, List::Priority, 1).await;
        assert_eq!(reader.poll(LONG_MS).await.seqs.priority, [1]);
        node.rooms.pressure().hold(1.0, PressureStep::MAX.down());
        assert!(Reader::new(node.worker(), &room, NOW).try_poll(0).await.is_ok());
    });
}

#[test]
fn thinned_reader_gets_the_newest_and_the_count_of_the_others() {
    on_node(options(), async |node| {
        let room = room("thin");
        let mut reader = Reader::new(node.worker(), &room, Start::Oldest);
        reader.poll(0).await;
        node.rooms.pressure().hold(1.0, PressureStep::new(3).unwrap());
        node.send(&room, List::Normal, 130).await;
        node.send(&room, List::Priority, 70).await;
        let got = reader.poll(0).await;
        assert_eq!(got.seqs.priority, (1..=70).collect::<Vec<_>>());
        assert_eq!(got.seqs.normal, (81..=130).collect::<Vec<_>>());
        assert_eq!((got.missing(List::Normal), got.gap_reason()), (80, Some("shed")));
        assert_eq!(node.metric("bigroom_messages_skipped_total", "shed"), 80.0);
    });
}
