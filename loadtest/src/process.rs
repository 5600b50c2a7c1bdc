//! Servers as child processes: started, waited for, stopped by their id.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cores::{Cores, Placement},
    measure::Tree,
};

/// How long a server may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server may take to stop after it was asked to; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How often both are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running server; stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` on the cores of the placement, its output going to a file in `directory`.
    pub(crate) fn start(
        mut command: Command,
        directory: &Path,
        cores: &Cores,
        placement: Placement,
    ) -> Result<Self> {
        let name =
            Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = cores.spawn(placement, || command.spawn().with_context(|| format!("start {name}")))?;
        Ok(Self { child, name, log })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process and what it starts.
    pub(crate) fn tree(&self) -> Tree {
        Tree::of(self.child.id())
    }

    /// Waits until `look` finds what it looks for, in the log or elsewhere.
    pub(crate) fn await_start<T>(&mut self, mut look: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(found) = look(&self.log()) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at its start with {status}: {}", self.name, self.last_lines());
            }
            if Instant::now() >= deadline {
                bail!("{} did not serve within {START_TIMEOUT:?}: {}", self.name, self.last_lines());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            bail!("{} ended before it was told to: {}", self.name, self.last_lines());
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .with_context(|| format!("stop {}", self.name))?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not stop within {STOP_TIMEOUT:?}: {}", self.name, self.last_lines());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read(&self.log)
            .map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into_owned())
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killed outright, a server of several processes would leave the others behind. It fails if it is gone already.
        let _ = self.stop();
    }
}

/// The value of `key` in the first JSON line of `log` whose message is `message`.
pub(crate) fn logged<T: std::str::FromStr>(log: &str, message: &str, key: &str) -> Option<T> {
    let line = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["message"] == message)?;
    line[key].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn address_is_read_from_the_log() {
        let log = "human line\n{\"message\":\"other\",\"listen\":\"127.0.0.1:1\"}\n{\"message\":\"listening\",\"listen\":\"127.0.0.1:80\"}\n";
        assert_eq!(logged::<SocketAddr>(log, "listening", "listen"), Some(([127, 0, 0, 1], 80).into()));
        assert_eq!(logged::<SocketAddr>(log, "listening", "ops_listen"), None);
    }

    #[test]
    fn server_that_ends_at_its_start_is_told_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no room in here >&2; exit 3"]);
        let cores = Cores::of_process().unwrap();
        let mut process = Process::start(command, directory.path(), &cores, Placement::Shared).unwrap();
        let error = process.await_start(|_| None::<()>).unwrap_err().to_string();
        assert!(error.contains("no room in here"), "{error}");
    }

    #[test]
    fn dropped_server_takes_the_processes_it_started_along() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo child $!; trap 'kill $!' TERM; wait"]);
        let cores = Cores::of_process().unwrap();
        let mut process = Process::start(command, directory.path(), &cores, Placement::Shared).unwrap();
        let child = |log: &str| log.lines().find_map(|line| line.strip_prefix("child ")?.parse::<u32>().ok());
        let child = process.await_start(child).unwrap();
        drop(process);
        let deadline = Instant::now() + STOP_TIMEOUT;
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Whoever takes over an orphan may be slow to look after it.
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(Instant::now() < deadline, "process {child} was left behind");
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    #[test]
    fn server_stops_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let cores = Cores::of_process().unwrap();
        let mut process = Process::start(command, directory.path(), &cores, Placement::Shared).unwrap();
        process.stop().unwrap();
    }
}
