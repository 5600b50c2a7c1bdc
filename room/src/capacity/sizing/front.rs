//! What a crowd takes of the proxies.

use super::{BASE_BYTES, Bound, NodeSize};
use crate::{
    Costs,
    capacity::{Cycle, Demand, POLL_BYTES, SOCKET_BYTES},
};

/// What a crowd asks of the proxies.
#[derive(Clone, Copy)]
pub(super) struct Front {
    pub(super) clients: u64,
    pub(super) polls_per_s: f64,
    pub(super) messages_per_poll: f64,
    pub(super) polite: Cycle,
    pub(super) held: Cycle,
    pub(super) cores: f64,
    pub(super) memory_bytes: f64,
    pub(super) in_bits_per_s: f64,
    pub(super) out_bits_per_s: f64,
    /// Nodes by each bound.
    nodes: [(Bound, f64); 4],
}

impl Front {
    pub(super) fn of(demand: &Demand, costs: &Costs, node: &NodeSize) -> Self {
        let Demand { crowd, traffic, .. } = demand;
        let (polite, held) = (Cycle::polite(demand), Cycle::held(demand));
        let clients = crowd.clients as f64;
        let (mut polls_per_s, mut messages_per_s, mut cpu_us, mut out_bytes) = (0.0, 0.0, 0.0, 0.0);
        for (share, cycle) in [(crowd.polite_share, polite), (1.0 - crowd.polite_share, held)] {
            let polls = clients * share * cycle.polls_per_s();
            polls_per_s += polls;
            messages_per_s += polls * cycle.messages_per_poll();
            cpu_us += polls * costs.answer_us(cycle.messages_per_poll(), traffic.text_bytes);
            out_bytes += polls * traffic.answer_bytes(cycle.messages_per_poll()) * traffic.compressed_share;
        }
        cpu_us += crowd.joins_per_s * costs.connection_us;
        let cores = cpu_us / 1e6;
        let memory_bytes = clients * (costs.poll_bytes + SOCKET_BYTES);
        let (in_bits_per_s, out_bits_per_s) = (polls_per_s * POLL_BYTES * 8.0, out_bytes * 8.0);
        let planned = node.utilisation;
        let nodes = [
            (Bound::Cpu, cores / (node.cores * planned)),
            (Bound::Memory, memory_bytes / (node.memory_bytes * planned - BASE_BYTES)),
            (Bound::Network, in_bits_per_s.max(out_bits_per_s) / (node.network_bits_per_s * planned)),
            (Bound::Clients, clients / (node.clients_max * planned)),
        ];
        let messages_per_poll = if polls_per_s > 0.0 { messages_per_s / polls_per_s } else { 0.0 };
        Self {
            clients: crowd.clients,
            polls_per_s,
            messages_per_poll,
            polite,
            held,
            cores,
            memory_bytes,
            in_bits_per_s,
            out_bits_per_s,
            nodes,
        }
    }

    fn most(&self) -> (Bound, f64) {
        self.nodes.into_iter().fold(self.nodes[0], |most, next| if next.1 > most.1 { next } else { most })
    }

    pub(super) fn needed(&self) -> u64 {
        self.most().1.ceil() as u64
    }

    pub(super) fn bound(&self) -> Bound {
        self.most().0
    }
}
