//! Who comes, who goes, who is cut off.

use super::{BEGIN_US, World};
use crate::{
    run::rank,
    simulate::{agenda::Event, client::State, setup::RoomSetup},
};

/// Network round trips until the first poll of a new connection is there.
const CONNECT_TRIPS: u64 = 2;
/// Within how long clients come back that lost their connection, at the first try (microseconds).
const BACK_WITHIN_US: u64 = 2_000_000;
/// The longest of it after many tries.
const BACK_WITHIN_MAX_US: u64 = 32_000_000;

impl World<'_> {
    /// Comings and goings of a room's clients, by the curve; in the order of their ranks.
    pub(super) fn plan_crowd(&mut self, first: u32, room: &RoomSetup) {
        for client in first..first + room.clients {
            for crossing in room.crowd.crossings(rank(self.setup.seed, client)) {
                let at_us = BEGIN_US + (crossing.at_s * 1e6) as u64;
                if at_us >= self.end_us {
                    continue;
                }
                let event = if crossing.is_up { Event::Come { client } } else { Event::Go { client } };
                self.agenda.add(at_us, event);
            }
        }
    }

    pub(super) fn come(&mut self, client: u32) {
        let now_us = self.now_us;
        let entry = &mut self.clients[client as usize];
        if entry.state != State::Away {
            return;
        }
        (entry.since_us, entry.failures) = (now_us, 0);
        self.rooms[usize::from(entry.room)].present += 1;
        entry.state = State::Resting;
        self.connect(client);
    }

    pub(super) fn go(&mut self, client: u32) {
        if self.is_over() || self.clients[client as usize].state == State::Away {
            return;
        }
        self.disconnect(client);
        let entry = &mut self.clients[client as usize];
        entry.state = State::Away;
        let room = &mut self.rooms[usize::from(entry.room)];
        room.present -= 1;
        room.gone_this_second += 1;
    }

    /// Connects to the next proxy in turn, as a load balancer does, and polls.
    pub(super) fn connect(&mut self, client: u32) {
        let trip_us = self.setup.viewers.round_trip_us;
        if self.open.is_empty() {
            return self.connect_later(client);
        }
        self.next_open = (self.next_open + 1) % self.open.len();
        let proxy = self.open[self.next_open];
        self.proxies[usize::from(proxy)].connected += 1;
        self.meter.now.connects += 1;
        let entry = &mut self.clients[client as usize];
        (entry.proxy, entry.connects, entry.is_connected) = (proxy, true, true);
        entry.life += 1;
        let life = entry.life;
        let on_the_way_us = CONNECT_TRIPS * trip_us + trip_us / 2;
        self.agenda.add(self.now_us + on_the_way_us, Event::Poll { client, life });
    }

    /// Ends the connection, and what was under way on it.
    pub(super) fn disconnect(&mut self, client: u32) {
        let entry = &mut self.clients[client as usize];
        entry.life += 1;
        entry.turn += 1;
        entry.state = State::Resting;
        if std::mem::take(&mut entry.is_connected) {
            let proxy = &mut self.proxies[usize::from(entry.proxy)];
            proxy.connected = proxy.connected.saturating_sub(1);
        }
    }

    /// Comes back after a while that chance spreads, longer after each failure.
    pub(super) fn connect_later(&mut self, client: u32) {
        self.disconnect(client);
        let entry = &mut self.clients[client as usize];
        let within_us = (BACK_WITHIN_US << entry.failures.min(8)).min(BACK_WITHIN_MAX_US);
        entry.failures = entry.failures.saturating_add(1);
        let (life, after_us) = (entry.life, self.chance.micros(within_us));
        self.agenda.add(self.now_us + after_us, Event::Reconnect { client, life });
    }

    pub(super) fn reconnect(&mut self, client: u32, life: u32) {
        let entry = &self.clients[client as usize];
        if entry.life == life && entry.state != State::Away {
            self.meter.now.reconnects += 1;
            self.connect(client);
        }
    }
}
