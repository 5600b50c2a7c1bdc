//! Seconds of many workers, as seconds of one run.

use std::collections::BTreeMap;

use crate::run::Sample;

/// Most seconds that wait for a worker that is behind; then they are shown without it. The report has all of them: only what
/// is shown meanwhile is incomplete.
const WAITING_MAX: usize = 3;

/// Merges seconds until each is complete.
#[derive(Debug)]
pub(super) struct Progress {
    workers: usize,
    /// By second: what there is so far, and of how many workers.
    waiting: BTreeMap<u32, (Sample, usize)>,
    /// The first second that was not given out yet.
    next_s: u32,
}

impl Progress {
    /// Of so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, waiting: BTreeMap::new(), next_s: 0 }
    }

    /// Takes a worker's second; gives out what is complete now, ascending. What comes too late is left out.
    pub(super) fn take(&mut self, sample: &Sample) -> Vec<Sample> {
        if sample.at_s >= self.next_s {
            let (merged, count) = self
                .waiting
                .entry(sample.at_s)
                .or_insert_with(|| (Sample { at_s: sample.at_s, ..Sample::default() }, 0));
            merged.merge(sample);
            *count += 1;
        }
        let mut complete = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let is_complete = first.get().1 >= self.workers;
            if !is_complete && self.waiting.len() <= WAITING_MAX {
                break;
            }
            let (at_s, (merged, _)) = self.waiting.pop_first().expect("there is a first");
            self.next_s = at_s + 1;
            complete.push(merged);
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: u32, connected: u64) -> Sample {
        Sample { at_s, connected, ..Sample::default() }
    }

    fn taken(progress: &mut Progress, at_s: u32, connected: u64) -> Vec<(u32, u64)> {
        progress.take(&sample(at_s, connected)).iter().map(|sample| (sample.at_s, sample.connected)).collect()
    }

    #[test]
    fn second_is_shown_when_all_have_told_theirs() {
        let mut progress = Progress::new(2);
        assert_eq!(taken(&mut progress, 0, 1), []);
        assert_eq!(taken(&mut progress, 1, 10), []);
        assert_eq!(taken(&mut progress, 0, 2), [(0, 3)]);
        assert_eq!(taken(&mut progress, 1, 20), [(1, 30)]);
    }

    #[test]
    fn worker_that_is_behind_holds_nothing_up_for_long() {
        let mut progress = Progress::new(2);
        for at_s in 0..3 {
            assert_eq!(taken(&mut progress, at_s, 1), []);
        }
        assert_eq!(taken(&mut progress, 3, 1), [(0, 1)]);
        assert_eq!(taken(&mut progress, 0, 9), [], "too late");
        assert_eq!(taken(&mut progress, 1, 9), [(1, 10)]);
    }
}
