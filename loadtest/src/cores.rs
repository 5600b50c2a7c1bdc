//! Which processor cores the server and its client run on.

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How a scenario places its two sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placement {
    /// The server on one core, the client on another: neither takes the other's turn, and servers with one thread
    /// are compared with servers that would take a thread a core.
    Apart,
    /// Both on all cores: for what a server as a whole can do.
    Shared,
}

/// The cores at hand.
#[derive(Debug)]
pub(crate) struct Cores {
    all: CpuSet,
    server: CpuSet,
    client: CpuSet,
    /// Cores this process may use.
    count: u32,
}

impl Cores {
    /// Looks at the cores that this process may use.
    pub(crate) fn of_process() -> Result<Self> {
        let all = sched_getaffinity(None).context("read the affinity of this process")?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)).collect();
        let only = |core: Option<&usize>| {
            let mut set = CpuSet::new();
            core.iter().for_each(|&&core| set.set(core));
            set
        };
        Ok(Self { all, server: only(usable.first()), client: only(usable.last()), count: all.count() })
    }

    /// Whether there are two cores to keep apart.
    pub(crate) fn can_part(&self) -> bool {
        self.count > 1
    }

    /// Runs `spawn` on the cores of the server, which the process it starts inherits, then goes to the client's.
    pub(crate) fn spawn<T>(&self, placement: Placement, spawn: impl FnOnce() -> Result<T>) -> Result<T> {
        let apart = placement == Placement::Apart && self.can_part();
        let (server, client) = if apart { (&self.server, &self.client) } else { (&self.all, &self.all) };
        sched_setaffinity(None, server).context("move to the server's core")?;
        let spawned = spawn();
        sched_setaffinity(None, client).context("move to the client's core")?;
        spawned
    }
}
