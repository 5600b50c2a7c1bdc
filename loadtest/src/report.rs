//! The report: a table for people, the raw runs for programs.

mod markdown;
pub(crate) mod plot;
pub(crate) mod run;

pub(crate) use self::run::RunReport;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    compare::{Growth, Judged, Runs},
    machine::Machine,
};

/// Everything about a comparison.
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
    /// Who took no part in which scenario.
    pub(crate) absent: Vec<Absent>,
    pub(crate) notes: Vec<String>,
    /// The figures to beat, with what was measured.
    pub(crate) targets: Vec<Judged>,
    pub(crate) growth: Vec<Growth>,
    pub(crate) runs: Runs,
}

/// A contender without a place in a scenario.
#[derive(Serialize, Debug)]
pub(crate) struct Absent {
    pub(crate) scenario: String,
    pub(crate) contender: &'static str,
    pub(crate) why: String,
}

/// Who was measured.
#[derive(Serialize, Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) about: String,
}

impl Report {
    /// Writes the table, the runs and the plots, in files whose names begin with `stem`: `cost.md`, `cost.json`,
    /// `cost-viewers.svg`.
    pub(crate) fn write(&self, directory: &Path, stem: &str, plots: &[(&'static str, String)]) -> Result<()> {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        for (axis, svg) in plots {
            write(&plot_name(stem, axis), svg.clone())?;
        }
        write(&format!("{stem}.md"), self.markdown(stem))?;
        let json = serde_json::to_string_pretty(self).context("encode the report")? + "\n";
        write(&format!("{stem}.json"), json)
    }
}

/// File name of a growth plot.
fn plot_name(stem: &str, axis: &str) -> String {
    format!("{stem}-{axis}.svg")
}
