use proptest::prelude::*;

use super::*;
use crate::{AppId, RoomPattern};

fn room(number: u64) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal(&format!("room-{number}")))
}

fn sect(name: &str, kind: SectKind, weight: u32) -> Sect {
    Sect { name: SectName::internal(name), kind, weight, policy: PollPolicy::default(), nodes: Vec::new() }
}

fn table(sects: Vec<Sect>) -> SectTable {
    SectTable::new(sects, Vec::new(), Promotions::default()).unwrap()
}

#[test]
fn rooms_spread_over_ordinary_sects_by_weight() {
    use SectKind::{Ordinary, Vip};
    let table = table(vec![sect("a", Ordinary, 1), sect("b", Ordinary, 3), sect("vip", Vip, 100)]);
    let in_b = (0..20_000).filter(|n| table.home(&room(*n)).name.as_str() == "b").count();
    assert!((14_600..15_400).contains(&in_b), "{in_b} of 15,000");
    assert!((0..100).all(|n| table.vip_home(&room(n)).unwrap().name.as_str() == "vip"));
}

#[test]
fn places_are_the_same_on_every_machine() {
    let table = table(vec![sect("a", SectKind::Ordinary, 1), sect("b", SectKind::Ordinary, 1)]);
    let homes: String = (0..16).map(|n| table.home(&room(n)).name.as_str().to_owned()).collect();
    assert_eq!(homes, HOMES);
    let nodes = ["n1", "n2", "n3", "n4"];
    assert_eq!(ranked_nodes(&room(1), "p", &nodes, 0), RANKED);
}

/// What the hash gave when it was first written down: a change would move rooms when a deployment is upgraded.
const HOMES: &str = "abaaabababaabbbb";
const RANKED: [usize; 4] = [1, 3, 0, 2];

#[test]
fn sect_that_is_added_takes_only_its_share() {
    let before = table(vec![sect("a", SectKind::Ordinary, 2), sect("b", SectKind::Ordinary, 1)]);
    let more = vec![
        sect("a", SectKind::Ordinary, 2),
        sect("b", SectKind::Ordinary, 1),
        sect("c", SectKind::Ordinary, 1),
    ];
    let after = table(more);
    let mut moved = 0;
    for number in 0..20_000 {
        let (was, is) = (&before.home(&room(number)).name, &after.home(&room(number)).name);
        if was != is {
            assert_eq!(is.as_str(), "c");
            moved += 1;
        }
    }
    assert!((4_600..5_400).contains(&moved), "{moved} of 5,000");
}

#[test]
fn pins_hold_before_hashes_and_exceptions_before_pins() {
    let pin =
        Pin { app: AppId::default(), rooms: RoomPattern::new("room-1*"), sect: SectName::internal("vip") };
    let sects = vec![sect("a", SectKind::Ordinary, 1), sect("vip", SectKind::Vip, 1)];
    let table = Arc::new(SectTable::new(sects, vec![pin], Promotions::default()).unwrap());
    assert_eq!(table.home(&room(17)).name.as_str(), "vip");
    assert_eq!(table.home(&room(2)).name.as_str(), "a");
    let placed = |sect: &str| Placed { sect: SectName::internal(sect), by: PlacedBy::Api, since_ms: 0 };
    let moved = [(room(17), placed("a")), (room(2), placed("gone"))].into();
    let routing = Routing { version: 1, table, moved };
    assert_eq!(routing.sect_of(&room(17)).name.as_str(), "a");
    assert_eq!(routing.sect_of(&room(2)).name.as_str(), "a", "a sect that is gone does not count");
    assert!(routing.placed(&room(17)).is_some() && routing.placed(&room(2)).is_none());
    assert!(!routing.is_void_promotion(&room(2)), "an operator's word waits for its sect to come back");
}

#[test]
fn promotion_counts_only_without_a_pin_and_in_a_vip_sect() {
    use SectKind::{Ordinary, Vip};
    let sects = vec![sect("a", Ordinary, 1), sect("vip", Vip, 1)];
    let promoted = || Placed { sect: SectName::internal("vip"), by: PlacedBy::Promotion, since_ms: 0 };
    let with = |sects: Vec<Sect>, pins: Vec<Pin>| Routing {
        version: 1,
        table: Arc::new(SectTable::new(sects, pins, Promotions::default()).unwrap()),
        moved: [(room(1), promoted())].into(),
    };
    let pin = |sect: &str| Pin {
        app: AppId::default(),
        rooms: RoomPattern::new("room-*"),
        sect: SectName::internal(sect),
    };
    for (routing, lives_in, counts) in [
        (with(sects.clone(), vec![]), "vip", true),
        (with(sects.clone(), vec![pin("a")]), "a", false),
        (with(sects, vec![pin("vip")]), "vip", false),
        (with(vec![sect("a", Ordinary, 1)], vec![]), "a", false),
        (with(vec![sect("a", Ordinary, 1_000_000), sect("vip", Ordinary, 1)], vec![]), "a", false),
    ] {
        assert_eq!(routing.sect_of(&room(1)).name.as_str(), lives_in);
        assert_eq!(
            (routing.placed(&room(1)).is_some(), routing.is_void_promotion(&room(1))),
            (counts, !counts)
        );
        assert!(!routing.is_void_promotion(&room(2)), "it is not marked");
    }
}

#[test]
fn tables_that_would_lose_rooms_are_refused() {
    use SectKind::{Ordinary, Vip};
    let new = |sects, pins| SectTable::new(sects, pins, Promotions::default()).unwrap_err().to_string();
    assert!(new(vec![sect("v", Vip, 1)], vec![]).contains("kind ordinary"));
    assert!(new(vec![sect("a", Ordinary, 1), sect("a", Vip, 1)], vec![]).contains("\"a\""));
    assert_eq!(new(vec![sect("a", Ordinary, 0)], vec![]), "sect \"a\": weight = 0 must be 1 or more");
    let pin = Pin { app: AppId::default(), rooms: RoomPattern::new("x*"), sect: SectName::internal("b") };
    assert!(new(vec![sect("a", Ordinary, 1)], vec![pin]).contains("sect = \"b\" must be a sect"));
    let promotions = Promotions { promote_at: 10, demote_at: 11, ..Promotions::default() };
    let refused = SectTable::new(vec![sect("a", Ordinary, 1)], vec![], promotions).unwrap_err();
    assert_eq!(refused.to_string(), "demote_at = 11 must be at most promote_at = 10");
    let promotions = Promotions { promote_at: 10, demote_at: 0, ..Promotions::default() };
    let refused = SectTable::new(vec![sect("a", Ordinary, 1)], vec![], promotions).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "demote_at = 0 must be 1 or more: no room has fewer than 0 users, and none would come back"
    );
    let never = Promotions { promote_at: 0, demote_at: 0, ..Promotions::default() };
    assert!(SectTable::new(vec![sect("a", Ordinary, 1)], vec![], never).is_ok());
    let node = |name: &str| Sect { nodes: vec!["h:1".into()], ..sect(name, Ordinary, 1) };
    assert_eq!(
        new(vec![node("a"), node("b")], vec![]),
        "sect \"b\": nodes = \"h:1\" must not be a node of sect \"a\" too"
    );
}

#[test]
fn nodes_that_are_listed_serve_their_sect_and_no_other() {
    let listed = |name: &str, nodes: &[&str]| Sect {
        nodes: nodes.iter().map(|node| (*node).into()).collect(),
        ..sect(name, SectKind::Ordinary, 1)
    };
    let table = table(vec![listed("open", &[]), listed("a", &["h:1"]), listed("b", &["h:2", "h:3"])]);
    assert_eq!(table.admit("open", "h:9"), Ok(()));
    assert_eq!((table.admit("a", "h:1"), table.admit("b", "h:3")), (Ok(()), Ok(())));
    for (sect, address, why) in [
        (
            "a",
            "h:9",
            "sect \"a\" has its nodes listed in the sect table, and h:9 is not one of them: list it there",
        ),
        (
            "a",
            "h:2",
            "h:2 is listed in the sect table as a node of sect \"b\": start it with that one, or take it off the list",
        ),
        (
            "open",
            "h:2",
            "h:2 is listed in the sect table as a node of sect \"b\": start it with that one, or take it off the list",
        ),
        ("gone", "h:9", "the sendsvr's sect table has open, a, b"),
    ] {
        assert!(table.admit(sect, address).unwrap_err().to_string().contains(why), "{sect} {address}");
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("10.0.0.{at}:7071")).collect()
}

#[test]
fn big_room_is_on_all_nodes_and_a_small_one_on_one() {
    let nodes = names(8);
    let firsts = |users| {
        let firsts: std::collections::BTreeSet<_> =
            (0..1_000).map(|p| ranked_nodes(&room(1), &format!("proxy-{p}"), &nodes, users)[0]).collect();
        firsts.len()
    };
    assert_eq!((firsts(0), firsts(49_999), firsts(50_000), firsts(10_000_000)), (1, 1, 2, 8));
    let counts = (0..8_000).fold([0; 8], |mut counts, p| {
        counts[ranked_nodes(&room(1), &format!("proxy-{p}"), &nodes, 10_000_000)[0]] += 1;
        counts
    });
    assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
}

#[test]
fn moves_are_spread() {
    let after: Vec<_> = (0..1_000).map(|p| move_after(&room(1), &format!("proxy-{p}"), 3)).collect();
    assert!(after.iter().all(|after| *after < MOVE_SPREAD));
    let early = after.iter().filter(|after| **after < MOVE_SPREAD / 2).count();
    assert!((440..560).contains(&early), "{early} of 500 in the first half");
    assert_ne!(move_after(&room(1), "p", 3), move_after(&room(1), "p", 4));
}

proptest! {
    #[test]
    fn every_node_is_ranked_once(count in 0usize..20, number in any::<u64>(), users in any::<u64>()) {
        let mut ranked = ranked_nodes(&room(number), "p", &names(count), users);
        ranked.sort_unstable();
        prop_assert_eq!(ranked, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn node_that_goes_moves_only_what_it_had(count in 2usize..12, number in any::<u64>(), users in 0u64..2_000_000, gone in any::<prop::sample::Index>()) {
        let nodes = names(count);
        let gone = gone.index(count);
        let fewer: Vec<_> = nodes.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, node)| node.clone()).collect();
        let before = &nodes[ranked_nodes(&room(number), "p", &nodes, users)[0]];
        let after = &fewer[ranked_nodes(&room(number), "p", &fewer, users)[0]];
        // One more node becomes the room's when one of them goes; who asks may prefer that one.
        let own = (users / users_per_node() + 1) as usize;
        if own >= count && *before != nodes[gone] {
            prop_assert_eq!(before, after);
        }
        if own == 1 && *before != nodes[gone] {
            prop_assert_eq!(before, after);
        }
    }
}
