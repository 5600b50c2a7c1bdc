//! The command line.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::{
    compare::CompareArgs,
    costs::CostsArgs,
    report::run::ReportArgs,
    run::ProfilesArgs,
    simulate::SimulateArgs,
    spread::{ControlArgs, RunHereArgs, WorkerArgs},
};

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
    /// Play a profile against servers, watch it, and judge it
    Run(RunHereArgs),
    /// List the profiles that ship with the load test, or print one
    Profiles(ProfilesArgs),
    /// Play a profile on workers that run already
    Control(ControlArgs),
    /// Measure what deliveries, parked polls, connections and sends cost, beside peers, in one interleaved run
    Compare(CompareArgs),
    /// Derive costs.toml, which planner and simulation go by, from a comparison
    Costs(CostsArgs),
    /// Simulate rooms of millions in virtual time, or a run that was played for real
    Simulate(SimulateArgs),
    /// Play shares of runs for a controller
    Worker(WorkerArgs),
    /// Make the table and the page of a run again, from its run.json
    Report(ReportArgs),
    /// Run the floor server: the least that answering parked polls can cost
    Floor(FloorArgs),
    /// Run the backend behind Pushpin, which the comparison starts itself
    #[command(hide = true)]
    GripOrigin(GripOriginArgs),
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

/// Serves until it is killed; writes its address to stderr.
#[derive(Args, Debug)]
pub(crate) struct GripOriginArgs {
    /// Where Pushpin takes messages
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) control: SocketAddr,
}
