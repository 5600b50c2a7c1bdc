//! The report of a run: the verdict, the figures behind it, and their course over time.
//!
//! Written three times: as a table on stdout, as `run.json` for programs, and as `run.html`, one file that loads
//! nothing from elsewhere. The last two hold the same; `loadtest report run.json` makes the other two again.

mod charts;
mod figures;
mod page;
mod table;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    command_line,
    machine::Machine,
    profile::Profile,
    run::{RunOutcome, RunPlan, RunVerdict},
};

/// Version of `run.json`: goes up when a field changes its meaning or is gone. New fields don't count.
pub(crate) const SCHEMA: u32 = 1;
const JSON_NAME: &str = "run.json";
const PAGE_NAME: &str = "run.html";

/// Everything about a run, as `run.json` has it.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct RunReport {
    /// See [`SCHEMA`].
    pub(crate) schema: u32,
    /// Version of the load test.
    pub(crate) loadtest: String,
    /// What was measured: the server's version, as far as it is known.
    pub(crate) server: String,
    /// How the load test was called, without secrets.
    pub(crate) command: String,
    /// The machine of the process that wrote the report.
    pub(crate) machine: Machine,
    /// Load averages over 1, 5 and 15 minutes after the run.
    pub(crate) load_after: String,
    /// When the run began (RFC 3339, UTC).
    pub(crate) began_at: String,
    /// Where clients connected.
    pub(crate) targets: Vec<String>,
    /// Decided everything that was left to chance.
    pub(crate) seed: u64,
    /// Where the shares were played, one line each; empty if this process played everything itself.
    pub(crate) workers: Vec<String>,
    /// As it was played.
    pub(crate) profile: Profile,
    pub(crate) verdict: RunVerdict,
    /// Without the numbers of all messages, which only the verdict needs.
    pub(crate) outcome: RunOutcome,
}

impl RunReport {
    /// The report of a run that is over; `plan` is the whole run's, or one share of it.
    pub(crate) fn of(
        plan: &RunPlan,
        mut outcome: RunOutcome,
        verdict: RunVerdict,
        machine: Machine,
        server: String,
    ) -> Self {
        outcome.facts.rooms.clear();
        let began = UNIX_EPOCH + Duration::from_millis(plan.start_at_unix_ms);
        Self {
            schema: SCHEMA,
            loadtest: env!("CARGO_PKG_VERSION").to_owned(),
            server,
            command: command_line::own(),
            machine,
            load_after: crate::machine::load(),
            began_at: humantime::format_rfc3339_seconds(began).to_string(),
            targets: plan.targets.iter().map(|target| target.authority.clone()).collect(),
            seed: plan.seed,
            workers: Vec::new(),
            profile: plan.profile.clone(),
            verdict,
            outcome,
        }
    }

    /// Reads a `run.json`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let is_read = || format!("{} is no report of a run", path.display());
        let version: Version = serde_json::from_slice(&text).with_context(is_read)?;
        ensure!(
            version.schema == SCHEMA,
            "{} has schema {}, this load test reads schema {SCHEMA}: use the one that wrote it",
            path.display(),
            version.schema
        );
        serde_json::from_slice(&text).with_context(is_read)
    }

    /// Writes `run.json` and `run.html`; tells where they are.
    pub(crate) fn write(&self, directory: &Path) -> Result<[PathBuf; 2]> {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let json = directory.join(JSON_NAME);
        let text = self.json()? + "\n";
        std::fs::write(&json, text).with_context(|| format!("write {}", json.display()))?;
        Ok([json, self.write_page(directory)?])
    }

    /// Writes `run.html`; tells where it is.
    fn write_page(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join(PAGE_NAME);
        std::fs::write(&path, self.page()?).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn json(&self) -> Result<String> {
        serde_json::to_string(self).context("encode the report")
    }

    /// What the run was played on and with, as names and values.
    fn conditions(&self) -> Vec<(&'static str, String)> {
        let machine = &self.machine;
        let mut conditions = vec![
            ("command", self.command.clone()),
            ("began", self.began_at.clone()),
            ("target", self.targets.join(", ")),
            ("server", self.server.clone()),
            ("commit", machine.commit.clone()),
            ("load test", format!("{}, built as {}", self.loadtest, machine.client_profile)),
            (
                "machine",
                format!(
                    "{}, {} cores, {} MiB, Linux {}",
                    machine.cpu, machine.cores, machine.memory_mib, machine.kernel
                ),
            ),
            ("load average", format!("{} before, {} after", machine.load, self.load_after)),
            ("seed", self.seed.to_string()),
        ];
        conditions.extend(self.workers.iter().map(|worker| ("worker", worker.clone())));
        conditions
    }
}

/// Makes the table and the page of a run again, from its run.json. Exit code 1: the run does not count.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The run.json
    #[arg(value_name = "FILE")]
    report: PathBuf,
    /// Directory for run.html [default: beside the run.json]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

/// The part of `run.json` that is read first.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// `loadtest report`: shows a report again; tells whether its run was clean.
pub(crate) fn show(args: &ReportArgs) -> Result<bool> {
    let report = RunReport::read(&args.report)?;
    print!("{}", report.table());
    let beside = args.report.parent().unwrap_or(Path::new(""));
    let directory = args.out.as_deref().unwrap_or(beside);
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    println!("\n{}", report.write_page(directory)?.display());
    Ok(report.verdict.is_clean())
}
