//! Answers that go out by an outlet: without the task that asked, and with it where the outlet can't take them.

use std::{cell::RefCell, future::poll_fn, rc::Rc};

use recvsvr::{Answer, Delivery, Follower, Outlet, Start, Started};
use room::List;

use crate::harness::{LONG_MS, ask_at, on_node, options, room, until, within};

const NOW: Start = Start::Now { tail: None };

/// Takes note of what it is given.
struct Noting {
    says: Delivery,
    given: RefCell<Vec<Answer>>,
}

impl Noting {
    fn new(says: Delivery) -> Rc<Self> {
        Rc::new(Self { says, given: RefCell::default() })
    }
}

impl Outlet for Noting {
    fn deliver(&self, answer: &Answer) -> Delivery {
        self.given.borrow_mut().push(Rc::clone(answer));
        self.says
    }
}

#[test]
fn outlet_takes_the_answer_of_a_parked_poll() {
    on_node(options(), async |node| {
        let room = room("outlet");
        let outlet = Noting::new(Delivery::Written);
        let mut follower = Follower::new(node.worker());
        follower.set_outlet(Some(Rc::clone(&outlet) as Rc<dyn Outlet>));
        for round in 1..=2 {
            let started = follower.ask(&room, &ask_at(NOW, 10, LONG_MS)).unwrap();
            assert!(matches!(started, Started::Parked | Started::Later(_)));
            if let Started::Later(fill) = started {
                fill.await.unwrap();
                let started = follower.ask_again(&room, &ask_at(NOW, 10, LONG_MS)).unwrap();
                assert!(matches!(started, Started::Parked));
            }
            assert!(!follower.take_delivered());
            node.send(&room, List::Normal, 1).await;
            until("the outlet has the answer", || outlet.given.borrow().len() == round).await;
            assert!(follower.take_delivered());
            assert!(!follower.take_delivered(), "told twice");
            assert_eq!(outlet.given.borrow()[round - 1].messages, 1);
            assert_eq!(node.rooms.parked_polls(), 0);
        }
    });
}

#[test]
fn answer_that_an_outlet_leaves_wakes_the_task() {
    on_node(options(), async |node| {
        let room = room("left");
        node.send(&room, List::Normal, 1).await;
        let outlet = Noting::new(Delivery::Left);
        let mut follower = Follower::new(node.worker());
        follower.set_outlet(Some(Rc::clone(&outlet) as Rc<dyn Outlet>));
        let ask = ask_at(NOW, 10, LONG_MS);
        let mut started = follower.ask(&room, &ask).unwrap();
        if let Started::Later(fill) = started {
            fill.await.unwrap();
            started = follower.ask_again(&room, &ask).unwrap();
        }
        assert!(matches!(started, Started::Parked));
        let (started, ()) = tokio::join!(
            within("an answer", poll_fn(|task| follower.poll_answer(task))),
            node.send(&room, List::Priority, 1)
        );
        let Started::Answer(answer) = started else { panic!("it was answered from memory") };
        assert!(Rc::ptr_eq(&answer, &outlet.given.borrow()[0]));
        assert!(!follower.take_delivered());
    });
}
