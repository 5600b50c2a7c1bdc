//! Many workers as one run.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};

use super::{
    access::{Secret, check_address},
    clock::unix_us,
    played::Played,
    progress::Progress,
    share::Share,
};
use crate::run::{Finding, RunOutcome, RunPlan, Sample};

/// From the last worker's consent to the start: enough for all to hear of it.
const START_AFTER_MS: u64 = 1_000;
/// How often the wish to stop is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Seconds that may wait to be shown, over all workers.
const SECONDS_MAX: usize = 1_024;
/// Most workers of a run.
pub(super) const WORKERS_MAX: usize = 1_000;

/// The workers of a run, and how to be let in.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    /// The first one sends, probes and watches the server.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) secret: Secret,
    pub(super) allow_remote: bool,
}

impl Workers {
    /// Plays a run on all of them, sets its start in the plan, and gives each second of it to `on_second`; ends it early
    /// once `stop` is set.
    ///
    /// # Errors
    /// If the run did not start, because a worker can't be reached or refuses its share. From the start on, nothing is an
    /// error: see [`Played::lost`].
    pub(super) fn play(
        &self,
        plan: &mut RunPlan,
        stop: &AtomicBool,
        on_second: &mut dyn FnMut(&Sample),
    ) -> Result<Played> {
        self.check(plan)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("start the controller")?.block_on(self.play_all(plan, stop, on_second))
    }

    fn check(&self, plan: &RunPlan) -> Result<()> {
        let count = self.addresses.len();
        ensure!(
            (1..=WORKERS_MAX).contains(&count),
            "{count} workers were named: it must be 1 to {WORKERS_MAX}"
        );
        for (nth, address) in self.addresses.iter().enumerate() {
            check_address("worker", *address, self.allow_remote)?;
            ensure!(!self.addresses[..nth].contains(address), "worker {address} is named twice");
        }
        ensure!(
            plan.server_pid.is_none() || check_address("worker", self.addresses[0], false).is_ok(),
            "--server-pid is looked up by the first worker, which is on another machine: use --ops instead"
        );
        Ok(())
    }

    async fn play_all(
        &self,
        plan: &mut RunPlan,
        stop: &AtomicBool,
        on_second: &mut dyn FnMut(&Sample),
    ) -> Result<Played> {
        let shares = self.assign(plan).await?;
        plan.start_at_unix_ms = unix_us() / 1_000 + START_AFTER_MS;
        let (stop_all, stopping) = watch::channel(false);
        let (seconds, mut told) = mpsc::channel(SECONDS_MAX);
        let mut progress = Progress::new(shares.len());
        let workers = shares.iter().zip(0..).map(|(share, nth)| describe(share, nth)).collect();
        let count = shares.len();

        let mut playing = JoinSet::new();
        for (nth, share) in shares.into_iter().enumerate() {
            let address = share.address;
            let started = share.start(plan.start_at_unix_ms);
            let (seconds, stopping) = (seconds.clone(), stopping.clone());
            playing.spawn(async move {
                let outcome = match started {
                    Ok(()) => share.play(seconds, stopping).await,
                    Err(error) => Err(error),
                };
                (nth, address, outcome)
            });
        }
        drop((seconds, stopping));

        // By number, so that the merged outcome does not depend on who was first to end.
        let mut outcomes: Vec<Option<RunOutcome>> = vec![None; count];
        let mut lost = Vec::new();
        let mut look = time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                Some(second) = told.recv() => progress.take(&second).iter().for_each(&mut *on_second),
                ended = playing.join_next() => match ended {
                    None => break,
                    Some(ended) => match ended.context("await a worker")? {
                        (nth, _, Ok(outcome)) => outcomes[nth] = Some(outcome),
                        (_, address, Err(error)) => {
                            lost.push(Finding { what: format!("worker {address} was lost: {error:#}"), count: 1 });
                            stop_all.send_replace(true);
                        }
                    }
                },
                _ = look.tick() => if stop.load(Ordering::Relaxed) {
                    stop_all.send_replace(true);
                },
            }
        }
        // What was told before the last worker ended may still wait.
        while let Ok(second) = told.try_recv() {
            progress.take(&second).iter().for_each(&mut *on_second);
        }
        let is_sender_lost = outcomes[0].is_none();
        let mut outcome = RunOutcome::default();
        outcomes.into_iter().flatten().for_each(|share| outcome.merge(&share));
        outcome.is_cut_short |= !lost.is_empty();
        Ok(Played { outcome, workers, lost, is_sender_lost })
    }

    /// Has every worker accept its share; if one does not, all others are let go of.
    async fn assign(&self, plan: &RunPlan) -> Result<Vec<Share>> {
        let count = u32::try_from(self.addresses.len()).expect("the count of workers was checked");
        let mut assigning = JoinSet::new();
        for (nth, (share, address)) in plan.split(count).into_iter().zip(self.addresses.clone()).enumerate() {
            let secret = self.secret.clone();
            assigning.spawn(async move {
                let share = Share::assign(address, secret, share).await;
                (nth, share.with_context(|| format!("prepare worker {address}")))
            });
        }
        let mut shares = Vec::with_capacity(self.addresses.len());
        while let Some(assigned) = assigning.join_next().await {
            let (nth, share) = assigned.context("await a worker")?;
            shares.push((nth, share?));
        }
        shares.sort_by_key(|(nth, _)| *nth);
        Ok(shares.into_iter().map(|(_, share)| share).collect())
    }
}

fn describe(share: &Share, nth: u32) -> String {
    let duties = if nth == 0 { ", with the senders and probes" } else { "" };
    format!(
        "{}{duties}; its clock was {:+.1} ms from the controller's, read to within {:.1} ms",
        share.address,
        share.clock.ahead_us as f64 / 1e3,
        share.clock.error.as_secs_f64() * 1e3
    )
}
