//! When a room moves to a VIP sect by itself, and back: rules without a clock.

use std::collections::HashMap;

use crate::{PlacedBy, RoomKey, Routing, SectKind};

/// What a room should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// Go to a VIP sect.
    Promote,
    /// Go back to where the table has it.
    Demote,
}

/// Watches how many users rooms have.
///
/// A room that lives in an ordinary sect goes to a VIP sect as soon as it has `promote_at` users. One that is there by promotion comes
/// back once it has had fewer than `demote_at` for `demote_after` without a break, and at once if its promotion no longer counts
/// ([`Routing::is_void_promotion`]). Rooms that are pinned, by the table or by an operator, stay. Between the two numbers, nothing moves: a room that grows and shrinks about one of them does not move to and fro.
#[derive(Clone, Default, Debug)]
pub struct Promotion {
    /// Since when promoted rooms have been below (milliseconds of the caller's clock). At most as many as are promoted.
    below_since: HashMap<RoomKey, u64>,
}

impl Promotion {
    /// What becomes of a room that has so many users now; a promoted room that nobody is in has 0.
    ///
    /// Say so again at least every few seconds: between two words the room is taken to be as it was. A move is asked for again each
    /// time until it is done.
    pub fn observe(
        &mut self,
        now_ms: u64,
        routing: &Routing,
        room: &RoomKey,
        num_users: u64,
    ) -> Option<Move> {
        let promotions = routing.table.promotions();
        match routing.moved.get(room).map(|placed| placed.by) {
            Some(PlacedBy::Api) => {
                self.below_since.remove(room);
                None
            }
            Some(PlacedBy::Promotion) => {
                if routing.is_void_promotion(room) {
                    return Some(Move::Demote);
                }
                if num_users >= promotions.demote_at && promotions.promote_at > 0 {
                    self.below_since.remove(room);
                    return None;
                }
                let since = *self.below_since.entry(room.clone()).or_insert(now_ms);
                let is_over = u128::from(now_ms.saturating_sub(since)) >= promotions.demote_after.as_millis();
                is_over.then_some(Move::Demote)
            }
            None => {
                let has_grown = promotions.promote_at > 0 && num_users >= promotions.promote_at;
                let may_move = has_grown
                    && routing.table.pin_of(room).is_none()
                    && routing.table.home(room).kind == SectKind::Ordinary
                    && routing.table.vip_home(room).is_some();
                may_move.then_some(Move::Promote)
            }
        }
    }

    /// Forgets rooms that are no longer promoted.
    pub fn retain(&mut self, routing: &Routing) {
        self.below_since
            .retain(|room, _| routing.moved.get(room).is_some_and(|placed| placed.by == PlacedBy::Promotion));
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::{AppId, Pin, Placed, PollPolicy, Promotions, RoomId, RoomPattern, Sect, SectName, SectTable};

    const PROMOTIONS: Promotions =
        Promotions { promote_at: 100, demote_at: 60, demote_after: Duration::from_secs(10) };

    fn room(name: &str) -> RoomKey {
        RoomKey::new(AppId::default(), RoomId::internal(name))
    }

    fn routing(promotions: Promotions) -> Routing {
        let sect = |name: &str, kind| Sect {
            name: SectName::internal(name),
            kind,
            weight: 1,
            policy: PollPolicy::default(),
            nodes: Vec::new(),
        };
        let pin =
            Pin { app: AppId::default(), rooms: RoomPattern::new("pinned"), sect: SectName::internal("a") };
        let sects = vec![sect("a", SectKind::Ordinary), sect("vip", SectKind::Vip)];
        let table = SectTable::new(sects, vec![pin], promotions).unwrap();
        Routing { version: 0, table: Arc::new(table), moved: HashMap::new() }
    }

    /// Does what a word asks for.
    fn apply(routing: &mut Routing, room: &RoomKey, moved: Option<Move>) {
        match moved {
            Some(Move::Promote) => {
                let placed = Placed { sect: SectName::internal("vip"), by: PlacedBy::Promotion, since_ms: 0 };
                routing.moved.insert(room.clone(), placed);
            }
            Some(Move::Demote) => drop(routing.moved.remove(room)),
            None => {}
        }
    }

    #[test]
    fn room_is_promoted_at_once_and_comes_back_after_a_while() {
        let (mut routing, mut promotion) = (routing(PROMOTIONS), Promotion::default());
        let room = room("r");
        for (at_s, users, expect) in [
            (0, 99, None),
            (1, 100, Some(Move::Promote)),
            (2, 59, None),
            (11, 59, None),
            (11, 60, None), // A break.
            (12, 10, None),
            (21, 10, None),
            (22, 0, Some(Move::Demote)),
            (23, 0, None),
        ] {
            let moved = promotion.observe(at_s * 1_000, &routing, &room, users);
            assert_eq!(moved, expect, "{at_s} s, {users} users");
            apply(&mut routing, &room, moved);
        }
    }

    #[test]
    fn pinned_rooms_and_tables_without_promotion_stay() {
        let mut promotion = Promotion::default();
        assert_eq!(promotion.observe(0, &routing(PROMOTIONS), &room("pinned"), 1_000), None);
        let never = Promotions { promote_at: 0, demote_at: 0, ..PROMOTIONS };
        assert_eq!(promotion.observe(0, &routing(never), &room("r"), u64::MAX), None);
        let mut placed = routing(PROMOTIONS);
        let by_api = Placed { sect: SectName::internal("a"), by: PlacedBy::Api, since_ms: 0 };
        placed.moved.insert(room("r"), by_api);
        assert_eq!(promotion.observe(0, &placed, &room("r"), 1_000), None);
    }

    #[test]
    fn promotion_that_no_longer_counts_ends_at_once() {
        let (mut routing, mut promotion) = (routing(PROMOTIONS), Promotion::default());
        apply(&mut routing, &room("r"), Some(Move::Promote));
        assert_eq!(promotion.observe(0, &routing, &room("r"), 1_000), None);
        let only = routing.table.sects()[..1].to_vec();
        routing.table = Arc::new(SectTable::new(only, Vec::new(), PROMOTIONS).unwrap());
        assert_eq!(promotion.observe(1, &routing, &room("r"), 1_000), Some(Move::Demote));
        apply(&mut routing, &room("r"), Some(Move::Demote));
        assert_eq!(promotion.observe(2, &routing, &room("r"), 1_000), None, "there is no sect to go to");
    }

    #[test]
    fn move_is_asked_for_until_it_is_done() {
        let (mut routing, mut promotion) = (routing(PROMOTIONS), Promotion::default());
        apply(&mut routing, &room("r"), Some(Move::Promote));
        assert_eq!(promotion.observe(0, &routing, &room("r"), 0), None);
        for at_ms in [10_000, 11_000] {
            assert_eq!(promotion.observe(at_ms, &routing, &room("r"), 0), Some(Move::Demote));
        }
        assert_eq!(
            promotion.observe(12_000, &routing, &room("r"), 60),
            None,
            "it has filled again meanwhile"
        );
        assert_eq!(promotion.observe(13_000, &routing, &room("r"), 0), None);
        apply(&mut routing, &room("r"), Some(Move::Demote));
        promotion.retain(&routing);
        assert!(promotion.below_since.is_empty());
    }

    #[test]
    fn promoted_room_comes_back_when_promotion_is_switched_off() {
        let (mut routing, mut promotion) = (routing(PROMOTIONS), Promotion::default());
        apply(&mut routing, &room("r"), Some(Move::Promote));
        let never = Promotions { promote_at: 0, demote_at: 0, ..PROMOTIONS };
        let table = SectTable::new(routing.table.sects().to_vec(), Vec::new(), never).unwrap();
        routing.table = Arc::new(table);
        assert_eq!(promotion.observe(0, &routing, &room("r"), 1_000), None);
        assert_eq!(promotion.observe(10_000, &routing, &room("r"), 1_000), Some(Move::Demote));
    }

    proptest! {
        #[test]
        fn moves_alternate_and_hold_for_a_while(users in proptest::collection::vec(0u64..200, 1..300)) {
            let (mut routing, mut promotion) = (routing(PROMOTIONS), Promotion::default());
            let room = room("r");
            let mut last: Option<(Move, u64)> = None;
            for (at, users) in users.into_iter().enumerate() {
                let now_ms = at as u64 * 1_000;
                let moved = promotion.observe(now_ms, &routing, &room, users);
                if let Some(moved) = moved {
                    prop_assert_ne!(last.map(|(moved, _)| moved), Some(moved));
                    if let (Move::Demote, Some((_, promoted_ms))) = (moved, last) {
                        prop_assert!(now_ms - promoted_ms >= 10_000, "a promotion lasts a while");
                    }
                    let is_due = if moved == Move::Promote { users >= 100 } else { users < 60 };
                    prop_assert!(is_due);
                    last = Some((moved, now_ms));
                }
                apply(&mut routing, &room, moved);
                promotion.retain(&routing);
                prop_assert!(promotion.below_since.len() <= routing.moved.len());
            }
        }
    }
}
