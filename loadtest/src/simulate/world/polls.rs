//! Polls that come, wait, and are woken.

use std::time::Duration;

use room::{List, eligible_at_ms, pressure::may_be_woken};

use super::World;
use crate::simulate::{
    agenda::Event,
    client::State,
    proxy::{Reason, Waiter},
};

/// Void waiters that a list may have on top of one for each client before it is swept.
const VOID_MAX: usize = 1_024;
/// Time between two turns of a spread wake-up (microseconds).
const WAKE_TURN_US: u64 = 2_000;
/// Share of its timeout that a poll waits at the least; chance decides what is between that and all of it.
const DEADLINE_SHARE: f64 = 0.9;

impl World<'_> {
    /// The interval of a client's room, as its proxy has it.
    pub(super) fn interval(&self, client: u32) -> Duration {
        let entry = &self.clients[client as usize];
        let users = self.rooms[usize::from(entry.room)].users;
        self.controls[usize::from(entry.proxy)].interval(&self.setup.policy, users)
    }

    /// A poll arrives at its proxy.
    pub(super) fn poll(&mut self, client: u32, life: u32) {
        let entry = &self.clients[client as usize];
        if entry.life != life || entry.state == State::Away {
            return;
        }
        let proxy = usize::from(entry.proxy);
        if !self.proxies[proxy].is_alive {
            return self.connect_later(client);
        }
        self.meter.now.polls += 1;
        if entry.is_new && self.controls[proxy].refuses_new() {
            self.meter.now.refused += 1;
            return self.connect_later(client);
        }
        let (now_ms, interval) = (self.now_ms(), self.interval(client));
        let timeout_ms = self.setup.viewers.timeout_ms as f64;
        let share = DEADLINE_SHARE + (1.0 - DEADLINE_SHARE) * self.chance.share();
        let entry = &mut self.clients[client as usize];
        entry.turn += 1;
        entry.state = State::Parked;
        entry.failures = 0;
        entry.deadline_ms = now_ms + (timeout_ms * share) as u64;
        entry.eligible_at_ms = eligible_at_ms(entry.served_at_ms, interval, now_ms);
        let waiter = (client, entry.turn);
        // A node that hears of messages later than the one before looks at the log.
        let known = &mut self.proxies[proxy].known[usize::from(entry.room)];
        for list in List::ALL {
            known[list] = known[list].max(entry.seen[list]);
        }
        if entry.is_new {
            // It asks for what was said last, so it is answered at once.
            return self.enqueue(waiter, Reason::Arrival);
        }
        self.decide(waiter, Reason::Arrival);
    }

    /// Answers a poll soon if there is something for it, as `hold::Waiting::decide` has it; parks it otherwise.
    fn decide(&mut self, (client, turn): Waiter, reason: Reason) {
        let now_ms = self.now_ms();
        let entry = &mut self.clients[client as usize];
        let proxy = &mut self.proxies[usize::from(entry.proxy)];
        let room = usize::from(entry.room);
        let known = proxy.known[room];
        let is_held = entry.eligible_at_ms > now_ms;
        let has_priority = known.priority > entry.seen.priority;
        let has_normal = known.normal > entry.seen.normal;
        if entry.deadline_ms <= now_ms || has_priority || (has_normal && !is_held) {
            return self.enqueue((client, turn), reason);
        }
        let list = if is_held { &mut proxy.held[room] } else { &mut proxy.ready[room] };
        list.push((client, turn));
        let until_ms = if is_held { entry.eligible_at_ms.min(entry.deadline_ms) } else { entry.deadline_ms };
        if list.len() > proxy.connected as usize + VOID_MAX {
            let clients = &self.clients;
            list.retain(|(client, turn)| {
                let entry = &clients[*client as usize];
                entry.turn == *turn && entry.state == State::Parked
            });
        }
        self.agenda.add(until_ms * 1_000, Event::Timer { client, turn });
    }

    /// A hold or a deadline is over.
    pub(super) fn fire(&mut self, client: u32, turn: u32) {
        if self.is_waiting((client, turn)) {
            self.decide((client, turn), Reason::Woken);
        }
    }

    /// A spread wake-up: its turn has come.
    pub(super) fn wake(&mut self, waiter: Waiter) {
        self.enqueue(waiter, Reason::Woken);
    }

    /// Wakes who is ready for normal messages: at once, or by and by in a big room, as `may_be_woken` has it.
    pub(super) fn wake_ready(&mut self, proxy: u16, room: u16, ready: Vec<Waiter>) {
        let front = &self.setup.front;
        // What stands for one real node: a simulated one may have more clients, or fewer.
        let real_share = self.setup.weight * f64::from(front.proxies) / front.real;
        let parked = (f64::from(self.proxies[usize::from(proxy)].parked) * real_share) as usize;
        let mut turn_us = 0;
        for (nth, waiter) in ready.iter().enumerate() {
            while may_be_woken(ready.len(), parked, Duration::from_micros(turn_us)) <= nth {
                turn_us += WAKE_TURN_US;
            }
            if turn_us == 0 {
                self.enqueue(*waiter, Reason::Woken);
            } else {
                let (client, turn) = *waiter;
                self.agenda.add(self.now_us + turn_us, Event::Wake { client, turn });
                // A priority message does not wait for the turn.
                self.proxies[usize::from(proxy)].held[usize::from(room)].push(*waiter);
            }
        }
    }

    fn is_waiting(&self, (client, turn): Waiter) -> bool {
        let entry = &self.clients[client as usize];
        entry.turn == turn && entry.state == State::Parked
    }

    /// Puts a poll into its node's queue, and sees to it that the node works.
    pub(super) fn enqueue(&mut self, (client, turn): Waiter, reason: Reason) {
        let entry = &mut self.clients[client as usize];
        // Void, or woken before.
        if entry.turn != turn || entry.state != State::Parked {
            return;
        }
        entry.state = State::Queued;
        entry.queued_us = self.now_us;
        let (nth, proxy) = (entry.proxy, &mut self.proxies[usize::from(entry.proxy)]);
        proxy.queue((client, turn), reason);
        if !std::mem::replace(&mut proxy.is_working, true) {
            self.agenda.add(self.now_us.max(proxy.busy_until_us), Event::Work { proxy: nth });
        }
    }
}
