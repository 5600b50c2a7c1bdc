//! The check against regressions: a short comparison with the floor, held against a committed baseline.
//!
//! Only ratios to the floor of the same run count, so that a slower machine is none. Where repeats disagree, the
//! scenario is played again, up to a bound. An hour in which user space is slower than the kernel still moves such a ratio, as the
//! floor has next to none: an earlier build that is played beside tells the machine from the code.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{
    BEFORE, Cell, CompareArgs, Figure, OURS, Runs, backlog,
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

/// Plays the short comparison; tells whether no ratio got worse by more than the margin: than the baseline's or, where an earlier
/// build plays beside, than that build's.
pub(super) fn check(args: &CompareArgs, path: &Path) -> Result<bool> {
    let baseline = Baseline::read(path)?;
    if let (Some(ours), Some(before)) = (&args.server, &args.before) {
        ensure!(
            ours.canonicalize().ok() != before.canonicalize().ok(),
            "--before is the build that is to be checked: name one of an earlier commit"
        );
    }
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
        let mut judgement = Judgement::of(&runs, (figure, of_baseline), args.before.is_some());
        while judgement.is_open() && repeats < REPEATS_MAX {
            eprintln!("{}: {repeats} repeats disagree, so there are {REPEATS_MORE} more", scenario.name);
            play_repeats(&scenario, repeats..repeats + REPEATS_MORE, &mut runs);
            repeats += REPEATS_MORE;
            judgement = Judgement::of(&runs, (figure, of_baseline), args.before.is_some());
        }
        for line in judgement.sentences() {
            println!("{line}");
        }
        holds &= judgement.holds();
    }
    ensure_clean(&runs)?;
    println!(
        "{}: a ratio to the floor may be {:.0} % worse than in the baseline of {}{}",
        if holds { "passed" } else { "FAILED" },
        MARGIN * 100.0,
        baseline.commit,
        args.before.as_ref().map_or(String::new(), |before| format!(
            ", or be no more than that worse than {} in this run",
            before.display()
        ))
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
        let Some(spread) = Spread::of(ratios(&runs, &scenario.name, figure, FLOOR)) else { continue };
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

fn ratios(runs: &Runs, scenario: &str, figure: Figure, to: &str) -> Vec<f64> {
    let ours = Cell { scenario, contender: OURS, figure };
    runs.ratios(ours, Cell { contender: to, ..ours })
}

/// What the repeats of one scenario say.
struct Judgement {
    to_floor: Side,
    /// Beside an earlier build, if there is one.
    to_before: Option<Side>,
}

/// Our figure beside another's.
struct Side {
    to: &'static str,
    expected: Ratio,
    ratios: Vec<f64>,
    finding: Finding,
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

impl Judgement {
    fn of(runs: &Runs, (figure, of_baseline): (Figure, &Ratio), has_before: bool) -> Self {
        let side = |to, expected: Ratio| {
            let ratios = ratios(runs, &expected.scenario, figure, to);
            let finding = expected.find(&ratios);
            Side { to, expected, ratios, finding }
        };
        let same = Ratio { median: 1.0, min: 1.0, max: 1.0, ..of_baseline.clone() };
        Self { to_floor: side(FLOOR, of_baseline.clone()), to_before: has_before.then(|| side(BEFORE, same)) }
    }

    /// Whether the code is no worse: what an earlier build has as well in the same run is the machine's.
    fn holds(&self) -> bool {
        self.sides().any(|side| side.finding == Finding::Held)
    }

    /// Whether more repeats could settle it.
    fn is_open(&self) -> bool {
        !self.holds() && self.sides().any(|side| side.finding == Finding::Inconclusive)
    }

    fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.to_floor).chain(&self.to_before)
    }

    fn sentences(&self) -> impl Iterator<Item = String> {
        self.sides().map(Side::sentence)
    }
}

impl Side {
    fn sentence(&self) -> String {
        let Self { to, expected, ratios, finding } = self;
        let word = match finding {
            Finding::Held => "held",
            Finding::Worse => "WORSE",
            Finding::Inconclusive => {
                "INCONCLUSIVE: the repeats lie too far apart, so try again on a quieter machine"
            }
        };
        let Some(spread) = Spread::of(ratios.iter().copied()) else {
            return format!("{}: {word}; nothing was measured", expected.scenario);
        };
        format!(
            "{}, {}: {:.2} × {to} ({:.2} to {:.2}, {} repeats), expected {:.2} ({:.2} to {:.2}), {:+.0} % worse: {word}",
            expected.scenario,
            expected.figure,
            spread.median,
            spread.min,
            spread.max,
            ratios.len(),
            expected.median,
            expected.min,
            expected.max,
            (expected.times_worse(spread.median) - 1.0) * 100.0
        )
    }
}

impl Ratio {
    fn is_of(&self, scenario: &Scenario<'_>, figure: Figure) -> bool {
        self.scenario == scenario.name && self.figure == figure.key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Verdict,
        compare::{Outcome, Run},
    };

    /// A storm's repeats of us, the floor and an earlier build, against a baseline of 2.
    fn judgement(ours: &[f64], floor: f64, before: Option<f64>) -> Judgement {
        let figure = Figure::CpuPerDelivery;
        let of_baseline = Ratio {
            scenario: "storm".to_owned(),
            figure: figure.key().to_owned(),
            is_better_higher: false,
            median: 2.0,
            min: 1.9,
            max: 2.1,
        };
        let mut runs = Runs::default();
        for (repeat, &value) in (0..).zip(ours) {
            for (contender, value) in [(OURS, Some(value)), (FLOOR, Some(floor)), (BEFORE, before)] {
                let Some(value) = value else { continue };
                let outcome =
                    Outcome { figures: vec![(figure, value)], spent: None, verdict: Verdict::default() };
                runs.0.push(Run { scenario: "storm".to_owned(), contender, repeat, outcome });
            }
        }
        Judgement::of(&runs, (figure, &of_baseline), before.is_some())
    }

    #[test]
    fn sentence_says_by_how_much() {
        let judgement_of = judgement(&[2.4, 2.5, 2.6], 1.0, None);
        let texts: Vec<_> = judgement_of.sentences().collect();
        assert_eq!(texts.len(), 1);
        assert!(texts[0].contains("2.50 × floor") && texts[0].ends_with("+25 % worse: WORSE"), "{texts:?}");
        let nothing = judgement(&[], 1.0, None).sentences().next().unwrap();
        assert!(nothing.ends_with("nothing was measured"), "{nothing}");
    }

    #[test]
    fn what_an_earlier_build_has_as_well_is_no_regression() {
        let alone = judgement(&[2.4, 2.5, 2.6], 1.0, None);
        assert!(!alone.holds() && !alone.is_open());
        assert!(judgement(&[2.4, 2.5, 2.6], 1.0, Some(2.45)).holds());
        let slower = judgement(&[2.4, 2.5, 2.6], 1.0, Some(2.0));
        assert!(!slower.holds() && !slower.is_open());
        // Within the margin of the baseline an earlier build decides nothing, however good it was.
        assert!(judgement(&[2.0, 2.0, 2.1], 1.0, Some(1.0)).holds());
        assert!(judgement(&[2.4, 3.3, 2.6], 1.0, Some(2.5)).is_open());
        // The floor's side is open: an earlier build that is as dear settles it, one that is cheaper does not.
        assert!(judgement(&[1.9, 2.5, 2.2], 1.0, None).is_open());
        assert!(judgement(&[1.9, 2.5, 2.2], 1.0, Some(2.3)).holds());
        assert!(judgement(&[1.9, 2.5, 2.2], 1.0, Some(1.0)).is_open());
    }
}
