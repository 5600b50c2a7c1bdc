//! One client in the table: 12 bytes.

use crate::{identity::KEPT_BITS, ticks::Tick};

const TICK_BITS: u32 = 7;
const POSITION_BITS: u32 = 10;

/// Ticks are kept modulo this; 0 is left for the slot that is free.
const TICK_CYCLE: u64 = (1 << TICK_BITS) - 1;

/// The furthest position: see `positions.rs`.
pub(crate) const POSITION_MAX: u32 = (1 << POSITION_BITS) - 1;

/// A tick as entries keep it, from 1 to 127.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct StoredTick(u32);

impl StoredTick {
    pub(super) fn of(tick: Tick) -> Self {
        Self((tick % TICK_CYCLE) as u32 + 1)
    }

    /// How many ticks lie between this one and `now`, if it is fewer than a cycle.
    pub(super) fn age(self, now: Self) -> u64 {
        let (now, this) = (u64::from(now.0), u64::from(self.0));
        if now >= this { now - this } else { now + TICK_CYCLE - this }
    }
}

/// A client: from the top 47 bits of the user's hash, 7 of the tick, 10 of the position; then the device.
///
/// Two halves of 32 bits rather than a `u64`: the entry is 12 bytes long, not 16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    high: u32,
    low: u32,
    pub(super) device: u32,
}

impl Entry {
    /// A free slot: no tick is kept as 0.
    pub(super) const FREE: Self = Self { high: 0, low: 0, device: 0 };

    pub(super) fn new(user: u64, device: u32, tick: StoredTick, position: u32) -> Self {
        let key = user << (64 - KEPT_BITS) | u64::from(tick.0) << POSITION_BITS | u64::from(position);
        Self { high: (key >> 32) as u32, low: key as u32, device }
    }

    fn key(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    pub(super) fn is_free(self) -> bool {
        self.key() == 0
    }

    /// The kept bits of the user's hash.
    pub(super) fn user(self) -> u64 {
        self.key() >> (64 - KEPT_BITS)
    }

    pub(super) fn tick(self) -> StoredTick {
        StoredTick(self.low >> POSITION_BITS & (TICK_CYCLE as u32))
    }

    pub(super) fn position(self) -> u32 {
        self.low & POSITION_MAX
    }

    pub(super) fn set(&mut self, tick: StoredTick, position: u32) {
        *self = Self::new(self.user(), self.device, tick, position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_keeps_what_it_was_given() {
        assert_eq!(size_of::<Entry>(), 12);
        for (user, device, tick, position) in
            [(0, 0, 0, 0), ((1 << KEPT_BITS) - 1, u32::MAX, 126, POSITION_MAX), (12_345, 1, 127, 7)]
        {
            let entry = Entry::new(user, device, StoredTick::of(tick), position);
            assert!(!entry.is_free());
            assert_eq!((entry.user(), entry.device, entry.position()), (user, device, position));
            assert_eq!(entry.tick(), StoredTick::of(tick));
        }
        assert!(Entry::FREE.is_free());
    }

    #[test]
    fn ages_go_round_the_cycle() {
        for now in 1_000..1_300 {
            for age in 0..TICK_CYCLE {
                assert_eq!(StoredTick::of(now - age).age(StoredTick::of(now)), age);
            }
        }
    }
}
