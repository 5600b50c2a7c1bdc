//! The scenarios that ship with the load test.

use std::time::Duration;

use room::Promotions;

use super::{
    super::{
        rules::VIP,
        setup::{Fault, Lost},
    },
    Scenario,
};

const MILLION: u64 = 1_000_000;
/// Viewers of the room that all of this is about.
const VIEWERS: u64 = 15 * MILLION;
/// Lively, and what fits one answer of the usual size in every interval: 30 × 1.2 × 5 s are 180 of 200.
const LIVELY: f64 = 30.0;
/// A priority message every five seconds.
const PRIORITY: f64 = 0.2;
/// Most clients wait as they are told; the others keep a poll parked.
const POLITE: f64 = 0.9;

/// All of them, in the order of the report.
pub(in crate::simulate) fn shipped() -> Vec<Scenario> {
    let steady = Scenario {
        name: "steady",
        title: "15 million, steady",
        story: "Fifteen million viewers of one room, 30 normal messages a second and a priority message every five seconds.",
        duration_s: 180,
        sample_s: 5,
        viewers: VIEWERS,
        individuals: 60_000,
        crowd: vec![(0.0, 0.0), (30.0, 1.0)],
        normal: vec![(0.0, LIVELY)],
        priority: PRIORITY,
        limit: 200,
        polite_share: POLITE,
        is_policy_on: true,
        planned_for: VIEWERS,
        has_neighbours: true,
        faults: Vec::new(),
        promotions: Promotions::default(),
    };
    vec![
        Scenario {
            name: "policy-off",
            title: "15 million, poll policy off",
            story: "The same crowd, messages and nodes, but every message is answered at once and no node looks at its load. What \
                    the policy is for.",
            duration_s: 90,
            individuals: 15_000,
            is_policy_on: false,
            ..steady.clone()
        },
        Scenario {
            name: "flood",
            title: "15 million, 200 messages a second",
            story: "The steady crowd with 200 messages a second: more than an answer holds (200 by default) within an interval, so \
                    viewers page, and the interval alone no longer bounds requests.",
            normal: vec![(0.0, LIVELY), (59.0, LIVELY), (60.0, 200.0)],
            individuals: 30_000,
            ..steady.clone()
        },
        Scenario {
            name: "flood-limit-1000",
            title: "200 messages a second, answers of up to 1,000",
            story: "The same flood with viewers that take up to 1,000 messages in an answer.",
            normal: vec![(0.0, LIVELY), (59.0, LIVELY), (60.0, 200.0)],
            individuals: 30_000,
            limit: 1_000,
            ..steady.clone()
        },
        Scenario {
            name: "join-storm",
            title: "Join storm: 12 million in 15 minutes",
            story: "The room opens, and 80 % of fifteen million come within a quarter of an hour, the others within another one.",
            duration_s: 2_100,
            sample_s: 15,
            individuals: 30_000,
            crowd: vec![(0.0, 0.0), (900.0, 0.8), (1_800.0, 1.0)],
            ..steady.clone()
        },
        Scenario {
            name: "viral",
            title: "Viral spike: 40 times the crowd in two hours",
            story: "375,000 viewers become fifteen million in two hours, in nodes that were planned for fifteen million.",
            duration_s: 7_800,
            sample_s: 60,
            individuals: 16_000,
            crowd: vec![(0.0, 0.0), (30.0, 0.025), (300.0, 0.025), (7_500.0, 1.0)],
            ..steady.clone()
        },
        Scenario {
            name: "viral-short",
            title: "Viral spike in a cluster that is far too small",
            story: "The same spike within twenty minutes, in nodes that were planned for a million and a half: what the pressure \
                    ladder does when there is no help.",
            duration_s: 1_500,
            sample_s: 15,
            individuals: 20_000,
            crowd: vec![(0.0, 0.0), (30.0, 0.025), (120.0, 0.025), (1_320.0, 1.0)],
            planned_for: 3 * MILLION / 2,
            ..steady.clone()
        },
        Scenario {
            name: "sports-final",
            title: "Sports final: the crowd doubles in minutes, messages burst",
            story: "Five million watch; from minute two on the crowd doubles within three minutes, and at every goal (minutes 6, 8 \
                    and 10) messages rise from 30 to 300 a second for twenty seconds.",
            duration_s: 720,
            sample_s: 5,
            viewers: 10 * MILLION,
            individuals: 30_000,
            planned_for: 10 * MILLION,
            crowd: vec![(0.0, 0.0), (30.0, 0.5), (120.0, 0.5), (300.0, 1.0)],
            normal: goals(&[360.0, 480.0, 600.0]),
            ..steady.clone()
        },
        Scenario {
            name: "loss",
            title: "A third of the sect's recvsvrs lost, then a third of the proxies",
            story: "At 60 s a third of the room's recvsvrs is gone for a minute: proxies follow the room elsewhere within a \
                    second. At 180 s a third of the proxies is gone for a minute: five million clients come back elsewhere.",
            duration_s: 360,
            sample_s: 2,
            faults: vec![
                Fault { at_s: 60.0, what: Lost::Recvsvrs { sect: VIP }, share: 1.0 / 3.0, for_s: 60.0 },
                Fault { at_s: 180.0, what: Lost::Proxies, share: 1.0 / 3.0, for_s: 60.0 },
            ],
            ..steady.clone()
        },
        Scenario {
            name: "promotion",
            title: "Promotion under load",
            story: "A room grows from 30,000 to 200,000 viewers and shrinks again. At 100,000 it moves to the VIP sect, a minute \
                    after it has fallen below 50,000 it comes back.",
            duration_s: 720,
            sample_s: 5,
            viewers: 200_000,
            individuals: 50_000,
            planned_for: 200_000,
            crowd: vec![(0.0, 0.0), (10.0, 0.15), (60.0, 0.15), (240.0, 1.0), (360.0, 1.0), (480.0, 0.1)],
            has_neighbours: false,
            promotions: Promotions {
                promote_at: 100_000,
                demote_at: 50_000,
                demote_after: Duration::from_secs(60),
            },
            ..steady.clone()
        },
    ]
    .into_iter()
    .fold(vec![steady], |mut all, next| {
        all.push(next);
        all
    })
}

/// Rates with bursts of twenty seconds at these times.
fn goals(at_s: &[f64]) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, LIVELY)];
    for at_s in at_s {
        for (after_s, rate) in [(0.0, LIVELY), (1.0, 300.0), (20.0, 300.0), (30.0, LIVELY)] {
            points.push((at_s + after_s, rate));
        }
    }
    points
}
