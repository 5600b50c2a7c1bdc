//! The server's side of a run, and what the load test takes itself, once a second.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use super::{
    RunPlan, Target,
    clock::Clock,
    crowd::tally::Second,
    http::Head,
    outcome::{Sample, ServerSample},
    presence::Present,
    requests::Requests,
};
use crate::measure::{Tree, resident_of};

/// How long a server may take over its metrics.
const SCRAPE_TIMEOUT: Duration = Duration::from_millis(500);
/// Most bytes of metrics that are read.
const METRICS_BYTES_MAX: u64 = 4 << 20;
/// Most bytes of a room's numbers that are read.
const NUMBERS_BYTES_MAX: u64 = 64 << 10;
/// Longest sleep: how soon the end of a run is seen.
const NAP: Duration = Duration::from_millis(50);

/// Counters of the last second, to tell what happened since.
#[derive(Clone, Default)]
struct Before {
    own_cpu_s: f64,
    tree_cpu_s: Option<f64>,
    /// Of each server, when it last told them.
    metrics: Vec<Metrics>,
}

/// What metrics tell, of one server or of several.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Metrics {
    cpu_s: Option<f64>,
    memory_bytes: Option<f64>,
    parked_polls: Option<f64>,
    connections: Option<f64>,
    polls: Option<f64>,
    requests_saved: Option<f64>,
    online_users: Option<f64>,
    pressure_step: Option<f64>,
    priority_gap: Option<f64>,
}

/// Looks once a second, until `ended`.
pub(super) fn watch(plan: &RunPlan, clock: Clock, seconds: &SyncSender<(bool, Second)>, ended: &AtomicBool) {
    let mut before = Before::default();
    look(plan, &mut before);
    clock.await_start();
    for at_s in 0.. {
        let due_us = u64::from(at_s + 1) * 1_000_000;
        while !clock.until(due_us).is_zero() {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(clock.until(due_us).min(NAP));
        }
        let sample = Sample { at_s, ..look(plan, &mut before) };
        let second = Second { sample, ..Second::default() };
        if seconds.send((false, second)).is_err() {
            return;
        }
    }
}

/// User and system time of this process (seconds).
pub(super) fn own_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory of this process (bytes).
pub(super) fn own_memory_bytes() -> u64 {
    resident_of(std::process::id()).unwrap_or(0)
}

fn look(plan: &RunPlan, before: &mut Before) -> Sample {
    let own_cpu_s = own_cpu_s();
    let mut sample = Sample {
        client_cpu_s: own_cpu_s - before.own_cpu_s,
        client_memory_bytes: own_memory_bytes(),
        ..Sample::default()
    };
    before.own_cpu_s = own_cpu_s;
    if plan.watches && plan.profile.expect.counts_within.is_some() {
        sample.told = told(plan);
    }
    if plan.watches && (plan.server_pid.is_some() || !plan.ops.is_empty()) {
        sample.server = Some(look_at_server(plan, before));
    }
    sample
}

fn look_at_server(plan: &RunPlan, before: &mut Before) -> ServerSample {
    let (mut metrics, mut risen) = (Metrics::default(), Metrics::default());
    before.metrics.resize(plan.ops.len(), Metrics::default());
    for (target, then) in plan.ops.iter().zip(&mut before.metrics) {
        // What a server counts while it does not tell is told with its next numbers.
        let Some(now) = scrape(target).map(|text| Metrics::of(&text)) else { continue };
        metrics.add(&now);
        risen.add(&now.risen_since(then));
        *then = now;
    }
    let tree = plan.server_pid.map(Tree::of);
    let tree_cpu_s = tree.and_then(|tree| tree.cpu().ok()).map(|cpu| cpu.as_secs_f64());
    let resident = tree.and_then(|tree| tree.resident_bytes().ok());
    let since = |now: Option<f64>, then: Option<f64>| now.zip(then).map(|(now, then)| (now - then).max(0.0));
    let count = |value: Option<f64>| value.map(|value| value as u64);
    let sample = ServerSample {
        cpu_s: since(tree_cpu_s, before.tree_cpu_s).or(risen.cpu_s),
        memory_bytes: resident.or(count(metrics.memory_bytes)),
        parked_polls: count(metrics.parked_polls),
        connections: count(metrics.connections),
        polls: count(risen.polls),
        requests_saved: count(risen.requests_saved),
        online_users: count(metrics.online_users),
        pressure_step: count(metrics.pressure_step),
        priority_gap: count(risen.priority_gap),
    };
    before.tree_cpu_s = tree_cpu_s;
    sample
}

/// Who is in the watched room by the server's own numbers, if it tells them in time.
fn told(plan: &RunPlan) -> Option<Present> {
    #[derive(Deserialize)]
    struct Numbers {
        num_users: u64,
        num_clients: u64,
    }
    let mut request = Vec::new();
    Requests::new(plan).stats(&mut request);
    let mut stream = TcpStream::connect_timeout(&plan.targets.first()?.address, SCRAPE_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(SCRAPE_TIMEOUT)).ok()?;
    stream.write_all(&request).ok()?;
    let mut answer = Vec::new();
    stream.take(NUMBERS_BYTES_MAX).read_to_end(&mut answer).ok()?;
    let head = Head::of(&answer).ok()?.filter(|head| head.status == 200)?;
    let numbers: Numbers = serde_json::from_slice(answer.get(head.head..head.length())?).ok()?;
    Some(Present { users: numbers.num_users, clients: numbers.num_clients })
}

/// The metrics of a server, if it tells them in time.
fn scrape(target: &Target) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&target.address, SCRAPE_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(SCRAPE_TIMEOUT)).ok()?;
    // HTTP/1.0: the end of the body is the end of the connection.
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", target.authority).ok()?;
    let mut text = String::new();
    stream.take(METRICS_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

impl Metrics {
    /// Those of one server, its series added up.
    fn of(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let name = series.split('{').next().unwrap_or(series);
            let field = match name {
                "process_cpu_seconds_total" => &mut metrics.cpu_s,
                "process_resident_memory_bytes" => &mut metrics.memory_bytes,
                "bigroom_parked_polls" => &mut metrics.parked_polls,
                "bigroom_connections" => &mut metrics.connections,
                "bigroom_polls_total" => &mut metrics.polls,
                "bigroom_requests_saved_total" => &mut metrics.requests_saved,
                "bigroom_online_users" => &mut metrics.online_users,
                "bigroom_priority_gap_total" => &mut metrics.priority_gap,
                "bigroom_pressure_step" => &mut metrics.pressure_step,
                _ => continue,
            };
            *field = Some(field.unwrap_or(0.0) + value);
        }
        metrics
    }

    /// Adds those of another server. Each one tells who is online in the whole cluster, and has a pressure of its own.
    fn add(&mut self, other: &Self) {
        let fold = |sum: &mut Option<f64>, value: Option<f64>, how: fn(f64, f64) -> f64| {
            if let Some(value) = value {
                *sum = Some(sum.map_or(value, |sum| how(sum, value)));
            }
        };
        let plus = |a, b| a + b;
        fold(&mut self.cpu_s, other.cpu_s, plus);
        fold(&mut self.memory_bytes, other.memory_bytes, plus);
        fold(&mut self.parked_polls, other.parked_polls, plus);
        fold(&mut self.connections, other.connections, plus);
        fold(&mut self.polls, other.polls, plus);
        fold(&mut self.requests_saved, other.requests_saved, plus);
        fold(&mut self.priority_gap, other.priority_gap, plus);
        fold(&mut self.online_users, other.online_users, f64::max);
        fold(&mut self.pressure_step, other.pressure_step, f64::max);
    }

    /// What the counters rose by since `then`; all of it, if the server was started anew meanwhile.
    fn risen_since(&self, then: &Self) -> Self {
        let risen = |now: Option<f64>, then: Option<f64>| {
            let (now, then) = now.zip(then)?;
            Some(if now < then { now } else { now - then })
        };
        Self {
            cpu_s: risen(self.cpu_s, then.cpu_s),
            polls: risen(self.polls, then.polls),
            requests_saved: risen(self.requests_saved, then.requests_saved),
            priority_gap: risen(self.priority_gap, then.priority_gap),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_and_servers_add_up() {
        let text = "# HELP x\nbigroom_polls_total{outcome=\"ready\"} 3\nbigroom_polls_total{outcome=\"woken\"} 4\nbigroom_pressure_step 1\nbigroom_polls_totality 9\nnonsense\nbigroom_online_users{sect=\"a\"} 5\nbigroom_online_users{sect=\"b\"} 2\n";
        let mut metrics = Metrics::of(text);
        assert_eq!((metrics.polls, metrics.online_users), (Some(7.0), Some(7.0)));
        metrics.add(&Metrics::of("bigroom_polls_total{outcome=\"ready\"} 10\nbigroom_pressure_step 0\nbigroom_online_users{sect=\"a\"} 6\n"));
        assert_eq!((metrics.polls, metrics.pressure_step, metrics.cpu_s), (Some(17.0), Some(1.0), None));
        assert_eq!(metrics.online_users, Some(7.0), "each server tells of the whole cluster");
    }

    #[test]
    fn counters_rise_by_what_came_since() {
        let polls = |polls| Metrics { polls, online_users: Some(9.0), ..Metrics::default() };
        for (then, now, expect) in [
            (Some(5.0), Some(8.0), Some(3.0)),
            (Some(5.0), Some(2.0), Some(2.0)),
            (None, Some(8.0), None),
            (Some(5.0), None, None),
        ] {
            let risen = polls(now).risen_since(&polls(then));
            assert_eq!((risen.polls, risen.online_users), (expect, None), "{then:?} {now:?}");
        }
    }

    #[test]
    fn own_process_takes_time_and_memory() {
        assert!(own_cpu_s() > 0.0);
        assert!(own_memory_bytes() > 100_000);
    }
}
