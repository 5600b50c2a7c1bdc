//! A run that was played for real, played again in the simulator: what both measured, and how far apart they are.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use room::{Costs, PollPolicy, Promotions};
use serde::Serialize;

use super::{
    meter::Outcome,
    setup::{Front, RoomSetup, SectSetup, Setup, Source, Times, Viewers},
    world::World,
};
use crate::{
    mark::List,
    profile::{Behaviour, Kind, Profile},
    report::RunReport,
    run::{Curve, Latencies, due_times},
};

/// There and back on loopback (microseconds).
const ROUND_TRIP_US: u64 = 60;
/// How far apart simulated and measured figures may be.
pub(super) const MARGIN: f64 = 0.15;
/// A difference of ages that nobody would notice (milliseconds): below it, two ages agree whatever their ratio. On a machine
/// that client and server share, the kernel's time slices are about as long.
const AGE_SLACK_MS: f64 = 5.0;

/// A figure, as it was measured and as it was simulated.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Compared {
    pub(super) figure: &'static str,
    pub(super) unit: &'static str,
    pub(super) measured: f64,
    pub(super) simulated: f64,
    /// Of the simulated figure from the measured one, as a share of that.
    pub(super) deviation: f64,
    /// Whether it is within the margin.
    pub(super) agrees: bool,
}

/// Plays a run's profile in the simulator, for one process with the machine's cores.
///
/// # Errors
/// If the file is no report of a run, or the profile has something that is not simulated; the message names it.
pub(super) fn compare(path: &Path, costs: Costs) -> Result<(RunReport, Outcome, Vec<Compared>)> {
    let report = RunReport::read(path)?;
    let setup = setup(&report.profile, report.seed, report.machine.cores, costs)?;
    let outcome = World::new(&setup)?.run();
    let compared = compared(&report, &outcome);
    Ok((report, outcome, compared))
}

/// What the profile says, as a setup: every client by itself, one node that client and server share.
fn setup(profile: &Profile, seed: u64, cores: usize, costs: Costs) -> Result<Setup> {
    let crowd = &profile.crowd;
    ensure!(
        profile.behaviour.iter().all(|behaviour| behaviour.kind != Kind::Slow)
            && crowd.session.is_none()
            && crowd.cut.is_empty()
            && profile.compression == 1.0,
        "profile {}: slow readers, sessions, cuts and compression are not simulated",
        profile.name
    );
    let [behaviour, kinds @ ..] = profile.behaviour.as_slice() else { bail!("the profile has no behaviour") };
    let is_same = |other: &Behaviour| (other.limit, other.timeout) == (behaviour.limit, behaviour.timeout);
    ensure!(
        kinds.iter().all(is_same),
        "profile {}: behaviours with different limits or timeouts are not simulated",
        profile.name
    );
    let of_kind = |kind: Kind| profile.behaviour.iter().filter(move |behaviour| behaviour.kind == kind);
    let duration_s = profile.clock_duration().as_secs();
    let rooms = (0..profile.rooms).map(|room| room_setup(profile, room));
    Ok(Setup {
        seed,
        duration_s: u32::try_from(duration_s)?,
        sample_s: 1,
        weight: 1.0,
        policy: policy(profile)?,
        is_adaptive: false,
        rooms: rooms.collect(),
        front: Front { proxies: 1, cores: cores as f64, real: 1.0 },
        // In one process there is no way to go, and no sect to move to.
        sects: [SectSetup { recvsvrs: 1, cores: 1e6 }; 2],
        promotions: Promotions { promote_at: 0, demote_at: 0, ..Promotions::default() },
        costs,
        text_bytes: profile.messages.first().map_or(costs.text_bytes, |messages| {
            f64::midpoint(f64::from(messages.bytes[0]), f64::from(messages.bytes[1]))
        }),
        has_clients_on_board: true,
        viewers: Viewers {
            polite_share: of_kind(Kind::Polite).map(|behaviour| behaviour.share).sum(),
            pause_ms: of_kind(Kind::Polite)
                .find_map(|behaviour| behaviour.pause)
                .map(|p| p.as_millis() as u64),
            limit: u64::from(behaviour.limit),
            timeout_ms: behaviour.timeout.as_millis() as u64,
            round_trip_us: ROUND_TRIP_US,
        },
        faults: Vec::new(),
    })
}

fn room_setup(profile: &Profile, room: u32) -> RoomSetup {
    let share = profile.clients.count / profile.rooms;
    let extra = u32::from(room < profile.clients.count % profile.rooms);
    let source = |messages: &crate::profile::Messages| Source {
        list: match messages.list {
            List::Priority => room::List::Priority,
            List::Normal => room::List::Normal,
        },
        times: Times::At(
            due_times(messages, profile).skip(room as usize).step_by(profile.rooms as usize).collect(),
        ),
    };
    RoomSetup {
        clients: share + extra,
        users_each: 1.0 / profile.clients.devices_per_user,
        notice_weight: 1.0,
        crowd: Curve::of_crowd(&profile.crowd, profile),
        sources: profile.messages.iter().map(source).collect(),
    }
}

/// The policy of the server that the run started itself.
fn policy(profile: &Profile) -> Result<PollPolicy> {
    match profile.server_env.get("BIGROOM_POLL__POLICY").map(String::as_str) {
        None | Some("default") => Ok(PollPolicy::default()),
        Some("off") => Ok(PollPolicy::off()),
        Some(other) => bail!("BIGROOM_POLL__POLICY = {other}: only default and off are simulated"),
    }
}

/// Rates over the seconds in which messages came and everybody was there, ages over the whole run.
fn compared(report: &RunReport, outcome: &Outcome) -> Vec<Compared> {
    let first = steady_from(report);
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let end = outcome.samples.len();
    let measured = |of: fn(&crate::run::Sample) -> u64| {
        let seconds =
            report.outcome.samples.iter().filter(|sample| (first..end).contains(&(sample.at_s as usize)));
        mean(seconds.map(|sample| of(sample) as f64).collect())
    };
    let simulated =
        |of: fn(&super::meter::Sample) -> f64| mean(outcome.samples.iter().skip(first).map(of).collect());
    let mut all = vec![
        compare_rates(
            "answers a second",
            measured(|sample| sample.counters.answers),
            simulated(|sample| sample.answers_per_s),
        ),
        compare_rates(
            "messages delivered a second",
            measured(|sample| sample.counters.received.iter().sum()),
            simulated(|sample| sample.delivered_per_s),
        ),
    ];
    for (list, names) in [
        (List::Normal, ["age of normal messages, p50", "age of normal messages, p99"]),
        (List::Priority, ["age of priority messages, p50", "age of priority messages, p99"]),
    ] {
        let [measured, simulated] = [&report.outcome.ages[list.index()], &outcome.ages[list.index()]];
        for (name, quantile) in names.into_iter().zip([0.5, 0.99]) {
            all.extend(compare_ages(name, measured, simulated, quantile));
        }
    }
    all
}

/// The first second after everybody has come and messages have begun.
fn steady_from(report: &RunReport) -> usize {
    let profile = &report.profile;
    let crowd = profile.crowd.curve.iter().map(|point| point.at);
    let messages =
        profile.messages.iter().filter_map(|messages| messages.curve.first()).map(|point| point.at);
    let last = crowd.chain(messages).max().unwrap_or_default();
    // The online count, and with it the interval, takes two seconds more.
    profile.on_clock(last).as_secs_f64().ceil() as usize + 2
}

fn compare_rates(figure: &'static str, measured: f64, simulated: f64) -> Compared {
    let deviation = if measured > 0.0 { simulated / measured - 1.0 } else { f64::NAN };
    Compared { figure, unit: "1/s", measured, simulated, deviation, agrees: deviation.abs() <= MARGIN }
}

fn compare_ages(
    figure: &'static str,
    measured: &Latencies,
    simulated: &Latencies,
    quantile: f64,
) -> Option<Compared> {
    let [measured, simulated] = [measured, simulated].map(|ages| ages.quantile_ms(quantile));
    if !measured.is_finite() {
        return None;
    }
    let deviation = simulated / measured - 1.0;
    let agrees = deviation.abs() <= MARGIN || (simulated - measured).abs() <= AGE_SLACK_MS;
    Some(Compared { figure, unit: "ms", measured, simulated, deviation, agrees })
}

/// A table for a terminal.
pub(super) fn table(report: &RunReport, compared: &[Compared]) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {} clients, {}",
        report.profile.name, report.profile.clients.count, report.command
    );
    let _ = writeln!(out, "{:32} {:>12} {:>12} {:>10}", "", "measured", "simulated", "deviation");
    for row in compared {
        let name = format!("{} ({})", row.figure, row.unit);
        let word = if row.agrees { "" } else { "  MISSED" };
        let _ = writeln!(
            out,
            "{name:36} {:>10.1} {:>12.1} {:>+9.1} %{word}",
            row.measured,
            row.simulated,
            row.deviation * 100.0
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_of_ages_and_shares_of_rates_agree() {
        assert!(compare_rates("a", 100.0, 114.0).agrees);
        assert!(!compare_rates("a", 100.0, 116.0).agrees);
        assert!(!compare_rates("a", 0.0, 1.0).agrees);
    }

    #[test]
    fn profile_that_is_not_simulated_is_refused_by_name() {
        let costs = crate::costs::load(None).unwrap().1;
        let profile = Profile::load("slow-readers", crate::profile::Overrides::default()).unwrap();
        let error = setup(&profile, 1, 2, costs).unwrap_err().to_string();
        assert!(error.contains("slow readers"), "{error}");
        let rude = Profile::load("rude-clients", crate::profile::Overrides::default()).unwrap();
        let setup = setup(&rude, 1, 2, costs).unwrap();
        assert!((setup.viewers.polite_share - 0.67).abs() < 1e-9);
        assert_eq!(setup.rooms[0].clients, 3_000);
    }
}
