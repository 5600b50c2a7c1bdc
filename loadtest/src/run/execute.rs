//! Plays one process's share: threads for clients, one for the probes, one for the senders, one that watches.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::ScopedJoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    RunPlan,
    clock::Clock,
    crowd::{Crowd, Share, tally::Second},
    facts::Facts,
    outcome::{ClientCost, RunOutcome, Sample},
    senders::Senders,
    settled::Settled,
    watch,
};
use crate::client::raise_file_limit;

/// Seconds of threads that wait to be merged; a thread with more waits itself.
const SECONDS_MAX: usize = 1024;
/// How long after its end a second is shown: by then, every thread that is not overwhelmed has told of it.
const SHOW_AFTER_US: u64 = 300_000;
/// Files that a process has open besides connections of clients and senders.
const OTHER_FILES: u64 = 64;

/// Plays a share to its end, and tells `on_second` of each second; `stop` ends it early, with what there is.
///
/// # Errors
/// If the process may not open files enough, or can't wait for the network. That a server fails is part of the outcome.
pub(crate) fn execute(
    plan: &RunPlan,
    stop: &AtomicBool,
    on_second: &mut dyn FnMut(&Sample),
) -> Result<RunOutcome> {
    check_files(plan)?;
    let clock = Clock::starting_at(plan.start_at_unix_ms);
    let settled = Settled::new(plan.sends);
    let has_ended = AtomicBool::new(false);
    let (memory_before, cpu_before) = (watch::own_memory_bytes(), watch::own_cpu_s());
    let (sender, seconds) = sync_channel(SECONDS_MAX);
    let shares = shares(plan);
    let threads = u32::try_from(shares.len()).expect("few threads");
    let mut outcome = std::thread::scope(|scope| -> Result<RunOutcome> {
        let (settled, has_ended) = (&settled, &has_ended);
        let mut players: Vec<ScopedJoinHandle<'_, Result<Facts>>> = Vec::new();
        for share in shares {
            let sender = sender.clone();
            players.push(scope.spawn(move || Crowd::new(plan, share, clock)?.run(&sender, settled, stop)));
        }
        if plan.sends {
            let sender = sender.clone();
            players.push(scope.spawn(move || Senders::new(plan, clock).run(&sender, settled, stop)));
        }
        scope.spawn(move || watch::watch(plan, clock, &sender, has_ended));
        let mut outcome = RunOutcome::default();
        collect(&seconds, clock, &mut outcome, on_second, || {
            let all_ended = players.iter().all(ScopedJoinHandle::is_finished);
            if all_ended {
                has_ended.store(true, Ordering::Relaxed);
            }
        });
        let mut facts = Facts::default();
        for player in players {
            facts.merge(&player.join().ok().context("a thread of the load test panicked")??);
        }
        outcome.facts = facts;
        Ok(outcome)
    })?;
    for sample in &outcome.samples {
        outcome.totals.merge(&sample.counters);
    }
    outcome.peak_connected = outcome.samples.iter().map(|sample| sample.connected).max().unwrap_or(0);
    outcome.client = ClientCost {
        cpu_s: watch::own_cpu_s() - cpu_before,
        memory_before_bytes: memory_before,
        memory_peak_bytes: outcome.samples.iter().map(|sample| sample.client_memory_bytes).max().unwrap_or(0),
        threads,
        processes: 1,
    };
    outcome.is_cut_short = stop.load(Ordering::Relaxed);
    Ok(outcome)
}

/// Checks, and raises where it may, how many files may be open.
///
/// # Errors
/// If they are fewer than the share needs.
pub(crate) fn check_files(plan: &RunPlan) -> Result<()> {
    let files = raise_file_limit()?;
    let senders: u32 = plan.profile.messages.iter().map(|messages| messages.senders).sum();
    let clients = u64::from(plan.clients.end - plan.clients.start);
    let needed = clients
        + u64::from(if plan.probes { plan.profile.clients.probes } else { 0 })
        + u64::from(if plan.sends { senders } else { 0 })
        + OTHER_FILES;
    ensure!(
        files >= needed,
        "{files} files may be open, {needed} are needed: raise the hard limit (ulimit -Hn), or share the clients out \
         with --processes {}",
        needed.div_ceil(files.saturating_sub(1_000).max(1))
    );
    Ok(())
}

/// What each thread carries.
fn shares(plan: &RunPlan) -> Vec<Share> {
    let bounds = plan.profile.clients.bounds(plan.clients.clone(), plan.threads);
    let mut shares: Vec<Share> =
        bounds.windows(2).map(|pair| Share { clients: pair[0]..pair[1], are_probes: false }).collect();
    if plan.probes && plan.profile.clients.probes > 0 {
        // After all clients, and after the last of their users.
        let first = plan.profile.clients.count + 100;
        shares.push(Share { clients: first..first + plan.profile.clients.probes, are_probes: true });
    }
    shares
}

/// Merges what threads tell until all have ended, and shows each second once it is over.
fn collect(
    seconds: &Receiver<(bool, Second)>,
    clock: Clock,
    outcome: &mut RunOutcome,
    on_second: &mut dyn FnMut(&Sample),
    mut look: impl FnMut(),
) {
    let mut shown = 0;
    loop {
        match seconds.recv_timeout(Duration::from_millis(50)) {
            Ok((is_probe, second)) => add(outcome, is_probe, second),
            Err(RecvTimeoutError::Timeout) => {}
            // All threads have ended, and everything they told is taken.
            Err(RecvTimeoutError::Disconnected) => break,
        }
        look();
        let now_us = clock.now_us();
        while let Some(sample) = outcome.samples.get(shown)
            && (u64::from(sample.at_s) + 1) * 1_000_000 + SHOW_AFTER_US <= now_us
        {
            on_second(sample);
            shown += 1;
        }
    }
    outcome.samples[shown.min(outcome.samples.len())..].iter().for_each(on_second);
}

fn add(outcome: &mut RunOutcome, is_probe: bool, mut second: Second) {
    if is_probe {
        for (ages, of_second) in outcome.probe_ages.iter_mut().zip(&mut second.sample.ages) {
            ages.merge(&std::mem::take(of_second));
        }
    }
    for list in 0..2 {
        outcome.ages[list].merge(&second.sample.ages[list]);
        outcome.send_latencies[list].merge(&second.send_latencies[list]);
    }
    outcome.join_latencies.merge(&second.join_latencies);
    let shares = RunOutcome { samples: vec![second.sample], ..RunOutcome::default() };
    outcome.merge(&shares);
}
