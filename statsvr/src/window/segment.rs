//! A piece of the table that is small enough to be laid out anew without anybody noticing.

use super::entry::Entry;
use crate::identity::KEPT_BITS;

/// Most entries of a segment; then it is cut in two. Laying out as many takes about 5 µs.
pub(super) const SEGMENT_ENTRIES_MAX: usize = 2_048;

/// A segment with more of its slots in use than this part is laid out anew, wider.
const FULL: (usize, usize) = (15, 16);

/// How much wider than its entries a new layout is: full again after a ninth more of them.
const WIDEN: (usize, usize) = (19, 16);

/// Free slots behind the last home. One more is added whenever they don't suffice.
const TAIL: usize = 4;

/// Entries by user, ascending, each at its home or as near behind it as the others allow, without a gap between:
/// linear probing over sorted entries (O. Amble and D. E. Knuth, "Ordered hash tables", 1974).
///
/// A user's entries are neighbours. Expired entries count as entries until they are purged.
pub(super) struct Segment {
    slots: Vec<Entry>,
    /// How many homes there are: the first slots, all but the tail.
    homes: u32,
    len: u32,
    /// How many leading bits of the user all entries share.
    pub(super) depth: u8,
}

impl Segment {
    pub(super) fn new(depth: u8) -> Self {
        Self { slots: Vec::new(), homes: 0, len: 0, depth }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn slots(&self) -> &[Entry] {
        &self.slots
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Entry>()
    }

    pub(super) fn entry_mut(&mut self, index: usize) -> &mut Entry {
        &mut self.slots[index]
    }

    /// The slot at which `user` would be if there were no others.
    #[inline]
    pub(super) fn home(&self, user: u64) -> usize {
        let below_depth = (user << (64 - KEPT_BITS) << self.depth) >> 32;
        ((below_depth * u64::from(self.homes)) >> 32) as usize
    }

    /// The slot of the user's first entry; of where it would be inserted, if there is none.
    #[inline]
    pub(super) fn find(&self, user: u64) -> usize {
        let mut index = self.home(user);
        while let Some(entry) = self.slots.get(index) {
            if entry.is_free() || entry.user() >= user {
                break;
            }
            index += 1;
        }
        index
    }

    /// The user's entries are those from `index` on, as far as they are of `user`.
    #[inline]
    pub(super) fn run(&self, index: usize, user: u64) -> &[Entry] {
        let rest = &self.slots[index.min(self.slots.len())..];
        let len = rest.iter().take_while(|entry| !entry.is_free() && entry.user() == user).count();
        &rest[..len]
    }

    /// Whether one more entry needs a new layout first.
    pub(super) fn is_full(&self) -> bool {
        (self.len() + 1) * FULL.1 > self.homes as usize * FULL.0
    }

    /// Puts `entry` before the one at `index`, which [`Segment::find`] gave; the segment is not full.
    pub(super) fn insert(&mut self, index: usize, entry: Entry) {
        let free = self.slots[index..].iter().position(|entry| entry.is_free()).map(|after| index + after);
        let free = free.unwrap_or_else(|| {
            self.slots.reserve_exact(1);
            self.slots.push(Entry::FREE);
            self.slots.len() - 1
        });
        self.slots.copy_within(index..free, index + 1);
        self.slots[index] = entry;
        self.len += 1;
    }

    /// Takes the entry at `index` out and moves those behind it nearer to their homes.
    pub(super) fn remove(&mut self, mut index: usize) {
        while let Some(next) = self.slots.get(index + 1).copied() {
            if next.is_free() || self.home(next.user()) > index {
                break;
            }
            self.slots[index] = next;
            index += 1;
        }
        self.slots[index] = Entry::FREE;
        self.len -= 1;
    }

    /// Takes out what is not to be kept, in place.
    pub(super) fn retain(&mut self, keep: impl Fn(Entry) -> bool) {
        let mut next = 0;
        for index in 0..self.slots.len() {
            let entry = std::mem::replace(&mut self.slots[index], Entry::FREE);
            if entry.is_free() {
                continue;
            }
            if !keep(entry) {
                self.len -= 1;
                continue;
            }
            // Never behind where it was: there are only fewer before it than there were.
            let place = self.home(entry.user()).max(next);
            self.slots[place] = entry;
            next = place + 1;
        }
        // Much wider than it need be: give the room back.
        if (self.homes as usize) > 16 && self.len() * 10 < self.homes as usize * 7 {
            *self = Self::laid_out(self.depth, self.iter());
        }
    }

    pub(super) fn for_each_mut(&mut self, change: impl FnMut(&mut Entry)) {
        self.slots.iter_mut().filter(|entry| !entry.is_free()).for_each(change);
    }

    fn iter(&self) -> impl Iterator<Item = Entry> + Clone + '_ {
        self.slots.iter().copied().filter(|entry| !entry.is_free())
    }

    /// The same entries with room for more.
    pub(super) fn widened(&self) -> Self {
        Self::laid_out(self.depth, self.iter())
    }

    /// The entries of which the next bit of the user is 0, and the others.
    pub(super) fn cut(&self) -> (Self, Self) {
        let bit = 1 << (KEPT_BITS - 1 - u32::from(self.depth));
        let half = |one: bool| self.iter().filter(move |entry| (entry.user() & bit != 0) == one);
        (Self::laid_out(self.depth + 1, half(false)), Self::laid_out(self.depth + 1, half(true)))
    }

    fn laid_out(depth: u8, entries: impl Iterator<Item = Entry> + Clone) -> Self {
        let len = entries.clone().count();
        let homes = ((len + 1) * WIDEN.0).div_ceil(WIDEN.1).max(4);
        let mut new =
            Self { slots: Vec::with_capacity(homes + TAIL), homes: homes as u32, len: len as u32, depth };
        for entry in entries {
            let place = new.home(entry.user()).max(new.slots.len());
            if place >= new.slots.capacity() {
                new.slots.reserve_exact(place + 1 - new.slots.len());
            }
            new.slots.resize(place, Entry::FREE);
            new.slots.push(entry);
        }
        new.slots.resize(new.slots.capacity(), Entry::FREE);
        new
    }
}
