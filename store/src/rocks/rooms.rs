//! What is known of rooms without asking RocksDB: heads and settings of those written to lately.

use std::{collections::HashMap, mem, sync::Arc};

use parking_lot::Mutex;
use room::{List, PerList, RoomKey, RoomSettings};

use super::record::Head;

/// Most rooms kept (count). About 500 bytes each: 32 MB when full.
const ROOMS_MAX: usize = 1 << 16;

/// What is durable of a room beside its messages.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) settings: Arc<RoomSettings>,
    pub(crate) heads: PerList<Head>,
    /// A message at or before the oldest kept, and when it was accepted: while that one has not aged out, none has.
    pub(crate) oldest: PerList<Option<Stamp>>,
}

/// When a message was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) seq: u64,
    /// Unix milliseconds.
    pub(crate) sent_at_ms: u64,
}

impl Room {
    /// A room as RocksDB gives it.
    pub(crate) fn new(settings: RoomSettings, heads: PerList<Head>) -> Self {
        Self { settings: Arc::new(settings), heads, oldest: PerList::default() }
    }
}

/// The rooms written to lately, as of the last commit. Only the writer puts rooms in, so none is ever behind.
///
/// Two generations stand in for an order by age: when the young one is half of the bound, it becomes the old one and
/// the old one goes. A room that is asked for moves to the young one.
pub(crate) struct RoomCache {
    generations: Mutex<Generations>,
    half: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<RoomKey, Room>,
    old: HashMap<RoomKey, Room>,
}

impl Default for RoomCache {
    fn default() -> Self {
        Self::with_rooms_max(ROOMS_MAX)
    }
}

impl RoomCache {
    fn with_rooms_max(rooms_max: usize) -> Self {
        Self { generations: Mutex::default(), half: rooms_max.div_ceil(2) }
    }

    /// The room, if it was written to lately.
    pub(crate) fn get(&self, key: &RoomKey) -> Option<Room> {
        let mut generations = self.generations.lock();
        if let Some(room) = generations.young.get(key) {
            return Some(room.clone());
        }
        let (key, room) = generations.old.remove_entry(key)?;
        let found = room.clone();
        let gone = self.put_young(&mut generations, key, room);
        drop(generations);
        drop(gone);
        Some(found)
    }

    /// Puts in what a commit made of the rooms.
    pub(crate) fn put_all(&self, rooms: impl IntoIterator<Item = (RoomKey, Room)>) {
        let mut gone = Vec::new();
        let mut generations = self.generations.lock();
        for (key, room) in rooms {
            generations.old.remove(&key);
            gone.extend(self.put_young(&mut generations, key, room));
        }
        drop(generations);
        drop(gone);
    }

    /// Gives back the generation that goes. Freeing it takes milliseconds: not under the lock, which every reader takes.
    fn put_young(
        &self,
        generations: &mut Generations,
        key: RoomKey,
        room: Room,
    ) -> Option<HashMap<RoomKey, Room>> {
        generations.young.insert(key, room);
        (generations.young.len() >= self.half)
            .then(|| mem::replace(&mut generations.old, mem::take(&mut generations.young)))
    }

    /// Remembers when a message was accepted that a reader found to be the oldest kept.
    pub(crate) fn set_oldest(&self, key: &RoomKey, list: List, found: Stamp) {
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        if let Some(room) = young.get_mut(key).or_else(|| old.get_mut(key)) {
            let oldest = &mut room.oldest[list];
            if oldest.is_none_or(|known| known.seq < found.seq) {
                *oldest = Some(found);
            }
        }
    }

    /// Forgets everything: what RocksDB holds may differ after a failed write.
    pub(crate) fn clear(&self) {
        let gone = mem::take(&mut *self.generations.lock());
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use room::{AppId, RoomId};

    use super::*;

    fn key(number: usize) -> RoomKey {
        RoomKey::new(AppId::default(), RoomId::internal(&format!("r{number}")))
    }

    fn room(last: u64) -> Room {
        let head = Head { last, first: 1, trimmed: 1, last_sent_at_ms: 0 };
        Room::new(RoomSettings::default(), PerList { priority: head, normal: Head::EMPTY })
    }

    #[test]
    fn cache_stays_within_its_bound_and_keeps_what_is_used() {
        let cache = RoomCache::with_rooms_max(10);
        cache.put_all([(key(0), room(7))]);
        for number in 1..100 {
            cache.put_all([(key(number), room(1))]);
            assert_eq!(cache.get(&key(0)).unwrap().heads.priority.last, 7);
            let generations = cache.generations.lock();
            assert!(generations.young.len() + generations.old.len() <= 10);
        }
        assert!(cache.get(&key(1)).is_none());
    }

    #[test]
    fn newest_commit_wins() {
        let cache = RoomCache::with_rooms_max(4);
        cache.put_all([(key(0), room(1)), (key(1), room(1)), (key(0), room(2))]);
        cache.put_all([(key(0), room(3))]);
        assert_eq!(cache.get(&key(0)).unwrap().heads.priority.last, 3);
        cache.clear();
        assert!(cache.get(&key(0)).is_none());
    }

    #[test]
    fn oldest_only_moves_forward() {
        let cache = RoomCache::default();
        cache.set_oldest(&key(0), List::Normal, Stamp { seq: 1, sent_at_ms: 1 });
        assert!(cache.get(&key(0)).is_none(), "a reader puts no room in");
        cache.put_all([(key(0), room(1))]);
        for seq in [5, 3] {
            cache.set_oldest(&key(0), List::Normal, Stamp { seq, sent_at_ms: seq * 10 });
        }
        assert_eq!(cache.get(&key(0)).unwrap().oldest.normal, Some(Stamp { seq: 5, sent_at_ms: 50 }));
    }
}
