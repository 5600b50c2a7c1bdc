//! Messages on their way: the log, the recvsvrs of the room's sect, the proxies.

use room::{List, PerList};

use super::{BEGIN_US, World};
use crate::simulate::{agenda::Event, proxy::Reason};

/// From one role to the next inside a cluster (microseconds).
const HOP_US: u64 = 500;
/// What a node takes that has not had the room in memory (microseconds): one read of the log.
const FILL_US: u64 = 5_000;
/// Within how long a proxy follows a room elsewhere when its node is gone, by chance (microseconds).
pub(super) const FAIL_OVER_US: u64 = 1_000_000;

impl World<'_> {
    /// Puts the next message of a source on the agenda.
    pub(super) fn plan_message(&mut self, source: u32) {
        if let Some(at_s) = self.sources[source as usize].times.next() {
            self.agenda.add(BEGIN_US + (at_s * 1e6) as u64, Event::Message { source });
        }
    }

    /// A message is due: it is logged, and goes to every proxy that follows the room.
    pub(super) fn send(&mut self, source: u32) {
        let (room, list) = (self.sources[source as usize].room, self.sources[source as usize].list);
        self.plan_message(source);
        let costs = &self.setup.costs;
        let seq = self.rooms[usize::from(room)].log.append(list, self.now_us);
        self.log_free_us = self.log_free_us.max(self.now_us) + (1e6 / costs.sends_per_s).ceil() as u64;
        let logged_us = self.log_free_us + (costs.send_ms * 1e3) as u64;
        self.meter.now.sends += 1;
        let last = &self.rooms[usize::from(room)].log;
        let mut seqs = PerList::from_fn(|list| last.last(list));
        seqs[list] = seq;
        let notice_us = self.setup.rooms[usize::from(room)].notice_weight * costs.poll_us;
        for proxy in 0..self.setup.front.proxies {
            let (sect, node) = self.proxies[usize::from(proxy)].upstream[usize::from(room)];
            if !self.proxies[usize::from(proxy)].is_alive
                || !self.sects[usize::from(sect)].nodes[usize::from(node)].is_alive
            {
                continue;
            }
            let told_us = self.sects[usize::from(sect)].work(node, logged_us + HOP_US, notice_us);
            self.meter.now.notices += 1;
            let PerList { priority, normal } = seqs;
            self.agenda.add(told_us + HOP_US, Event::Notice { proxy, room, priority, normal });
        }
    }

    /// A proxy hears of messages: who waits for them is to be answered.
    pub(super) fn hear(&mut self, proxy: u16, room: u16, seqs: PerList<u64>) {
        let node = &mut self.proxies[usize::from(proxy)];
        if !node.is_alive {
            return;
        }
        let known = &mut node.known[usize::from(room)];
        let is_urgent = seqs.priority > known.priority;
        let is_news = is_urgent || seqs.normal > known.normal;
        for list in List::ALL {
            known[list] = known[list].max(seqs[list]);
        }
        if !is_news {
            return;
        }
        let ready = std::mem::take(&mut node.ready[usize::from(room)]);
        if is_urgent {
            let clients = &self.clients;
            node.hasten(|(client, _)| clients[*client as usize].room == room);
            let held = std::mem::take(&mut node.held[usize::from(room)]);
            for waiter in ready.into_iter().chain(held) {
                self.enqueue(waiter, Reason::Urgent);
            }
        } else {
            self.wake_ready(proxy, room, ready);
        }
    }

    /// The node at which a proxy follows a room.
    pub(super) fn choose_upstream(&mut self, proxy: u16, room: u16) {
        let sect = self.places.sect(room);
        let nodes = &self.sects[usize::from(sect)].nodes;
        let users = self.rooms[usize::from(room)].users;
        let node = self.places.node(room, proxy, users, |nth| nodes[usize::from(nth)].is_alive);
        if let Some(node) = node {
            self.proxies[usize::from(proxy)].upstream[usize::from(room)] = (sect, node);
        }
    }

    /// A proxy follows a room anew, and is told at once what it missed.
    pub(super) fn follow(&mut self, proxy: u16, room: u16) {
        self.choose_upstream(proxy, room);
        let (sect, node) = self.proxies[usize::from(proxy)].upstream[usize::from(room)];
        if !self.sects[usize::from(sect)].nodes[usize::from(node)].is_alive {
            return self.agenda.add(self.now_us + FAIL_OVER_US, Event::Follow { proxy, room });
        }
        let log = &self.rooms[usize::from(room)].log;
        let (priority, normal) = (log.last(List::Priority), log.last(List::Normal));
        let cost_us = self.setup.rooms[usize::from(room)].notice_weight * self.setup.costs.poll_us;
        let told_us = self.sects[usize::from(sect)].work(node, self.now_us + HOP_US, cost_us) + FILL_US;
        self.meter.now.follows += 1;
        self.agenda.add(told_us + HOP_US, Event::Notice { proxy, room, priority, normal });
    }
}
