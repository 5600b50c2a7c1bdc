//! What is to happen, in the order of virtual time.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Something that happens. Numbers are places in the simulation's tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Event {
    /// Nodes look at their load.
    Look,
    /// A second is over: counts go out, and rooms are looked at.
    Second,
    /// The next message of a source is due.
    Message { source: u32 },
    /// A proxy hears of the messages of a room up to here.
    Notice { proxy: u16, room: u16, priority: u64, normal: u64 },
    /// A proxy follows a room anew, at a node of its choice.
    Follow { proxy: u16, room: u16 },
    /// A client comes, by the crowd's curve.
    Come { client: u32 },
    /// A client goes, by the crowd's curve.
    Go { client: u32 },
    /// A client that lost its connection makes another one; void after the life of that number.
    Reconnect { client: u32, life: u32 },
    /// A client's poll arrives at its proxy; void after the life of that number.
    Poll { client: u32, life: u32 },
    /// A hold or a deadline is over; void after the poll of that number.
    Timer { client: u32, turn: u32 },
    /// A spread wake-up; void after the poll of that number.
    Wake { client: u32, turn: u32 },
    /// A proxy goes on with its work.
    Work { proxy: u16 },
    /// Something breaks, or is whole again.
    Fault { nth: u16, is_over: bool },
}

/// Events by their time (microseconds); of equal times, the one that was added first.
#[derive(Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    added: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at_us: u64, event: Event) {
        self.added += 1;
        self.heap.push(Reverse((at_us, self.added, event)));
    }

    /// The next one, and when it happens.
    pub(super) fn next(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|Reverse((at_us, _, event))| (at_us, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_decides_then_the_order_of_adding() {
        let mut agenda = Agenda::default();
        agenda.add(20, Event::Come { client: 1 });
        agenda.add(10, Event::Go { client: 2 });
        agenda.add(20, Event::Come { client: 0 });
        let order: Vec<_> = std::iter::from_fn(|| agenda.next()).collect();
        let come = |client| (20, Event::Come { client });
        assert_eq!(order, [(10, Event::Go { client: 2 }), come(1), come(0)]);
    }
}
