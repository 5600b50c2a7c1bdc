//! The names of a split's users, for lists and look-ups.
//!
//! Beside the window and apart from it: about 160 bytes a name against 14 a user, so only as many as the setting allows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
};

use room::{Role, UserId};

use crate::{Name, UserHash};

/// A user whose name is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) user: UserHash,
    pub(crate) role: Role,
    /// When the user came online (Unix milliseconds).
    pub(crate) joined_at_ms: u64,
}

/// Names by user id, and the users whose names are still to be told.
#[derive(Default)]
pub(crate) struct Roster {
    members: BTreeMap<UserId, Member>,
    /// Bytes of their ids.
    text_bytes: usize,
    ids: HashMap<UserHash, UserId>,
    /// Came online and are not named yet: when.
    unnamed: HashMap<UserHash, u64>,
    /// Online, but nobody to name.
    nameless: HashSet<UserHash>,
    /// Where the next look for members who have gone begins.
    swept: Option<UserId>,
    /// Whether somebody is online who is neither here nor unnamed, for want of room.
    is_partial: bool,
}

impl Roster {
    /// Whether it has all users of the split that have a name.
    pub(crate) fn is_complete(&self) -> bool {
        !self.is_partial && self.unnamed.is_empty()
    }

    fn is_full(&self, max: usize) -> bool {
        self.members.len() + self.unnamed.len() + self.nameless.len() >= max
    }

    /// `user` has come online.
    pub(crate) fn joined(&mut self, user: UserHash, at_ms: u64, max: usize) {
        if let Some(id) = self.ids.get(&user) {
            if let Some(member) = self.members.get_mut(id) {
                member.joined_at_ms = at_ms;
            }
        } else if !self.nameless.contains(&user) {
            if self.is_full(max) {
                self.is_partial = true;
            } else {
                self.unnamed.insert(user, at_ms);
            }
        }
    }

    /// Whether `user`'s name is to be asked for.
    pub(crate) fn wants(&self, user: UserHash) -> bool {
        !self.unnamed.is_empty() && self.unnamed.contains_key(&user)
    }

    /// Whether any name is.
    pub(crate) fn wants_any(&self) -> bool {
        !self.unnamed.is_empty()
    }

    /// Takes a name. One that was not asked for only brings its role up to date.
    pub(crate) fn name(&mut self, name: &Name) {
        let known = self.ids.get(&name.user).and_then(|id| self.members.get_mut(id));
        if let Some(member) = known {
            member.role = name.role;
            return;
        }
        let Some(joined_at_ms) = self.unnamed.remove(&name.user) else { return };
        let Some(id) = &name.id else {
            self.nameless.insert(name.user);
            return;
        };
        self.ids.insert(name.user, id.clone());
        let member = Member { user: name.user, role: name.role, joined_at_ms };
        if self.members.insert(id.clone(), member).is_none() {
            self.text_bytes += id.as_str().len();
        }
    }

    /// The member of this hash.
    pub(crate) fn member(&self, user: UserHash) -> Option<&Member> {
        self.ids.get(&user).and_then(|id| self.members.get(id))
    }

    /// When `user` came online, named or not, if that is known.
    pub(crate) fn joined_at_ms(&self, user: UserHash) -> Option<u64> {
        self.member(user).map(|member| member.joined_at_ms).or_else(|| self.unnamed.get(&user).copied())
    }

    /// Members after `after`, by user id; some may have gone.
    pub(crate) fn after(&self, after: Option<&UserId>) -> impl Iterator<Item = (&UserId, &Member)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.members.range::<UserId, _>((from, Bound::Unbounded))
    }

    /// Takes out those who are not online any more, a thirty-second part of them at a time.
    pub(crate) fn sweep(&mut self, is_online: impl Fn(UserHash) -> bool) {
        self.unnamed.retain(|user, _| is_online(*user));
        if self.swept.is_none() {
            self.nameless.retain(|user| is_online(*user));
            // Whoever found no room is asked about when they come back; by now nobody may be missing.
            if self.members.is_empty() && self.unnamed.is_empty() && self.nameless.is_empty() {
                self.is_partial = false;
            }
        }
        let part = (self.members.len() / 32).max(64);
        let (mut gone, mut looked_at, mut last) = (Vec::new(), 0, None);
        for (id, member) in self.after(self.swept.as_ref()).take(part) {
            if !is_online(member.user) {
                gone.push((id.clone(), member.user));
            }
            looked_at += 1;
            last = Some(id);
        }
        self.swept = last.filter(|_| looked_at == part).cloned();
        for (id, user) in gone {
            self.text_bytes -= id.as_str().len();
            self.members.remove(&id);
            self.ids.remove(&user);
        }
    }

    /// Bytes in memory (estimated: nodes and tables at their usual fill).
    pub(crate) fn bytes(&self) -> usize {
        let member = 16 + size_of::<(UserId, Member)>() * 3 / 2 + size_of::<(UserHash, UserId)>() * 8 / 5;
        self.text_bytes + self.members.len() * member + (self.unnamed.len() + self.nameless.len()) * 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(user: u64, id: &str) -> Name {
        Name { user: UserHash(user), id: Some(UserId::internal(id)), role: Role::Viewer }
    }

    fn ids(roster: &Roster, after: &str) -> Vec<String> {
        let after = (!after.is_empty()).then(|| UserId::internal(after));
        roster.after(after.as_ref()).map(|(id, _)| id.to_string()).collect()
    }

    #[test]
    fn names_come_in_order_of_id() {
        let mut roster = Roster::default();
        for (user, id) in [(1, "c"), (2, "a"), (3, "b")] {
            roster.joined(UserHash(user), user, 10);
            assert!(roster.wants(UserHash(user)) && !roster.is_complete());
            roster.name(&name(user, id));
        }
        assert!(roster.is_complete());
        assert_eq!(ids(&roster, ""), ["a", "b", "c"]);
        assert_eq!(ids(&roster, "a"), ["b", "c"]);
        assert_eq!(roster.joined_at_ms(UserHash(3)), Some(3));
        roster.joined(UserHash(3), 30, 10);
        assert_eq!(roster.joined_at_ms(UserHash(3)), Some(30), "came back");
        roster.name(&Name { role: Role::Moderator, ..name(3, "b") });
        assert_eq!(roster.member(UserHash(3)).unwrap().role, Role::Moderator);
    }

    #[test]
    fn full_roster_says_that_it_is_partial() {
        let mut roster = Roster::default();
        for user in 0..5 {
            roster.joined(UserHash(user), 0, 3);
            roster.name(&name(user, &format!("u{user}")));
        }
        assert_eq!((roster.members.len(), roster.is_complete()), (3, false));
        for _ in 0..2 {
            roster.sweep(|_| false);
        }
        assert_eq!((roster.members.len(), roster.is_complete()), (0, true));
    }

    #[test]
    fn callers_without_a_name_are_not_asked_again() {
        let mut roster = Roster::default();
        roster.joined(UserHash(1), 0, 3);
        roster.name(&Name { id: None, ..name(1, "") });
        roster.joined(UserHash(1), 9, 3);
        assert!(!roster.wants_any() && roster.is_complete());
        assert_eq!(roster.members.len(), 0);
    }

    #[test]
    fn sweep_keeps_who_is_online() {
        let mut roster = Roster::default();
        for user in 0..1_000 {
            roster.joined(UserHash(user), 0, 2_000);
            roster.name(&name(user, &format!("u{user:04}")));
        }
        for _ in 0..32 {
            roster.sweep(|user| user.0 % 10 == 0);
        }
        assert_eq!(roster.members.len(), 100);
        assert_eq!((roster.ids.len(), roster.text_bytes), (100, 500));
    }
}
