use std::{collections::HashMap, time::Duration};

use room::{AppId, PollPolicy, Promotions, RoomId, RoomKey, Routing, Sect, SectKind, SectName, SectTable};
use statsvr::{Clock, Stats, StatsSettings};
use store::grpc::Upstreams as _;

use super::*;

fn node(name: &str, sect: &str, is_draining: bool) -> Node {
    Node {
        name: name.into(),
        role: NodeRole::Recvsvr,
        sect: sect.into(),
        address: Address::new(&format!("127.0.0.1:{name}")),
        is_draining,
    }
}

fn routing() -> Routing {
    let sect = |name: &str, kind| Sect {
        name: SectName::internal(name),
        kind,
        weight: 1,
        policy: PollPolicy::default(),
        nodes: Vec::new(),
    };
    let sects = vec![sect("vip", SectKind::Vip), sect("a", SectKind::Ordinary)];
    let table = SectTable::new(sects, Vec::new(), Promotions::default()).unwrap();
    Routing { version: 1, table: Arc::new(table), moved: HashMap::new() }
}

#[tokio::test]
async fn nodes_of_the_rooms_sect_come_first_and_those_that_drain_behind_them() {
    let settings = StatsSettings { window: Duration::from_secs(30), rooms_max: 10, names_per_room_max: 10 };
    let stats = Stats::new(Clock::system(), &settings, Duration::from_secs(1), []);
    let routes = Routes::new("proxy", stats);
    let room = RoomKey::new(AppId::default(), RoomId::internal("r"));
    assert!(routes.ranked(&room).is_empty());
    let nodes = vec![node("1", "vip", false), node("2", "a", true), node("3", "a", false)];
    routes.learn_for_tests(Cluster { routing: Arc::new(routing()), text: "".into(), nodes });
    let ranked: Vec<_> = routes.ranked(&room).iter().map(|peer| peer.address().to_string()).collect();
    assert_eq!(ranked, ["127.0.0.1:3", "127.0.0.1:2", "127.0.0.1:1"]);
    assert_eq!(routes.peers().len(), 3);
}

#[tokio::test]
async fn nodes_that_the_table_does_not_admit_serve_nothing() {
    let settings = StatsSettings { window: Duration::from_secs(30), rooms_max: 10, names_per_room_max: 10 };
    let stats = Stats::new(Clock::system(), &settings, Duration::from_secs(1), []);
    let routes = Routes::new("proxy", stats);
    let room = RoomKey::new(AppId::default(), RoomId::internal("r"));
    let mut sects = routing().table.sects().to_vec();
    sects[1].nodes = vec!["127.0.0.1:3".into()];
    let table = Arc::new(SectTable::new(sects, Vec::new(), Promotions::default()).unwrap());
    let routing = Arc::new(Routing { table, ..routing() });
    let nodes = ["2", "3", "4"].map(|name| node(name, "a", false));
    let [listed_elsewhere, unknown] = [node("3", "vip", false), node("5", "gone", false)];
    let ranked = |nodes: &[Node]| -> Vec<String> {
        let cluster = Cluster { routing: Arc::clone(&routing), text: "".into(), nodes: nodes.to_vec() };
        routes.learn_for_tests(cluster);
        routes.ranked(&room).iter().map(|peer| peer.address().to_string()).collect()
    };
    assert_eq!(ranked(&nodes), ["127.0.0.1:3"]);
    assert_eq!(ranked(&[listed_elsewhere, unknown, node("6", "vip", false)]), ["127.0.0.1:6"]);
}

#[tokio::test]
async fn refused_node_is_logged_once_until_it_joins() {
    let registry = Registry::new();
    let stray = node("1", "a", false);
    assert!(registry.refused(&stray, "not listed"));
    assert!(!registry.refused(&stray, "not listed"));
    assert!(registry.refused(&stray, "listed elsewhere"));
    assert!(registry.nodes().is_empty());
    drop(registry.join(stray.clone()).unwrap());
    assert!(registry.refused(&stray, "listed elsewhere"));
}

#[tokio::test]
async fn node_that_came_back_is_not_taken_out_by_its_old_stream() {
    let registry = Registry::new();
    let old = registry.join(node("1", "a", false)).unwrap();
    let new = registry.join(node("1", "a", false)).unwrap();
    old.renew(node("1", "a", true));
    drop(old);
    assert_eq!(registry.nodes(), [node("1", "a", false)]);
    new.renew(node("1", "a", true));
    assert!(registry.nodes()[0].is_draining);
    drop(new);
    assert!(registry.nodes().is_empty());
}
