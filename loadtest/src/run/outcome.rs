//! What a run yields, or one worker's share of it: numbers that add up, second by second, and the facts of the audit.
//!
//! Everything here is a sum, a maximum or a set, so outcomes of threads, processes and machines merge in any order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    facts::Facts,
    latencies::Latencies,
    presence::{Present, Span},
};
use crate::mark::List;

/// Different errors that are told apart; others count as [`OTHER_ERRORS`].
const ERRORS_MAX: usize = 64;
/// Name of the errors beyond [`ERRORS_MAX`].
const OTHER_ERRORS: &str = "others";

/// What a run yields, or one worker's share of it.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct RunOutcome {
    /// One a second, ascending by `at_s`, without holes from 0 on.
    pub(crate) samples: Vec<Sample>,
    /// The sum over the samples, from the first second to the end of settling.
    pub(crate) totals: Counters,
    /// From when a message was due until a viewer had it, over the whole run, by [`List::index`]. Messages that were due
    /// while the viewer was away by the profile's will are left out, and so are slow readers: they could not have them earlier.
    pub(crate) ages: [Latencies; 2],
    /// The same of the probes alone: viewers in a thread of their own, that no crowd keeps waiting.
    pub(crate) probe_ages: [Latencies; 2],
    /// From when a send was due until it was acknowledged, by [`List::index`].
    pub(crate) send_latencies: [Latencies; 2],
    /// From when a viewer was to come or come back until it had its first answer.
    pub(crate) join_latencies: Latencies,
    /// What the audit is judged by.
    pub(crate) facts: Facts,
    /// Most connections of the load test at any time (of all workers, each at its own time).
    pub(crate) peak_connected: u64,
    /// What the clients took themselves.
    pub(crate) client: ClientCost,
    /// Whether it was ended before its time, by a signal or because a worker was lost.
    pub(crate) is_cut_short: bool,
}

/// What the load test itself took.
#[derive(Clone, Copy, PartialEq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct ClientCost {
    /// User and system time of its processes (seconds).
    pub(crate) cpu_s: f64,
    /// Resident memory before the first client came (bytes, sum over processes).
    pub(crate) memory_before_bytes: u64,
    /// The most there was (bytes, sum over processes).
    pub(crate) memory_peak_bytes: u64,
    /// Threads that carried clients.
    pub(crate) threads: u32,
    /// Processes.
    pub(crate) processes: u32,
}

/// One second of a run.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct Sample {
    /// The second it is about: from `at_s` to `at_s + 1` after the start of the run.
    pub(crate) at_s: u32,
    /// Clients connected at its end.
    pub(crate) connected: u64,
    /// Of those, the ones whose poll was sent and not answered.
    pub(crate) parked: u64,
    /// Distinct users at its end with a client connected, or gone between two polls without a goodbye for less than 30 s: the
    /// truth that a server's online count is held to.
    pub(crate) online_users: u64,
    /// The same of the watched room, which is the first one.
    pub(crate) watched_users: u64,
    /// Their clients.
    #[serde(default)]
    pub(crate) watched_clients: u64,
    /// The fewest and the most that were in the watched room within the second.
    #[serde(default)]
    pub(crate) watched: Span,
    /// Who is in the watched room by the server's own numbers (`GET …/stats`) at the second's end; `None` if it did not tell.
    #[serde(default)]
    pub(crate) told: Option<Present>,
    /// Users of the watched room as the server last told in a poll's answer (`stats.num_users`); `None` if it does not.
    pub(crate) server_users: Option<u64>,
    /// What happened within the second.
    pub(crate) counters: Counters,
    /// See [`RunOutcome::ages`]; of messages received within the second.
    pub(crate) ages: [Latencies; 2],
    /// The server's side; `None` where neither its process nor its metrics can be read.
    pub(crate) server: Option<ServerSample>,
    /// Time that the load test took within the second (processor seconds).
    pub(crate) client_cpu_s: f64,
    /// Resident memory of the load test at its end (bytes).
    pub(crate) client_memory_bytes: u64,
}

/// Counts of what happened. Arrays are by [`List::index`]: priority, then normal.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct Counters {
    /// Polls sent.
    pub(crate) polls: u64,
    /// Polls answered with status 200.
    pub(crate) answers: u64,
    /// Of those, without a message.
    pub(crate) empty_answers: u64,
    /// Messages received, over all viewers.
    pub(crate) received: [u64; 2],
    /// Bytes of answers, heads included.
    pub(crate) received_bytes: u64,
    /// Connections made.
    pub(crate) connects: u64,
    /// Of those, the ones of a client that was connected before.
    pub(crate) reconnects: u64,
    /// Clients that left by the profile's will.
    pub(crate) departures: u64,
    /// Messages that were due.
    pub(crate) due: [u64; 2],
    /// Messages acknowledged.
    pub(crate) acknowledged: [u64; 2],
    /// Messages refused by the server, with whatever status.
    pub(crate) refused: [u64; 2],
    /// Messages that went out later than they were due, by more than 5 ms.
    pub(crate) late: [u64; 2],
    /// Messages that were due and never went out, because those before them took all the time there was.
    pub(crate) missed: [u64; 2],
    /// What went wrong, and how often: `poll 503 node_full`, `send 429 rate_limited`, `poll connection closed`.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// The server's side of a second, summed over its processes.
#[derive(Clone, Copy, PartialEq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct ServerSample {
    /// User and system time within the second (processor seconds): of the process tree if its id is known, else from
    /// `process_cpu_seconds_total`.
    pub(crate) cpu_s: Option<f64>,
    /// Memory at its end (bytes): what is resident of the process tree, else `process_resident_memory_bytes`.
    pub(crate) memory_bytes: Option<u64>,
    /// `bigroom_parked_polls` at its end.
    pub(crate) parked_polls: Option<u64>,
    /// `bigroom_connections` at its end.
    pub(crate) connections: Option<u64>,
    /// `bigroom_polls_total`, all outcomes, within the second.
    pub(crate) polls: Option<u64>,
    /// `bigroom_requests_saved_total` within the second.
    pub(crate) requests_saved: Option<u64>,
    /// `bigroom_online_users`, all sects, at its end.
    pub(crate) online_users: Option<u64>,
    /// `bigroom_pressure_step` at its end: the highest of all processes.
    pub(crate) pressure_step: Option<u64>,
    /// `bigroom_priority_gap_total` within the second; it must be 0.
    pub(crate) priority_gap: Option<u64>,
}

impl RunOutcome {
    /// Adds another share of the same run.
    pub(crate) fn merge(&mut self, other: &Self) {
        for sample in &other.samples {
            match self.samples.binary_search_by_key(&sample.at_s, |own| own.at_s) {
                Ok(at) => self.samples[at].merge(sample),
                Err(at) => self.samples.insert(at, sample.clone()),
            }
        }
        self.totals.merge(&other.totals);
        merge_both(&mut self.ages, &other.ages);
        merge_both(&mut self.probe_ages, &other.probe_ages);
        merge_both(&mut self.send_latencies, &other.send_latencies);
        self.join_latencies.merge(&other.join_latencies);
        self.facts.merge(&other.facts);
        self.peak_connected += other.peak_connected;
        self.client.merge(&other.client);
        self.is_cut_short |= other.is_cut_short;
    }

    /// The wall time that samples cover (seconds).
    pub(crate) fn duration_s(&self) -> u32 {
        self.samples.last().map_or(0, |sample| sample.at_s + 1)
    }

    /// Server CPU over the samples that have it (processor seconds); `None` if none has.
    pub(crate) fn server_cpu_s(&self) -> Option<f64> {
        let used = self.samples.iter().filter_map(|sample| sample.server?.cpu_s);
        used.fold(None, |sum, cpu_s| Some(sum.unwrap_or(0.0) + cpu_s))
    }
}

impl ClientCost {
    fn merge(&mut self, other: &Self) {
        self.cpu_s += other.cpu_s;
        self.memory_before_bytes += other.memory_before_bytes;
        self.memory_peak_bytes += other.memory_peak_bytes;
        self.threads += other.threads;
        self.processes += other.processes;
    }
}

impl Sample {
    /// Adds another worker's share of the same second.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.connected += other.connected;
        self.parked += other.parked;
        self.online_users += other.online_users;
        self.watched_users += other.watched_users;
        self.watched_clients += other.watched_clients;
        self.watched = self.watched.plus(other.watched);
        self.told = self.told.or(other.told);
        // Both tell of the same count; the higher one is the later one while a crowd grows, and a second old otherwise.
        self.server_users = self.server_users.max(other.server_users);
        self.counters.merge(&other.counters);
        merge_both(&mut self.ages, &other.ages);
        // One worker reads the server's side; where several do, they read different servers.
        self.server = match (self.server, other.server) {
            (Some(own), Some(other)) => Some(own.plus(&other)),
            (own, other) => own.or(other),
        };
        self.client_cpu_s += other.client_cpu_s;
        self.client_memory_bytes += other.client_memory_bytes;
    }
}

impl Counters {
    /// Adds other counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.polls += other.polls;
        self.answers += other.answers;
        self.empty_answers += other.empty_answers;
        self.received_bytes += other.received_bytes;
        self.connects += other.connects;
        self.reconnects += other.reconnects;
        self.departures += other.departures;
        for list in List::ALL.map(List::index) {
            self.received[list] += other.received[list];
            self.due[list] += other.due[list];
            self.acknowledged[list] += other.acknowledged[list];
            self.refused[list] += other.refused[list];
            self.late[list] += other.late[list];
            self.missed[list] += other.missed[list];
        }
        for (what, count) in &other.errors {
            self.add_error(what, *count);
        }
    }

    /// Counts something that went wrong.
    pub(crate) fn add_error(&mut self, what: &str, count: u64) {
        if let Some(known) = self.errors.get_mut(what) {
            *known += count;
        } else {
            let what = if self.errors.len() < ERRORS_MAX { what } else { OTHER_ERRORS };
            *self.errors.entry(what.to_owned()).or_default() += count;
        }
    }

    /// Everything that went wrong.
    pub(crate) fn errors_all(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl ServerSample {
    /// Of two servers together.
    pub(crate) fn plus(self, other: &Self) -> Self {
        fn sum<T: std::ops::Add<Output = T>>(one: Option<T>, two: Option<T>) -> Option<T> {
            match (one, two) {
                (Some(one), Some(two)) => Some(one + two),
                (one, two) => one.or(two),
            }
        }
        Self {
            cpu_s: sum(self.cpu_s, other.cpu_s),
            memory_bytes: sum(self.memory_bytes, other.memory_bytes),
            parked_polls: sum(self.parked_polls, other.parked_polls),
            connections: sum(self.connections, other.connections),
            polls: sum(self.polls, other.polls),
            requests_saved: sum(self.requests_saved, other.requests_saved),
            online_users: sum(self.online_users, other.online_users),
            pressure_step: self.pressure_step.max(other.pressure_step),
            priority_gap: sum(self.priority_gap, other.priority_gap),
        }
    }
}

/// Merges by list.
fn merge_both(own: &mut [Latencies; 2], other: &[Latencies; 2]) {
    for (own, other) in own.iter_mut().zip(other) {
        own.merge(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: u32, connected: u64) -> Sample {
        let mut counters = Counters { polls: connected, ..Counters::default() };
        counters.add_error("poll 503 node_full", 1);
        Sample { at_s, connected, counters, ..Sample::default() }
    }

    #[test]
    fn shares_of_a_second_add_up() {
        let mut outcome = RunOutcome { samples: vec![sample(0, 1), sample(2, 3)], ..RunOutcome::default() };
        let other = RunOutcome { samples: vec![sample(1, 5), sample(2, 7)], ..RunOutcome::default() };
        outcome.merge(&other);
        let connected: Vec<_> =
            outcome.samples.iter().map(|sample| (sample.at_s, sample.connected)).collect();
        assert_eq!(connected, [(0, 1), (1, 5), (2, 10)]);
        assert_eq!(outcome.samples[2].counters.errors["poll 503 node_full"], 2);
        assert_eq!(outcome.duration_s(), 3);
    }

    #[test]
    fn errors_of_too_many_kinds_are_still_counted() {
        let mut counters = Counters::default();
        for nth in 0..1_000 {
            counters.add_error(&format!("error {nth}"), 1);
        }
        assert_eq!((counters.errors.len(), counters.errors_all()), (ERRORS_MAX + 1, 1_000));
    }

    #[test]
    fn outcome_survives_its_encoding() {
        let mut outcome = RunOutcome { samples: vec![sample(0, 9)], ..RunOutcome::default() };
        outcome.samples[0].server = Some(ServerSample { cpu_s: Some(0.25), ..ServerSample::default() });
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<RunOutcome>(&text).unwrap(), outcome);
    }
}
