//! The roles behind the proxies.

use super::{BASE_BYTES, Bound, NodeSize, RoleSize};
use crate::{
    Costs,
    capacity::{Demand, ENVELOPE_BYTES, SOCKET_BYTES},
};

/// Each heartbeat is kept by two statsvrs.
const STATS_COPIES: f64 = 2.0;

/// Every message goes to every proxy once, whatever the number of its viewers. What that costs is taken to be what a
/// delivery to a viewer does.
pub(super) fn recvsvr(demand: &Demand, costs: &Costs, node: &NodeSize, proxies: f64) -> RoleSize {
    let Demand { traffic, .. } = demand;
    let deliveries_per_s = traffic.messages_per_s() * proxies;
    let cores = deliveries_per_s * costs.poll_us / 1e6;
    let message_bits = (ENVELOPE_BYTES + traffic.text_bytes) * 8.0;
    let out_bits_per_s = deliveries_per_s * message_bits;
    let by_cpu = cores / (node.cores * node.utilisation);
    let by_network = out_bits_per_s / (node.network_bits_per_s * node.utilisation);
    let nodes = by_cpu.max(by_network).ceil().max(1.0) as u64 + node.spare;
    RoleSize {
        nodes,
        bound: if by_network > by_cpu { Bound::Network } else { Bound::Cpu },
        cores,
        memory_bytes: nodes as f64 * BASE_BYTES + proxies * (costs.poll_bytes + SOCKET_BYTES),
        in_bits_per_s: traffic.messages_per_s() * nodes as f64 * message_bits,
        out_bits_per_s,
    }
}

/// One, because one process owns the log; what it can take is checked by [`size`].
pub(super) fn sendsvr(demand: &Demand, costs: &Costs, recvsvrs: f64) -> RoleSize {
    let Demand { traffic, .. } = demand;
    let rate = traffic.messages_per_s();
    let message_bits = (ENVELOPE_BYTES + traffic.text_bytes) * 8.0;
    RoleSize {
        nodes: 1,
        bound: Bound::Cpu,
        cores: rate * (costs.send_us + recvsvrs * costs.poll_us) / 1e6,
        memory_bytes: BASE_BYTES,
        in_bits_per_s: rate * message_bits,
        out_bits_per_s: rate * recvsvrs * message_bits,
    }
}

/// Each poll is a heartbeat, and two nodes keep each.
pub(super) fn statsvr(demand: &Demand, costs: &Costs, node: &NodeSize, polls_per_s: f64) -> RoleSize {
    const BEAT_BYTES: f64 = 32.0;
    let beats_per_s = polls_per_s * STATS_COPIES;
    let cores = beats_per_s * costs.heartbeat_us / 1e6;
    let users_bytes = demand.crowd.users() as f64 * costs.user_bytes * STATS_COPIES;
    let in_bits_per_s = beats_per_s * BEAT_BYTES * 8.0;
    let bounds = [
        (Bound::Cpu, cores / (node.cores * node.utilisation)),
        (Bound::Memory, users_bytes / (node.memory_bytes * node.utilisation - BASE_BYTES)),
        (Bound::Network, in_bits_per_s / (node.network_bits_per_s * node.utilisation)),
    ];
    let (bound, needed) =
        bounds.into_iter().fold(bounds[0], |most, next| if next.1 > most.1 { next } else { most });
    let nodes = needed.ceil().max(1.0) as u64 + node.spare;
    RoleSize {
        nodes,
        bound,
        cores,
        memory_bytes: nodes as f64 * BASE_BYTES + users_bytes,
        in_bits_per_s,
        out_bits_per_s: 0.0,
    }
}
