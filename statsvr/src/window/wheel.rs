//! A count over the last ticks that forgets by itself.

use crate::ticks::Tick;

/// How many things were last seen in each of the last ticks, and in all of them together.
///
/// A counting wheel: an advance by one tick takes one counter out of the sum, however many it stands for.
pub(super) struct Wheel {
    /// By tick modulo its length, which is one more than the window.
    counts: Box<[u32]>,
    sum: u32,
}

impl Wheel {
    pub(super) fn new(window_ticks: u64) -> Self {
        let len = usize::try_from(window_ticks + 1).expect("a window has few ticks");
        Self { counts: vec![0; len].into(), sum: 0 }
    }

    pub(super) fn sum(&self) -> u32 {
        self.sum
    }

    fn slot(&mut self, tick: Tick) -> &mut u32 {
        let len = self.counts.len() as u64;
        &mut self.counts[(tick % len) as usize]
    }

    pub(super) fn add(&mut self, tick: Tick) {
        *self.slot(tick) += 1;
        self.sum += 1;
    }

    pub(super) fn remove(&mut self, tick: Tick) {
        *self.slot(tick) -= 1;
        self.sum -= 1;
    }

    pub(super) fn shift(&mut self, from: Tick, to: Tick) {
        if from != to {
            *self.slot(from) -= 1;
            *self.slot(to) += 1;
        }
    }

    /// Begins the tick `to`, which follows the last one; gives back how many have expired by that.
    pub(super) fn begin(&mut self, to: Tick) -> u32 {
        let expired = std::mem::take(self.slot(to));
        self.sum -= expired;
        expired
    }

    /// Forgets all; gives back how many that were.
    pub(super) fn clear(&mut self) -> u32 {
        self.counts.fill(0);
        std::mem::take(&mut self.sum)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val::<[u32]>(&self.counts)
    }
}
