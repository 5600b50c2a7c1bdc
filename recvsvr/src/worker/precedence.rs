//! Answers to parked polls go before what can wait a moment.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::Worker;

/// What waits for a fan-out does so for no longer, however many follow each other.
const WAIT_MAX: Duration = Duration::from_millis(25);

/// Whether answers are on their way, and who waits until they are.
#[derive(Default)]
pub(super) struct Precedence {
    are_answers_due: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    /// When the first of them began to wait (Unix microseconds).
    since_us: Cell<u64>,
}

impl Precedence {
    /// A portion of a fan-out is out, and others follow if `are_answers_due`: who has waited for long goes on, or all.
    pub(super) fn next_portion(&self, are_answers_due: bool, now_us: impl FnOnce() -> u64) {
        self.are_answers_due.set(are_answers_due);
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            return;
        }
        // A clock that was set back must not hold them.
        let has_waited =
            || Duration::from_micros(now_us().checked_sub(self.since_us.get()).unwrap_or(u64::MAX));
        if !are_answers_due || has_waited() >= WAIT_MAX {
            waiting.drain(..).for_each(Waker::wake);
        }
    }

    fn poll_wait(&self, has_waited: &mut bool, task: &Context<'_>, now_us: impl FnOnce() -> u64) -> Poll<()> {
        if *has_waited || !self.are_answers_due.get() {
            return Poll::Ready(());
        }
        *has_waited = true;
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.since_us.set(now_us());
        }
        waiting.push(task.waker().clone());
        Poll::Pending
    }
}

impl Worker {
    /// Ready once this thread has no fan-out under way, or after 25 ms of them. For what others should not wait for, such as
    /// questions for numbers: each that was answered within a fan-out would make the rest of its viewers wait.
    ///
    /// `has_waited` is the caller's, false before each piece of work: who was woken once goes on.
    pub fn poll_precedence(&self, has_waited: &mut bool, task: &Context<'_>) -> Poll<()> {
        self.precedence.poll_wait(has_waited, task, super::now_us)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn waits_for_the_end_of_a_fan_out_or_for_its_most() {
        let precedence = Precedence::default();
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let task = Context::from_waker(&waker);
        let poll = |has_waited: &mut bool, at_us| precedence.poll_wait(has_waited, &task, || at_us);
        let num_woken = || woken.0.load(Ordering::Relaxed);

        assert!(poll(&mut false, 0).is_ready(), "nothing is under way");
        precedence.next_portion(true, || 0);
        let (mut first, mut second) = (false, false);
        assert!(poll(&mut first, 1_000).is_pending() && poll(&mut second, 2_000).is_pending());
        precedence.next_portion(true, || 25_999);
        assert_eq!(num_woken(), 0);
        precedence.next_portion(true, || 26_000);
        assert_eq!(num_woken(), 2, "25 ms after the first");
        assert!(poll(&mut first, 26_000).is_ready(), "once is enough");

        first = false;
        assert!(poll(&mut first, 27_000).is_pending(), "the next piece of work waits anew");
        precedence.next_portion(true, || 28_000);
        assert_eq!(num_woken(), 2);
        precedence.next_portion(false, || 28_000);
        assert_eq!(num_woken(), 3, "the fan-out is over");
        assert!(poll(&mut false, 29_000).is_ready());
    }
}
