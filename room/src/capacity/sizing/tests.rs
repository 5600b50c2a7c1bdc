use proptest::prelude::*;

use super::{super::demand::tests::room, *};
use crate::{PollPolicy, costs::tests::ROUND};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Eight cores, half of which are planned with.
const NODE: NodeSize = NodeSize {
    cores: 8.0,
    memory_bytes: 16.0 * GIB,
    network_bits_per_s: 10e9,
    clients_max: 200_000.0,
    utilisation: 0.5,
    spare: 1,
};

fn near(found: f64, expect: f64) {
    assert!((found / expect - 1.0).abs() < 1e-4, "{found} is not {expect}");
}

#[test]
fn small_busy_room_by_hand() {
    // 11,000 clients, all polite: 1 s and 10 % more, so 10,000 polls a second with 11 messages each. An answer is
    // 10 + 10 × 0.25 = 12.5 µs: 0.125 cores. A core is planned with to a half: one node carries it, one is spare.
    let second = std::time::Duration::from_secs(1);
    let demand = Demand { policy: PollPolicy::new(vec![(0, second)]).unwrap(), ..room(11_000, 10.0) };
    let sizing = size(&demand, &ROUND, &NODE).unwrap();
    near(sizing.polls_per_s, 10_000.0);
    near(sizing.messages_per_poll, 11.0);
    near(sizing.proxy.cores, 0.125);
    assert_eq!((sizing.proxy.nodes, sizing.recvsvr.nodes, sizing.sendsvr.nodes), (2, 2, 1));
    // 10,000 answers of 480 + 11 × 330 bytes.
    near(sizing.proxy.out_bits_per_s, 10_000.0 * 4_110.0 * 8.0);
    near(sizing.proxy.memory_bytes, 11_000.0 * (2_500.0 + 4_096.0));
    // 10 messages a second to two proxies, 10 µs each; 20 µs a send, and 10 for each of two recvsvrs.
    near(sizing.recvsvr.cores, 0.000_2);
    near(sizing.sendsvr.cores, 0.000_4);
    // Two copies of 10,000 heartbeats of 0.2 µs.
    near(sizing.statsvr.cores, 0.004);
}

#[test]
fn crowd_on_the_way_to_the_peak_can_be_the_harder_one() {
    // Just below ten million the interval is 3 s: 9,999,999 / 3.3 polls a second, and at the peak 10,000,000 / 5.5.
    // Processor time is what is scarce: 3.0 million × 18 µs against 1.8 million × 23.5 µs.
    let node = NodeSize { clients_max: 1e9, network_bits_per_s: 1e15, memory_bytes: 1024.0 * GIB, ..NODE };
    let sizing = size(&room(10_000_000, 10.0), &ROUND, &node).unwrap();
    assert_eq!(sizing.hardest_clients, 9_999_999);
    near(sizing.hardest_polls_per_s, 9_999_999.0 / 3.3);
    near(sizing.polls_per_s, 10_000_000.0 / 5.5);
}

#[test]
fn scarce_resource_is_named() {
    let demand = room(15_000_000, 1.0);
    for (node, bound) in [
        (NodeSize { cores: 0.25, ..NODE }, Bound::Cpu),
        (NodeSize { memory_bytes: 1.5 * GIB, ..NODE }, Bound::Memory),
        (NodeSize { network_bits_per_s: 100e6, ..NODE }, Bound::Network),
        (NodeSize { clients_max: 10_000.0, ..NODE }, Bound::Clients),
    ] {
        assert_eq!(size(&demand, &ROUND, &node).unwrap().proxy.bound, bound);
    }
}

#[test]
fn what_cannot_be_carried_is_refused() {
    assert!(matches!(size(&room(10, 30_000.0), &ROUND, &NODE), Err(SizingError::Log { .. })));
    let mut slow = room(10, 5_000.0);
    (slow.crowd.limit, slow.crowd.round_trip_s) = (200, 0.05);
    assert!(matches!(size(&slow, &ROUND, &NODE), Err(SizingError::FallsBehind { limit: 200, .. })));
    let small = NodeSize { memory_bytes: 0.5 * GIB, ..NODE };
    assert!(matches!(size(&room(10, 1.0), &ROUND, &small), Err(SizingError::Memory(..))));
}

proptest! {
    #[test]
    fn more_viewers_never_need_fewer_nodes(
        clients in 1_u64..40_000_000,
        more in 0_u64..20_000_000,
        rate in 0.0_f64..500.0,
        priority in 0.0_f64..5.0,
        polite in 0.0_f64..=1.0,
        devices in 1.0_f64..3.0,
        limit in 100_u32..1_000,
        round_trip_s in 0.0_f64..0.1,
        joins in 0.0_f64..20_000.0,
    ) {
        let mut demand = room(clients, rate);
        demand.traffic.priority_per_s = priority;
        demand.crowd.polite_share = polite;
        demand.crowd.devices_per_user = devices;
        demand.crowd.limit = limit;
        demand.crowd.round_trip_s = round_trip_s;
        demand.crowd.joins_per_s = joins;
        let nodes = |demand: &Demand| {
            let sizing = size(demand, &ROUND, &NODE).unwrap();
            [sizing.proxy, sizing.recvsvr, sizing.sendsvr, sizing.statsvr].map(|role| role.nodes)
        };
        let (fewer, others) = (nodes(&demand), nodes(&demand.with_clients(clients + more)));
        for (fewer, more) in fewer.into_iter().zip(others) {
            prop_assert!(fewer <= more, "{fewer} nodes for {clients} clients, {more} for {more} more");
        }
    }
}
