//! A sect's recvsvrs: what each has to tell the proxies that follow a room there.

use super::setup::SectSetup;

/// The recvsvrs of a sect.
#[derive(Debug)]
pub(super) struct Sect {
    pub(super) nodes: Vec<Recvsvr>,
    cores: f64,
}

/// One recvsvr.
#[derive(Clone, Debug)]
pub(super) struct Recvsvr {
    pub(super) is_alive: bool,
    /// It is at work until then.
    free_us: u64,
    /// Work of the second under way (microseconds of one core).
    pub(super) busy_us: f64,
}

impl Sect {
    pub(super) fn new(setup: &SectSetup) -> Self {
        let node = Recvsvr { is_alive: true, free_us: 0, busy_us: 0.0 };
        Self { nodes: vec![node; usize::from(setup.recvsvrs)], cores: setup.cores }
    }

    /// Does work at a node that is alive, after what waits there; tells when it is done.
    pub(super) fn work(&mut self, node: u16, now_us: u64, cost_us: f64) -> u64 {
        let cores = self.cores;
        let node = &mut self.nodes[usize::from(node)];
        node.busy_us += cost_us;
        node.free_us = node.free_us.max(now_us) + (cost_us / cores).ceil() as u64;
        node.free_us
    }

    /// Share of the busiest node's time that the last second took, and of all; a new second begins.
    pub(super) fn take_use(&mut self) -> (f64, f64) {
        let cores = self.cores;
        let uses: Vec<f64> = self
            .nodes
            .iter_mut()
            .filter(|node| node.is_alive)
            .map(|node| std::mem::take(&mut node.busy_us) / 1e6 / cores)
            .collect();
        let most = uses.iter().copied().fold(0.0, f64::max);
        (most, uses.iter().sum::<f64>() / uses.len().max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_waits_for_work() {
        let mut sect = Sect::new(&SectSetup { recvsvrs: 2, cores: 2.0 });
        assert_eq!(sect.work(0, 1_000, 500.0), 1_250);
        assert_eq!(sect.work(0, 1_100, 500.0), 1_500);
        assert_eq!(sect.work(1, 1_100, 500.0), 1_350);
        assert_eq!(sect.take_use(), (0.000_5, 0.000_375));
    }
}
