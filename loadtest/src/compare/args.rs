//! What `loadtest compare` is told.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::Chapter;
use crate::peers::PeerName;

/// Starts and stops all servers itself, on loopback, with data in a temporary directory.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// The bigroom binary; without it, only the peers are measured
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,
    /// Another build of bigroom, played beside the first as `bigroom-before`; with --check, what it has as well is no regression
    #[arg(long, value_name = "FILE", requires = "server", conflicts_with = "write_baseline")]
    pub(crate) before: Option<PathBuf>,
    /// Servers to compare with; what is not installed is left out
    #[arg(
        long,
        value_name = "PEERS",
        value_delimiter = ',',
        default_value = "floor,nchan,nchan-single,engineio,pushpin"
    )]
    pub(crate) peers: Vec<PeerName>,
    /// The binary of the store's example append_bench: RocksDB written without a server in front [default: left out]
    #[arg(long, value_name = "FILE")]
    pub(crate) append_bench: Option<PathBuf>,
    /// What to measure [default: parked, backlog, connections, storm, hold, sends]
    #[arg(long, value_name = "CHAPTERS", value_delimiter = ',')]
    pub(crate) only: Vec<Chapter>,
    /// Of these chapters, only the scenarios with this in their name; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) scenario: Vec<String>,
    /// Times each server is measured in turn; dear ones no more than three times [default: 5, quick 1, check 3]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) repeats: Option<u32>,
    /// Small counts and short times: shows that everything works, not what it costs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Length of the chapter `latency` for each server, 10s to 1h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = latency_time)]
    pub(crate) latency_time: Duration,
    /// Directory for cost.md, cost.json, costs.toml and plots [default: none, the table goes to stdout alone]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) out: Option<PathBuf>,
    /// Begins the names of the files in --out
    #[arg(long, value_name = "NAME", default_value = "cost", value_parser = file_stem)]
    pub(crate) name: String,
    /// Directory for the servers' data; its file system is what durable sends are measured on
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    pub(crate) temp_dir: PathBuf,
    /// A short comparison with the floor, held against this baseline: fails if a ratio got worse by more than 15 %
    #[arg(long, value_name = "FILE", requires = "server", conflicts_with_all = ["only", "scenario", "quick", "out"])]
    pub(crate) check: Option<PathBuf>,
    /// The same short comparison, written down as the baseline of later checks
    #[arg(long, value_name = "FILE", requires = "server", conflicts_with_all = ["only", "scenario", "quick", "out", "check"])]
    pub(crate) write_baseline: Option<PathBuf>,
}

impl CompareArgs {
    /// Whether a chapter is to be played.
    pub(super) fn wants(&self, chapter: Chapter) -> bool {
        if self.only.is_empty() { chapter.is_played_unnamed() } else { self.only.contains(&chapter) }
    }

    /// Whether a scenario of a chapter that is played is to be.
    pub(super) fn wants_scenario(&self, name: &str) -> bool {
        self.scenario.is_empty() || self.scenario.iter().any(|part| name.contains(part.as_str()))
    }
}

fn latency_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(10)..=Duration::from_secs(3600);
    range.contains(&time).then_some(time).ok_or_else(|| "must be from 10s to 1h".to_owned())
}

fn file_stem(text: &str) -> Result<String, String> {
    let is_plain =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_plain.then(|| text.to_owned()).ok_or_else(|| "may have letters, digits, - and _ alone".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: CompareArgs,
    }

    fn args(words: &[&str]) -> Result<CompareArgs, clap::Error> {
        Cli::try_parse_from([&["compare"], words].concat()).map(|cli| cli.args)
    }

    #[test]
    fn long_chapters_are_played_only_when_named() {
        let unnamed = args(&[]).unwrap();
        assert!(unnamed.wants(Chapter::Parked) && !unnamed.wants(Chapter::Growth));
        let named = args(&["--only", "growth"]).unwrap();
        assert!(!named.wants(Chapter::Parked) && named.wants(Chapter::Growth));
        assert!(named.wants_scenario("growth, 2 rooms"));
        let parts = args(&["--scenario", ", 2 rooms", "--scenario", "10000 rooms"]).unwrap();
        let names = ["growth, 2 rooms", "growth, 10 rooms", "growth, 10000 rooms"];
        assert_eq!(names.map(|name| parts.wants_scenario(name)), [true, false, true]);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert!(args(&["--latency-time", "10m"]).is_ok());
        for words in [
            ["--latency-time", "5s"],
            ["--name", "../cost"],
            ["--repeats", "0"],
            ["--check", "b.json"],
            ["--before", "old"],
        ] {
            assert!(args(&words).is_err(), "{words:?}");
        }
    }
}
