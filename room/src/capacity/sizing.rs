//! Nodes of each role.

mod front;
mod inside;

use self::{
    front::Front,
    inside::{recvsvr, sendsvr, statsvr},
};
use super::{Ages, Cycle, Demand, Ways};
use crate::Costs;

/// Memory of a node before anybody comes (bytes): process, caches, write buffers.
const BASE_BYTES: f64 = 512.0 * 1024.0 * 1024.0;
/// From one role to the next inside a cluster (seconds).
const HOP_S: f64 = 0.000_5;
/// Files that a process has open besides the connections of clients.
const OTHER_FILES: u64 = 1_024;

/// What one node is given.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NodeSize {
    /// Cores.
    pub cores: f64,
    /// Memory (bytes).
    pub memory_bytes: f64,
    /// Network, each way (bits a second).
    pub network_bits_per_s: f64,
    /// Most clients that one proxy holds (`limits.parked_polls_max`).
    pub clients_max: f64,
    /// Share of each of these that is planned with (above 0 to 1); the rest is head-room.
    pub utilisation: f64,
    /// Nodes of each role on top of those that carry the peak: so many may be lost.
    pub spare: u64,
}

/// What a number of nodes follows from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Network.
    Network,
    /// Clients a node.
    Clients,
}

impl Bound {
    /// In a sentence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Clients => "clients",
        }
    }
}

/// Nodes of a role, and what each of those that carry the peak does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RoleSize {
    /// Nodes, the spare ones among them.
    pub nodes: u64,
    /// What their number follows from.
    pub bound: Bound,
    /// Cores in use over all nodes.
    pub cores: f64,
    /// Memory in use over all nodes (bytes).
    pub memory_bytes: f64,
    /// Into all nodes (bits a second).
    pub in_bits_per_s: f64,
    /// Out of all nodes (bits a second).
    pub out_bits_per_s: f64,
}

/// A cluster for a room, and what to expect of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Sizing {
    /// Clients of the crowd that needs most: the peak, or one on the way there. Where the policy's interval gets longer
    /// with the crowd, a smaller one polls more often.
    pub hardest_clients: u64,
    /// Most polls a second at any size up to the peak.
    pub hardest_polls_per_s: f64,
    /// Least time between two answers with normal messages at the peak (seconds).
    pub interval_s: f64,
    /// Polls a second at the peak.
    pub polls_per_s: f64,
    /// Messages in an answer at the peak.
    pub messages_per_poll: f64,
    /// A polite client's cycle at the peak.
    pub polite: Cycle,
    /// The cycle of one that is held.
    pub held: Cycle,
    /// Expected ages at the peak.
    pub ages: Ages,
    /// Front door: polls, parked and answered.
    pub proxy: RoleSize,
    /// Recent messages of the room, for proxies.
    pub recvsvr: RoleSize,
    /// The log.
    pub sendsvr: RoleSize,
    /// Who is online.
    pub statsvr: RoleSize,
    /// Open files that a proxy must be allowed (`ulimit -n`).
    pub proxy_files: u64,
    /// Clients on a proxy when the spare nodes are gone.
    pub clients_per_proxy: u64,
}

/// Why no cluster can be named.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum SizingError {
    /// The log takes less than is sent.
    #[error(
        "{asked:.0} messages a second are more than one log takes with head-room ({most:.0}): lower the rate, or spread \
         them over rooms of several clusters"
    )]
    Log {
        /// Messages a second.
        asked: f64,
        /// What may be planned with.
        most: f64,
    },
    /// Viewers get less than is sent.
    #[error(
        "{rate:.0} messages a second are more than a viewer can ask for ({limit} an answer, {round_trip_ms:.0} ms a round \
         trip): raise the limit, or lower the rate by slow mode"
    )]
    FallsBehind {
        /// Messages a second.
        rate: f64,
        /// Of an answer.
        limit: u32,
        /// Of the network.
        round_trip_ms: f64,
    },
    /// A node cannot even hold what it begins with.
    #[error(
        "a node's memory of {0:.0} MiB must be above {1:.0} MiB, what a process takes by itself: raise it"
    )]
    Memory(f64, f64),
}

/// The cluster for a demand.
///
/// More clients never get fewer nodes: a crowd passes every smaller size on its way, so the hardest of them counts.
///
/// # Errors
/// If the messages are too many for the log or for the viewers, or a node is too small for anything.
pub fn size(demand: &Demand, costs: &Costs, node: &NodeSize) -> Result<Sizing, SizingError> {
    let mib = 1024.0 * 1024.0;
    if node.memory_bytes * node.utilisation <= BASE_BYTES {
        return Err(SizingError::Memory(node.memory_bytes / mib, BASE_BYTES / node.utilisation / mib));
    }
    let rate = demand.traffic.messages_per_s();
    let log_most = costs.sends_per_s * node.utilisation;
    if rate > log_most {
        return Err(SizingError::Log { asked: rate, most: log_most });
    }
    let peak = Front::of(demand, costs, node);
    if peak.polite.falls_behind || peak.held.falls_behind {
        let Demand { crowd, .. } = demand;
        let round_trip_ms = crowd.round_trip_s * 1e3;
        return Err(SizingError::FallsBehind { rate, limit: crowd.limit, round_trip_ms });
    }
    let fronts: Vec<Front> = sizes_on_the_way(demand)
        .map(|clients| Front::of(&demand.with_clients(clients), costs, node))
        .chain([peak])
        .collect();
    // Of equal ones the last, which is the peak.
    let hardest = fronts.iter().max_by_key(|front| front.needed()).copied().unwrap_or(peak);
    // What is most may be so at different sizes: memory at the peak, polls before a longer interval.
    let most = |of: fn(&Front) -> f64| fronts.iter().map(of).fold(0.0, f64::max);
    let hardest_polls_per_s = most(|front| front.polls_per_s);
    let proxy = RoleSize {
        nodes: hardest.needed().max(1) + node.spare,
        bound: hardest.bound(),
        cores: most(|front| front.cores),
        memory_bytes: peak.memory_bytes,
        in_bits_per_s: most(|front| front.in_bits_per_s),
        out_bits_per_s: most(|front| front.out_bits_per_s),
    };
    let carrying = (proxy.nodes - node.spare) as f64;
    let recvsvr = recvsvr(demand, costs, node, proxy.nodes as f64);
    let clients_per_proxy = demand.crowd.clients as f64 / carrying;
    let fan_out = |share: f64, messages: f64| {
        clients_per_proxy * share * costs.answer_us(messages, demand.traffic.text_bytes) / 1e6 / node.cores
    };
    let polite_parked = demand.crowd.polite_share * peak.polite.parked_s / peak.polite.period_s;
    let held_share = 1.0 - demand.crowd.polite_share;
    let held_parked = held_share * peak.held.parked_s / peak.held.period_s;
    let ways = Ways {
        way_s: costs.send_ms / 1e3 + 2.0 * HOP_S + demand.crowd.round_trip_s / 2.0,
        fan_out_s: fan_out(polite_parked + held_parked, 1.0),
        urgent_fan_out_s: fan_out(polite_parked, 1.0) + fan_out(held_share, peak.held.messages / 2.0),
    };
    Ok(Sizing {
        hardest_clients: hardest.clients,
        hardest_polls_per_s,
        interval_s: demand.interval_s(),
        polls_per_s: peak.polls_per_s,
        messages_per_poll: peak.messages_per_poll,
        polite: peak.polite,
        held: peak.held,
        ages: Ages::of(demand, &peak.polite, &peak.held, ways),
        proxy,
        recvsvr,
        sendsvr: sendsvr(demand, costs, recvsvr.nodes as f64),
        statsvr: statsvr(demand, costs, node, hardest_polls_per_s),
        proxy_files: clients_per_proxy.ceil() as u64 + OTHER_FILES,
        clients_per_proxy: clients_per_proxy.ceil() as u64,
    })
}

/// The peak, and for each step of the policy the crowd just below it, if the peak is above.
fn sizes_on_the_way(demand: &Demand) -> impl Iterator<Item = u64> {
    let Demand { crowd, .. } = demand;
    let (clients, devices) = (crowd.clients, crowd.devices_per_user);
    let below = demand.policy.steps().iter().map(move |&(users, _)| {
        // The most clients whose users, rounded, are still one less.
        let clients = ((users as f64 - 0.5) * devices).ceil() as u64;
        clients.saturating_sub(1)
    });
    below.filter(move |below| (1..clients).contains(below))
}

#[cfg(test)]
mod tests;
