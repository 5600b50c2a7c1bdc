//! What one thread of a process tells all others, who look when they get to it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// The latest things told. Who has read all of them finds that out by one load.
#[derive(Debug)]
pub(crate) struct Told<T> {
    /// Number of the next one.
    next: AtomicU64,
    latest: Mutex<VecDeque<Arc<T>>>,
    /// Most that are remembered (count); the oldest gives way.
    max: usize,
}

impl<T> Told<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { next: AtomicU64::new(0), latest: Mutex::default(), max }
    }

    /// Number of the next one: whoever begins to read begins there.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    pub(super) fn publish(&self, told: Arc<T>) {
        let mut latest = self.latest.lock();
        if latest.len() >= self.max {
            latest.pop_front();
        }
        latest.push_back(told);
        self.next.fetch_add(1, Ordering::Release);
    }

    /// All since number `read`, which is moved on.
    pub(super) fn unread(&self, read: &mut u64) -> Vec<Arc<T>> {
        if self.next() == *read {
            return Vec::new();
        }
        let latest = self.latest.lock();
        let next = self.next();
        let first = first(&latest, next - *read);
        *read = next;
        latest.range(first..).cloned().collect()
    }

    /// Whether there is one like that since number `since`.
    pub(super) fn any_since(&self, since: u64, is: impl Fn(&T) -> bool) -> bool {
        if self.next() == since {
            return false;
        }
        let latest = self.latest.lock();
        let first = first(&latest, self.next() - since);
        latest.range(first..).any(|told| is(told))
    }
}

/// Where the last `count` begin.
fn first<T>(latest: &VecDeque<T>, count: u64) -> usize {
    latest.len() - usize::try_from(count).unwrap_or(usize::MAX).min(latest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_gets_each_once_and_the_oldest_give_way() {
        let told = Told::new(3);
        let mut read = told.next();
        let mut unread = || told.unread(&mut read).iter().map(|number| **number).collect::<Vec<u32>>();
        assert!(unread().is_empty());
        (1..=2).for_each(|number| told.publish(Arc::new(number)));
        assert_eq!(unread(), [1, 2]);
        (3..=7).for_each(|number| told.publish(Arc::new(number)));
        assert_eq!(unread(), [5, 6, 7]);
        assert!(unread().is_empty());
        assert!(told.any_since(6, |number| *number == 7) && !told.any_since(6, |number| *number == 6));
        assert!(!told.any_since(7, |_| true) && told.any_since(0, |number| *number == 5));
    }
}
