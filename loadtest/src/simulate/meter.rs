//! What is measured, in samples of a few seconds.

use room::{List, PerList};
use serde::Serialize;

use super::setup::Setup;
use crate::run::{Latencies, LatencyRecorder};

/// Messages of an answer whose ages are recorded, each for its share of the others: they are evenly spread, and an answer of
/// a thousand messages has nothing more to say than that.
const AGES_MAX: u64 = 8;

/// Counts of the time under way, of simulated clients.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counts {
    pub(super) polls: u64,
    pub(super) answers: u64,
    pub(super) messages: u64,
    pub(super) refused: u64,
    pub(super) connects: u64,
    pub(super) reconnects: u64,
    pub(super) sends: u64,
    pub(super) notices: u64,
    pub(super) follows: u64,
}

/// A proxy's second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) is_alive: bool,
    /// Share of its processor time; above 1, there was more to do than it could.
    pub(super) cpu: f64,
    /// Longest wait in its queue (microseconds).
    pub(super) lag_us: u64,
}

/// What is to be seen at the end of a second.
#[derive(Debug)]
pub(super) struct Sight<'l> {
    pub(super) present: f64,
    pub(super) users: u64,
    pub(super) interval_s: f64,
    pub(super) factor: f64,
    pub(super) step: u8,
    pub(super) sect: u16,
    pub(super) loads: &'l [Load],
    pub(super) recvsvr_cpu: f64,
}

/// What some seconds were like. Rates are of the real cluster; ages are not a number where there were none.
#[derive(Clone, PartialEq, Default, Serialize, Debug)]
pub(super) struct Sample {
    /// End of it (seconds of virtual time).
    pub(super) at_s: u32,
    /// Viewers of the first room.
    pub(super) online: f64,
    /// The same, as nodes know it.
    pub(super) users: u64,
    /// Longest that any node holds viewers of the first room (seconds).
    pub(super) interval_s: f64,
    /// Greatest load factor of any node.
    pub(super) load_factor: f64,
    /// Highest pressure step of any node.
    pub(super) pressure_step: u8,
    /// Sect of the first room.
    pub(super) sect: u16,
    /// Polls at the proxies a second.
    pub(super) polls_per_s: f64,
    /// Answers of the proxies a second.
    pub(super) answers_per_s: f64,
    /// Messages delivered to viewers a second.
    pub(super) delivered_per_s: f64,
    /// Notices to proxies a second.
    pub(super) notices_per_s: f64,
    /// Sends a second in the simulated rooms.
    pub(super) sends_per_s: f64,
    /// Connections made a second.
    pub(super) connects_per_s: f64,
    /// Of those, the ones after a loss.
    pub(super) reconnects_per_s: f64,
    /// Polls refused a second.
    pub(super) refused_per_s: f64,
    /// Processor share of the proxies, on average and of the busiest.
    pub(super) proxy_cpu: f64,
    pub(super) proxy_cpu_most: f64,
    /// Processor share of the busiest recvsvr.
    pub(super) recvsvr_cpu_most: f64,
    /// Longest wait in a proxy's queue (milliseconds).
    pub(super) lag_ms: f64,
    /// Ages of the first room's messages (milliseconds).
    pub(super) normal_p50_ms: Option<f64>,
    pub(super) normal_p99_ms: Option<f64>,
    pub(super) priority_p50_ms: Option<f64>,
    pub(super) priority_p99_ms: Option<f64>,
    /// Ages in the other rooms (milliseconds).
    pub(super) others_p50_ms: Option<f64>,
    pub(super) others_p99_ms: Option<f64>,
    pub(super) others_priority_p99_ms: Option<f64>,
}

/// Whether every simulated viewer got everything once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Debug)]
pub(super) struct Verdict {
    /// Messages that a viewer's cursor passed over without a word.
    pub(super) lost: u64,
    /// Messages that a viewer got twice.
    pub(super) repeated: u64,
    /// Messages that viewers were told to miss, by list.
    #[serde(serialize_with = "as_pair")]
    pub(super) skipped: PerList<u64>,
    /// Viewers who were there at the end and did not have everything by then.
    pub(super) unread: u64,
}

/// What a simulation gave.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Outcome {
    pub(super) samples: Vec<Sample>,
    pub(super) verdict: Verdict,
    /// Ages of the first room over the whole time, by `mark::List`'s index: priority, normal.
    #[serde(skip)]
    pub(super) ages: [Latencies; 2],
    /// Answers of the whole time, of simulated clients, and messages in them.
    pub(super) answers: u64,
    pub(super) messages: u64,
}

/// Measures.
pub(super) struct Meter {
    pub(super) now: Counts,
    pub(super) verdict: Verdict,
    weight: f64,
    notices_each: f64,
    sample_s: u32,
    second: u32,
    /// Of the first room, by list, and of the others.
    ages: PerList<LatencyRecorder>,
    others: PerList<LatencyRecorder>,
    all: [Latencies; 2],
    sums: Sums,
    totals: (u64, u64),
    samples: Vec<Sample>,
}

/// Over the seconds of a sample.
#[derive(Clone, Copy, Default, Debug)]
struct Sums {
    cpu: f64,
    cpu_most: f64,
    recvsvr_cpu: f64,
    lag_us: u64,
    factor: f64,
    step: u8,
    interval_s: f64,
}

impl Meter {
    pub(super) fn new(setup: &Setup) -> Self {
        let recorders = || PerList::from_fn(|_| LatencyRecorder::new());
        Self {
            now: Counts::default(),
            verdict: Verdict::default(),
            weight: setup.weight,
            notices_each: setup.front.real / f64::from(setup.front.proxies),
            sample_s: setup.sample_s,
            second: 0,
            ages: recorders(),
            others: recorders(),
            all: [Latencies::default(), Latencies::default()],
            sums: Sums::default(),
            totals: (0, 0),
            samples: Vec::new(),
        }
    }

    /// Counts an answer.
    pub(super) fn answered(&mut self, messages: u64) {
        self.now.answers += 1;
        self.now.messages += messages;
    }

    /// Records the ages of `count` messages from `from` on; `age` has none for those that are older than the viewer.
    pub(super) fn ages(
        &mut self,
        is_first_room: bool,
        list: List,
        from: u64,
        count: u64,
        age: impl Fn(u64) -> Option<u64>,
    ) {
        let recorder = if is_first_room { &mut self.ages[list] } else { &mut self.others[list] };
        let parts = count.min(AGES_MAX);
        for part in 0..parts {
            let (begin, end) = (count * part / parts, count * (part + 1) / parts);
            if let Some(age_us) = age(from + (begin + end) / 2) {
                recorder.record(age_us, end - begin);
            }
        }
    }

    /// A second is over; a sample, if it was its last.
    pub(super) fn end_second(&mut self, sight: &Sight<'_>) {
        self.second += 1;
        let alive = || sight.loads.iter().filter(|load| load.is_alive);
        let sums = &mut self.sums;
        sums.cpu += alive().map(|load| load.cpu).sum::<f64>() / alive().count().max(1) as f64;
        sums.cpu_most = alive().map(|load| load.cpu).fold(sums.cpu_most, f64::max);
        sums.lag_us = alive().map(|load| load.lag_us).fold(sums.lag_us, u64::max);
        sums.recvsvr_cpu = sums.recvsvr_cpu.max(sight.recvsvr_cpu);
        sums.factor = sums.factor.max(sight.factor);
        sums.step = sums.step.max(sight.step);
        sums.interval_s = sums.interval_s.max(sight.interval_s);
        if self.second.is_multiple_of(self.sample_s) {
            self.end_sample(sight);
        }
    }

    fn end_sample(&mut self, sight: &Sight<'_>) {
        let (now, sums) = (std::mem::take(&mut self.now), std::mem::take(&mut self.sums));
        let seconds = f64::from(self.sample_s);
        let rate = |count: u64| count as f64 * self.weight / seconds;
        let taken = |recorders: &mut PerList<LatencyRecorder>, list| recorders[list].take();
        let (normal, priority) = (taken(&mut self.ages, List::Normal), taken(&mut self.ages, List::Priority));
        let (others, others_priority) =
            (taken(&mut self.others, List::Normal), taken(&mut self.others, List::Priority));
        let at = |ages: &Latencies, quantile| ages.quantile(quantile).map(|age| age.as_micros() as f64 / 1e3);
        self.totals = (self.totals.0 + now.answers, self.totals.1 + now.messages);
        self.samples.push(Sample {
            at_s: self.second,
            online: sight.present,
            users: sight.users,
            interval_s: sums.interval_s,
            load_factor: sums.factor,
            pressure_step: sums.step,
            sect: sight.sect,
            polls_per_s: rate(now.polls),
            answers_per_s: rate(now.answers),
            delivered_per_s: rate(now.messages),
            notices_per_s: now.notices as f64 * self.notices_each / seconds,
            sends_per_s: now.sends as f64 / seconds,
            connects_per_s: rate(now.connects),
            reconnects_per_s: rate(now.reconnects),
            refused_per_s: rate(now.refused),
            proxy_cpu: sums.cpu / seconds,
            proxy_cpu_most: sums.cpu_most,
            recvsvr_cpu_most: sums.recvsvr_cpu,
            lag_ms: sums.lag_us as f64 / 1e3,
            normal_p50_ms: at(&normal, 0.5),
            normal_p99_ms: at(&normal, 0.99),
            priority_p50_ms: at(&priority, 0.5),
            priority_p99_ms: at(&priority, 0.99),
            others_p50_ms: at(&others, 0.5),
            others_p99_ms: at(&others, 0.99),
            others_priority_p99_ms: at(&others_priority, 0.99),
        });
        self.all[0].merge(&priority);
        self.all[1].merge(&normal);
    }

    pub(super) fn outcome(self) -> Outcome {
        let (answers, messages) = self.totals;
        Outcome { samples: self.samples, verdict: self.verdict, ages: self.all, answers, messages }
    }
}

fn as_pair<S: serde::Serializer>(counts: &PerList<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([("priority", counts.priority), ("normal", counts.normal)])
}
