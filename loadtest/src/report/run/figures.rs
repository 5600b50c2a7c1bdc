//! The figures of a run, as rows of a table.

use std::time::Duration;

use crate::{
    mark::List,
    profile::Profile,
    run::{Counted, Latencies, RunOutcome, Sample, counted},
};

/// Least parked polls for a share of memory to mean anything: below, it is the server's own that is divided.
const PARKED_MIN: u64 = 100;

/// Rows that belong together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) title: &'static str,
    /// Name and value. Never empty.
    pub(super) rows: Vec<(String, String)>,
}

/// All groups that the run has values for, in the order of the report.
pub(super) fn figures(outcome: &RunOutcome, profile: &Profile) -> Vec<Group> {
    // Averages are over the story: what comes after it is waiting for the last viewer.
    let story_s = profile.clock_duration().as_secs_f64().min(f64::from(outcome.duration_s())).max(1.0);
    let mut groups = vec![
        Group { title: "Messages", rows: messages(outcome, story_s) },
        Group { title: "Latency", rows: latencies(outcome) },
        Group { title: "Requests and connections", rows: requests(outcome, story_s) },
        Group { title: "Server", rows: server(outcome) },
        Group { title: "Online, told and there", rows: online(outcome, profile) },
        Group { title: "Load test itself", rows: client(outcome) },
    ];
    groups.retain(|group| !group.rows.is_empty());
    groups
}

fn row(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn messages(outcome: &RunOutcome, story_s: f64) -> Vec<(String, String)> {
    let totals = &outcome.totals;
    let [priority, normal] = List::ALL.map(List::index);
    let both =
        |counts: [u64; 2]| format!("{} normal, {} priority", count(counts[normal]), count(counts[priority]));
    let received = totals.received.iter().sum::<u64>();
    let mut rows = vec![
        row("due", both(totals.due)),
        row("acknowledged", both(totals.acknowledged)),
        row("delivered, over all viewers", both(totals.received)),
        row("delivered a second, on average", per_second(received, story_s)),
    ];
    for (name, counts) in [
        ("refused", totals.refused),
        ("sent more than 5 ms late", totals.late),
        ("due and never sent", totals.missed),
    ] {
        if counts.iter().any(|count| *count > 0) {
            rows.push(row(name, both(counts)));
        }
    }
    rows
}

fn latencies(outcome: &RunOutcome) -> Vec<(String, String)> {
    let named = [("priority", List::Priority), ("normal", List::Normal)];
    let mut rows = Vec::new();
    let mut add = |name: String, latencies: &Latencies| {
        if !latencies.is_empty() {
            rows.push((name, quantiles(latencies)));
        }
    };
    for (name, list) in named {
        add(format!("age of {name} messages when received"), &outcome.ages[list.index()]);
    }
    for (name, list) in named {
        add(format!("age of {name} messages, seen by probes"), &outcome.probe_ages[list.index()]);
    }
    for (name, list) in named {
        add(format!("{name} send until acknowledged"), &outcome.send_latencies[list.index()]);
    }
    add("coming until the first answer".to_owned(), &outcome.join_latencies);
    rows
}

fn requests(outcome: &RunOutcome, story_s: f64) -> Vec<(String, String)> {
    let totals = &outcome.totals;
    let mut rows = vec![
        row("most connections at a time", count(outcome.peak_connected)),
        row(
            "connections made",
            format!("{}, {} of them again", count(totals.connects), count(totals.reconnects)),
        ),
        row("polls", count(totals.polls)),
        row(
            "answers",
            format!("{}, {} of them without a message", count(totals.answers), count(totals.empty_answers)),
        ),
        row("answers a second, on average", per_second(totals.answers, story_s)),
        row("bytes received", format!("{:.1} MiB", totals.received_bytes as f64 / (1 << 20) as f64)),
    ];
    let saved: u64 = outcome.samples.iter().filter_map(|sample| sample.server?.requests_saved).sum();
    if saved > 0 {
        rows.push(row("requests that holding back saved, by the server's count", count(saved)));
    }
    rows
}

fn server(outcome: &RunOutcome) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if let Some(cpu_s) = outcome.server_cpu_s() {
        let seconds = outcome.samples.iter().filter(|sample| sample.server.is_some()).count().max(1);
        let cores = cpu_s / seconds as f64;
        rows.push(row("processor time", format!("{cpu_s:.2} s, {cores:.2} cores on average")));
        let mut per = |name, of: fn(&Sample) -> u64| {
            if let Some(each_us) = cpu_us_per(outcome, of) {
                rows.push(row(name, format!("{each_us:.2} µs")));
            }
        };
        per("processor time a message delivered", |sample| sample.counters.received.iter().sum());
        per("processor time an answer", |sample| sample.counters.answers);
    }
    let memory = || outcome.samples.iter().filter_map(|sample| sample.server?.memory_bytes);
    if let Some((before, most)) = memory().next().zip(memory().max()) {
        rows.push(row("memory at the start, and the most", format!("{} and {}", mib(before), mib(most))));
        let fullest = outcome
            .samples
            .iter()
            .filter_map(|sample| Some((sample.server?.parked_polls?, sample.server?.memory_bytes?)))
            .max()
            .filter(|(parked, _)| *parked >= PARKED_MIN);
        if let Some((parked, bytes)) = fullest {
            let each = bytes.saturating_sub(before) as f64 / parked as f64 / 1024.0;
            rows.push(row(
                "memory a parked poll, when most were parked",
                format!("{each:.2} KiB of {}", count(parked)),
            ));
        }
    }
    if let Some(error) = online_error(outcome) {
        rows.push(row("online count of the watched room, furthest from the truth", error));
    }
    let steps = outcome.samples.iter().filter_map(|sample| sample.server?.pressure_step);
    if let Some(step) = steps.max() {
        rows.push(row("highest pressure step", count(step)));
    }
    rows
}

/// Server time for each of what was counted (µs), over the seconds in which there was any: what a server does while a crowd
/// only comes or waits is no cost of a delivery.
fn cpu_us_per(outcome: &RunOutcome, of: fn(&Sample) -> u64) -> Option<f64> {
    let spent = outcome
        .samples
        .iter()
        .filter(|sample| of(sample) > 0)
        .filter_map(|sample| Some((sample.server?.cpu_s?, of(sample))));
    let (cpu_s, sum) = spent.fold((0.0, 0), |(cpu_s, sum), (spent_s, count)| (cpu_s + spent_s, sum + count));
    (sum > 0).then_some(cpu_s * 1e6 / sum as f64)
}

/// What the server's own numbers were at set times, beside what was there until then.
fn online(outcome: &RunOutcome, profile: &Profile) -> Vec<(String, String)> {
    let Some(within) = profile.expect.counts_within else { return Vec::new() };
    let rows = counted(&outcome.samples, within).into_iter().map(|counted| {
        let Counted { at_s, told, there, span } = counted;
        let word = if counted.is_right() { "" } else { ", WRONG" };
        let value = format!(
            "{} users on {} clients told; {} on {} there, {} to {} on {} to {} within {}{word}",
            count(told.users),
            count(told.clients),
            count(there.users),
            count(there.clients),
            count(span.least.users),
            count(span.most.users),
            count(span.least.clients),
            count(span.most.clients),
            humantime::format_duration(within)
        );
        (format!("after {at_s} s"), value)
    });
    rows.collect()
}

/// The second in which the server's online count was furthest from the truth.
fn online_error(outcome: &RunOutcome) -> Option<String> {
    let told = outcome.samples.iter().filter_map(|sample| {
        Some((sample.server_users?.abs_diff(sample.watched_users), sample.server_users?, sample))
    });
    let (_, told, sample) = told.max_by_key(|(error, ..)| *error)?;
    Some(format!(
        "{} told, {} there, in second {}",
        count(told),
        count(sample.watched_users),
        sample.at_s + 1
    ))
}

fn client(outcome: &RunOutcome) -> Vec<(String, String)> {
    let client = outcome.client;
    let received: u64 = outcome.totals.received.iter().sum();
    let mut cpu = format!("{:.2} s", client.cpu_s);
    if received > 0 {
        cpu += &format!(", {:.2} µs a message delivered", client.cpu_s * 1e6 / received as f64);
    }
    let mut rows = vec![
        row("processes and threads of clients", format!("{} and {}", client.processes, client.threads)),
        row("processor time", cpu),
    ];
    if let Some(server_s) = outcome.server_cpu_s().filter(|server_s| *server_s > 0.0) {
        rows.push(row(
            "processor time, as a share of the server's",
            format!("{:.0} %", client.cpu_s / server_s * 100.0),
        ));
    }
    rows.push(row("most memory", mib(client.memory_peak_bytes)));
    if outcome.peak_connected >= PARKED_MIN {
        let each =
            client.memory_peak_bytes.saturating_sub(client.memory_before_bytes) / outcome.peak_connected;
        rows.push(row("memory a connection", format!("{:.2} KiB", each as f64 / 1024.0)));
    }
    rows
}

fn quantiles(latencies: &Latencies) -> String {
    let shown = |quantile| latencies.quantile(quantile).map_or("-".to_owned(), milliseconds);
    format!(
        "p50 {}, p99 {}, p99.9 {}, longest {} ms (of {})",
        shown(0.5),
        shown(0.99),
        shown(0.999),
        latencies.max().map_or("-".to_owned(), milliseconds),
        count(latencies.count())
    )
}

fn milliseconds(latency: Duration) -> String {
    let value = latency.as_secs_f64() * 1e3;
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn per_second(all: u64, story_s: f64) -> String {
    count((all as f64 / story_s).round() as u64)
}

/// A count with its thousands apart: `1,234,567`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}
