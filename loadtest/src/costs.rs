//! The costs that planner and simulation go by, derived from a comparison.
//!
//! `loadtest compare --out` writes them beside its report; `loadtest costs` makes them again from a `cost.json` and the
//! output of the statistics' own benchmark.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use room::{COSTS_SCHEMA, Cost, CostRun, CostTable, Costs};
use serde::Deserialize;

use crate::stats::Spread;

/// Those of the repository, for whoever names no others.
const SHIPPED: &str = include_str!("../../docs/benchmarks/costs.toml");
/// What the statistics cost, which no comparison measures: the output of their own benchmark.
pub(crate) const ONLINE: &str = include_str!("../../docs/benchmarks/online.txt");
/// Whose figures count.
const OURS: &str = "bigroom";
/// Text of the messages in the scenarios that are read here (bytes).
const TEXT_BYTES: f64 = 200.0;

const PARKED: &str = "10000 parked polls";
const HELD: &str = "storm, held by the server";
const CONNECTIONS: &str = "new connections";
const SENDS: &str = "durable sends, 128 at a time";
const MODERATE_SENDS: &str = "durable sends, 16 at a time";

/// Derives costs.toml from a comparison's JSON.
#[derive(Args, Debug)]
pub(crate) struct CostsArgs {
    /// The cost.json of `loadtest compare`
    #[arg(value_name = "FILE")]
    comparison: PathBuf,
    /// Output of the example online_bench of bigroom-statsvr: heartbeats and memory of the statistics
    /// [default: that of this repository's docs/benchmarks/online.txt]
    #[arg(long, value_name = "FILE")]
    online: Option<PathBuf>,
    /// The file to write [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The part of a comparison's JSON that costs follow from.
#[derive(Deserialize)]
struct Comparison {
    command: String,
    machine: Machine,
    is_quick: bool,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    commit: String,
}

#[derive(Deserialize)]
struct Run {
    scenario: String,
    contender: String,
    /// `None` for what a run could not tell: a server that delivers nothing has no ages.
    figures: BTreeMap<String, Option<f64>>,
}

/// `loadtest costs`.
pub(crate) fn run(args: &CostsArgs) -> Result<()> {
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let online = args.online.as_ref().map_or_else(|| Ok(ONLINE.to_owned()), read)?;
    let text = of_comparison(&read(&args.comparison)?, &online)
        .with_context(|| format!("derive costs from {}", args.comparison.display()))?;
    match &args.out {
        Some(path) => std::fs::write(path, text).with_context(|| format!("write {}", path.display())),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

/// Reads a costs.toml, or the one that ships with the load test.
///
/// # Errors
/// If it can't be read, or a figure is missing or wrong; the message names file and figure.
pub(crate) fn load(path: Option<&PathBuf>) -> Result<(CostTable, Costs)> {
    let (name, text) = match path {
        Some(path) => {
            let name = path.display().to_string();
            (name, std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?)
        }
        None => ("the costs that ship with this binary".to_owned(), SHIPPED.to_owned()),
    };
    let table: CostTable = toml::from_str(&text).with_context(|| format!("read {name}"))?;
    let costs = table.costs().with_context(|| format!("check {name}"))?;
    Ok((table, costs))
}

/// The text of costs.toml from the text of a cost.json, and of the statistics' benchmark.
///
/// # Errors
/// If the comparison lacks a figure; the message names it and the chapter that has it.
pub(crate) fn of_comparison(comparison: &str, online: &str) -> Result<String> {
    let comparison: Comparison = serde_json::from_str(comparison).context("read the comparison")?;
    ensure!(!comparison.is_quick, "a --quick comparison shows that everything works, not what it costs");
    let table = CostTable {
        schema: COSTS_SCHEMA,
        run: CostRun {
            command: comparison.command.clone(),
            commit: comparison.machine.commit.clone(),
            cpu: comparison.machine.cpu.clone(),
            cores: comparison.machine.cores,
            kernel: comparison.machine.kernel.clone(),
        },
        figures: figures(&comparison, online)?,
    };
    table.costs().context("check what was derived")?;
    let text = toml::to_string(&table).context("encode the costs")?;
    Ok(format!("{HEAD}\n{text}"))
}

const HEAD: &str = "\
# What one unit of work costs, as measured: read by `bigroom plan` and `loadtest simulate`.
# Written by `loadtest compare --out` (or `loadtest costs`); docs/capacity.md says what each figure is.
# Processor times are of one core, medians of the repeats.
";

fn figures(comparison: &Comparison, online: &str) -> Result<BTreeMap<String, Cost>> {
    let figure = |scenario: &str, key: &str, chapter: &str| {
        comparison.median(scenario, key).with_context(|| {
            format!("{scenario:?} has no {key}: let the comparison play the chapter `{chapter}`")
        })
    };
    let poll_us = figure(PARKED, "cpu_us_per_delivery", "parked")?;
    let held_us = figure(HELD, "cpu_us_per_answer", "hold")?;
    let held_messages = figure(HELD, "messages_per_answer", "hold")?;
    let client_us = figure(PARKED, "client_cpu_us_per_delivery", "parked")?;
    let client_held_us = figure(HELD, "client_cpu_us_per_delivery", "hold")? * held_messages;
    let connection_us = figure(CONNECTIONS, "cpu_us_per_connection", "connections")?;
    let further = |answer_us: f64, first_us: f64| (answer_us - first_us) / (held_messages - 1.0);
    let heartbeat_us = online_figure(online, "ns of CPU a heartbeat, statsvr")? / 1e3;
    let user_bytes = online_figure(online, "bytes a user, resident")?;
    let of_online = |what: &str| format!("online_bench of bigroom-statsvr: {what}");
    let all = [
        ("poll_us", poll_us, "µs", format!("{PARKED}: cpu_us_per_delivery")),
        (
            "message_us",
            further(held_us, poll_us),
            "µs",
            format!("({HELD}: cpu_us_per_answer - poll_us) / (messages_per_answer - 1)"),
        ),
        ("connection_us", connection_us, "µs", format!("{CONNECTIONS}: cpu_us_per_connection")),
        ("send_us", figure(SENDS, "cpu_us_per_send", "sends")?, "µs", format!("{SENDS}: cpu_us_per_send")),
        ("sends_per_s", figure(SENDS, "sends_per_s", "sends")?, "1/s", format!("{SENDS}: sends_per_s")),
        (
            "send_ms",
            figure(MODERATE_SENDS, "send_p50_ms", "sends")?,
            "ms",
            format!("{MODERATE_SENDS}: send_p50_ms"),
        ),
        (
            "poll_bytes",
            figure(PARKED, "memory_bytes_per_poll", "parked")?,
            "bytes",
            format!("{PARKED}: memory_bytes_per_poll"),
        ),
        ("heartbeat_us", heartbeat_us, "µs", of_online("ns of CPU a heartbeat, statsvr")),
        ("user_bytes", user_bytes, "bytes", of_online("bytes a user, resident")),
        ("client_poll_us", client_us, "µs", format!("{PARKED}: client_cpu_us_per_delivery")),
        (
            "client_message_us",
            further(client_held_us, client_us),
            "µs",
            format!("({HELD}: client CPU an answer - client_poll_us) / (messages_per_answer - 1)"),
        ),
        ("text_bytes", TEXT_BYTES, "bytes", "text of each message in these scenarios".to_owned()),
    ];
    let cost = |(name, value, unit, from): (&str, f64, &str, String)| {
        // Four digits are more than any repeat agrees on, and keep the file readable.
        (name.to_owned(), Cost { value: rounded(value), unit: unit.to_owned(), from })
    };
    Ok(all.map(cost).into())
}

impl Comparison {
    fn median(&self, scenario: &str, key: &str) -> Option<f64> {
        let ours = self
            .runs
            .iter()
            .filter(|run| run.contender == OURS && run.scenario.to_lowercase() == scenario.to_lowercase());
        Spread::of(ours.filter_map(|run| run.figures.get(key).copied().flatten())).map(|spread| spread.median)
    }
}

/// A line's number in the statistics' output: the name, then spaces, then the value.
fn online_figure(text: &str, name: &str) -> Result<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .with_context(|| format!("the output of online_bench has no line {name:?} with a number"))
}

/// To four significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests;
