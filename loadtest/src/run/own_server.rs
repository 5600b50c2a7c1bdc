//! A server that a run starts and stops itself (`--server`).

use std::{net::SocketAddr, os::unix::process::CommandExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{RunPlan, Target};
use crate::{
    cores::{Cores, Placement},
    machine::version_of,
    process::{Process, logged},
    profile::Profile,
};

/// A `bigroom serve` on loopback, with data of its own; what it kept goes with it.
pub(super) struct OwnServer {
    process: Process,
    listen: SocketAddr,
    ops: SocketAddr,
    about: String,
    // After `process`: it is stopped before its directory goes.
    _directory: TempDir,
}

impl OwnServer {
    /// Starts one with the environment that the profile asks for, and waits until it serves.
    pub(super) fn start(binary: &Path, profile: &Profile) -> Result<Self> {
        let binary = binary.canonicalize().with_context(|| format!("find {}", binary.display()))?;
        let directory = tempfile::Builder::new()
            .prefix("bigroom-loadtest-")
            .tempdir()
            .context("make a directory for the server's data")?;
        let mut command = Command::new(&binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(directory.path().join("data"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BIGROOM_") {
                command.env_remove(name);
            }
        }
        command.envs(&profile.server_env).env("BIGROOM_LOG__FORMAT", "json");
        // Ctrl-C on a terminal goes to a whole group; the server is to outlive the last polls.
        command.process_group(0);
        let mut process =
            Process::start(command, directory.path(), &Cores::of_process()?, Placement::Shared)?;
        let addresses = |log: &str| -> Option<(SocketAddr, SocketAddr)> {
            Some((logged(log, "listening", "listen")?, logged(log, "listening", "ops_listen")?))
        };
        let (listen, ops) = process.await_start(addresses)?;
        let mut about = format!("{}, `serve` started by the run", version_of(&binary, "--version"));
        for (name, value) in &profile.server_env {
            about += &format!(" {name}={value}");
        }
        Ok(Self { process, listen, ops, about, _directory: directory })
    }

    /// Has the run play against it.
    pub(super) fn be_target_of(&self, plan: &mut RunPlan) {
        let target = |address: SocketAddr| Target { authority: address.to_string(), address };
        plan.targets = vec![target(self.listen)];
        plan.ops = vec![target(self.ops)];
        plan.server_pid = Some(self.process.id());
    }

    /// Version and settings, for the report.
    pub(super) fn about(&self) -> &str {
        &self.about
    }

    /// Stops it.
    ///
    /// # Errors
    /// If it had ended before, or does not stop when asked.
    pub(super) fn stop(mut self) -> Result<()> {
        self.process.stop()
    }
}
