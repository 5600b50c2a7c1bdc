//! The load test of bigroom: what a delivery, a parked poll, a connection and a durable send cost.
//!
//! `loadtest compare` starts the servers it compares as child processes on loopback, one at a time and in turn, plays
//! the same scenario against each, and reports the processor time and the memory that the server took. Figures are
//! read as ratios within one run: between two runs, a shared machine moves them by a factor of two.
//!
//! A figure counts only with its verdict: every viewer is held to every message, and a run in which one was lost,
//! repeated or out of order fails, whatever its speed.
//!
//! `loadtest simulate` needs no server: it plays rooms of millions in virtual time, by the servers' own rules and the
//! costs that were measured.
//!
//! Where to look first: `compare` has the scenarios, `peers` the servers that are compared, `client` the viewers,
//! `floor` the least that a server could do.

mod audit;
mod cli;
mod client;
mod command_line;
mod compare;
mod cores;
mod costs;
mod floor;
mod machine;
mod mark;
mod measure;
mod peers;
mod process;
mod profile;
mod report;
mod run;
mod simulate;
mod spread;
mod stats;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;

use crate::cli::{Cli, Command};

/// Does what the command line says, the first argument being the program's name; prints what came of it.
///
/// Ends the process, as programs do, where the arguments are wrong or ask for help.
pub fn main_from<T: Into<OsString> + Clone>(args: impl IntoIterator<Item = T>) -> ExitCode {
    let outcome = match Cli::parse_from(args).command {
        Command::Run(args) => run::run(&args.run, &args.players()),
        Command::Profiles(args) => run::profiles(&args).map(|()| true),
        Command::Control(args) => args.players().and_then(|players| run::run(&args.run, &players)),
        Command::Compare(args) => compare::run(&args),
        Command::Costs(args) => costs::run(&args).map(|()| true),
        Command::Simulate(args) => simulate::run(&args),
        Command::Worker(args) => spread::serve(&args).map(|()| true),
        Command::Report(args) => report::run::show(&args),
        Command::Floor(args) => floor::serve(&args).map(|()| true),
        Command::GripOrigin(args) => peers::serve_grip_origin(&args).map(|()| true),
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
