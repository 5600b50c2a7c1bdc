//! Workers that the controller starts itself, on its own machine: for more clients than one process may open files for.

use std::{process::Command, sync::atomic::AtomicBool};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{access::Secret, control::Workers, played::Played, worker::LISTENING};
use crate::{
    cores::{Cores, Placement},
    process::{Process, logged},
    run::{RunPlan, Sample},
};

/// Worker processes of this machine; ended when they are dropped, each by its id.
#[derive(Debug)]
struct LocalWorkers {
    workers: Workers,
    processes: Vec<Process>,
    /// For what they write; after the processes, so that it outlives them.
    _logs: Vec<TempDir>,
}

impl LocalWorkers {
    /// Starts `count` of them, and waits until all listen.
    fn start(count: u32, allow_remote: bool) -> Result<Self> {
        let program = std::env::current_exe().context("find the load test's own binary")?;
        let cores = Cores::of_process()?;
        let (mut processes, mut logs, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let directory = tempfile::tempdir().context("make a directory for a worker's output")?;
            let mut command = Command::new(&program);
            // One run each: it ends by itself if this process does before it.
            command.args(["worker", "--once", "--listen", "127.0.0.1:0"]);
            if allow_remote {
                command.arg("--allow-remote");
            }
            processes.push(Process::start(command, directory.path(), &cores, Placement::Shared)?);
            logs.push(directory);
        }
        for process in &mut processes {
            addresses.push(process.await_start(|log| logged(log, LISTENING, "listen"))?);
        }
        let secret = Secret::read(None)?;
        Ok(Self { workers: Workers { addresses, secret, allow_remote: false }, processes, _logs: logs })
    }
}

/// Plays a run on `count` processes of this machine, started and ended here.
///
/// Sets the start in the plan; gives each second to `on_second`; ends early once `stop` is set.
///
/// # Errors
/// If the run did not start.
pub(super) fn play(
    plan: &mut RunPlan,
    count: u32,
    stop: &AtomicBool,
    on_second: &mut dyn FnMut(&Sample),
) -> Result<Played> {
    let local = LocalWorkers::start(count, plan.allow_remote)?;
    let mut played = local.workers.play(plan, stop, on_second)?;
    for (line, process) in played.workers.iter_mut().zip(&local.processes) {
        *line = format!("process {} of this machine, {line}", process.id());
    }
    Ok(played)
}
