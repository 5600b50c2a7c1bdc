//! The baseline of the check, and what a new measurement says beside it.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// How much worse a ratio may get (a share of the baseline's).
pub(super) const MARGIN: f64 = 0.15;

/// Least repeats that tell anything: fewer have no range.
const REPEATS_MIN: usize = 3;

/// What a check compares with, as it is committed.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Baseline {
    /// Of the working directory that it was made in.
    pub(super) commit: String,
    pub(super) cpu: String,
    pub(super) cores: usize,
    /// Repeats of each scenario.
    pub(super) repeats: u32,
    pub(super) ratios: Vec<Ratio>,
}

/// One of its ratios: ours to the floor's.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Ratio {
    pub(super) scenario: String,
    /// The figure's key in reports.
    pub(super) figure: String,
    pub(super) is_better_higher: bool,
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// What a new measurement says of a ratio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finding {
    /// Not worse by more than the margin.
    Held,
    /// Worse by more than the margin.
    Worse,
    /// Its repeats lie so far apart that it may be either.
    Inconclusive,
}

impl Baseline {
    /// Reads one.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the baseline {} (--write-baseline makes one)", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("understand the baseline {}", path.display()))
    }

    /// Writes it down.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("encode the baseline")? + "\n";
        std::fs::write(path, text).with_context(|| format!("write the baseline {}", path.display()))
    }
}

impl Ratio {
    /// What the repeats of a new measurement say. Their median decides, if the middle ones among them agree.
    ///
    /// Noise is tolerated in two ways: one repeat in five at either end is left out of the range, so that a neighbour's
    /// burst is none; and where what remains reaches from within the margin to beyond it, nothing is decided.
    pub(super) fn find(&self, repeats: &[f64]) -> Finding {
        if repeats.len() < REPEATS_MIN {
            return Finding::Inconclusive;
        }
        let mut worse: Vec<f64> = repeats.iter().map(|&ratio| self.times_worse(ratio)).collect();
        worse.sort_by(f64::total_cmp);
        let outliers = worse.len() / 5;
        let middle = &worse[outliers..worse.len() - outliers];
        let limit = 1.0 + MARGIN;
        let (Some(spread), Some(&best), Some(&worst)) =
            (Spread::of(worse.iter().copied()), middle.first(), middle.last())
        else {
            return Finding::Inconclusive;
        };
        match (best > limit, worst <= limit) {
            (true, _) => Finding::Worse,
            (_, true) => Finding::Held,
            _ if worst / best > limit => Finding::Inconclusive,
            _ if spread.median > limit => Finding::Worse,
            _ => Finding::Held,
        }
    }

    /// How many times worse than the baseline a ratio is; below 1 it is better.
    pub(super) fn times_worse(&self, ratio: f64) -> f64 {
        if self.is_better_higher { self.median / ratio } else { ratio / self.median }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: bool = false;
    const RATE: bool = true;

    /// Against a baseline of 2.
    fn check(is_better_higher: bool, repeats: &[f64], expect: Finding) {
        let ratio = Ratio {
            scenario: "storm".to_owned(),
            figure: "cpu_us_per_delivery".to_owned(),
            is_better_higher,
            median: 2.0,
            min: 1.9,
            max: 2.1,
        };
        assert_eq!(ratio.find(repeats), expect, "{repeats:?}");
    }

    #[test]
    fn equal_or_better_holds() {
        check(COST, &[2.0, 2.02, 1.98], Finding::Held);
        check(COST, &[1.0, 1.1, 0.9], Finding::Held);
        check(RATE, &[2.0, 3.0, 2.5], Finding::Held);
    }

    #[test]
    fn up_to_the_margin_holds() {
        check(COST, &[2.2, 2.25, 2.28], Finding::Held);
        check(COST, &[2.2, 2.25, 2.35], Finding::Held);
    }

    #[test]
    fn beyond_the_margin_is_worse() {
        check(COST, &[2.4, 2.5, 2.45], Finding::Worse);
        check(COST, &[2.25, 2.35, 2.4], Finding::Worse);
        check(RATE, &[1.5, 1.6, 1.55], Finding::Worse);
    }

    #[test]
    fn clear_cases_are_decided_however_noisy() {
        check(COST, &[2.5, 9.0, 4.0], Finding::Worse);
        check(COST, &[0.5, 2.0, 1.0], Finding::Held);
    }

    #[test]
    fn repeats_on_both_sides_decide_nothing() {
        check(COST, &[1.9, 2.5, 2.0], Finding::Inconclusive);
        check(RATE, &[1.5, 2.4, 2.0], Finding::Inconclusive);
        check(COST, &[], Finding::Inconclusive);
    }

    #[test]
    fn too_few_repeats_decide_nothing() {
        check(COST, &[9.0], Finding::Inconclusive);
        check(COST, &[2.0, 2.0], Finding::Inconclusive);
    }

    #[test]
    fn one_outlier_of_five_is_noise() {
        check(COST, &[2.0, 2.05, 1.95, 2.0, 7.0], Finding::Held);
        check(COST, &[2.4, 2.45, 2.5, 2.4, 1.0], Finding::Worse);
    }

    #[test]
    fn baseline_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("baseline.json");
        let ratio = Ratio {
            scenario: "storm".to_owned(),
            figure: "cpu_us_per_delivery".to_owned(),
            is_better_higher: false,
            median: 1.9,
            min: 1.8,
            max: 2.0,
        };
        let baseline = Baseline {
            commit: "abc".to_owned(),
            cpu: "x".to_owned(),
            cores: 2,
            repeats: 5,
            ratios: vec![ratio.clone()],
        };
        baseline.write(&path).unwrap();
        assert_eq!(Baseline::read(&path).unwrap().ratios, [ratio]);
    }

    #[test]
    fn missing_baseline_says_how_to_make_one() {
        let error = Baseline::read(Path::new("/nowhere/baseline.json")).unwrap_err();
        assert!(error.to_string().contains("--write-baseline"), "{error}");
    }
}
