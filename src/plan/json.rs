//! A plan for programs.

use room::capacity::{Quantiles, RoleSize};
use serde_json::{Value, json};

use super::Plan;

impl Plan {
    /// The same as the table; units are in the names.
    pub(super) fn json(&self) -> String {
        let Self { demand, node, sizing, alerts, costs } = self;
        let (crowd, traffic) = (&demand.crowd, &demand.traffic);
        let value = json!({
            "demand": {
                "clients": crowd.clients,
                "users": crowd.users(),
                "normal_per_s": traffic.normal_per_s,
                "priority_per_s": traffic.priority_per_s,
                "text_bytes": traffic.text_bytes,
                "limit": crowd.limit,
                "polite_share": crowd.polite_share,
                "round_trip_ms": crowd.round_trip_s * 1e3,
                "compressed_share": traffic.compressed_share,
                "joins_per_s": crowd.joins_per_s,
                "load_factor": demand.load_factor,
            },
            "node": {
                "cores": node.cores,
                "memory_bytes": node.memory_bytes,
                "network_bits_per_s": node.network_bits_per_s,
                "clients_max": node.clients_max,
                "utilisation": node.utilisation,
                "spare": node.spare,
            },
            "interval_ms": sizing.interval_s * 1e3,
            "polls_per_s": sizing.polls_per_s,
            "hardest": { "clients": sizing.hardest_clients, "polls_per_s": sizing.hardest_polls_per_s },
            "messages_per_answer": sizing.messages_per_poll,
            "age": { "normal": ages(sizing.ages.normal), "priority": ages(sizing.ages.priority) },
            "roles": {
                "proxy": role(&sizing.proxy),
                "recvsvr": role(&sizing.recvsvr),
                "sendsvr": role(&sizing.sendsvr),
                "statsvr": role(&sizing.statsvr),
            },
            "proxy": { "clients": sizing.clients_per_proxy, "open_files": sizing.proxy_files },
            "alerts": alerts,
            "costs": costs,
        });
        format!("{value:#}\n")
    }
}

fn ages(ages: Quantiles) -> Value {
    json!({ "p50_ms": ages.p50_s * 1e3, "p99_ms": ages.p99_s * 1e3 })
}

fn role(role: &RoleSize) -> Value {
    json!({
        "nodes": role.nodes,
        "bound": role.bound.as_str(),
        "cores": role.cores,
        "memory_bytes": role.memory_bytes,
        "in_bits_per_s": role.in_bits_per_s,
        "out_bits_per_s": role.out_bits_per_s,
    })
}
