//! Answers of the writing thread to those who wait for them, with one wake-up a thread for all of a commit.
//!
//! Waking a task from another thread costs a system call, and after a group commit there are dozens of them to be woken
//! on the same few threads. So the first of each thread's waiters is woken, and wakes the others when it takes its
//! answer: from its own thread, where that costs next to nothing. Whoever has that duty does it also when it is dropped.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
};

use parking_lot::Mutex;

/// The end that answers. Dropped without an answer, it tells the other end that none will come.
pub(crate) struct Answer<T>(Arc<Mutex<State<T>>>);

/// The end that waits: a future of the answer, or of `None` if there will be none.
pub(crate) struct Awaited<T>(Arc<Mutex<State<T>>>);

enum State<T> {
    /// Nobody has asked yet.
    New,
    /// Somebody waits, on that thread when it last asked.
    Waiting(Waker, ThreadId),
    /// The answer, and those whom its taker wakes.
    Answered(T, Vec<Waker>),
    /// No answer comes, or it was taken, or nobody wants it.
    Over,
}

/// A pair of ends.
pub(crate) fn answer<T>() -> (Answer<T>, Awaited<T>) {
    let state = Arc::new(Mutex::new(State::New));
    (Answer(Arc::clone(&state)), Awaited(state))
}

impl<T> Answer<T> {
    /// Answers, and wakes who waits.
    pub(crate) fn send(self, value: T) {
        if let Some((waker, _)) = self.put(value) {
            waker.wake();
        }
    }

    /// Leaves the answer; gives back whom to wake.
    fn put(&self, value: T) -> Option<(Waker, ThreadId)> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::New => *state = State::Answered(value, Vec::new()),
            State::Waiting(waker, thread) => {
                *state = State::Answered(value, Vec::new());
                return Some((waker, thread));
            }
            // A caller that went away is no reason to stop.
            over @ (State::Over | State::Answered(..)) => *state = over,
        }
        None
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(*state, State::New | State::Waiting(..))
            && let State::Waiting(waker, _) = std::mem::replace(&mut *state, State::Over)
        {
            drop(state);
            waker.wake();
        }
    }
}

/// Answers that are given together.
pub(crate) struct Together<T>(Vec<OfThread<T>>);

/// Those who wait on one thread.
struct OfThread<T> {
    thread: ThreadId,
    first: Answer<T>,
    waker: Waker,
    others: Vec<Waker>,
}

impl<T> Together<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Answers one of them, who is woken by [`Together::wake`].
    pub(crate) fn send(&mut self, answer: Answer<T>, value: T) {
        let Some((waker, thread)) = answer.put(value) else { return };
        match self.0.iter_mut().find(|known| known.thread == thread) {
            Some(known) => known.others.push(waker),
            None => self.0.push(OfThread { thread, first: answer, waker, others: Vec::new() }),
        }
    }

    /// Wakes all who were answered.
    pub(crate) fn wake(self) {
        for OfThread { first, waker, others, .. } in self.0 {
            let now = match &mut *first.0.lock() {
                State::Answered(_, wakes) => {
                    *wakes = others;
                    Vec::new()
                }
                // It has looked by itself meanwhile, or is gone.
                State::New | State::Waiting(..) | State::Over => others,
            };
            waker.wake();
            now.into_iter().for_each(Waker::wake);
        }
    }
}

impl<T> Awaited<T> {
    /// The answer, if it is there.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.0.lock();
        if !matches!(*state, State::Answered(..)) {
            return None;
        }
        let State::Answered(value, wakes) = std::mem::replace(&mut *state, State::Over) else {
            unreachable!("looked at under the same lock");
        };
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
        Some(value)
    }
}

impl<T> Future for Awaited<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(value) = self.take() {
            return Poll::Ready(Some(value));
        }
        let mut state = self.0.lock();
        match &mut *state {
            State::Over => Poll::Ready(None),
            State::Waiting(waker, thread) => {
                waker.clone_from(task.waker());
                *thread = thread::current().id();
                Poll::Pending
            }
            State::New => {
                *state = State::Waiting(task.waker().clone(), thread::current().id());
                Poll::Pending
            }
            // It came between the two looks.
            State::Answered(..) => {
                drop(state);
                Poll::Ready(self.take())
            }
        }
    }
}

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        // Whatever is there is let go outside the lock: wakers and values run code of their own.
        let last = std::mem::replace(&mut *self.0.lock(), State::Over);
        if let State::Answered(_, wakes) = last {
            wakes.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn woken(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, wakes: &Arc<Count>) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
    }

    /// So many who wait on this thread, each with a count of its wake-ups.
    /// Those who wait, each with a count of its wake-ups.
    type Waiting = Vec<(Awaited<usize>, Arc<Count>)>;

    fn waiting(count: usize) -> (Vec<Answer<usize>>, Waiting) {
        (0..count)
            .map(|_| {
                let (answer, mut awaited) = answer();
                let wakes = Arc::new(Count::default());
                assert_eq!(poll(&mut awaited, &wakes), Poll::Pending);
                (answer, (awaited, wakes))
            })
            .unzip()
    }

    fn answer_all(answers: Vec<Answer<usize>>) {
        let mut together = Together::new();
        for (number, answer) in answers.into_iter().enumerate() {
            together.send(answer, number);
        }
        together.wake();
    }

    #[test]
    fn answer_comes_before_or_after_the_question() {
        let wakes = Arc::new(Count::default());
        let (early, mut awaited) = answer();
        early.send(1);
        assert_eq!(poll(&mut awaited, &wakes), Poll::Ready(Some(1)));
        let (late, mut awaited) = answer();
        assert_eq!(poll(&mut awaited, &wakes), Poll::Pending);
        late.send(2);
        assert_eq!(wakes.woken(), 1);
        assert_eq!(poll(&mut awaited, &wakes), Poll::Ready(Some(2)));
    }

    #[test]
    fn dropped_answer_is_told() {
        let wakes = Arc::new(Count::default());
        let (answer, mut awaited) = answer::<()>();
        assert_eq!(poll(&mut awaited, &wakes), Poll::Pending);
        drop(answer);
        assert_eq!((wakes.woken(), poll(&mut awaited, &wakes)), (1, Poll::Ready(None)));
    }

    #[test]
    fn first_of_a_thread_wakes_the_others() {
        let (answers, mut waiters) = waiting(3);
        answer_all(answers);
        let woken = |waiters: &[(_, Arc<Count>)]| waiters.iter().map(|(_, w)| w.woken()).collect::<Vec<_>>();
        assert_eq!(woken(&waiters), [1, 0, 0]);
        let (first, wakes) = &mut waiters[0];
        assert_eq!(poll(first, &Arc::clone(wakes)), Poll::Ready(Some(0)));
        assert_eq!(woken(&waiters), [1, 1, 1]);
        for (number, (awaited, wakes)) in waiters.iter_mut().enumerate().skip(1) {
            assert_eq!(poll(awaited, &Arc::clone(wakes)), Poll::Ready(Some(number)));
        }
    }

    #[test]
    fn first_that_leaves_wakes_the_others() {
        let (answers, mut waiters) = waiting(3);
        answer_all(answers);
        drop(waiters.remove(0));
        assert!(waiters.iter().all(|(_, wakes)| wakes.woken() == 1));
    }

    #[test]
    fn first_that_left_before_holds_nobody_up() {
        let (answers, mut waiters) = waiting(3);
        let mut together = Together::new();
        for (number, answer) in answers.into_iter().enumerate() {
            together.send(answer, number);
        }
        drop(waiters.remove(0));
        together.wake();
        assert!(waiters.iter().all(|(_, wakes)| wakes.woken() == 1));
    }

    #[test]
    fn each_thread_has_a_first() {
        let (mut answers, mut waiters) = waiting(2);
        let (more, others) = std::thread::spawn(|| waiting(2)).join().unwrap();
        answers.extend(more);
        waiters.extend(others);
        answer_all(answers);
        assert_eq!(waiters.iter().map(|(_, wakes)| wakes.woken()).collect::<Vec<_>>(), [1, 0, 1, 0]);
    }
}
