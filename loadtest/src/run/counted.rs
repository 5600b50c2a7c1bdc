//! The server's own numbers of who is online, held against the truth at set times.

use std::time::Duration;

use super::{
    Sample,
    presence::{Present, Span},
};

/// From one time at which they are compared to the next (seconds).
pub(crate) const MARK_S: u32 = 5;

/// One comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    /// When (seconds since the run's start).
    pub(crate) at_s: u32,
    /// What the server told then.
    pub(crate) told: Present,
    /// What was there then.
    pub(crate) there: Present,
    /// What was there until then, for as long as a number may be late.
    pub(crate) span: Span,
}

impl Counted {
    /// Whether the server's numbers are those of some moment within the time that they may be late.
    pub(crate) fn is_right(&self) -> bool {
        self.span.holds(self.told)
    }
}

/// All comparisons of a run: each of whole seconds, where the server told something.
pub(crate) fn counted(samples: &[Sample], within: Duration) -> Vec<Counted> {
    let seconds = usize::try_from(within.as_millis().div_ceil(1_000)).unwrap_or(usize::MAX);
    // The last second may be a part of one.
    let whole = &samples[..samples.len().saturating_sub(1)];
    let marks = whole.iter().enumerate().filter(|(_, sample)| (sample.at_s + 1).is_multiple_of(MARK_S));
    marks
        .filter_map(|(at, sample)| {
            let before = &whole[at.saturating_sub(seconds)..at];
            let span = before.iter().fold(sample.watched, |span, sample| span.widened(sample.watched));
            let there = Present { users: sample.watched_users, clients: sample.watched_clients };
            Some(Counted { at_s: sample.at_s + 1, told: sample.told?, there, span })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: u32, there: u64, told: Option<u64>) -> Sample {
        let present = |users: u64| Present { users, clients: users * 2 };
        Sample {
            at_s,
            watched_users: there,
            watched_clients: there * 2,
            watched: Span { least: present(there), most: present(there) },
            told: told.map(present),
            ..Sample::default()
        }
    }

    #[test]
    fn number_may_be_late_by_so_much_and_no_more() {
        let samples: Vec<_> = (0..12).map(|at_s| sample(at_s, 10 * u64::from(at_s), Some(70))).collect();
        let right = |within_ms| {
            let counted = counted(&samples, Duration::from_millis(within_ms));
            counted.iter().map(|counted| (counted.at_s, counted.is_right())).collect::<Vec<_>>()
        };
        assert_eq!(right(2_000), [(5, false), (10, true)], "it was 70 to 90 in the seconds 8 to 10");
        assert_eq!(right(1_000), [(5, false), (10, false)]);
    }

    #[test]
    fn clients_are_held_to_the_truth_like_users() {
        let mut samples = vec![sample(4, 3, Some(3)), sample(5, 3, None)];
        assert!(counted(&samples, Duration::ZERO)[0].is_right());
        samples[0].told = Some(Present { users: 3, clients: 5 });
        assert!(!counted(&samples, Duration::ZERO)[0].is_right());
        samples[0].told = None;
        assert_eq!(counted(&samples, Duration::ZERO), []);
    }
}
