//! The messages of a room: when each was due.

use std::collections::VecDeque;

use room::{List, PerList};

/// Messages of a list whose times are kept; who is further behind is moved forward and told so. The log itself keeps
/// 10,000 normal messages.
const KEPT_MAX: usize = 10_000;

/// Both lists of a room.
#[derive(Debug)]
pub(super) struct Log(PerList<Times>);

#[derive(Default, Debug)]
struct Times {
    /// Sequence number of the first entry.
    first: u64,
    due_us: VecDeque<u64>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self(PerList::from_fn(|_| Times { first: 1, due_us: VecDeque::new() }))
    }

    /// Adds a message; gives its sequence number.
    pub(super) fn append(&mut self, list: List, due_us: u64) -> u64 {
        let times = &mut self.0[list];
        times.due_us.push_back(due_us);
        if list == List::Normal && times.due_us.len() > KEPT_MAX {
            times.due_us.pop_front();
            times.first += 1;
        }
        self.last(list)
    }

    /// Sequence number of the last message; 0 before there is one.
    pub(super) fn last(&self, list: List) -> u64 {
        let times = &self.0[list];
        times.first + times.due_us.len() as u64 - 1
    }

    /// Sequence number of the oldest that is kept.
    pub(super) fn first(&self, list: List) -> u64 {
        self.0[list].first
    }

    /// When a message was due; it must be kept.
    pub(super) fn due_us(&self, list: List, seq: u64) -> u64 {
        let times = &self.0[list];
        times.due_us[(seq - times.first) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_messages_beyond_the_bound_are_gone_priority_is_kept() {
        let mut log = Log::new();
        assert_eq!(log.last(List::Normal), 0);
        for nth in 0..KEPT_MAX as u64 + 5 {
            assert_eq!(log.append(List::Normal, nth), nth + 1);
            log.append(List::Priority, nth);
        }
        assert_eq!((log.first(List::Normal), log.first(List::Priority)), (6, 1));
        assert_eq!((log.due_us(List::Normal, 6), log.due_us(List::Priority, 1)), (5, 0));
    }
}
