//! Who is online in one split of a room: the last proof of presence of each client, and exact counts of them.
//!
//! # Contract
//! - **Exact.** A user is counted from a proof of presence on until a window after the last one, or until their last client
//!   leaves; on any number of devices once. What two users could share are the 47 bits that are kept of their hashes:
//!   among 58,000 of a split that happens with probability 10⁻⁵.
//! - **A count is a load.** Each tick has a counter of those whose last proof falls into it; they expire with it, all
//!   at once. The table itself is swept bit by bit.
//! - **No pause.** The table is made of segments that are laid out anew one at a time.

mod entry;
mod positions;
mod segment;
#[cfg(test)]
mod tests;
mod wheel;

use entry::{Entry, POSITION_MAX, StoredTick};
use positions::Positions;
use segment::{SEGMENT_ENTRIES_MAX, Segment};
use wheel::Wheel;

use crate::{
    DeviceHash, UserHash,
    identity::KEPT_BITS,
    ticks::{SWEEP_TICKS, Tick, Ticks},
};

/// Most clients of a user that are told apart: then the one that was seen longest ago gives way.
pub(crate) const DEVICES_PER_USER_MAX: usize = 32;

/// Most leading bits that a segment's users share: 2²⁰ segments.
const DEPTH_MAX: u8 = 20;

/// How many users' entries are asked of memory together.
const LOOK_AHEAD: usize = 16;

/// One client's proof of presence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Presence {
    pub(crate) user: UserHash,
    pub(crate) device: DeviceHash,
    pub(crate) tick: Tick,
    /// One more than the sequence number that the poll's cursor has for the priority list; 0 if there was no cursor.
    pub(crate) place: u64,
}

/// What a proof of presence changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beat {
    /// It was too old to count.
    Stale,
    /// The user was not online before.
    Joined,
    /// The user was online already, was known to be at the place `had` of the priority list (0: nothing was known), and now
    /// is at `has`.
    Known { had: u64, has: u64 },
}

/// A user who is online.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// Of the latest proof of presence.
    pub(crate) tick: Tick,
    /// Devices that are online.
    pub(crate) num_clients: u32,
}

/// The online window of one split. See the module's documentation.
pub(crate) struct Window {
    ticks: Ticks,
    now: Tick,
    users: Wheel,
    clients: Wheel,
    positions: Option<Box<Positions>>,
    segments: Vec<Segment>,
    /// Leading bits of a user → index in `segments`; 2 to the power of `depth` of them.
    directory: Vec<u32>,
    depth: u8,
    /// The next segment that is looked through for expired entries.
    swept: usize,
    /// All who ever came, each time they did.
    joins: u64,
}

/// A user's entries, put together.
struct Run {
    first: usize,
    /// Of those that are online: latest tick, furthest position, number.
    alive: Option<(Tick, u32)>,
    /// The client's own slot, and its tick if it is online.
    own: Option<(usize, Option<Tick>)>,
    /// The slot with the oldest tick, and how many there are.
    oldest: usize,
    len: usize,
}

fn kept(user: UserHash) -> u64 {
    user.0 & ((1 << KEPT_BITS) - 1)
}

impl Window {
    pub(crate) fn new(ticks: Ticks, now: Tick) -> Self {
        Self {
            ticks,
            now,
            users: Wheel::new(ticks.window),
            clients: Wheel::new(ticks.window),
            positions: None,
            segments: vec![Segment::new(0)],
            directory: vec![0],
            depth: 0,
            swept: 0,
            joins: 0,
        }
    }

    /// Users online now.
    pub(crate) fn num_users(&self) -> u64 {
        self.users.sum().into()
    }

    /// Clients online now: (user, device) pairs.
    pub(crate) fn num_clients(&self) -> u64 {
        self.clients.sum().into()
    }

    /// How often a user who was not online became so.
    pub(crate) fn joins(&self) -> u64 {
        self.joins
    }

    /// Bytes in memory (computed).
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.segments.iter().map(Segment::bytes).sum::<usize>()
            + self.segments.capacity() * size_of::<Segment>()
            + self.directory.capacity() * size_of::<u32>()
            + self.users.bytes()
            + self.clients.bytes()
            + self.positions.as_ref().map_or(0, |positions| positions.bytes())
    }

    #[inline]
    fn segment_of(&self, user: u64) -> usize {
        // Two shifts, since one by 64 is none.
        let lead = user << (64 - KEPT_BITS) >> 1 >> (63 - self.depth);
        self.directory[lead as usize] as usize
    }

    /// The tick of an entry, if it is online.
    #[inline]
    fn alive(&self, entry: Entry) -> Option<Tick> {
        let age = entry.tick().age(StoredTick::of(self.now));
        (age <= self.ticks.window).then(|| self.now - age)
    }

    #[inline]
    fn run(&self, segment: &Segment, user: u64, device: u32) -> Run {
        let first = segment.find(user);
        let entries = segment.run(first, user);
        let mut run = Run { first, alive: None, own: None, oldest: first, len: entries.len() };
        let mut oldest = u64::MAX;
        for (index, entry) in (first..).zip(entries) {
            let tick = self.alive(*entry);
            if let Some(tick) = tick {
                let (latest, furthest) = run.alive.unwrap_or((tick, 0));
                run.alive = Some((latest.max(tick), furthest.max(entry.position())));
            }
            if entry.device == device {
                run.own = Some((index, tick));
            }
            if tick.unwrap_or(0) < oldest {
                oldest = tick.unwrap_or(0);
                run.oldest = index;
            }
        }
        run
    }

    /// Begins the tick `to`, and all between; a `to` that is past changes nothing. Gives back how many users expired.
    pub(crate) fn advance(&mut self, to: Tick) -> u64 {
        let Some(by) = to.checked_sub(self.now).filter(|by| *by > 0) else { return 0 };
        if by > self.ticks.window {
            return self.clear(to);
        }
        if by >= SWEEP_TICKS {
            // As of now, while every entry's age can still be told.
            let window = self.ticks.window;
            let now = StoredTick::of(self.now);
            self.segments.iter_mut().for_each(|s| s.retain(|entry| entry.tick().age(now) + by <= window));
        }
        let mut expired = 0;
        for tick in self.now + 1..=to {
            expired += u64::from(self.users.begin(tick));
            self.clients.begin(tick);
            if let Some(positions) = &mut self.positions {
                positions.begin(tick);
            }
        }
        self.now = to;
        self.sweep(by);
        expired
    }

    fn clear(&mut self, to: Tick) -> u64 {
        let expired = self.users.clear();
        self.clients.clear();
        self.positions = None;
        self.drop_table();
        self.now = to;
        expired.into()
    }

    fn drop_table(&mut self) {
        self.segments = vec![Segment::new(0)];
        self.directory = vec![0];
        self.depth = 0;
        self.swept = 0;
    }

    /// Takes out the expired entries of as many segments as are due after `ticks`.
    fn sweep(&mut self, ticks: u64) {
        if self.clients.sum() == 0 && self.segments.iter().any(|segment| segment.len() > 0) {
            // Everybody has gone: nothing in the table is worth a look.
            self.drop_table();
            return;
        }
        let due = self.segments.len().div_ceil(SWEEP_TICKS as usize) * ticks.min(SWEEP_TICKS) as usize;
        let (now, window) = (StoredTick::of(self.now), self.ticks.window);
        for _ in 0..due.min(self.segments.len()) {
            self.swept = (self.swept + 1) % self.segments.len();
            self.segments[self.swept].retain(|entry| entry.tick().age(now) <= window);
        }
    }

    /// Takes proofs of presence, in their order, and tells `outcome` of each what it changed.
    pub(crate) fn beat_all(
        &mut self,
        proofs: impl ExactSizeIterator<Item = Presence>,
        mut outcome: impl FnMut(Presence, Beat),
    ) {
        let mut ahead =
            [Presence { user: UserHash(0), device: DeviceHash(0), tick: 0, place: 0 }; LOOK_AHEAD];
        let mut proofs = proofs;
        loop {
            let mut count = 0;
            // The loads of this loop do not depend on each other, so memory serves them together; one after the
            // other, as the table's work needs them, each would cost a trip of its own.
            let mut touched = 0;
            for (place, proof) in ahead.iter_mut().zip(&mut proofs) {
                *place = proof;
                count += 1;
                let user = kept(proof.user);
                let segment = &self.segments[self.segment_of(user)];
                if let Some(entry) = segment.slots().get(segment.home(user)) {
                    touched ^= entry.device;
                }
            }
            std::hint::black_box(touched);
            for proof in &ahead[..count] {
                outcome(*proof, self.beat(*proof));
            }
            if count < LOOK_AHEAD {
                return;
            }
        }
    }

    /// Takes one proof of presence. One from the future counts as of now.
    pub(crate) fn beat(&mut self, proof: Presence) -> Beat {
        let tick = proof.tick.min(self.now);
        if self.now - tick > self.ticks.window {
            return Beat::Stale;
        }
        let at = self.position_of(proof.place);
        let (user, device) = (kept(proof.user), proof.device.0);
        let index = self.segment_of(user);
        let run = self.run(&self.segments[index], user, device);
        let position = run.alive.map_or(at, |(_, furthest)| furthest.max(at));

        // The user's number moves from the tick and place that it was counted under.
        let latest = run.alive.map_or(tick, |(latest, _)| latest.max(tick));
        match run.alive {
            None => self.users.add(latest),
            Some((before, _)) => self.users.shift(before, latest),
        }
        if let Some(positions) = &mut self.positions {
            let before = run.alive.unwrap_or((latest, 0));
            if before != (latest, position) {
                positions.remove(before.0, before.1);
                positions.add(latest, position);
            }
        }

        let own_tick = run.own.and_then(|(_, before)| before).map_or(tick, |before| before.max(tick));
        let stored = StoredTick::of(own_tick);
        match run.own {
            Some((slot, before)) => {
                match before {
                    None => self.clients.add(own_tick),
                    Some(before) => self.clients.shift(before, own_tick),
                }
                self.segments[index].entry_mut(slot).set(stored, position);
            }
            None if run.len >= DEVICES_PER_USER_MAX => {
                let entry = self.segments[index].entry_mut(run.oldest);
                let before = *entry;
                *entry = Entry::new(user, device, stored, position);
                if let Some(before) = self.alive(before) {
                    self.clients.remove(before);
                }
                self.clients.add(own_tick);
            }
            None => {
                self.clients.add(own_tick);
                self.insert(index, run.first, Entry::new(user, device, stored, position));
            }
        }
        let Some((_, had)) = run.alive else {
            self.joins += 1;
            return Beat::Joined;
        };
        if (run.len > 1 || run.own.is_none()) && position > had {
            // All of a user's entries say the same, whichever of them expires or leaves first.
            self.set_position(user, position);
        }
        let place = |position: u32| match &self.positions {
            Some(positions) if position > 0 => positions.place(position),
            _ => 0,
        };
        Beat::Known { had: place(had), has: place(position) }
    }

    fn set_position(&mut self, user: u64, position: u32) {
        let index = self.segment_of(user);
        let segment = &mut self.segments[index];
        let first = segment.find(user);
        for slot in first..first + segment.run(first, user).len() {
            let entry = segment.entry_mut(slot);
            entry.set(entry.tick(), position);
        }
    }

    fn position_of(&mut self, place: u64) -> u32 {
        if place == 0 {
            return 0;
        }
        let window = self.ticks.window;
        let positions = self.positions.get_or_insert_with(|| Box::new(Positions::new(window, place)));
        if let Some(position) = positions.of(place) {
            return position;
        }
        let by = positions.move_on(place);
        for segment in &mut self.segments {
            segment.for_each_mut(|entry| entry.set(entry.tick(), entry.position().saturating_sub(by)));
        }
        positions.of(place).unwrap_or(POSITION_MAX)
    }

    fn insert(&mut self, index: usize, slot: usize, entry: Entry) {
        if !self.segments[index].is_full() {
            self.segments[index].insert(slot, entry);
            return;
        }
        let (now, window) = (StoredTick::of(self.now), self.ticks.window);
        let segment = &mut self.segments[index];
        segment.retain(|entry| entry.tick().age(now) <= window);
        if segment.is_full() {
            if segment.len() >= SEGMENT_ENTRIES_MAX && segment.depth < DEPTH_MAX {
                self.cut(index);
            } else {
                *segment = segment.widened();
            }
        }
        let index = self.segment_of(entry.user());
        let segment = &mut self.segments[index];
        let slot = segment.find(entry.user());
        segment.insert(slot, entry);
    }

    fn cut(&mut self, index: usize) {
        let depth = self.segments[index].depth;
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|index| [*index, *index]).collect();
            self.depth += 1;
        }
        let (zero, one) = self.segments[index].cut();
        let new = u32::try_from(self.segments.len()).expect("there are at most 2^20 segments");
        // Those that point here are neighbours; the later half of them has the bit.
        let count = 1 << (self.depth - depth);
        let first =
            self.directory.iter().position(|to| *to as usize == index).expect("every segment is pointed at");
        self.directory[first + count / 2..first + count].fill(new);
        self.segments[index] = zero;
        self.segments.push(one);
    }

    /// Takes a client's word that it has gone, at `tick`. Gives back whether the user is offline by that; a client that has
    /// been seen after `tick` stays.
    pub(crate) fn leave(&mut self, user: UserHash, device: DeviceHash, tick: Tick) -> bool {
        let user = kept(user);
        let index = self.segment_of(user);
        let run = self.run(&self.segments[index], user, device.0);
        let (Some((slot, Some(own))), Some((before, position))) = (run.own, run.alive) else { return false };
        if own > tick {
            return false;
        }
        self.clients.remove(own);
        self.segments[index].remove(slot);
        let rest = self.run(&self.segments[index], user, device.0);
        if let Some(positions) = &mut self.positions {
            positions.remove(before, position);
        }
        match rest.alive {
            Some((latest, _)) => {
                self.users.shift(before, latest);
                if let Some(positions) = &mut self.positions {
                    positions.add(latest, position);
                }
                false
            }
            None => {
                self.users.remove(before);
                true
            }
        }
    }

    /// The user, if online.
    pub(crate) fn seen(&self, user: UserHash) -> Option<Seen> {
        let user = kept(user);
        let segment = &self.segments[self.segment_of(user)];
        let entries = segment.run(segment.find(user), user);
        let ticks = entries.iter().filter_map(|entry| self.alive(*entry));
        let num_clients = ticks.clone().count() as u32;
        ticks.max().map(|tick| Seen { tick, num_clients })
    }

    /// Users online now who are at `place` of the priority list or past it; `None` if it is too long ago to know.
    pub(crate) fn at_or_past(&self, place: u64) -> Option<u64> {
        match &self.positions {
            Some(positions) => positions.at_or_past(place),
            None => Some(0),
        }
    }

    /// What unique viewers are counted by, of everybody online now.
    pub(crate) fn unique_keys(&self) -> impl Iterator<Item = u64> + '_ {
        let entries = self.segments.iter().flat_map(|segment| segment.slots());
        let mut last = None;
        entries.filter_map(move |entry| {
            let user = (!entry.is_free() && self.alive(*entry).is_some()).then(|| entry.user())?;
            (last.replace(user) != Some(user)).then(|| UserHash(user).unique_key())
        })
    }
}
