//! The command lines of a run over one or many processes.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use clap::Args;

use super::{Players, control::WORKERS_MAX};
use crate::run::RunArgs;

/// Plays one profile against servers, and judges it. Exit code 1: the run does not count.
#[derive(Args, Debug)]
pub(crate) struct RunHereArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Processes that share the clients: this one may not be allowed as many open files as there are clients
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=WORKERS_MAX as i64))]
    processes: u32,
}

/// Plays one profile on workers that run already, on this machine or others. Exit code 1: the run does not count.
#[derive(Args, Debug)]
pub(crate) struct ControlArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The workers; the first one also sends the messages, and reads the server's metrics
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',', required = true)]
    workers: Vec<SocketAddr>,
    /// File whose first line the workers ask for
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Plays shares of runs for whoever controls it, one at a time; writes its address to stderr.
#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// Where it listens for the controller
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(super) listen: SocketAddr,
    /// File whose first line the controller must know; needed where others can reach the address
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// Allow an address that others can reach, and targets that are not on this machine
    #[arg(long)]
    pub(super) allow_remote: bool,
    /// End after one run, or if none begins within a minute
    #[arg(long)]
    pub(super) once: bool,
}

impl RunHereArgs {
    /// Who plays.
    pub(crate) fn players(&self) -> Players {
        Players::here(self.processes)
    }
}

impl ControlArgs {
    /// Who plays.
    ///
    /// # Errors
    /// If the secret can't be read.
    pub(crate) fn players(&self) -> Result<Players> {
        Players::workers(self.workers.clone(), self.secret_file.as_deref(), self.run.allow_remote)
    }
}
