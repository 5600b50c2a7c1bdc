//! What breaks.

use super::World;
use crate::simulate::{agenda::Event, client::State, setup::Lost};

impl World<'_> {
    /// A fault begins, or is over.
    pub(super) fn befall(&mut self, nth: u16, is_over: bool) {
        let fault = self.setup.faults[usize::from(nth)];
        match fault.what {
            Lost::Recvsvrs { sect } => {
                let nodes = &mut self.sects[usize::from(sect)].nodes;
                let lost = share_of(nodes.len(), fault.share);
                nodes[..lost].iter_mut().for_each(|node| node.is_alive = is_over);
                self.fail_over(sect);
            }
            Lost::Proxies => {
                let lost = share_of(self.proxies.len(), fault.share);
                for proxy in 0..lost as u16 {
                    if is_over { self.restart_proxy(proxy) } else { self.lose_proxy(proxy) }
                }
                self.open =
                    (0..).zip(&self.proxies).filter(|(_, node)| node.is_alive).map(|(n, _)| n).collect();
            }
        }
    }

    /// Proxies whose node is gone follow elsewhere; and some come back to one that is there again.
    fn fail_over(&mut self, sect: u16) {
        for proxy in 0..self.setup.front.proxies {
            for room in 0..self.rooms.len() as u16 {
                let (at, node) = self.proxies[usize::from(proxy)].upstream[usize::from(room)];
                if at != sect {
                    continue;
                }
                let is_gone = !self.sects[usize::from(sect)].nodes[usize::from(node)].is_alive;
                let is_rebalanced = self.sects[usize::from(sect)].nodes.iter().all(|node| node.is_alive);
                if is_gone || is_rebalanced {
                    let after_us = self.chance.micros(super::spread::FAIL_OVER_US);
                    self.agenda.add(self.now_us + after_us, Event::Follow { proxy, room });
                }
            }
        }
    }

    /// A proxy is gone: its clients find out at once, and come back elsewhere.
    fn lose_proxy(&mut self, proxy: u16) {
        self.proxies[usize::from(proxy)].die();
        for client in 0..self.clients.len() as u32 {
            let entry = &self.clients[client as usize];
            if entry.proxy == proxy && entry.is_connected && entry.state != State::Away {
                self.connect_later(client);
            }
        }
    }

    fn restart_proxy(&mut self, proxy: u16) {
        self.proxies[usize::from(proxy)].is_alive = true;
        for room in 0..self.rooms.len() as u16 {
            self.follow(proxy, room);
        }
    }
}

fn share_of(count: usize, share: f64) -> usize {
    ((count as f64 * share).round() as usize).min(count)
}
