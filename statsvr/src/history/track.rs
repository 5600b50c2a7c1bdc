//! The newest part of one series of a room, and what of it is not in the store yet.

use std::collections::BTreeMap;

use super::{Step, block::Block, tally::Tally};

/// Most finished blocks that wait to be written (count): while the store can't be written, 40 minutes of 10-second points and
/// eight hours of minutes are kept, and older ones are given up.
const SEALED_MAX: usize = 8;
/// A clock that was set back by no more than this is waited for (milliseconds): what is seen meanwhile counts for the point
/// that was open. Further back, the series goes on from the new time.
const SET_BACK_MAX_MS: u64 = 60_000;

/// A series as one node writes it.
#[derive(Debug)]
pub(crate) struct Track {
    step: Step,
    /// The interval that is not over yet.
    open: Option<(u64, Tally)>,
    /// The newest points that are over.
    block: Option<Block>,
    /// Finished, and not written yet.
    sealed: Vec<Block>,
    /// The block before the newest, whether or not it is written: a second node may not have its end yet.
    previous: Option<Block>,
    /// The latest block that was begun, by its first interval.
    latest_base: Option<u64>,
    /// Whether `open` or `block` hold something that is not written.
    is_dirty: bool,
    /// Whether nobody was there in the last interval that is over: then further such intervals leave no point.
    is_idle: bool,
    /// Blocks given up because they could not be written in time (count).
    given_up: u64,
}

/// What [`Track::take_unwritten`] took.
#[derive(Debug)]
pub(crate) struct Unwritten {
    /// Blocks that nothing will be added to.
    sealed: Vec<Block>,
    /// Records to write: the blocks' first intervals and their bytes.
    pub(crate) records: Vec<(u64, Vec<u8>)>,
}

impl Track {
    pub(crate) fn new(step: Step) -> Self {
        Self {
            step,
            open: None,
            block: None,
            sealed: Vec::new(),
            previous: None,
            latest_base: None,
            is_dirty: false,
            is_idle: true,
            given_up: 0,
        }
    }

    /// Takes note of what is seen now. Says whether the series has come to a block that the store may hold a part of, as it does
    /// at its beginning and when the clock was set back: then [`Self::resume`] has to be called before anything is written.
    pub(crate) fn observe(&mut self, at_ms: u64, users: u64, joins: u64, leaves: u64) -> bool {
        let interval = at_ms / self.step.millis();
        let second = u32::try_from(at_ms % self.step.millis() / 1_000).unwrap_or(0);
        let look = Tally::new(second, users, joins, leaves);
        self.is_dirty |= !(self.is_idle && look.is_idle());
        match &mut self.open {
            Some((open, tally)) if interval == *open => tally.add(&look),
            Some((open, tally))
                if interval < *open && *open * self.step.millis() - at_ms <= SET_BACK_MAX_MS =>
            {
                tally.add(&look);
            }
            _ => return self.begin(interval, look),
        }
        false
    }

    /// Goes on to another interval.
    fn begin(&mut self, interval: u64, look: Tally) -> bool {
        self.close_open();
        let base = Block::base_of(self.step, interval);
        let is_known = self.block.as_ref().is_some_and(|block| block.base() == base);
        if !is_known {
            self.seal();
        }
        let may_be_stored = !is_known && self.latest_base.is_none_or(|latest| base <= latest);
        self.latest_base = self.latest_base.max(Some(base));
        self.open = Some((interval, look));
        may_be_stored
    }

    /// Moves the open interval to those that are over.
    fn close_open(&mut self) {
        let Some((interval, tally)) = self.open.take() else { return };
        let was_idle = std::mem::replace(&mut self.is_idle, tally.is_idle());
        if !(was_idle && tally.is_idle()) {
            self.put(interval, &tally);
        }
    }

    /// Adds a point that is over.
    fn put(&mut self, interval: u64, tally: &Tally) {
        if self.block.as_ref().is_some_and(|block| block.base() != Block::base_of(self.step, interval)) {
            self.seal();
        }
        self.block.get_or_insert_with(|| Block::new(self.step, interval)).put(self.step, interval, tally);
        self.is_dirty = true;
    }

    /// Puts the block among those that nothing is added to. What is written of it already is written once more, at most.
    fn seal(&mut self) {
        let Some(block) = self.block.take() else { return };
        self.previous = Some(block.clone());
        if self.is_dirty {
            self.sealed.push(block);
            self.give_up_surplus();
        }
    }

    fn give_up_surplus(&mut self) {
        while self.sealed.len() > SEALED_MAX {
            self.sealed.remove(0);
            self.given_up += 1;
        }
    }

    /// Whether there is something to write.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty || !self.sealed.is_empty()
    }

    /// Takes what is to be written; it has to be given back if it could not be.
    pub(crate) fn take_unwritten(&mut self) -> Unwritten {
        let sealed = std::mem::take(&mut self.sealed);
        let newest = if std::mem::take(&mut self.is_dirty) { self.newest() } else { Vec::new() };
        let records =
            sealed.iter().chain(&newest).map(|block| (block.base(), block.bytes().to_vec())).collect();
        Unwritten { sealed, records }
    }

    /// Takes back what could not be written.
    pub(crate) fn give_back(&mut self, unwritten: Unwritten) {
        self.is_dirty = true;
        self.sealed.splice(0..0, unwritten.sealed);
        self.give_up_surplus();
    }

    /// How many blocks were given up since this was last asked.
    pub(crate) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// The blocks that are not finished, with the open interval in its own.
    fn newest(&self) -> Vec<Block> {
        let mut blocks: Vec<_> = self.block.clone().into_iter().collect();
        if let Some((interval, tally)) = self.open
            && !(tally.is_idle() && self.is_idle)
        {
            if blocks.last().is_none_or(|block| block.base() != Block::base_of(self.step, interval)) {
                blocks.push(Block::new(self.step, interval));
            }
            let block = blocks.last_mut().expect("there is one for the interval");
            block.put(self.step, interval, &tally);
        }
        blocks
    }

    /// All points in memory, whether or not they are written; parts of one point may be apart.
    pub(crate) fn points(&self) -> Vec<(u64, Tally)> {
        let newest = self.newest();
        let blocks = self.sealed.iter().chain(&newest);
        blocks.flat_map(|block| Block::decode(self.step, block.bytes()).expect("made by this type")).collect()
    }

    /// The newest blocks, for a second node: those that are not written yet, at least one that is over, and the open ones.
    pub(crate) fn shared(&self) -> Vec<Vec<u8>> {
        let newest = self.newest();
        let is_sealed = |block: &&Block| !self.sealed.iter().any(|sealed| sealed.base() == block.base());
        let previous = self.previous.iter().filter(is_sealed);
        previous.chain(&self.sealed).chain(&newest).map(|block| block.bytes().to_vec()).collect()
    }

    /// First intervals of the blocks in memory: those that the store may hold an earlier part of.
    pub(crate) fn bases(&self) -> Vec<u64> {
        let newest = self.newest();
        let mut bases: Vec<_> = self.sealed.iter().chain(&newest).map(Block::base).collect();
        // Where nobody has been yet there is no point so far, but the next one goes here.
        bases.extend(self.open.map(|(interval, _)| Block::base_of(self.step, interval)));
        bases.sort_unstable();
        bases.dedup();
        bases
    }

    /// Combines points that this node wrote earlier, as the store has them, with those in memory.
    pub(crate) fn resume(&mut self, stored: Vec<(u64, Tally)>) {
        let mut points: BTreeMap<u64, Tally> = BTreeMap::new();
        for (interval, tally) in stored.into_iter().chain(self.points()) {
            points.entry(interval).and_modify(|known| known.combine(&tally)).or_insert(tally);
        }
        self.sealed.clear();
        self.block = None;
        let open = self.open.take();
        // The block of the open interval comes last, whatever its place in time: it is the one that goes on.
        let is_around_open = |interval: &u64| {
            open.is_some_and(|(open, _)| {
                Block::base_of(self.step, open) == Block::base_of(self.step, *interval)
            })
        };
        let (last, others): (Vec<_>, Vec<_>) =
            points.iter().partition(|(interval, _)| is_around_open(interval));
        for (interval, tally) in others.into_iter().chain(last) {
            match open {
                // It is not over yet.
                Some((open, _)) if open == *interval => self.open = Some((*interval, *tally)),
                _ => self.put(*interval, tally),
            }
        }
        self.open = self.open.or(open);
        let last_over =
            points.iter().rev().find(|(interval, _)| open.is_none_or(|(open, _)| **interval < open));
        self.is_idle = last_over.is_none_or(|(_, tally)| tally.is_idle());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 2_000_000_000_000 / 300_000 * 300_000;

    fn intervals(track: &Track) -> Vec<(u64, u64)> {
        track.points().into_iter().map(|(interval, tally)| (interval - T / 10_000, tally.samples)).collect()
    }

    #[test]
    fn idle_room_leaves_one_closing_point() {
        let mut track = Track::new(Step::TenSeconds);
        for second in 0..100 {
            let users = u64::from((20..45).contains(&second));
            track.observe(T + second * 1_000, users, 0, 0);
        }
        assert_eq!(intervals(&track), [(2, 10), (3, 10), (4, 10), (5, 10)]);
        assert_eq!(track.points().last().unwrap().1.max, 0);
        let written = track.take_unwritten();
        assert_eq!(written.records.len(), 1);
        track.observe(T + 100_000, 0, 0, 0);
        assert!(!track.is_dirty(), "nothing more to write");
    }

    #[test]
    fn clock_set_back_a_little_stays_in_the_open_point() {
        let mut track = Track::new(Step::TenSeconds);
        for (at_ms, may_be_stored) in [(20_000, true), (1_000, false), (21_000, false), (30_000, false)] {
            assert_eq!(track.observe(T + at_ms, 3, 0, 0), may_be_stored);
        }
        assert_eq!(intervals(&track), [(2, 3), (3, 1)]);
    }

    #[test]
    fn clock_set_back_far_goes_on_there_and_asks_for_what_is_stored() {
        let mut track = Track::new(Step::TenSeconds);
        for minute in 0..20 {
            assert_eq!(track.observe(T + minute * 60_000, 3, 0, 0), minute == 0);
        }
        let stored = track.points();
        track.take_unwritten();
        assert!(track.observe(T + 61_000, 5, 0, 0), "a block that was written before");
        track.resume(stored.iter().copied().filter(|(interval, _)| *interval < T / 10_000 + 30).collect());
        assert!(!track.observe(T + 62_000, 5, 0, 0));
        let records = track.take_unwritten().records;
        assert_eq!(records.iter().map(|(base, _)| base - T / 10_000).collect::<Vec<_>>(), [90, 0]);
        assert_eq!(intervals(&track), [(0, 1), (6, 3), (12, 1), (18, 1), (24, 1)]);
        // Forward again through what had been written.
        assert!(track.observe(T + 300_000, 5, 0, 0));
    }

    #[test]
    fn unwritten_blocks_are_bounded_and_the_oldest_go_first() {
        let mut track = Track::new(Step::TenSeconds);
        for block in 0..20 {
            track.observe(T + block * 300_000, 3, 0, 0);
            let unwritten = track.take_unwritten();
            track.give_back(unwritten);
        }
        assert_eq!(track.take_given_up(), 11);
        assert_eq!(intervals(&track).first(), Some(&(330, 1)));
        assert_eq!(track.take_unwritten().records.len(), 9);
    }
}
