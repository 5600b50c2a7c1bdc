//! Processor time and memory of server processes, as the kernel counts them.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// A process and its descendants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    root: u32,
}

impl Tree {
    /// The tree under a process.
    pub(crate) const fn of(root: u32) -> Self {
        Self { root }
    }

    /// User and system time of all its threads, in the kernel's ticks (10 ms).
    pub(crate) fn cpu(self) -> Result<Duration> {
        self.sum(cpu_of)
    }

    /// Resident memory (bytes): pages that several processes share count in each. A look at it does not hold up the processes, as
    /// one at the proportional share does, which walks all pages under a lock.
    pub(crate) fn resident_bytes(self) -> Result<u64> {
        self.sum(resident_of)
    }

    /// Proportional share of memory (bytes): pages that several processes share count once.
    pub(crate) fn pss_bytes(self) -> Result<u64> {
        self.sum(pss_of)
    }

    fn sum<T: std::iter::Sum>(self, of: impl Fn(u32) -> Result<T>) -> Result<T> {
        // A descendant may end between being listed and being read; the root may not.
        let descendants = self.pids()?.into_iter().filter(|pid| *pid != self.root);
        let root = std::iter::once(of(self.root)?);
        Ok(root.chain(descendants.filter_map(|pid| of(pid).ok())).sum())
    }

    fn pids(self) -> Result<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc").context("list /proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if let Some(parent) = fields(&stat).and_then(|fields| fields.get(1)?.parse::<u32>().ok()) {
                parents.push((pid, parent));
            }
        }
        let mut pids = vec![self.root];
        let mut at = 0;
        while at < pids.len() {
            let parent = pids[at];
            pids.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            at += 1;
        }
        Ok(pids)
    }
}

/// The fields of a `stat` line after the command's name: state, parent and on.
fn fields(stat: &str) -> Option<Vec<&str>> {
    // The name may hold spaces and brackets, so what counts is the last bracket.
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().collect())
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn cpu_of(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}: is the server gone?"))?;
    let used = |at: usize| fields(&stat)?.get(at)?.parse::<u64>().ok();
    let (user, system) = used(11).zip(used(12)).with_context(|| format!("read the times in {path}"))?;
    Ok(ticks(user + system))
}

/// Resident memory of a process (bytes).
pub(crate) fn resident_of(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/statm");
    let statm = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.with_context(|| format!("find the resident pages in {path}"))?
        * rustix::param::page_size() as u64)
}

fn pss_of(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kilobytes = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("find Pss in {path}"))? * 1024)
}

/// Time that all processors of the machine were at work, for anybody.
fn machine_busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let times: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; what follows is contained in user.
    Ok(ticks([0, 1, 2, 5, 6, 7].iter().filter_map(|&at| times.get(at)).sum()))
}

/// What was spent between two points.
#[derive(Clone, Copy, Serialize, Debug)]
pub(crate) struct Spent {
    /// By the clock (seconds).
    pub(crate) wall_s: f64,
    /// By the server (processor seconds).
    pub(crate) server_cpu_s: f64,
    /// By the load test itself.
    pub(crate) client_cpu_s: f64,
    /// By everybody else on the machine: above a few per cent of the wall time, the figure is noisy.
    pub(crate) others_cpu_s: f64,
}

/// Counts from where it was started.
#[derive(Debug)]
pub(crate) struct Meter {
    server: Tree,
    began: Instant,
    server_cpu: Duration,
    client_cpu: Duration,
    busy: Duration,
}

impl Meter {
    /// Starts counting.
    pub(crate) fn start(server: Tree) -> Result<Self> {
        Ok(Self {
            server,
            began: Instant::now(),
            server_cpu: server.cpu()?,
            client_cpu: cpu_of(std::process::id())?,
            busy: machine_busy()?,
        })
    }

    /// What was spent since.
    pub(crate) fn spent(&self) -> Result<Spent> {
        let wall_s = self.began.elapsed().as_secs_f64();
        let server_cpu_s = (self.server.cpu()?.saturating_sub(self.server_cpu)).as_secs_f64();
        let client_cpu_s = (cpu_of(std::process::id())?.saturating_sub(self.client_cpu)).as_secs_f64();
        let busy_s = (machine_busy()?.saturating_sub(self.busy)).as_secs_f64();
        let others_cpu_s = (busy_s - server_cpu_s - client_cpu_s).max(0.0);
        Ok(Spent { wall_s, server_cpu_s, client_cpu_s, others_cpu_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_takes_time_and_memory() {
        let own = Tree::of(std::process::id());
        let meter = Meter::start(own).unwrap();
        let mut sum = 0_u64;
        while meter.began.elapsed() < Duration::from_millis(60) {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert!(meter.spent().unwrap().client_cpu_s > 0.0, "{sum}");
        assert!(own.pss_bytes().unwrap() > 100_000);
    }

    #[test]
    fn name_with_brackets_does_not_shift_fields() {
        let stat = "12 (a) b (c) S 7 0 0";
        assert_eq!(fields(stat).unwrap()[..2], ["S", "7"]);
    }

    #[test]
    fn process_that_is_gone_is_an_error() {
        assert!(cpu_of(u32::MAX).is_err());
    }
}
