//! The load test of bigroom: what a delivery, a parked poll, a connection and a durable send cost.
//!
//! `loadtest bench` starts the servers it compares as child processes on loopback, one at a time and in turn, plays
//! the same scenario against each, and reports the processor time and the memory that the server took. Figures are
//! read as ratios within one run: between two runs, a shared machine moves them by a factor of two.
//!
//! A figure counts only with its verdict: every viewer is held to every message, and a run in which one was lost,
//! repeated or out of order fails, whatever its speed.
//!
//! Where to look first: [`mod@bench`] has the scenarios, [`peers`] the servers that are compared, [`client`] the viewers,
//! [`floor`] the least that a server could do.

mod audit;
mod bench;
mod cli;
mod client;
mod cores;
mod floor;
mod machine;
mod mark;
mod measure;
mod peers;
mod process;
mod report;
mod stats;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Floor(args) => floor::serve(&args).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // The report says what went wrong in the runs.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadtest failed to run: {error:#}");
            ExitCode::FAILURE
        }
    }
}
