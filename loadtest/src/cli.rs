//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{bench::Chapter, peers::PeerName};

/// Load test and benchmark of bigroom.
#[derive(Parser, Debug)]
#[command(name = "loadtest", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Measure what deliveries, parked polls, connections and sends cost, beside peers, in one interleaved run
    Bench(BenchArgs),
    /// Run the floor server: the least that answering parked polls can cost
    Floor(FloorArgs),
}

/// Starts and stops all servers itself, on loopback, with data in a temporary directory.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// The bigroom binary; without it, only the peers are measured
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,
    /// Servers to compare with
    #[arg(long, value_name = "PEERS", value_delimiter = ',', default_value = "floor,nchan")]
    pub(crate) peers: Vec<PeerName>,
    /// The binary of the store's example append_bench: RocksDB written without a server in front [default: left out]
    #[arg(long, value_name = "FILE")]
    pub(crate) append_bench: Option<PathBuf>,
    /// What to measure [default: everything]
    #[arg(long, value_name = "CHAPTERS", value_delimiter = ',')]
    pub(crate) only: Vec<Chapter>,
    /// Times each server is measured in turn [default: 5, quick 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) repeats: Option<u32>,
    /// Small counts and short times: shows that everything works, not what it costs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Directory for cost.md and cost.json [default: none, the table goes to stdout alone]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) out: Option<PathBuf>,
    /// Directory for the servers' data; its file system is what durable sends are measured on
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    pub(crate) temp_dir: PathBuf,
}

impl BenchArgs {
    /// Whether a chapter is to be played.
    pub(crate) fn wants(&self, chapter: Chapter) -> bool {
        self.only.is_empty() || self.only.contains(&chapter)
    }
}

/// Serves until it is killed; writes the addresses to stderr.
#[derive(Args, Debug)]
pub(crate) struct FloorArgs {
    /// Where polls connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Where senders connect
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) send_listen: SocketAddr,
    /// Answer every poll from the first message on, rather than from where the last answer to its connection ended
    #[arg(long)]
    pub(crate) rewind: bool,
}
