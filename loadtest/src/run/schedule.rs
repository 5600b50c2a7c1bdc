//! When everything happens: from profile and seed alone, whatever the server does.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::profile::{Burst, Crowd, Messages, Profile};

/// The golden ratio's fractional part: its multiples fill the unit interval evenly, any stretch of them does (Weyl).
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// What is left to chance, told apart so that one draw says nothing about another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Draw {
    /// Which behaviour a client has.
    Behaviour,
    /// How long it stays; its how many-th time.
    Session(u32),
    /// How long it stays away.
    Away(u32),
    /// Whether it says goodbye.
    Goodbye(u32),
    /// Whether it is cut off; the how many-th cut.
    Cut(u32),
    /// When it comes back after it.
    Back(u32),
    /// Jitter of a pause; the how many-th poll.
    Jitter(u32),
    /// Bytes of a message.
    Bytes,
}

/// A number from 0 to 1 (exclusive) that `seed`, `who` and `draw` decide.
pub(crate) fn chance(seed: u64, who: u32, draw: Draw) -> f64 {
    let (kind, nth) = match draw {
        Draw::Behaviour => (0, 0),
        Draw::Session(nth) => (1, nth),
        Draw::Away(nth) => (2, nth),
        Draw::Goodbye(nth) => (3, nth),
        Draw::Cut(nth) => (4, nth),
        Draw::Back(nth) => (5, nth),
        Draw::Jitter(nth) => (6, nth),
        Draw::Bytes => (7, 0),
    };
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&who.to_le_bytes());
    bytes[4..8].copy_from_slice(&u32::to_le_bytes(kind));
    bytes[8..].copy_from_slice(&nth.to_le_bytes());
    // 53 bits are what a double holds exactly.
    (xxh3_64_with_seed(&bytes, seed) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A time drawn from the exponential distribution with that mean: what has no memory comes and goes so.
pub(crate) fn exponential(mean: Duration, chance: f64) -> Duration {
    mean.mul_f64(-(1.0 - chance).ln())
}

/// The rank of a client among all: who has a low one comes early and leaves late. Even over any stretch of clients.
pub(crate) fn rank(seed: u64, client: u32) -> f64 {
    let phase = chance(seed, 0, Draw::Behaviour);
    (f64::from(client) * GOLDEN + phase).fract()
}

/// Values over time, straight lines between points.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// Time on the clock (seconds) and value, ascending by time; never empty.
    points: Vec<(f64, f64)>,
}

/// A client comes, or goes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Crossing {
    /// Seconds on the clock.
    pub(crate) at_s: f64,
    /// Whether it comes.
    pub(crate) is_up: bool,
}

impl Curve {
    /// Through these points (seconds on the clock and value), ascending by time; there must be one.
    pub(crate) fn through(points: Vec<(f64, f64)>) -> Self {
        Self { points }
    }

    /// The crowd's, on the clock.
    pub(crate) fn of_crowd(crowd: &Crowd, profile: &Profile) -> Self {
        let points = crowd.curve.iter().map(|point| (profile.on_clock(point.at).as_secs_f64(), point.online));
        Self { points: points.collect() }
    }

    /// When the curve rises above `rank`, and when it falls to it, ascending.
    pub(crate) fn crossings(&self, rank: f64) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        let &(first_s, first) = self.points.first().expect("checked with the profile");
        if first > rank {
            crossings.push(Crossing { at_s: first_s, is_up: true });
        }
        for pair in self.points.windows(2) {
            let ((from_s, from), (to_s, to)) = (pair[0], pair[1]);
            if (from > rank) != (to > rank) {
                let share = (rank - from) / (to - from);
                crossings.push(Crossing { at_s: from_s + share * (to_s - from_s), is_up: to > rank });
            }
        }
        crossings
    }
}

/// When messages of one kind are due (seconds on the clock, ascending), over all rooms.
pub(crate) fn due_times(messages: &Messages, profile: &Profile) -> impl Iterator<Item = f64> + Send + use<> {
    let end_s = profile.clock_duration().as_secs_f64();
    let rooms = f64::from(profile.rooms);
    let points = messages
        .curve
        .iter()
        .map(|point| (profile.on_clock(point.at).as_secs_f64(), point.rate * rooms))
        .collect();
    let mut sources: Vec<Box<dyn Iterator<Item = f64> + Send>> =
        vec![Box::new(RateTimes::new(points, end_s))];
    for burst in &messages.burst {
        sources.push(Box::new(burst_times(*burst, profile, end_s)));
    }
    let mut sources: Vec<_> = sources.into_iter().map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let earliest = sources
            .iter_mut()
            .enumerate()
            .filter_map(|(nth, source)| Some((nth, *source.peek()?)))
            .min_by(|one, two| one.1.total_cmp(&two.1))?;
        sources[earliest.0].next()
    })
}

fn burst_times(burst: Burst, profile: &Profile, end_s: f64) -> impl Iterator<Item = f64> + Send + use<> {
    let count = u64::from(burst.count) * u64::from(profile.rooms);
    let (at_s, over_s) =
        (profile.on_clock(burst.at).as_secs_f64(), profile.on_clock(burst.over).as_secs_f64());
    let every_s = burst.every.map(|every| profile.on_clock(every).as_secs_f64());
    let starts = std::iter::successors(Some(at_s), move |start_s| Some(start_s + every_s?));
    starts
        .take_while(move |start_s| *start_s < end_s)
        .flat_map(move |start_s| (0..count).map(move |nth| start_s + over_s * nth as f64 / count as f64))
        .filter(move |due_s| *due_s < end_s)
}

/// Times at which the area under a curve of rates reaches 1, 2, 3 and so on.
pub(crate) struct RateTimes {
    points: Vec<(f64, f64)>,
    end_s: f64,
    /// Point at which the current stretch begins, and the area before it.
    at: usize,
    area_before: f64,
    /// Area of the next time.
    next: f64,
}

impl RateTimes {
    /// From points of time (seconds) and rate (a second), ascending by time; after the last one it goes on to the end.
    pub(crate) fn new(points: Vec<(f64, f64)>, end_s: f64) -> Self {
        Self { points, end_s, at: 0, area_before: 0.0, next: 1.0 }
    }
}

impl Iterator for RateTimes {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        loop {
            let &(from_s, from) = self.points.get(self.at)?;
            // After the last point it goes on.
            let (to_s, to) = *self.points.get(self.at + 1).unwrap_or(&(self.end_s.max(from_s), from));
            let slope = if to_s > from_s { (to - from) / (to_s - from_s) } else { 0.0 };
            let area = (to_s - from_s) * f64::midpoint(from, to);
            let wanted = self.next - self.area_before;
            if wanted <= area {
                // from·x + slope·x²/2 = wanted, in the form that is stable for a slope near zero.
                let root = (from * from + 2.0 * slope * wanted).max(0.0).sqrt();
                let due_s = from_s + 2.0 * wanted / (from + root);
                self.next += 1.0;
                return (due_s < self.end_s).then_some(due_s);
            }
            self.area_before += area;
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
