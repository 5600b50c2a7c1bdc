//! Scenarios: a room of millions and what befalls it, and the cluster that the planner names for it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use room::{
    Costs, List, PollPolicy, Promotions,
    capacity::{Crowd, Demand, NodeSize, Sizing, Traffic, size},
};
use serde::Serialize;

use super::{
    chance::Chance,
    setup::{Fault, Front, RoomSetup, SectSetup, Setup, Source, Times, Viewers},
};
use crate::run::{Curve, exponential};

mod shipped;

pub(super) use self::shipped::shipped;

/// Least simulated proxies: with fewer, losing a third would be losing one of a handful.
const PROXIES_MIN: f64 = 12.0;
/// Most simulated proxies.
const PROXIES_MAX: f64 = 600.0;
/// Viewers of each room beside the big one.
const NEIGHBOURS: u32 = 1_000;
/// Messages a second there.
const NEIGHBOUR_RATE: f64 = 2.0;
/// Text of a message (bytes).
const TEXT_BYTES: f64 = 200.0;

/// The nodes of the simulated clusters: eight cores, 32 GiB, 25 Gbit/s.
pub(super) const NODE: NodeSize = NodeSize {
    cores: 8.0,
    memory_bytes: 32.0 * 1024.0 * 1024.0 * 1024.0,
    network_bits_per_s: 25e9,
    clients_max: 200_000.0,
    utilisation: 0.6,
    spare: 1,
};

/// A room of millions, and what befalls it.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) story: &'static str,
    pub(super) duration_s: u32,
    pub(super) sample_s: u32,
    /// Viewers of the room when all are there.
    pub(super) viewers: u64,
    /// How many of them are simulated one by one; each stands for as many others as it takes.
    pub(super) individuals: u32,
    /// The share that is there, over time (seconds).
    pub(super) crowd: Vec<(f64, f64)>,
    /// Normal messages a second over time (seconds).
    pub(super) normal: Vec<(f64, f64)>,
    /// Priority messages a second.
    pub(super) priority: f64,
    /// Most messages of an answer.
    pub(super) limit: u32,
    pub(super) polite_share: f64,
    pub(super) is_policy_on: bool,
    /// Viewers that the cluster is planned for.
    pub(super) planned_for: u64,
    /// Whether there are rooms beside it: one is simulated, and stands for as many as a viewer does for others.
    pub(super) has_neighbours: bool,
    pub(super) faults: Vec<Fault>,
    /// When the room moves to the VIP sect, and back.
    pub(super) promotions: Promotions,
}

/// What the cluster of a scenario is.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Cluster {
    /// Viewers of the room that a simulated one stands for.
    pub(super) weight: f64,
    /// Real nodes of each role, by the planner.
    pub(super) proxies: u64,
    pub(super) recvsvrs: u64,
    pub(super) sendsvrs: u64,
    pub(super) statsvrs: u64,
    /// Simulated proxies; each has the share of the real ones' processor time that its clients are of all.
    pub(super) simulated_proxies: u16,
    /// What the planner expects at the peak.
    pub(super) expected_polls_per_s: f64,
    pub(super) expected_normal_p50_ms: f64,
    pub(super) expected_normal_p99_ms: f64,
    pub(super) expected_priority_p99_ms: f64,
}

impl Scenario {
    /// Everything that its simulation follows from, with the planner's cluster.
    ///
    /// # Errors
    /// If the planner can't name one.
    pub(super) fn setup(&self, seed: u64, costs: Costs) -> Result<(Setup, Cluster)> {
        let sizing = size(&self.demand(), &costs, &NODE).with_context(|| format!("plan {}", self.name))?;
        let weight = self.viewers as f64 / f64::from(self.individuals);
        let real = sizing.proxy.nodes as f64;
        let proxies = (real / weight).ceil().clamp(PROXIES_MIN, PROXIES_MAX).max(1.0);
        let front = Front {
            proxies: proxies as u16,
            // All real cores carry all real viewers; simulated ones are one of `weight`.
            cores: real * NODE.cores / weight / proxies,
            real,
        };
        let big = RoomSetup {
            clients: self.individuals,
            users_each: weight,
            notice_weight: real / proxies,
            crowd: Curve::through(self.crowd.clone()),
            sources: vec![
                Source { list: List::Normal, times: Times::Rates(self.normal.clone()) },
                Source { list: List::Priority, times: self.at_random(seed, self.priority) },
            ],
        };
        let neighbours = RoomSetup {
            clients: NEIGHBOURS,
            users_each: 1.0,
            notice_weight: weight * real.min(f64::from(NEIGHBOURS)) / proxies,
            crowd: Curve::through(vec![(0.0, 0.0), (5.0, 1.0)]),
            sources: vec![
                Source { list: List::Normal, times: Times::Rates(vec![(0.0, NEIGHBOUR_RATE)]) },
                Source { list: List::Priority, times: self.at_random(seed ^ 1, 0.1) },
            ],
        };
        let sect = SectSetup { recvsvrs: sizing.recvsvr.nodes.max(3) as u16, cores: NODE.cores };
        let setup = Setup {
            seed,
            duration_s: self.duration_s,
            sample_s: self.sample_s,
            weight,
            policy: self.policy(),
            is_adaptive: self.is_policy_on,
            rooms: if self.has_neighbours { vec![big, neighbours] } else { vec![big] },
            front,
            sects: [sect, sect],
            promotions: self.promotions,
            costs,
            text_bytes: TEXT_BYTES,
            has_clients_on_board: false,
            viewers: Viewers {
                polite_share: self.polite_share,
                pause_ms: None,
                limit: u64::from(self.limit),
                timeout_ms: room::POLL_TIMEOUT_DEFAULT_MS,
                round_trip_us: (ROUND_TRIP_S * 1e6) as u64,
            },
            faults: self.faults.clone(),
        };
        let cluster = Cluster::of(&setup, &sizing);
        Ok((setup, cluster))
    }

    /// Times without memory: evenly spaced ones would keep held viewers in step with them.
    fn at_random(&self, seed: u64, rate: f64) -> Times {
        let mut chance = Chance::new(seed);
        let mean = Duration::from_secs(1).div_f64(rate.max(1e-6));
        let mut at_s = 0.0;
        let next = || {
            at_s += exponential(mean, chance.share()).as_secs_f64();
            (at_s < f64::from(self.duration_s)).then_some(at_s)
        };
        Times::At(std::iter::from_fn(next).collect())
    }

    fn policy(&self) -> PollPolicy {
        if self.is_policy_on { PollPolicy::default() } else { PollPolicy::off() }
    }

    /// What the cluster is planned for: the policy as shipped, also where it is then switched off.
    fn demand(&self) -> Demand {
        let most = self.normal.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        Demand {
            crowd: Crowd {
                clients: self.planned_for,
                devices_per_user: 1.0,
                polite_share: self.polite_share,
                limit: self.limit,
                timeout: Duration::from_millis(room::POLL_TIMEOUT_DEFAULT_MS),
                round_trip_s: ROUND_TRIP_S,
                joins_per_s: self.planned_for as f64 * JOIN_SHARE / JOIN_TIME_S,
            },
            traffic: Traffic {
                normal_per_s: most,
                priority_per_s: self.priority,
                text_bytes: TEXT_BYTES,
                compressed_share: 1.0,
            },
            policy: PollPolicy::default(),
            load_factor: 1.0,
        }
    }
}

/// There and back over the network (seconds).
const ROUND_TRIP_S: f64 = 0.06;
/// The join storm that every plan carries: four of five viewers in a quarter of an hour.
const JOIN_SHARE: f64 = 0.8;
const JOIN_TIME_S: f64 = 900.0;

impl Cluster {
    fn of(setup: &Setup, sizing: &Sizing) -> Self {
        Self {
            weight: setup.weight,
            proxies: sizing.proxy.nodes,
            recvsvrs: u64::from(setup.sects[0].recvsvrs),
            sendsvrs: sizing.sendsvr.nodes,
            statsvrs: sizing.statsvr.nodes,
            simulated_proxies: setup.front.proxies,
            expected_polls_per_s: sizing.polls_per_s,
            expected_normal_p50_ms: sizing.ages.normal.p50_s * 1e3,
            expected_normal_p99_ms: sizing.ages.normal.p99_s * 1e3,
            expected_priority_p99_ms: sizing.ages.priority.p99_s * 1e3,
        }
    }
}
