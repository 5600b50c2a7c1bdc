//! A proxy: what it knows of each room, who waits there, and its work.

use std::collections::VecDeque;

use room::PerList;

/// Polls answered between two turns of a thread's other work, as in `recvsvr`'s fan-out: of those that are woken, the same
/// where a priority message waits, and others beside it.
const CHUNK: f64 = 128.0;
const CHUNK_URGENT: f64 = 512.0;
const CHUNK_ASIDE: f64 = 16.0;

/// A client's place among those who wait; void if its poll is another one by now.
pub(super) type Waiter = (u32, u32);

/// Why a poll is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// It came, and there is something for it.
    Arrival,
    /// A priority message.
    Urgent,
    /// A normal message, or the end of a hold or of its time.
    Woken,
}

/// One node of the front.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) is_alive: bool,
    /// Sect and node that it follows each room at.
    pub(super) upstream: Vec<(u16, u16)>,
    /// Up to which message it knows each room.
    pub(super) known: Vec<PerList<u64>>,
    /// Polls that normal messages wake, by room.
    pub(super) ready: Vec<Vec<Waiter>>,
    /// Polls that priority messages alone wake, by room.
    pub(super) held: Vec<Vec<Waiter>>,
    /// Polls that came with something to get: the thread's tasks.
    arrivals: VecDeque<Waiter>,
    /// Polls that a priority message woke.
    urgent: VecDeque<Waiter>,
    /// Polls that normal messages, or the end of their time, woke.
    others: VecDeque<Waiter>,
    /// What is left of the turn under way: arrivals, urgent and other polls.
    turn: [usize; 3],
    /// Cores of its threads: a chunk is a thread's.
    cores: f64,
    /// A `Work` event is planned.
    pub(super) is_working: bool,
    /// It is at work until then.
    pub(super) busy_until_us: u64,
    /// Work since the last look and within the second (microseconds of one core).
    pub(super) busy_us: f64,
    pub(super) busy_second_us: f64,
    /// Longest wait of a poll that came with something to get, since the last look and within the second: how late the
    /// threads are (microseconds).
    pub(super) lag_us: u64,
    pub(super) lag_second_us: u64,
    /// Polls parked at the end of the last second.
    pub(super) parked: u32,
    /// Clients connected.
    pub(super) connected: u32,
}

impl Proxy {
    pub(super) fn new(rooms: usize, cores: f64) -> Self {
        Self {
            is_alive: true,
            upstream: vec![(0, 0); rooms],
            known: vec![PerList::default(); rooms],
            ready: vec![Vec::new(); rooms],
            held: vec![Vec::new(); rooms],
            arrivals: VecDeque::new(),
            urgent: VecDeque::new(),
            others: VecDeque::new(),
            turn: [0; 3],
            cores,
            is_working: false,
            busy_until_us: 0,
            busy_us: 0.0,
            busy_second_us: 0.0,
            lag_us: 0,
            lag_second_us: 0,
            parked: 0,
            connected: 0,
        }
    }

    /// Puts a poll into the queue of its kind.
    pub(super) fn queue(&mut self, waiter: Waiter, reason: Reason) {
        match reason {
            Reason::Arrival => self.arrivals.push_back(waiter),
            Reason::Urgent => self.urgent.push_back(waiter),
            Reason::Woken => self.others.push_back(waiter),
        }
    }

    /// The next poll to look at: those that came, then a chunk of those that were woken, then again.
    pub(super) fn take(&mut self) -> Option<(Waiter, Reason)> {
        if self.queued() == 0 {
            return None;
        }
        loop {
            let [arrivals, urgent, others] = &mut self.turn;
            for (left, queue, reason) in [
                (arrivals, &mut self.arrivals, Reason::Arrival),
                (urgent, &mut self.urgent, Reason::Urgent),
                (others, &mut self.others, Reason::Woken),
            ] {
                if *left > 0
                    && let Some(waiter) = queue.pop_front()
                {
                    *left -= 1;
                    return Some((waiter, reason));
                }
            }
            let chunk = |polls: f64| ((polls * self.cores) as usize).max(1);
            let others = if self.urgent.is_empty() { CHUNK } else { CHUNK_ASIDE };
            self.turn = [self.arrivals.len(), chunk(CHUNK_URGENT), chunk(others)];
        }
    }

    /// Lets polls that were woken before go with a priority message that came meanwhile, ahead of those that it wakes.
    pub(super) fn hasten(&mut self, is_of_room: impl Fn(&Waiter) -> bool) {
        let (of_room, others) = std::mem::take(&mut self.others).into_iter().partition(|it| is_of_room(it));
        self.others = others;
        let mut of_room: VecDeque<Waiter> = of_room;
        self.urgent.append(&mut of_room);
    }

    /// How many polls are to be looked at.
    pub(super) fn queued(&self) -> usize {
        self.arrivals.len() + self.urgent.len() + self.others.len()
    }

    /// It is gone, with all that it kept.
    pub(super) fn die(&mut self) {
        let rooms = self.known.len();
        *self = Self {
            is_alive: false,
            upstream: std::mem::take(&mut self.upstream),
            ..Self::new(rooms, self.cores)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_polls_go_first_but_not_for_ever() {
        let mut proxy = Proxy::new(1, 1.0);
        proxy.queue((0, 0), Reason::Woken);
        for client in 1..=1_000 {
            proxy.queue((client, 0), Reason::Urgent);
        }
        let order: Vec<_> = std::iter::from_fn(|| proxy.take()).map(|((client, _), _)| client).collect();
        assert_eq!(order.len(), 1_001);
        assert_eq!(order.iter().position(|client| *client == 0), Some(CHUNK_URGENT as usize));
    }

    #[test]
    fn polls_woken_before_go_with_a_priority_message() {
        let mut proxy = Proxy::new(1, 1.0);
        for client in 0..4 {
            proxy.queue((client, 0), Reason::Woken);
        }
        proxy.hasten(|(client, _)| client % 2 == 1);
        proxy.queue((9, 0), Reason::Urgent);
        let order: Vec<_> = std::iter::from_fn(|| proxy.take()).map(|((client, _), _)| client).collect();
        assert_eq!(order, [1, 3, 9, 0, 2]);
    }

    #[test]
    fn fan_out_lets_those_who_come_through() {
        let mut proxy = Proxy::new(1, 0.25);
        for client in 0..100 {
            proxy.queue((client, 0), Reason::Woken);
        }
        let first: Vec<_> = (0..10).filter_map(|_| proxy.take()).map(|((client, _), _)| client).collect();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
        proxy.queue((500, 0), Reason::Arrival);
        let order: Vec<_> = std::iter::from_fn(|| proxy.take()).map(|((client, _), _)| client).collect();
        // A quarter of a core does a quarter of a chunk: 32, of which ten were done.
        assert_eq!(order.iter().position(|client| *client == 500), Some(22));
    }
}
