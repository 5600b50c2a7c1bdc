//! The report of a simulation: tables for people, plots, samples for programs.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    against::Compared,
    meter::{Outcome, Sample},
    scenario::{Cluster, NODE, Scenario},
};
use crate::report::RunReport;

mod plots;

/// A scenario that was played.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) scenario: Scenario,
    pub(super) cluster: Cluster,
    pub(super) outcome: Outcome,
}

/// All that were played.
#[derive(Debug)]
pub(super) struct SimulationReport {
    pub(super) command: String,
    pub(super) seed: u64,
    pub(super) played: Vec<Played>,
}

/// A scenario in simulation.json.
#[derive(Serialize)]
struct Entry<'p> {
    scenario: &'static str,
    story: &'static str,
    seed: u64,
    cluster: &'p Cluster,
    #[serde(flatten)]
    outcome: &'p Outcome,
}

impl Played {
    /// Nothing lost, nothing repeated.
    fn is_clean(&self) -> bool {
        let verdict = &self.outcome.verdict;
        verdict.lost == 0 && verdict.repeated == 0 && verdict.skipped.priority == 0
    }
}

impl SimulationReport {
    pub(super) fn is_clean(&self) -> bool {
        self.played.iter().all(Played::is_clean)
    }

    /// Writes the tables, the samples and the plots.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        for played in &self.played {
            for (name, svg) in plots::of(played) {
                std::fs::write(directory.join(name), svg)?;
            }
        }
        std::fs::write(directory.join("simulation.md"), self.markdown())?;
        std::fs::write(directory.join("simulation.json"), self.json()?)?;
        Ok(())
    }

    /// One line a sample, so that a change of one shows as one.
    pub(super) fn json(&self) -> Result<String> {
        let entries = self.played.iter().map(|played| Entry {
            scenario: played.scenario.name,
            story: played.scenario.story,
            seed: self.seed,
            cluster: &played.cluster,
            outcome: &played.outcome,
        });
        let mut out = String::from("[\n");
        for (nth, entry) in entries.enumerate() {
            out += if nth > 0 { ",\n" } else { "" };
            out += &serde_json::to_string(&entry)
                .context("encode the samples")?
                .replace("{\"at_s\"", "\n{\"at_s\"");
        }
        Ok(out + "\n]\n")
    }

    /// Tables, with the plots beside them.
    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        self.write_markdown(&mut out).expect("memory takes all writes");
        out
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# Simulation\n")?;
        writeln!(
            out,
            "Rooms that no single machine holds, in virtual time: the rules are the servers' own (`room`), the costs are measured \
             ([costs.toml](costs.toml)), the clusters are those that `bigroom plan` names for {} cores a node. How it works, and \
             what it leaves out: [docs/capacity.md](../capacity.md#the-simulation). Samples: [simulation.json](simulation.json).\n",
            NODE.cores
        )?;
        writeln!(out, "Made by `{}`; the same seed gives the same bytes.\n", self.command)?;
        writeln!(
            out,
            "| scenario | viewers | proxies | polls a second, most | normal p50 / p99 | priority p50 / p99 | proxy CPU, most | step | refused | lost, repeated |"
        )?;
        writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for played in &self.played {
            writeln!(out, "{}", summary(played))?;
        }
        writeln!(
            out,
            "\nAges are in seconds, of the whole time and of all viewers of the big room. CPU is the busiest proxy's in its busiest \
             second; above 100 %, work was left over for the next. Lost and repeated are counted from the cursor of every \
             simulated viewer.\n"
        )?;
        for played in &self.played {
            section(out, played)?;
        }
        Ok(())
    }
}

fn summary(played: &Played) -> String {
    let Played { scenario, cluster, outcome } = played;
    let most = |of: fn(&Sample) -> f64| outcome.samples.iter().map(of).fold(0.0, f64::max);
    let [priority, normal] = &outcome.ages;
    let seconds = |quantile: f64, ages: &crate::run::Latencies| {
        ages.quantile(quantile).map_or("-".to_owned(), |age| format!("{:.2}", age.as_secs_f64()))
    };
    let refused: f64 =
        outcome.samples.iter().map(|sample| sample.refused_per_s * f64::from(scenario.sample_s)).sum();
    let verdict = &outcome.verdict;
    format!(
        "| [{}](#{}) | {} | {} | {} | {} / {} | {} / {} | {:.0} % | {} | {} | {}, {} |",
        scenario.title,
        scenario.name,
        plots::count(scenario.viewers as f64),
        cluster.proxies,
        plots::count(most(|sample| sample.polls_per_s)),
        seconds(0.5, normal),
        seconds(0.99, normal),
        seconds(0.5, priority),
        seconds(0.99, priority),
        most(|sample| sample.proxy_cpu_most) * 100.0,
        most(|sample| f64::from(sample.pressure_step)),
        plots::count(refused),
        verdict.lost,
        verdict.repeated
    )
}

/// A scenario's own section: story, cluster, a table over time, plots.
fn section(out: &mut String, played: &Played) -> std::fmt::Result {
    let Played { scenario, cluster, outcome } = played;
    writeln!(out, "<a id=\"{}\"></a>\n## {}\n\n{}\n", scenario.name, scenario.title, scenario.story)?;
    writeln!(
        out,
        "{} proxies, {} recvsvrs a sect, {} sendsvr, {} statsvrs, planned for {} viewers. {} viewers are simulated, each for {:.0}; \
         {} simulated proxies stand for the real ones. The planner expects {} polls a second, normal messages of {:.2} s (p50) and \
         {:.2} s (p99), priority messages of {:.2} s (p99) at that size.\n",
        cluster.proxies,
        cluster.recvsvrs,
        cluster.sendsvrs,
        cluster.statsvrs,
        plots::count(scenario.planned_for as f64),
        scenario.individuals,
        cluster.weight,
        cluster.simulated_proxies,
        plots::count(cluster.expected_polls_per_s),
        cluster.expected_normal_p50_ms / 1e3,
        cluster.expected_normal_p99_ms / 1e3,
        cluster.expected_priority_p99_ms / 1e3,
    )?;
    writeln!(
        out,
        "| at (s) | viewers | interval (s) | polls/s | notices/s | normal p50 / p99 (s) | priority p50 / p99 (s) | others p99 (s) | CPU, mean | CPU, most | recvsvr | queue (ms) | factor | step | refused/s |"
    )?;
    writeln!(
        out,
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    let stride = outcome.samples.len().div_ceil(ROWS_MAX).max(1);
    for sample in outcome.samples.iter().skip(stride - 1).step_by(stride) {
        let age =
            |age_ms: Option<f64>| age_ms.map_or("-".to_owned(), |age_ms| format!("{:.2}", age_ms / 1e3));
        writeln!(
            out,
            "| {} | {} | {:.1} | {} | {} | {} / {} | {} / {} | {} | {:.0} % | {:.0} % | {:.1} % | {:.0} | {:.2} | {} | {} |",
            sample.at_s,
            plots::count(sample.online),
            sample.interval_s,
            plots::count(sample.polls_per_s),
            plots::count(sample.notices_per_s),
            age(sample.normal_p50_ms),
            age(sample.normal_p99_ms),
            age(sample.priority_p50_ms),
            age(sample.priority_p99_ms),
            age(sample.others_p99_ms),
            sample.proxy_cpu * 100.0,
            sample.proxy_cpu_most * 100.0,
            sample.recvsvr_cpu_most * 100.0,
            sample.lag_ms,
            sample.load_factor,
            sample.pressure_step,
            plots::count(sample.refused_per_s),
        )?;
    }
    writeln!(out)?;
    for (name, _) in plots::of(played) {
        writeln!(out, "![{}]({name})", scenario.title)?;
    }
    writeln!(out)
}

/// Most rows of a table over time.
const ROWS_MAX: usize = 16;

/// Writes `simulated-NAME.json`: both sides of a comparison with a run.
pub(super) fn write_comparison(
    directory: &Path,
    report: &RunReport,
    outcome: &Outcome,
    compared: &[Compared],
) -> Result<()> {
    #[derive(Serialize)]
    struct Both<'c> {
        profile: &'c crate::profile::Profile,
        run_command: &'c str,
        run_machine: &'c crate::machine::Machine,
        run_began_at: &'c str,
        seed: u64,
        compared: &'c [Compared],
        simulated: &'c Outcome,
    }
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let both = Both {
        profile: &report.profile,
        run_command: &report.command,
        run_machine: &report.machine,
        run_began_at: &report.began_at,
        seed: report.seed,
        compared,
        simulated: outcome,
    };
    let path = directory.join(format!("simulated-{}.json", report.profile.name));
    let text = serde_json::to_string_pretty(&both).context("encode the comparison")? + "\n";
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
