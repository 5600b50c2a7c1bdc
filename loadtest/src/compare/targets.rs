//! The figures to beat: what each row of the goal means, and whether a comparison reached it.

use serde::Serialize;

use super::{
    Figure, goim, growth, parked,
    runs::{Cell, OURS, Runs},
    sends, storm,
};
use crate::stats::Spread;

/// What a figure is held against.
#[derive(Clone, Debug)]
enum Against {
    /// Its own value.
    Nothing,
    /// The same figure of another contender in the same scenario and repeat.
    Contender(&'static str),
    /// Another figure of ours in the same scenario and repeat.
    Own(Figure),
    /// The same figure of ours in another scenario.
    Scenario(String),
}

/// Which way is better.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost,
    AtLeast,
}

/// One condition; a row holds if all of its conditions do.
#[derive(Clone, Debug)]
struct Target {
    /// Number of the row that it belongs to.
    row: u8,
    scenario: String,
    figure: Figure,
    against: Against,
    bound: Bound,
    /// To be reached.
    goal: f64,
    /// To be wished for, and what it is held against where that is another.
    stretch: Option<(Against, f64)>,
}

/// How far a condition was met.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Met {
    /// The stretch as well.
    Stretch,
    /// The target.
    Target,
    /// Not the target.
    Missed,
    /// This comparison did not measure it.
    NotMeasured,
}

/// A condition with what was measured.
#[derive(Clone, Serialize, Debug)]
pub(crate) struct Judged {
    pub(crate) row: u8,
    pub(crate) scenario: String,
    /// What is held against what.
    pub(crate) what: String,
    /// In words: the target, and the stretch.
    pub(crate) target: String,
    pub(crate) stretch: Option<String>,
    pub(crate) measured: Option<Spread>,
    /// Where the stretch is held against something else than the target.
    pub(crate) measured_for_stretch: Option<Spread>,
    pub(crate) met: Met,
}

/// Rows whose figures belong to the statistics, which no peer has; they are measured elsewhere.
pub(crate) const ROWS_ELSEWHERE: &str = "Rows 11 and 12, heartbeats a core and bytes an online user, are of the \
                                         statistics alone: no peer has them. The example online_bench measures them \
                                         ([online.txt](online.txt)).";

fn targets() -> Vec<Target> {
    use Against::{Contender, Nothing, Own, Scenario};
    use Bound::{AtLeast, AtMost};
    let target = |row, scenario: &str, figure, against, bound, goal, stretch| Target {
        row,
        scenario: scenario.to_owned(),
        figure,
        against,
        bound,
        goal,
        stretch,
    };
    let floor = || Contender("floor");
    let nchan = || Contender("nchan");
    let mut targets = Vec::new();
    for viewers in [1_000, 10_000, 18_000] {
        let scenario = parked::name(viewers);
        targets.push(target(
            1,
            &scenario,
            Figure::CpuPerDelivery,
            nchan(),
            AtMost,
            0.75,
            Some((floor(), 1.25)),
        ));
    }
    // The small room is left out: buffers that don't grow with the viewers are a part of its few.
    for viewers in [10_000, 18_000] {
        let scenario = parked::name(viewers);
        targets.push(target(
            2,
            &scenario,
            Figure::MemoryPerPoll,
            Nothing,
            AtMost,
            2560.0,
            Some((Nothing, 1536.0)),
        ));
    }
    let storm = storm::PAUSED;
    targets.extend([
        target(3, storm, Figure::CpuPerDelivery, nchan(), AtMost, 0.5, Some((floor(), 1.3))),
        target(4, storm, Figure::NormalAgeP99, nchan(), AtMost, 1.0, Some((floor(), 1.05))),
        target(5, "data waiting", Figure::AnswersPerCpuSecond, nchan(), AtLeast, 1.6, Some((floor(), 0.85))),
        target(6, "new connections", Figure::CpuPerConnection, nchan(), AtMost, 0.85, Some((floor(), 1.2))),
    ]);
    let rocksdb = || Contender(sends::BARE_ROCKSDB);
    let append = || Contender(sends::APPEND);
    targets.extend([
        target(7, &sends::name(128), Figure::SendsPerSecond, rocksdb(), AtLeast, 0.5, Some((rocksdb(), 0.8))),
        target(8, &sends::name(1), Figure::SendP50, append(), AtMost, 3.0, Some((append(), 1.5))),
        target(9, storm::HELD, Figure::PriorityAgeP99, Nothing, AtMost, 20.0, Some((Nothing, 5.0))),
        target(9, storm::HELD, Figure::PriorityAgeP99, Own(Figure::NormalAgeP99), AtMost, 0.1, None),
    ]);
    for (small, large) in growth::extremes() {
        let stretch = Some((Scenario(small.clone()), 1.05));
        targets.push(target(10, &large, Figure::CpuPerDelivery, Scenario(small), AtMost, 1.15, stretch));
    }
    let per_s = Figure::DeliveriesPerCpuSecond;
    targets.push(target(13, goim::HELD, per_s, Nothing, AtLeast, 2.5e6, Some((Nothing, 4e6))));
    targets
}

/// Holds all targets against what was measured.
pub(crate) fn judge(runs: &Runs) -> Vec<Judged> {
    targets().into_iter().map(|target| target.judge(runs)).collect()
}

impl Target {
    fn judge(&self, runs: &Runs) -> Judged {
        let measured = self.measure(runs, &self.against);
        let of_stretch = self.stretch.as_ref().map(|(against, goal)| (self.measure(runs, against), goal));
        let holds = |spread: Option<Spread>, goal: f64| {
            spread.is_some_and(|spread| match self.bound {
                Bound::AtMost => spread.median <= goal,
                Bound::AtLeast => spread.median >= goal,
            })
        };
        let met = match measured {
            None => Met::NotMeasured,
            _ if !holds(measured, self.goal) => Met::Missed,
            _ if of_stretch.is_some_and(|(spread, &goal)| holds(spread, goal)) => Met::Stretch,
            _ => Met::Target,
        };
        let differs =
            |(against, _): &&(Against, f64)| format!("{against:?}") != format!("{:?}", self.against);
        Judged {
            row: self.row,
            scenario: self.scenario.clone(),
            what: self.figure.title().to_owned(),
            target: self.say(&self.against, self.goal),
            stretch: self.stretch.as_ref().map(|(against, goal)| self.say(against, *goal)),
            measured,
            measured_for_stretch: self
                .stretch
                .as_ref()
                .filter(differs)
                .and_then(|(against, _)| self.measure(runs, against)),
            met,
        }
    }

    fn measure(&self, runs: &Runs, against: &Against) -> Option<Spread> {
        let ours = Cell { scenario: &self.scenario, contender: OURS, figure: self.figure };
        match against {
            Against::Nothing => runs.spread(ours.scenario, ours.contender, ours.figure),
            Against::Contender(contender) => runs.ratio(ours, Cell { contender, ..ours }),
            Against::Own(figure) => runs.ratio(ours, Cell { figure: *figure, ..ours }),
            Against::Scenario(scenario) => runs.ratio(ours, Cell { scenario, ..ours }),
        }
    }

    fn say(&self, against: &Against, goal: f64) -> String {
        let sign = match self.bound {
            Bound::AtMost => "≤",
            Bound::AtLeast => "≥",
        };
        let unit = self.figure.unit();
        match against {
            Against::Nothing if unit.is_empty() => format!("{sign} {goal}"),
            Against::Nothing => format!("{sign} {goal} {unit}"),
            Against::Contender(name) => format!("{sign} {goal} × {name}"),
            Against::Own(figure) => format!("{sign} {goal} × {}", figure.title()),
            Against::Scenario(name) => format!("{sign} {goal} × that of `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Verdict,
        compare::{Outcome, Run},
    };

    fn runs(values: &[(&'static str, f64)]) -> Runs {
        let run = |&(contender, value)| {
            let figures = vec![(Figure::CpuPerDelivery, value)];
            let outcome = Outcome { figures, spent: None, verdict: Verdict::default() };
            Run { scenario: parked::name(10_000), contender, repeat: 0, outcome }
        };
        Runs(values.iter().map(run).collect())
    }

    fn check(values: &[(&'static str, f64)], expect: Met) {
        let judged = judge(&runs(values));
        let row =
            judged.iter().find(|judged| judged.row == 1 && judged.scenario == parked::name(10_000)).unwrap();
        assert_eq!(row.met, expect, "{row:?}");
    }

    #[test]
    fn target_is_of_nchan_and_stretch_of_the_floor() {
        check(&[("bigroom", 12.0), ("floor", 10.0), ("nchan", 20.0)], Met::Stretch);
        check(&[("bigroom", 14.0), ("floor", 10.0), ("nchan", 20.0)], Met::Target);
        check(&[("bigroom", 14.0), ("nchan", 20.0)], Met::Target);
        check(&[("bigroom", 16.0), ("floor", 10.0), ("nchan", 20.0)], Met::Missed);
        check(&[("bigroom", 10.0), ("floor", 10.0)], Met::NotMeasured);
        check(&[], Met::NotMeasured);
    }

    #[test]
    fn every_row_that_peers_have_is_there() {
        let rows: std::collections::BTreeSet<u8> = targets().iter().map(|target| target.row).collect();
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13]);
    }
}
