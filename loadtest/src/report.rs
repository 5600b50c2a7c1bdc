//! The report: a table for people, the raw runs for programs.

mod markdown;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{bench::Run, machine::Machine};

/// Everything about a benchmark.
#[derive(Serialize, Debug)]
pub(crate) struct Report {
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) load_after: String,
    pub(crate) duration_s: f64,
    pub(crate) repeats: u32,
    pub(crate) is_quick: bool,
    pub(crate) subjects: Vec<Subject>,
    /// Name and story of each scenario, in the order of playing.
    pub(crate) stories: Vec<(String, String)>,
    pub(crate) notes: Vec<String>,
    pub(crate) runs: Vec<Run>,
}

/// Who was measured.
#[derive(Serialize, Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) about: String,
}

impl Report {
    /// Whether every run counts.
    pub(crate) fn is_clean(&self) -> bool {
        self.runs.iter().all(|run| run.outcome.verdict.is_clean())
    }

    /// Writes `cost.md` and `cost.json`.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        write("cost.md", self.markdown())?;
        write("cost.json", serde_json::to_string_pretty(self).context("encode the report")? + "\n")
    }
}
