//! Names that were told, in case somebody asks again.

use std::{collections::HashMap, hash::BuildHasherDefault};

use room::{Role, UserId};

use super::{Visitor, clients::Hashed};
use crate::{Name, UserHash, identity::mix};

type Table = HashMap<u64, (Option<UserId>, Role), BuildHasherDefault<Hashed>>;

/// The names of the last one to two windows: two tables, of which the older is dropped when the younger is full or old.
pub(super) struct Names {
    young: Table,
    old: Table,
    max: usize,
    young_since_ms: u64,
}

fn key(room: u64, user: UserHash) -> u64 {
    mix(room) ^ user.0
}

impl Names {
    pub(super) fn new(max: usize) -> Self {
        Self { young: Table::default(), old: Table::default(), max, young_since_ms: 0 }
    }

    /// Remembers a visitor's name; gives back whether it is new or has another role, and the statsvrs should be told.
    pub(super) fn remember(&mut self, room: u64, visitor: &Visitor) -> bool {
        let key = key(room, visitor.user);
        if let Some((_, role)) = self.young.get_mut(&key) {
            return std::mem::replace(role, visitor.role) != visitor.role;
        }
        if self.young.len() >= self.max {
            // Whoever is not remembered is asked about in vain, and shows in counts only.
            return false;
        }
        let before = self.old.remove(&key);
        let is_new = before.is_none_or(|(_, role)| role != visitor.role);
        self.young.insert(key, (visitor.id.clone(), visitor.role));
        is_new
    }

    pub(super) fn find(&self, room: u64, user: UserHash) -> Option<Name> {
        let key = key(room, user);
        let (id, role) = self.young.get(&key).or_else(|| self.old.get(&key))?;
        Some(Name { user, id: id.clone(), role: *role })
    }

    /// Forgets whoever was not seen for one to two windows.
    pub(super) fn grow_older(&mut self, now_ms: u64, window_ms: u64) {
        if now_ms.saturating_sub(self.young_since_ms) >= window_ms {
            self.young_since_ms = now_ms;
            self.old = std::mem::take(&mut self.young);
        }
    }
}
