//! What is to happen later, in order.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Something that is to happen to a client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Event {
    /// The curve has it come.
    Come,
    /// The curve has it go.
    Go,
    /// It leaves by itself; void after the visit of that number.
    EndVisit(u32),
    /// It comes back from a leave of its own, or from a cut; void after the visit of that number.
    Return(u32),
    /// It connects again after a failure; void after the connection of that number.
    Retry(u32),
    /// It polls; void after the connection of that number.
    Poll(u32),
    /// A slow reader reads on; void after the connection of that number.
    Read(u32),
    /// Many are cut off: the how many-th cut. The client says nothing.
    Cut(u32),
}

/// Events by their time.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u32, Event)>>,
}

impl Timers {
    /// `event` is to happen to the client at `place`, at `at_us`.
    pub(super) fn add(&mut self, at_us: u64, place: u32, event: Event) {
        self.heap.push(Reverse((at_us, place, event)));
    }

    /// The next one whose time has come: when it was due, to whom, what.
    pub(super) fn due(&mut self, now_us: u64) -> Option<(u64, u32, Event)> {
        let Reverse((at_us, ..)) = self.heap.peek()?;
        if *at_us > now_us {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// When the next one is due.
    pub(super) fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_us, ..))| *at_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_times() {
        let mut timers = Timers::default();
        for (at_us, place) in [(30, 1), (10, 2), (20, 3)] {
            timers.add(at_us, place, Event::Come);
        }
        assert_eq!((timers.next_us(), timers.due(9)), (Some(10), None));
        assert_eq!(timers.due(25), Some((10, 2, Event::Come)));
        assert_eq!(timers.due(25), Some((20, 3, Event::Come)));
        assert_eq!(timers.due(25), None);
    }
}
