//! All plays of a comparison, and what they say together.

use serde::Serialize;

use super::{Figure, Run};
use crate::stats::Spread;

/// The contender that the others are compared with.
pub(crate) const OURS: &str = "bigroom";
/// Another build of it, of an earlier commit mostly.
pub(crate) const BEFORE: &str = "bigroom-before";

/// Every play, in the order of playing.
#[derive(Default, Serialize, Debug)]
#[serde(transparent)]
pub(crate) struct Runs(pub(crate) Vec<Run>);

impl Runs {
    /// Whether every run counts.
    pub(crate) fn are_clean(&self) -> bool {
        self.0.iter().all(|run| run.outcome.verdict.is_clean())
    }

    /// Who played, in the order of their first run.
    pub(crate) fn contenders(&self, wanted: impl Fn(&Run) -> bool) -> Vec<&'static str> {
        let mut names = Vec::new();
        for run in self.0.iter().filter(|run| wanted(run)) {
            if !names.contains(&run.contender) {
                names.push(run.contender);
            }
        }
        names
    }

    /// Figures of a scenario, in the order of the contender that has most.
    pub(crate) fn figures(&self, scenario: &str) -> Vec<Figure> {
        let runs = self.0.iter().filter(|run| run.scenario == scenario);
        let longest = runs.max_by_key(|run| run.outcome.figures.len());
        longest.map(|run| run.outcome.figures.iter().map(|(figure, _)| *figure).collect()).unwrap_or_default()
    }

    /// What the repeats of a figure gave.
    pub(crate) fn spread(&self, scenario: &str, contender: &str, figure: Figure) -> Option<Spread> {
        Spread::of(self.values(scenario, contender, figure).into_iter().map(|(_, value)| value))
    }

    /// A contender's figure to another value, repeat by repeat: what both have in common, the machine, falls out.
    pub(crate) fn ratio(&self, of: Cell<'_>, to: Cell<'_>) -> Option<Spread> {
        Spread::of(self.ratios(of, to))
    }

    /// The same, a value for each repeat that both have.
    pub(crate) fn ratios(&self, of: Cell<'_>, to: Cell<'_>) -> Vec<f64> {
        let below = self.values(to.scenario, to.contender, to.figure);
        self.values(of.scenario, of.contender, of.figure)
            .into_iter()
            .filter_map(|(repeat, value)| {
                let (_, other) = below.iter().find(|(at, _)| *at == repeat)?;
                Some(value / other)
            })
            .filter(|ratio| ratio.is_finite())
            .collect()
    }

    /// What others took of the machine, as a share of one core.
    pub(crate) fn others_share(&self) -> Option<Spread> {
        let spent = self.0.iter().filter_map(|run| run.outcome.spent);
        Spread::of(spent.map(|spent| spent.others_cpu_s / spent.wall_s))
    }

    /// Values of a figure, with the repeat each is from.
    fn values(&self, scenario: &str, contender: &str, figure: Figure) -> Vec<(u32, f64)> {
        self.0
            .iter()
            .filter(|run| run.scenario == scenario && run.contender == contender)
            .filter_map(|run| Some((run.repeat, run.outcome.figures.iter().find(|(of, _)| *of == figure)?.1)))
            .collect()
    }
}

/// One figure of one contender in one scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'c> {
    pub(crate) scenario: &'c str,
    pub(crate) contender: &'c str,
    pub(crate) figure: Figure,
}
