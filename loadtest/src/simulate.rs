//! A cluster for rooms that one machine can't hold: a deterministic simulation by events, in virtual time.
//!
//! The rules are `room`'s own: how long a poll is held, what loaded nodes do, when a room moves, how wake-ups are spread.
//! What a poll, a message and a connection cost is measured (`costs.toml`). The seed decides everything that is left to
//! chance, so the same seed gives the same bytes.
//!
//! Fifteen million viewers are not simulated one by one: each simulated viewer stands for [`Setup::weight`] that do the same
//! at the same time, and the nodes have that share of their processor time. Where to look first: `world` has what happens,
//! `scenario` who comes and what breaks, `against` the check against a run that was played for real.

mod against;
mod agenda;
mod chance;
mod client;
mod log;
mod meter;
mod proxy;
mod report;
mod rules;
mod scenario;
mod setup;
#[cfg(test)]
mod tests;
mod upstream;
mod world;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::{
    report::{Played, SimulationReport},
    scenario::shipped,
    world::World,
};
use crate::{command_line, costs};

/// Plays scenarios in virtual time, on clusters that the planner names for them.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// Name of a scenario, or all
    #[arg(long, value_name = "NAME", default_value = "all", conflicts_with = "against")]
    scenario: String,
    /// Decides everything that is left to chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Directory for simulation.md, simulation.json and plots [default: none, the table goes to stdout alone]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// What a poll, a message and so on cost [default: the costs of this repository's docs/benchmarks/costs.toml]
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
    /// The run.json of a run that was played for real: plays its profile, and says how far apart both are
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// `loadtest simulate`; tells whether nothing was lost or repeated, or whether measured and simulated figures agree.
pub(crate) fn run(args: &SimulateArgs) -> Result<bool> {
    let (_, costs) = costs::load(args.costs.as_ref())?;
    if let Some(path) = &args.against {
        let (report, outcome, compared) = against::compare(path, costs)?;
        print!("{}", against::table(&report, &compared));
        let agrees = compared.iter().all(|row| row.agrees);
        let word = if agrees { "all figures agree" } else { "NOT ALL FIGURES AGREE" };
        println!("{word} within {:.0} %", against::MARGIN * 100.0);
        if let Some(directory) = &args.out {
            report::write_comparison(directory, &report, &outcome, &compared)?;
        }
        return Ok(agrees);
    }
    let all = shipped();
    let names = all.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let wanted: Vec<_> =
        all.into_iter().filter(|it| args.scenario == "all" || it.name == args.scenario).collect();
    ensure!(
        !wanted.is_empty(),
        "--scenario {}: there is none of that name; name all, or one of {names}",
        args.scenario
    );
    let mut played = Vec::new();
    for scenario in wanted {
        let began = std::time::Instant::now();
        let (setup, cluster) = scenario.setup(args.seed, costs)?;
        let outcome = World::new(&setup)?.run();
        eprintln!(
            "{}: {} s of virtual time in {:.1} s",
            scenario.name,
            scenario.duration_s,
            began.elapsed().as_secs_f64()
        );
        played.push(Played { scenario, cluster, outcome });
    }
    let report = SimulationReport { command: command_line::own(), seed: args.seed, played };
    println!("{}", report.markdown());
    if let Some(directory) = &args.out {
        report.write(directory).with_context(|| format!("write to {}", directory.display()))?;
    }
    Ok(report.is_clean())
}
