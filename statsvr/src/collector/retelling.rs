//! Parked polls keep their users online: they are told again and again.

use super::Collector;

/// A parked poll is told again so soon after it was parked (milliseconds): two ticks of the window, so that the second beat is later
/// than a leave that came with the first.
const TOLD_AGAIN_AFTER_MS: u64 = 1_000;

impl Collector {
    /// Has [`Collector::tell_again`] tell of a poll that was parked and told now.
    ///
    /// Polls that are over leave the front here already, not only a second later: a busy room's would be many times those parked.
    pub(super) fn remember_told_once(&mut self, number: u32, now_ms: u64) {
        while let Some(&(first, told_at_ms)) = self.told_once.front()
            && self.parked[first as usize].as_ref().is_none_or(|poll| poll.told_at_ms != told_at_ms)
        {
            self.told_once.pop_front();
        }
        if self.told_once.len() < self.settings.beats_max {
            self.told_once.push_back((number, now_ms));
        }
    }

    /// Tells again of polls that were parked a second ago.
    pub(super) fn tell_again(&mut self, now_ms: u64) {
        while let Some(&(number, told_at_ms)) = self.told_once.front()
            && now_ms >= told_at_ms + TOLD_AGAIN_AFTER_MS
        {
            self.told_once.pop_front();
            // Its place may be another poll's by now, which has an entry of its own unless it was parked in the same millisecond.
            let poll = self.parked[number as usize].as_mut();
            if let Some(poll) = poll.filter(|poll| !poll.has_left && poll.told_at_ms == told_at_ms) {
                poll.told_at_ms = now_ms;
                let (room, place, visitor) = (poll.room, poll.place, poll.visitor.clone());
                self.push(room, &visitor, place, now_ms, false);
            }
        }
    }

    /// Tells again of polls of which nothing was told for a third of the window.
    pub(super) fn retell_parked(&mut self, now_ms: u64) {
        let every_ms = self.stats.window_ms() / 3;
        self.next_retell_at_ms = now_ms + (every_ms / 8).clamp(50, 1_000);
        for number in 0..self.parked.len() {
            let Some(poll) = &mut self.parked[number] else { continue };
            if !poll.has_left && now_ms.saturating_sub(poll.told_at_ms) >= every_ms {
                poll.told_at_ms = now_ms;
                let (room, place, visitor) = (poll.room, poll.place, poll.visitor.clone());
                self.push(room, &visitor, place, now_ms, false);
            }
        }
    }
}
