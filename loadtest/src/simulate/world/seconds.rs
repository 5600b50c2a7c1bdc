//! The end of a second: counts go out, nodes look at their load, rooms at their sect.

use std::time::Duration;

use room::{pressure, users_per_node};

use super::World;
use crate::simulate::{
    agenda::Event,
    client::State,
    meter::{Load, Sight},
};

/// How often nodes look at their load (microseconds).
pub(super) const LOOK_EVERY_US: u64 = 250_000;
/// How long a client that left counts as online (seconds).
const WINDOW_S: usize = 30;

impl World<'_> {
    pub(super) fn end_second(&mut self) {
        self.count();
        self.count_parked();
        self.move_rooms();
        let loads: Vec<Load> = self
            .proxies
            .iter_mut()
            .map(|node| {
                let cpu = std::mem::take(&mut node.busy_second_us) / 1e6 / self.setup.front.cores;
                Load { is_alive: node.is_alive, cpu, lag_us: std::mem::take(&mut node.lag_second_us) }
            })
            .collect();
        let uses: Vec<_> = self.sects.iter_mut().map(super::super::upstream::Sect::take_use).collect();
        let room = &self.rooms[0];
        let control = &self.controls;
        let interval = control.iter().map(|control| control.interval(&self.setup.policy, room.users)).max();
        self.meter.end_second(&Sight {
            present: f64::from(room.present) * self.setup.rooms[0].users_each,
            users: room.users,
            interval_s: interval.unwrap_or_default().as_secs_f64(),
            factor: control.iter().map(super::super::rules::NodeControl::factor).fold(1.0, f64::max),
            step: control.iter().map(super::super::rules::NodeControl::step).max().unwrap_or(0),
            sect: self.places.sect(0),
            loads: &loads,
            recvsvr_cpu: uses.iter().map(|(most, _)| *most).fold(0.0, f64::max),
        });
        if !self.is_over() {
            self.agenda.add(self.now_us + 1_000_000, Event::Second);
        }
    }

    /// Nodes look at their load, as often as real ones do.
    pub(super) fn look(&mut self) {
        let front = &self.setup.front;
        for (node, control) in self.proxies.iter_mut().zip(&mut self.controls) {
            let busy_us = std::mem::take(&mut node.busy_us);
            let lag_us = std::mem::take(&mut node.lag_us);
            node.busy_second_us += busy_us;
            node.lag_second_us = node.lag_second_us.max(lag_us);
            let load = pressure::Load {
                lag: Duration::from_micros(lag_us),
                cpu: (busy_us / LOOK_EVERY_US as f64 / front.cores).min(1.0),
            };
            control.observe(self.now_us / 1_000, load);
        }
        if !self.is_over() {
            self.agenda.add(self.now_us + LOOK_EVERY_US, Event::Look);
        }
    }

    /// Rooms whose size asks for it move to another sect: each proxy follows in its own time. A room that has grown is
    /// spread over more of its sect's nodes in the same way.
    fn move_rooms(&mut self) {
        for room in 0..self.rooms.len() as u16 {
            let users = self.rooms[usize::from(room)].users;
            let spread_over = users / users_per_node();
            let has_moved = self.places.observe(self.now_us / 1_000, room, users);
            let entry = &mut self.rooms[usize::from(room)];
            if std::mem::replace(&mut entry.spread_over, spread_over) == spread_over && !has_moved {
                continue;
            }
            for proxy in 0..self.setup.front.proxies {
                let after_us = self.places.move_after(room, proxy).as_micros() as u64;
                self.agenda.add(self.now_us + after_us, Event::Follow { proxy, room });
            }
        }
    }

    /// Polls parked at each node.
    fn count_parked(&mut self) {
        self.proxies.iter_mut().for_each(|node| node.parked = 0);
        for client in self.clients.iter().filter(|client| client.state == State::Parked) {
            self.proxies[usize::from(client.proxy)].parked += 1;
        }
    }

    /// Users of each room: present, or gone for less than a window. The nodes have the count of a second ago.
    fn count(&mut self) {
        for (room, setup) in self.rooms.iter_mut().zip(&self.setup.rooms) {
            room.lingering.push_back(std::mem::take(&mut room.gone_this_second));
            if room.lingering.len() > WINDOW_S {
                room.lingering.pop_front();
            }
            let online = room.present + room.lingering.iter().sum::<u32>();
            room.users =
                std::mem::replace(&mut room.users_next, (f64::from(online) * setup.users_each) as u64);
        }
    }
}
