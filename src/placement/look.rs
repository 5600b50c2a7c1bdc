//! Which rooms should move by themselves now: one look at how many are in each.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
};

use room::{MOVED_ROOMS_MAX, Move, Promotion, RoomKey, Routing};

/// Rooms that are promoted in one look, and as many that are brought back: a crowd of rooms moves over several.
pub(super) const MOVES_AT_ONCE: usize = 64;

/// What one look has found.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Due {
    /// Marked as promoted, though that no longer counts: they live where the table has them already. All that there are.
    pub(super) void: Vec<RoomKey>,
    /// To be brought back, at most [`MOVES_AT_ONCE`].
    pub(super) demoted: Vec<RoomKey>,
    /// To be promoted, the biggest first: at most [`MOVES_AT_ONCE`], and no more than there is place for.
    pub(super) promoted: Vec<RoomKey>,
    /// How many more have the size and find no place, as too many rooms live elsewhere than the table says.
    pub(super) without_place: usize,
}

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.void.is_empty() && self.demoted.is_empty() && self.promoted.is_empty()
    }
}

/// Looks at all rooms: those of `counted`, which `for_each` gives with their users, and the promoted ones that nobody is in.
///
/// Rooms that come back are found apart from those that go, and first: however many want to go, and however full the list of
/// moved rooms is, there is a way back, and each that comes back makes a place.
pub(super) fn look(
    promotion: &mut Promotion,
    routing: &Routing,
    now_ms: u64,
    for_each: impl FnOnce(&mut dyn FnMut(&RoomKey, u64)),
) -> Due {
    promotion.retain(routing);
    let mut due = Due::default();
    let mut seen = HashSet::new();
    let mut grown = 0usize;
    // The biggest so far, the smallest of them on top.
    let mut biggest: BinaryHeap<Reverse<(u64, RoomKey)>> = BinaryHeap::new();
    let mut observe = |room: &RoomKey, num_users| match promotion.observe(now_ms, routing, room, num_users) {
        Some(Move::Demote) if routing.is_void_promotion(room) => due.void.push(room.clone()),
        Some(Move::Demote) if due.demoted.len() < MOVES_AT_ONCE => due.demoted.push(room.clone()),
        // It is asked for again at the next look.
        Some(Move::Demote) | None => {}
        Some(Move::Promote) => {
            grown += 1;
            let is_bigger = |least: &Reverse<(u64, RoomKey)>| least.0.0 < num_users;
            if biggest.len() < MOVES_AT_ONCE || biggest.peek().is_some_and(is_bigger) {
                biggest.push(Reverse((num_users, room.clone())));
            }
            if biggest.len() > MOVES_AT_ONCE {
                biggest.pop();
            }
        }
    };
    for_each(&mut |room, num_users| {
        if routing.moved.contains_key(room) {
            seen.insert(room.clone());
        }
        observe(room, num_users);
    });
    for room in routing.moved.keys().filter(|room| !seen.contains(*room)) {
        observe(room, 0);
    }
    let staying = routing.moved.len() - due.void.len() - due.demoted.len();
    let places = MOVED_ROOMS_MAX.saturating_sub(staying);
    due.without_place = if places < MOVES_AT_ONCE { grown.saturating_sub(places) } else { 0 };
    due.promoted =
        biggest.into_sorted_vec().into_iter().take(places).map(|Reverse((_, room))| room).collect();
    due
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc, time::Duration};

    use room::{
        AppId, Placed, PlacedBy, PollPolicy, Promotions, RoomId, Sect, SectKind, SectName, SectTable,
    };

    use super::*;

    fn room(name: &str) -> RoomKey {
        RoomKey::new(AppId::default(), RoomId::internal(name))
    }

    fn routing(sects: &[(&str, SectKind)], moved: HashMap<RoomKey, Placed>) -> Routing {
        let sect = |(name, kind): &(&str, SectKind)| Sect {
            name: SectName::internal(name),
            kind: *kind,
            weight: 1,
            policy: PollPolicy::default(),
            nodes: Vec::new(),
        };
        let promotions = Promotions { promote_at: 100, demote_at: 60, demote_after: Duration::ZERO };
        let table = SectTable::new(sects.iter().map(sect).collect(), Vec::new(), promotions).unwrap();
        Routing { version: 1, table: Arc::new(table), moved }
    }

    fn with_vip(moved: HashMap<RoomKey, Placed>) -> Routing {
        routing(&[("a", SectKind::Ordinary), ("vip", SectKind::Vip)], moved)
    }

    fn placed(count: usize, prefix: &str, by: PlacedBy) -> HashMap<RoomKey, Placed> {
        let placed = Placed { sect: SectName::internal("vip"), by, since_ms: 0 };
        (0..count).map(|at| (room(&format!("{prefix}-{at}")), placed.clone())).collect()
    }

    fn found(routing: &Routing, counted: &[(RoomKey, u64)]) -> Due {
        look(&mut Promotion::default(), routing, 1_000, |observe| {
            counted.iter().for_each(|(room, users)| observe(room, *users));
        })
    }

    #[test]
    fn biggest_rooms_go_first_and_a_crowd_of_rooms_goes_over_several_looks() {
        let counted: Vec<_> = (0..500).map(|at| (room(&format!("r{at}")), 50 + at)).collect();
        let due = found(&with_vip(HashMap::new()), &counted);
        let biggest: Vec<_> = (0..MOVES_AT_ONCE).map(|at| room(&format!("r{}", 499 - at))).collect();
        assert_eq!(due, Due { promoted: biggest, ..Due::default() });
    }

    #[test]
    fn rooms_that_want_to_go_never_keep_others_from_coming_back() {
        let counted: Vec<_> = (0..500).map(|at| (room(&format!("r{at}")), 1_000)).collect();
        let due = found(&with_vip(placed(200, "empty", PlacedBy::Promotion)), &counted);
        assert_eq!((due.demoted.len(), due.promoted.len()), (MOVES_AT_ONCE, MOVES_AT_ONCE));
        assert!(due.demoted.iter().all(|room| room.room.as_str().starts_with("empty-")));
    }

    #[test]
    fn full_list_gives_the_places_of_those_that_come_back() {
        let mut moved = placed(MOVED_ROOMS_MAX - 2, "pinned", PlacedBy::Api);
        moved.extend(placed(2, "empty", PlacedBy::Promotion));
        let counted: Vec<_> = (0..5).map(|at| (room(&format!("r{at}")), 1_000 + at)).collect();
        let due = found(&with_vip(moved.clone()), &counted);
        assert_eq!((due.demoted.len(), due.without_place), (2, 3));
        assert_eq!(due.promoted, [room("r4"), room("r3")]);
        moved.retain(|_, placed| placed.by == PlacedBy::Api);
        moved.extend(placed(2, "more", PlacedBy::Api));
        let due = found(&with_vip(moved), &counted);
        assert_eq!((due.promoted, due.without_place), (vec![], 5));
    }

    #[test]
    fn promotions_that_no_longer_count_are_all_found_at_once() {
        let moved = placed(200, "r", PlacedBy::Promotion);
        let due = found(&routing(&[("a", SectKind::Ordinary)], moved), &[(room("r-7"), 1_000)]);
        assert_eq!((due.void.len(), due.demoted.len(), due.promoted.len()), (200, 0, 0));
    }
}
