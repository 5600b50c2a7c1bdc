//! What to be woken for, given what a plan expects.

use room::capacity::{Demand, NodeSize, Sizing};
use serde::Serialize;

/// How far above what is expected an age is a fault and not a busy minute.
const AGE_MARGIN: f64 = 1.5;
/// The same of requests: the jitter of a crowd is far less.
const RATE_MARGIN: f64 = 1.3;
/// Share of a node's clients or cores at which it is time for another one.
const FULL_SHARE: f64 = 0.8;

/// A threshold.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Alert {
    /// As in docs/metrics.md.
    pub(super) metric: &'static str,
    /// Above it.
    pub(super) above: f64,
    pub(super) unit: &'static str,
    pub(super) why: &'static str,
}

pub(super) fn of(demand: &Demand, node: &NodeSize, sizing: &Sizing) -> Vec<Alert> {
    let proxies = (sizing.proxy.nodes - node.spare).max(1) as f64;
    let interval_s = sizing.interval_s;
    let mut alerts = vec![
        Alert {
            metric: "bigroom_connections",
            above: (node.clients_max * FULL_SHARE).floor(),
            unit: "on a proxy",
            why: "four fifths of what it may hold: add a proxy",
        },
        Alert {
            metric: "rate(process_cpu_seconds_total)",
            above: node.cores * FULL_SHARE,
            unit: "cores on a proxy",
            why: "no head-room is left: intervals will be stretched",
        },
        Alert {
            metric: "rate(bigroom_polls_total)",
            above: (sizing.hardest_polls_per_s / proxies * RATE_MARGIN).ceil(),
            unit: "1/s on a proxy",
            why: "more than the policy lets through: clients do not wait, or messages do not fit an answer",
        },
        Alert {
            metric: "bigroom_delivery_seconds (p99)",
            above: 0.5,
            unit: "s",
            why: "parked polls are answered late: the node is overloaded",
        },
        Alert {
            metric: "bigroom_fanout_seconds (max)",
            above: 2.0,
            unit: "s",
            why: "the last viewer of a message waits too long: too many clients on a node",
        },
        Alert {
            metric: "age of normal messages at viewers (p99)",
            above: sizing.ages.normal.p99_s * AGE_MARGIN,
            unit: "s",
            why: "half as much again as planned, as a canary viewer or the SDK sees it",
        },
        Alert {
            metric: "reconnections an hour, as a share of clients",
            above: 0.05,
            unit: "share",
            why: "connections do not last: a load balancer cuts them, or nodes restart",
        },
        Alert {
            metric: "bigroom_priority_gap_total",
            above: 0.0,
            unit: "messages",
            why: "a priority message was gone before somebody read it",
        },
    ];
    if demand.traffic.priority_per_s > 0.0 {
        alerts.push(Alert {
            metric: "age of priority messages at viewers (p99)",
            above: sizing.ages.priority.p99_s * AGE_MARGIN,
            unit: "s",
            why: "half as much again as planned",
        });
    }
    if interval_s > 0.0 {
        alerts.push(Alert {
            metric: "interval that answers tell (poll_after_ms / 1000)",
            above: interval_s * RATE_MARGIN,
            unit: "s",
            why: "nodes stretch the interval because of their load",
        });
    }
    alerts
}
