//! Who plays a run.

use std::{net::SocketAddr, path::Path, sync::atomic::AtomicBool};

use anyhow::Result;

use super::{access::Secret, clock::unix_us, control::Workers, local, played::Played};
use crate::run::{self, RunPlan, Sample};

/// From the plan to the start, where this process plays by itself.
const START_AFTER_MS: u64 = 200;

/// Who plays a run.
#[derive(Clone, Debug)]
pub(crate) struct Players(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Own,
    Processes(u32),
    Workers(Workers),
}

impl Players {
    /// This process alone, or more processes of this machine that it starts and ends.
    pub(crate) fn here(processes: u32) -> Self {
        Self(if processes > 1 { Kind::Processes(processes) } else { Kind::Own })
    }

    /// Workers that run already.
    ///
    /// # Errors
    /// If the secret can't be read.
    pub(crate) fn workers(
        addresses: Vec<SocketAddr>,
        secret_file: Option<&Path>,
        allow_remote: bool,
    ) -> Result<Self> {
        Ok(Self(Kind::Workers(Workers { addresses, secret: Secret::read(secret_file)?, allow_remote })))
    }

    /// Plays a run: sets its start in the plan, gives each second of it to `on_second`, and ends it early once `stop` is set.
    ///
    /// # Errors
    /// If the run did not start; where this process plays alone, also if it could not go on.
    pub(crate) fn play(
        &self,
        plan: &mut RunPlan,
        stop: &AtomicBool,
        on_second: &mut dyn FnMut(&Sample),
    ) -> Result<Played> {
        match &self.0 {
            Kind::Own => {
                plan.start_at_unix_ms = unix_us() / 1_000 + START_AFTER_MS;
                Ok(Played { outcome: run::execute(plan, stop, on_second)?, ..Played::default() })
            }
            Kind::Processes(count) => local::play(plan, *count, stop, on_second),
            Kind::Workers(workers) => workers.play(plan, stop, on_second),
        }
    }
}
