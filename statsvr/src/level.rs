//! Into how many splits a room is divided, and how it comes to another number without a jump in its count.

use crate::beat::SplitId;

/// Users of a split at which a room is divided further.
pub(crate) const USERS_PER_SPLIT_MAX: u64 = 65_536;

/// Users of a split for which a new level is chosen, at most: a third more of them may come before it is too low again.
const USERS_PER_SPLIT: u64 = 49_152;

/// Users of a split below which a room is divided less; a quarter of what a new level is chosen for, so that a room does not
/// go to and fro.
const USERS_PER_SPLIT_MIN: u64 = USERS_PER_SPLIT / 4;

/// How long collectors may take to hear of a new level (milliseconds).
const LEARN_MS: u64 = 3_000;

/// How a room is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    /// The level whose splits are counted.
    pub level: u8,
    /// The level that takes over, and since when collectors are told to send to both (Unix milliseconds).
    pub next: Option<(u8, u64)>,
}

/// What became of a level that was to take over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Stay,
    /// The next level's splits are the ones that count from now on.
    Switched,
}

impl Layout {
    /// The levels that beats go to.
    pub fn levels(&self) -> impl Iterator<Item = u8> {
        [Some(self.level), self.next.map(|(level, _)| level)].into_iter().flatten()
    }

    /// Decides anew, once a second: `num_users` is what the splits of the level count, `next_users` those of the next one.
    pub(crate) fn step(&mut self, num_users: u64, next_users: u64, window_ms: u64, now_ms: u64) -> Step {
        let wanted = self.wanted(num_users);
        let Some((next, since_ms)) = self.next else {
            if wanted != self.level {
                self.next = Some((wanted, now_ms));
            }
            return Step::Stay;
        };
        if wanted > next && num_users > USERS_PER_SPLIT_MAX << next {
            // The room has outgrown it before it took over: begin again with enough.
            self.next = Some((wanted, now_ms));
            return Step::Stay;
        }
        let waited_ms = now_ms.saturating_sub(since_ms);
        if waited_ms < window_ms + LEARN_MS {
            return Step::Stay;
        }
        // Everybody online has sent to both by now; what is between the two was on its way while they were read.
        if next_users.abs_diff(num_users) <= num_users / 1_000 + 1 {
            *self = Self { level: next, next: None };
            return Step::Switched;
        }
        if waited_ms > 4 * window_ms + LEARN_MS {
            // Some collector never heard of it. The old level is right; try again.
            self.next = None;
        }
        Step::Stay
    }

    fn wanted(&self, num_users: u64) -> u8 {
        let is_fitting = num_users <= USERS_PER_SPLIT_MAX << self.level
            && (self.level == 0 || num_users >= USERS_PER_SPLIT_MIN << self.level);
        if is_fitting {
            return self.level;
        }
        (0..SplitId::LEVEL_MAX)
            .find(|level| num_users <= USERS_PER_SPLIT << level)
            .unwrap_or(SplitId::LEVEL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 30_000;

    #[test]
    fn room_grows_and_shrinks_after_a_window() {
        let mut layout = Layout::default();
        assert_eq!(layout.step(60_000, 0, WINDOW, 0), Step::Stay);
        assert_eq!(layout.next, None);
        layout.step(15_000_000, 0, WINDOW, 1_000);
        assert_eq!(layout.next, Some((9, 1_000)));
        assert_eq!(layout.step(15_000_000, 15_000_000, WINDOW, 33_999), Step::Stay);
        assert_eq!(layout.step(15_000_000, 15_000_000, WINDOW, 34_000), Step::Switched);
        assert_eq!(layout, Layout { level: 9, next: None });
        layout.step(7_000_000, 0, WINDOW, 40_000);
        assert_eq!(layout.next, None, "no to and fro");
        layout.step(5_000, 0, WINDOW, 50_000);
        assert_eq!(layout.next, Some((0, 50_000)));
    }

    #[test]
    fn room_that_outgrows_its_next_level_begins_again() {
        let mut layout = Layout::default();
        layout.step(70_000, 0, WINDOW, 1_000);
        assert_eq!(layout.next, Some((1, 1_000)));
        layout.step(1_000_000, 0, WINDOW, 2_000);
        assert_eq!(layout.next, Some((5, 2_000)));
    }

    #[test]
    fn level_that_disagrees_never_takes_over() {
        let mut layout = Layout::default();
        layout.step(100_000, 0, WINDOW, 0);
        assert!(layout.next.is_some());
        for s in 1..200 {
            assert_eq!(layout.step(100_000, 90_000, WINDOW, s * 1_000), Step::Stay);
        }
        assert_eq!(layout.level, 0);
    }
}
