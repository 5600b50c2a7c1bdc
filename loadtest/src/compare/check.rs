//! The check against regressions: a short comparison with the floor, held against a committed baseline.
//!
//! Only ratios to the floor of the same run count, so that a slower machine is none. Where repeats disagree, the
//! scenario is played again, up to a bound.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{
    Cell, CompareArgs, Figure, OURS, Runs, backlog,
    baseline::{Baseline, Finding, MARGIN, Ratio},
    connections, contenders, parked,
    play::{Scenario, Stage},
    play_repeats, stage, storm,
};
use crate::{
    machine::Machine,
    peers::{Peer, PeerName},
    stats::Spread,
};

/// Times each scenario is played at first: with the four scenarios it takes two to three minutes.
const REPEATS: u32 = 3;
/// More of a baseline, which many checks are held against.
const REPEATS_OF_BASELINE: u32 = 5;
/// Most times a scenario is played when its repeats disagree.
const REPEATS_MAX: u32 = 9;
/// Repeats that are added at a time.
const REPEATS_MORE: u32 = 2;
const FLOOR: &str = "floor";

/// Plays the short comparison; tells whether no ratio got worse than the baseline's by more than the margin.
pub(super) fn check(args: &CompareArgs, path: &Path) -> Result<bool> {
    let baseline = Baseline::read(path)?;
    let (stage, peers) = prepare(args)?;
    let machine = Machine::look();
    if (&machine.cpu, machine.cores) != (&baseline.cpu, baseline.cores) {
        eprintln!(
            "the baseline was made on {} with {} cores, this is {} with {}: ratios move a little between machines",
            baseline.cpu, baseline.cores, machine.cpu, machine.cores
        );
    }
    let mut runs = Runs::default();
    let mut holds = true;
    for (scenario, figure) in scenarios(&stage, &peers) {
        let Some(of_baseline) = baseline.ratios.iter().find(|ratio| ratio.is_of(&scenario, figure)) else {
            println!("{}: not in the baseline; write it anew", scenario.name);
            holds = false;
            continue;
        };
        let mut repeats = args.repeats.unwrap_or(REPEATS);
        play_repeats(&scenario, 0..repeats, &mut runs);
        let mut finding = of_baseline.find(&ratios(&runs, &scenario, figure));
        while finding == Finding::Inconclusive && repeats < REPEATS_MAX {
            eprintln!("{}: {repeats} repeats disagree, so there are {REPEATS_MORE} more", scenario.name);
            play_repeats(&scenario, repeats..repeats + REPEATS_MORE, &mut runs);
            repeats += REPEATS_MORE;
            finding = of_baseline.find(&ratios(&runs, &scenario, figure));
        }
        println!("{}", sentence(of_baseline, &ratios(&runs, &scenario, figure), finding));
        holds &= finding == Finding::Held;
    }
    ensure_clean(&runs)?;
    println!(
        "{}: a ratio to the floor may be {:.0} % worse than in the baseline of {}",
        if holds { "passed" } else { "FAILED" },
        MARGIN * 100.0,
        baseline.commit
    );
    Ok(holds)
}

/// Plays the short comparison, and writes its ratios down.
pub(super) fn write(args: &CompareArgs, path: &Path) -> Result<bool> {
    let (stage, peers) = prepare(args)?;
    let repeats = args.repeats.unwrap_or(REPEATS_OF_BASELINE);
    let machine = Machine::look();
    let (mut runs, mut written) = (Runs::default(), Vec::new());
    for (scenario, figure) in scenarios(&stage, &peers) {
        play_repeats(&scenario, 0..repeats, &mut runs);
        let Some(spread) = Spread::of(ratios(&runs, &scenario, figure)) else { continue };
        println!("{}, {}: {:.2} × the floor's", scenario.name, figure.title(), spread.median);
        written.push(Ratio {
            scenario: scenario.name.clone(),
            figure: figure.key().to_owned(),
            is_better_higher: figure.is_better_higher(),
            median: spread.median,
            min: spread.min,
            max: spread.max,
        });
    }
    ensure_clean(&runs)?;
    let Machine { commit, cpu, cores, .. } = machine;
    Baseline { commit, cpu, cores, repeats, ratios: written }.write(path)?;
    Ok(true)
}

fn prepare(args: &CompareArgs) -> Result<(Stage, Vec<Box<dyn Peer>>)> {
    Ok((stage(args)?, contenders::of(args, &[PeerName::Floor], &mut Vec::new())?))
}

/// What is played, each with the figure that is looked at.
fn scenarios<'a>(stage: &'a Stage, peers: &'a [Box<dyn Peer>]) -> Vec<(Scenario<'a>, Figure)> {
    let all: Vec<&dyn Peer> = peers.iter().map(AsRef::as_ref).collect();
    vec![
        (parked::small(stage, &all), Figure::CpuPerDelivery),
        (backlog::scenario(stage, &all), Figure::AnswersPerCpuSecond),
        (connections::scenario(stage, &all), Figure::CpuPerConnection),
        (storm::paused_by_clients(stage, &all), Figure::CpuPerDelivery),
    ]
}

fn ratios(runs: &Runs, scenario: &Scenario<'_>, figure: Figure) -> Vec<f64> {
    let ours = Cell { scenario: &scenario.name, contender: OURS, figure };
    runs.ratios(ours, Cell { contender: FLOOR, ..ours })
}

fn ensure_clean(runs: &Runs) -> Result<()> {
    let spoilt = runs.0.iter().find(|run| !run.outcome.verdict.is_clean());
    ensure!(
        spoilt.is_none(),
        "a run was not clean, so its figures do not count: {}",
        spoilt.map_or(String::new(), |run| format!(
            "{} {}: {}",
            run.scenario,
            run.contender,
            run.outcome.verdict.summary()
        ))
    );
    Ok(())
}

fn sentence(of_baseline: &Ratio, ratios: &[f64], finding: Finding) -> String {
    let word = match finding {
        Finding::Held => "held",
        Finding::Worse => "WORSE",
        Finding::Inconclusive => {
            "INCONCLUSIVE: the repeats lie too far apart, so try again on a quieter machine"
        }
    };
    let Some(spread) = Spread::of(ratios.iter().copied()) else {
        return format!("{}: {word}; nothing was measured", of_baseline.scenario);
    };
    format!(
        "{}, {}: {:.2} × the floor's ({:.2} to {:.2}, {} repeats), baseline {:.2} ({:.2} to {:.2}), {:+.0} % worse: {word}",
        of_baseline.scenario,
        of_baseline.figure,
        spread.median,
        spread.min,
        spread.max,
        ratios.len(),
        of_baseline.median,
        of_baseline.min,
        of_baseline.max,
        (of_baseline.times_worse(spread.median) - 1.0) * 100.0
    )
}

impl Ratio {
    fn is_of(&self, scenario: &Scenario<'_>, figure: Figure) -> bool {
        self.scenario == scenario.name && self.figure == figure.key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_says_by_how_much() {
        let ratio = Ratio {
            scenario: "storm".to_owned(),
            figure: "cpu_us_per_delivery".to_owned(),
            is_better_higher: false,
            median: 2.0,
            min: 1.9,
            max: 2.1,
        };
        let text = sentence(&ratio, &[2.4, 2.5, 2.6], Finding::Worse);
        assert!(text.contains("2.50 × the floor's") && text.ends_with("+25 % worse: WORSE"), "{text}");
        assert!(sentence(&ratio, &[], Finding::Inconclusive).ends_with("nothing was measured"));
    }
}
