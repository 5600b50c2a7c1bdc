//! The benchmark: one scenario after the other, each played against all contenders in turn, several times over.

mod backlog;
mod connections;
mod figures;
mod outcome;
mod parked;
mod play;
mod sends;
mod storm;

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use self::play::{Contender, Scenario, Stage};
pub(crate) use self::{
    figures::Figure,
    outcome::{Outcome, Run},
};
use crate::{
    cli::BenchArgs,
    client::raise_file_limit,
    cores::Cores,
    machine::{self, Machine},
    peers::{Bigroom, Floor, Nchan, Peer, PeerName},
    report::{Report, Subject},
};

/// Open files that the largest scenario takes on either side.
const FILES_MIN: u64 = 10_500;
/// The same, of all but the parked polls.
const FILES_MIN_OTHERWISE: u64 = 2_500;
/// Times each contender plays a scenario, so that a median and a range mean something.
const REPEATS: u32 = 5;

/// A group of scenarios.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Chapter {
    /// Parked polls of one room: processor time a delivery, memory a poll
    Parked,
    /// Polls that need not wait
    Backlog,
    /// New connections
    Connections,
    /// Clients that pause between polls, many messages
    Storm,
    /// The same, held back by the server instead
    Hold,
    /// Durable sends
    Sends,
}

/// Plays everything that was asked for; tells whether all runs were clean.
pub(crate) fn run(args: &BenchArgs) -> Result<bool> {
    let files = raise_file_limit()?;
    let needed = if args.wants(Chapter::Parked) { FILES_MIN } else { FILES_MIN_OTHERWISE };
    ensure!(
        files >= needed,
        "{files} files may be open, {needed} are needed: raise the hard limit (ulimit -Hn)"
    );
    let mut notes = Vec::new();
    let contenders = contenders(args, &mut notes)?;
    let stage = Stage {
        cores: Cores::of_process()?,
        temp_dir: args
            .temp_dir
            .canonicalize()
            .with_context(|| format!("find {}", args.temp_dir.display()))?,
        is_quick: args.quick,
    };
    if !stage.cores.can_part() {
        notes.push("This machine has one core: client and server took each other's turn.".to_owned());
    }
    let repeats = args.repeats.unwrap_or(if args.quick { 1 } else { REPEATS });
    let machine = Machine::look();
    let began = Instant::now();

    let mut runs = Vec::new();
    let scenarios = scenarios(args, &stage, &contenders, &mut notes)?;
    for scenario in &scenarios {
        for repeat in 0..repeats {
            for nth in 0..scenario.contenders.len() {
                // Nobody is always first: the machine may be another one a minute later.
                let contender = &scenario.contenders[(nth + repeat as usize) % scenario.contenders.len()];
                runs.push(play(scenario, contender, repeat));
            }
        }
    }

    let subjects = contenders.iter().map(|peer| Subject { name: peer.name(), about: peer.about() }).collect();
    let stories = scenarios.iter().map(|scenario| (scenario.name.clone(), scenario.story.clone())).collect();
    let report = Report {
        command: command_line(),
        machine,
        load_after: machine::load(),
        duration_s: began.elapsed().as_secs_f64(),
        repeats,
        is_quick: args.quick,
        subjects,
        stories,
        notes,
        runs,
    };
    println!("{}", report.markdown());
    if let Some(directory) = &args.out {
        report.write(directory)?;
    }
    Ok(report.is_clean())
}

/// What was called, without the parts of paths that are one user's.
fn command_line() -> String {
    let home = std::env::var("HOME").ok().filter(|home| home.len() > 1);
    let short = |argument: String| match &home {
        Some(home) if argument.starts_with(home.as_str()) => argument.replacen(home.as_str(), "~", 1),
        _ => argument,
    };
    std::env::args().map(short).collect::<Vec<_>>().join(" ")
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

fn contenders(args: &BenchArgs, notes: &mut Vec<String>) -> Result<Vec<Box<dyn Peer>>> {
    let mut contenders: Vec<Box<dyn Peer>> = Vec::new();
    if let Some(binary) = &args.server {
        let binary = binary.canonicalize().with_context(|| format!("find {}", binary.display()))?;
        contenders.push(Box::new(Bigroom { binary }));
    }
    for peer in &args.peers {
        match peer {
            PeerName::Floor => contenders.push(Box::new(Floor::of_this_binary()?)),
            PeerName::Nchan => match Nchan::installed() {
                Some(nchan) => contenders.push(Box::new(nchan)),
                None => notes.push(
                    "Nchan is left out: nginx-core and libnginx-mod-nchan are not installed.".to_owned(),
                ),
            },
        }
    }
    ensure!(!contenders.is_empty(), "there is nothing to measure: name --server or --peers");
    Ok(contenders)
}

fn scenarios<'a>(
    args: &'a BenchArgs,
    stage: &'a Stage,
    contenders: &'a [Box<dyn Peer>],
    notes: &mut Vec<String>,
) -> Result<Vec<Scenario<'a>>> {
    let ours: Vec<&dyn Peer> =
        contenders.iter().map(AsRef::as_ref).filter(|peer| peer.name() == "bigroom").collect();
    let all: Vec<&dyn Peer> = contenders.iter().map(AsRef::as_ref).collect();
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
    if args.wants(Chapter::Hold) && !ours.is_empty() {
        scenarios.push(storm::held_by_server(stage, &ours));
    }
    if args.wants(Chapter::Sends) && !ours.is_empty() {
        let append_bench: Option<PathBuf> = args
            .append_bench
            .as_ref()
            .map(|path| path.canonicalize())
            .transpose()
            .context("find --append-bench")?;
        if append_bench.is_none() {
            notes.push("A bare RocksDB is left out: --append-bench was not given.".to_owned());
        }
        scenarios.extend(sends::scenarios(stage, &ours, append_bench));
    }
    Ok(scenarios)
}
