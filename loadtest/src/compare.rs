//! The comparison: one scenario after the other, each played against all contenders in turn, several times over.

mod args;
mod backlog;
mod baseline;
mod chapter;
mod check;
mod connections;
mod contenders;
mod figures;
mod goim;
mod growth;
mod latency;
mod memory;
mod outcome;
mod parked;
mod play;
mod queries;
mod runs;
mod sends;
mod slope;
mod storm;
mod targets;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use self::play::{Contender, Scenario, Stage};
pub(crate) use self::{
    args::CompareArgs,
    chapter::Chapter,
    figures::Figure,
    growth::{Growth, has_point},
    outcome::{Outcome, Run},
    runs::{BEFORE, Cell, OURS, Runs},
    targets::{Judged, Met, ROWS_ELSEWHERE, judge},
};
use crate::{
    client::raise_file_limit,
    command_line,
    cores::Cores,
    costs,
    machine::{self, Machine},
    peers::{Identity, Peer},
    report::{Absent, Report, Subject},
};

/// Open files that every comparison takes on either side.
const FILES_MIN: u64 = 2_500;
/// Times each contender plays a scenario, so that a median and a range mean something.
const REPEATS: u32 = 5;

/// Plays everything that was asked for; tells whether all runs were clean, or the check found nothing worse.
pub(crate) fn run(args: &CompareArgs) -> Result<bool> {
    if let Some(baseline) = &args.check {
        return check::check(args, baseline);
    }
    if let Some(baseline) = &args.write_baseline {
        return check::write(args, baseline);
    }
    let mut notes = Vec::new();
    let stage = stage(args)?;
    let contenders = contenders::of(args, &args.peers, &mut notes)?;
    if !stage.cores.can_part() {
        notes.push("This machine has one core: client and server took each other's turn.".to_owned());
    }
    let repeats = args.repeats.unwrap_or(if args.quick { 1 } else { REPEATS });
    let machine = Machine::look();
    let began = Instant::now();
    let scenarios = scenarios(args, &stage, &contenders, &mut notes)?;
    let mut runs = Runs::default();
    for scenario in &scenarios {
        play_repeats(scenario, 0..repeats, &mut runs);
    }

    let absent = |scenario: &Scenario<'_>| {
        let name = scenario.name.clone();
        let absent = scenario.absent.iter();
        absent
            .map(move |(contender, why)| Absent { scenario: name.clone(), contender, why: why.clone() })
            .collect::<Vec<_>>()
    };
    let report = Report {
        command: command_line::own(),
        machine,
        load_after: machine::load(),
        duration_s: began.elapsed().as_secs_f64(),
        repeats,
        is_quick: args.quick,
        subjects: subjects(&contenders, &runs),
        stories: scenarios.iter().map(|scenario| (scenario.name.clone(), scenario.story.clone())).collect(),
        absent: scenarios.iter().flat_map(absent).collect(),
        notes,
        targets: judge(&runs),
        growth: growth::of_runs(&runs),
        runs,
    };
    println!("{}", report.markdown(&args.name));
    if let Some(directory) = &args.out {
        report.write(directory, &args.name, &growth::plots(&report.growth))?;
        write_costs(&report, directory)?;
    }
    Ok(report.runs.are_clean())
}

/// Who was measured.
fn subjects(contenders: &[Box<dyn Peer>], runs: &Runs) -> Vec<Subject> {
    let mut subjects: Vec<_> =
        contenders.iter().map(|peer| Subject { name: peer.name(), about: peer.about() }).collect();
    if runs.0.iter().any(|run| run.contender == queries::UNASKED) {
        subjects.push(Subject { name: queries::UNASKED, about: "the same, asked no questions".to_owned() });
    }
    subjects
}

/// Writes what planner and simulation go by, if everything that it takes was measured.
fn write_costs(report: &Report, directory: &Path) -> Result<()> {
    let json = serde_json::to_string(report).context("encode the report")?;
    match costs::of_comparison(&json, costs::ONLINE) {
        Ok(text) => {
            let path = directory.join("costs.toml");
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        }
        Err(error) => {
            eprintln!("no costs.toml: {error:#}");
            Ok(())
        }
    }
}

/// Where everything is played.
fn stage(args: &CompareArgs) -> Result<Stage> {
    let files = raise_file_limit()?;
    ensure!(
        files >= FILES_MIN,
        "{files} files may be open, {FILES_MIN} are needed: raise the hard limit (ulimit -Hn)"
    );
    let temp_dir = &args.temp_dir;
    Ok(Stage {
        cores: Cores::of_process()?,
        temp_dir: temp_dir.canonicalize().with_context(|| format!("find {}", temp_dir.display()))?,
        is_quick: args.quick,
        files,
        identity: Identity::generate()?,
        latency_time: args.latency_time,
    })
}

/// Plays a scenario over some repeats against all of its contenders.
fn play_repeats(scenario: &Scenario<'_>, repeats: std::ops::Range<u32>, runs: &mut Runs) {
    for repeat in repeats {
        for nth in 0..scenario.contenders.len() {
            // Nobody is always first: the machine may be another one a minute later.
            let contender = &scenario.contenders[(nth + repeat as usize) % scenario.contenders.len()];
            if repeat < contender.repeats_max {
                runs.0.push(play(scenario, contender, repeat));
            }
        }
    }
}

/// Plays a scenario once against one contender.
fn play(scenario: &Scenario<'_>, contender: &Contender<'_>, repeat: u32) -> Run {
    let began = Instant::now();
    let outcome = (contender.play)().unwrap_or_else(|error| Outcome::failed(&format!("{error:#}")));
    let word = if outcome.verdict.is_clean() { "clean" } else { "NOT CLEAN" };
    eprintln!(
        "{} {} #{}: {word}, {:.1} s: {}",
        scenario.name,
        contender.name,
        repeat + 1,
        began.elapsed().as_secs_f64(),
        if outcome.verdict.is_clean() { outcome.first_figure() } else { outcome.verdict.summary() }
    );
    Run { scenario: scenario.name.clone(), contender: contender.name, repeat, outcome }
}

/// What is wanted of all there is, without what this process may not open files for.
fn scenarios<'a>(
    args: &CompareArgs,
    stage: &'a Stage,
    contenders: &'a [Box<dyn Peer>],
    notes: &mut Vec<String>,
) -> Result<Vec<Scenario<'a>>> {
    let all: Vec<&dyn Peer> = contenders.iter().map(AsRef::as_ref).collect();
    let ours: Vec<&dyn Peer> =
        all.iter().copied().filter(|peer| [OURS, BEFORE].contains(&peer.name())).collect();
    let mut scenarios = Vec::new();
    if args.wants(Chapter::Parked) {
        scenarios.extend(parked::scenarios(stage, &all));
    }
    if args.wants(Chapter::Backlog) {
        scenarios.push(backlog::scenario(stage, &all));
    }
    if args.wants(Chapter::Connections) {
        scenarios.push(connections::scenario(stage, &all));
    }
    if args.wants(Chapter::Storm) {
        scenarios.push(storm::paused_by_clients(stage, &all));
    }
    if args.wants(Chapter::Hold) {
        scenarios.push(storm::held_by_server(stage, &ours));
    }
    if args.wants(Chapter::Sends) && !ours.is_empty() {
        let append_bench = append_bench(args)?;
        if append_bench.is_none() {
            notes.push("A bare RocksDB is left out: --append-bench was not given.".to_owned());
        }
        scenarios.extend(sends::scenarios(stage, &ours, append_bench));
    }
    if args.wants(Chapter::Growth) {
        scenarios.extend(growth::scenarios(stage, &all, &ours));
    }
    if args.wants(Chapter::Memory) {
        scenarios.extend(memory::scenarios(stage, &all, &ours));
    }
    if args.wants(Chapter::Tls) {
        scenarios.extend(parked::over_tls(stage, &all));
        scenarios.push(backlog::over_tls(stage, &all));
        scenarios.push(connections::over_tls(stage, &all));
    }
    if args.wants(Chapter::Latency) {
        scenarios.push(latency::scenario(stage, &all));
    }
    if args.wants(Chapter::Goim) {
        scenarios.extend(goim::scenarios(stage, &all, &ours));
    }
    if args.wants(Chapter::Queries) {
        scenarios.extend(queries::scenarios(stage, &ours));
    }
    scenarios.retain(|scenario| args.wants_scenario(&scenario.name));
    ensure!(
        args.scenario.is_empty() || !scenarios.is_empty(),
        "no scenario of these chapters has {:?} in its name",
        args.scenario
    );
    scenarios.retain(|scenario| {
        let fits = scenario.files() <= stage.files;
        if !fits {
            notes.push(format!(
                "\"{}\" is left out: it takes {} open files on either side, and {} are allowed.",
                scenario.name,
                scenario.files(),
                stage.files
            ));
        }
        fits && !scenario.contenders.is_empty()
    });
    Ok(scenarios)
}

fn append_bench(args: &CompareArgs) -> Result<Option<PathBuf>> {
    args.append_bench.as_ref().map(|path| path.canonicalize()).transpose().context("find --append-bench")
}
