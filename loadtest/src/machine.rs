//! What a run ran on: without it, a figure cannot be repeated.

use std::{fs, path::Path, process::Command};

use serde::{Deserialize, Serialize};

/// Machine, versions and load.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Load averages over 1, 5 and 15 minutes before the run.
    pub(crate) load: String,
    /// Of the working directory; with `-dirty` if files differ from it.
    pub(crate) commit: String,
    /// Of the load test itself.
    pub(crate) client_profile: String,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn look() -> Self {
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
            value.unwrap_or("unknown").trim().to_owned()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease"),
            load: load(),
            commit: commit(),
            client_profile: (if cfg!(debug_assertions) { "debug" } else { "release" }).to_owned(),
        }
    }
}

/// Load averages over 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// First line of what a program prints about its version.
pub(crate) fn version_of(program: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".to_owned() };
    // nginx tells its version on stderr.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}

/// The build profile, as cargo's directories name it.
pub(crate) fn profile_of(binary: &Path) -> &'static str {
    let is_in = |name: &str| binary.components().any(|part| part.as_os_str() == name);
    match (is_in("release"), is_in("debug")) {
        (true, false) => "release",
        (false, true) => "debug",
        _ => "unknown",
    }
}

fn commit() -> String {
    let output =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_follows_from_the_path() {
        assert_eq!(profile_of(Path::new("/t/release/bigroom")), "release");
        assert_eq!(profile_of(Path::new("/t/debug/bigroom")), "debug");
        assert_eq!(profile_of(Path::new("/usr/bin/bigroom")), "unknown");
    }
}
