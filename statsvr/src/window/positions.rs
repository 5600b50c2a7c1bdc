//! How far the users who are online have come along the priority list.

use std::collections::VecDeque;

use super::entry::POSITION_MAX;
use crate::ticks::Tick;

/// How far the positions move when they have run out.
const STEP: u64 = POSITION_MAX as u64 / 2 + 1;

/// How many users who were last seen in a tick are at each place of the priority list.
///
/// A position is a place less `base`, 0 for all up to `base` and for those of whom nothing is known. Rows
/// by tick, so that the places of those who expire together are forgotten together, like their number.
pub(super) struct Positions {
    base: u64,
    /// By tick modulo the length; a row's columns are positions, as far as there are any.
    rows: Box<[VecDeque<u32>]>,
    /// The sum of all rows.
    total: VecDeque<u32>,
}

impl Positions {
    /// Positions around `place`, the first place that anybody is at.
    pub(super) fn new(window_ticks: u64, place: u64) -> Self {
        let len = usize::try_from(window_ticks + 1).expect("a window has few ticks");
        let rows = (0..len).map(|_| VecDeque::new()).collect();
        Self { base: place.saturating_sub(STEP), rows, total: VecDeque::new() }
    }

    /// The position of `place`, if it is not beyond the last one.
    pub(super) fn of(&self, place: u64) -> Option<u32> {
        let position = place.saturating_sub(self.base);
        u32::try_from(position).ok().filter(|position| *position <= POSITION_MAX)
    }

    /// The place at a position above 0.
    pub(super) fn place(&self, position: u32) -> u64 {
        self.base + u64::from(position)
    }

    /// Makes room for `place`; gives back by how much every position falls (to 0 at least).
    pub(super) fn move_on(&mut self, place: u64) -> u32 {
        let base = place.saturating_sub(STEP).max(self.base);
        let by = base - self.base;
        self.base = base;
        let by_columns = usize::try_from(by).unwrap_or(usize::MAX);
        for row in self.rows.iter_mut().chain([&mut self.total]) {
            // Column 0 is not counted, so what falls on it is dropped.
            row.drain(..by_columns.min(row.len()));
            if let Some(zero) = row.front_mut() {
                *zero = 0;
            }
        }
        u32::try_from(by).unwrap_or(u32::MAX)
    }

    fn row(&mut self, tick: Tick) -> &mut VecDeque<u32> {
        let len = self.rows.len() as u64;
        &mut self.rows[(tick % len) as usize]
    }

    pub(super) fn add(&mut self, tick: Tick, position: u32) {
        if position == 0 {
            return;
        }
        let column = position as usize;
        add_to(self.row(tick), column);
        add_to(&mut self.total, column);
    }

    pub(super) fn remove(&mut self, tick: Tick, position: u32) {
        if position == 0 {
            return;
        }
        self.row(tick)[position as usize] -= 1;
        self.total[position as usize] -= 1;
    }

    /// Forgets those whose tick comes round again as `to`.
    pub(super) fn begin(&mut self, to: Tick) {
        let expired = std::mem::take(self.row(to));
        for (total, expired) in self.total.iter_mut().zip(expired) {
            *total -= expired;
        }
    }

    /// Users at or past `place`; `None` if it is too long ago to know.
    pub(super) fn at_or_past(&self, place: u64) -> Option<u64> {
        if place <= self.base {
            return None;
        }
        let Some(position) = self.of(place) else { return Some(0) };
        Some(self.total.iter().skip(position as usize).map(|count| u64::from(*count)).sum())
    }

    pub(super) fn bytes(&self) -> usize {
        let columns = |row: &VecDeque<u32>| row.capacity() * size_of::<u32>() + size_of::<VecDeque<u32>>();
        self.rows.iter().map(columns).sum::<usize>() + columns(&self.total)
    }
}

fn add_to(row: &mut VecDeque<u32>, column: usize) {
    if row.len() <= column {
        row.resize(column + 1, 0);
    }
    row[column] += 1;
}
