//! The plots of a run: each about one question, over time.

use crate::{
    mark::List,
    profile::Profile,
    report::plot::{Axis, BarChart, BarSeries, Chart, Series},
    run::{RunOutcome, Sample, ServerSample},
    stats::Spread,
};

const MIB: f64 = 1024.0 * 1024.0;
const KIB: f64 = 1024.0;
/// Shares of all ages that the overview shows.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)];
/// Runs up to this long (seconds) are shown in seconds, longer ones in minutes.
const SECONDS_MAX: u32 = 600;
/// Least parked polls for a share of memory to mean anything: below, it is the server's own that is divided.
const PARKED_MIN: f64 = 100.0;

/// All plots that the run has values for, as SVG, in the order of the report.
pub(super) fn plots(outcome: &RunOutcome, profile: &Profile) -> Vec<String> {
    let over = Over::new(outcome, moments(profile));
    let mut charts: Vec<Chart> = List::ALL.into_iter().map(|list| ages(&over, list)).collect();
    charts.extend([
        delivered(&over),
        sent(&over),
        requests(&over),
        cpu(&over),
        cpu_per_delivery(&over),
        memory(&over),
        memory_per_poll(&over),
        connections(&over),
        online(&over),
        pressure(&over),
        mishaps(&over),
    ]);
    charts.retain(|chart| !chart.is_empty());
    ages_in_all(outcome).iter().map(BarChart::svg).chain(charts.iter().map(Chart::svg)).collect()
}

/// Moments of the profile that show in every plot: when clients were cut off, and when they could come back.
fn moments(profile: &Profile) -> Vec<(f64, String)> {
    let on_clock = |time| profile.on_clock(time).as_secs_f64();
    let cuts = profile.crowd.cut.iter().flat_map(|cut| {
        let back = on_clock(cut.at + cut.back_after);
        [
            (on_clock(cut.at), format!("{:.0} % of the clients are cut off", cut.share * 100.0)),
            (back, "they begin to come back".to_owned()),
        ]
    });
    cuts.collect()
}

/// Samples with the time axis that suits them.
struct Over<'o> {
    samples: &'o [Sample],
    moments: Vec<(f64, String)>,
    /// Seconds in a unit of the axis.
    unit_s: f64,
    label: &'static str,
}

impl<'o> Over<'o> {
    fn new(outcome: &'o RunOutcome, moments: Vec<(f64, String)>) -> Self {
        let (unit_s, label) = if outcome.duration_s() > SECONDS_MAX {
            (60.0, "minutes since the start")
        } else {
            (1.0, "seconds since the start")
        };
        Self { samples: &outcome.samples, moments, unit_s, label }
    }

    /// Where a second stands: at its end, for then it is counted.
    fn place(&self, sample: &Sample) -> f64 {
        f64::from(sample.at_s + 1) / self.unit_s
    }

    /// A line with a point for each second; what is not finite makes a hole.
    fn line(&self, name: &str, value: impl Fn(&Sample) -> f64) -> Series {
        let points = self.samples.iter().map(|sample| (self.place(sample), value(sample)));
        Series::line(name, points.collect())
    }

    /// The same of what the server tells.
    fn server(&self, name: &str, value: impl Fn(&ServerSample) -> Option<f64>) -> Series {
        self.line(name, |sample| sample.server.as_ref().and_then(&value).unwrap_or(f64::NAN))
    }

    fn chart(&self, title: &str, remark: &str, y: Axis, mut series: Vec<Series>) -> Chart {
        // A line without a value would only be a name in the legend.
        series.retain(Series::has_values);
        let mut chart = Chart::new(title, Axis::linear(self.label), y, series);
        remark.clone_into(&mut chart.remark);
        chart.marks = self.moments.iter().map(|(at_s, name)| (at_s / self.unit_s, name.clone())).collect();
        chart
    }
}

/// Ages over the whole run, of the crowd beside the probes; `None` if no message was received.
fn ages_in_all(outcome: &RunOutcome) -> Option<BarChart> {
    let series: Vec<BarSeries> = List::ALL
        .into_iter()
        .flat_map(|list| {
            let (crowd, probes) = (&outcome.ages[list.index()], &outcome.probe_ages[list.index()]);
            [(list.name().to_owned(), crowd), (format!("{}, probes", list.name()), probes)]
        })
        .filter(|(_, ages)| !ages.is_empty())
        .map(|(name, ages)| {
            let bars = QUANTILES.map(|(_, quantile)| Spread::of([ages.quantile_ms(quantile)]));
            BarSeries { name, bars: bars.to_vec() }
        })
        .collect();
    (!series.is_empty()).then(|| BarChart {
        title: "Ages over the whole run".to_owned(),
        remark:
            "Probes have a thread of their own: where their ages are much lower, the load test was the queue."
                .to_owned(),
        y: Axis::log("age (ms)"),
        groups: QUANTILES.map(|(name, _)| name.to_owned()).to_vec(),
        series,
    })
}

fn ages(over: &Over<'_>, list: List) -> Chart {
    let at = list.index();
    let quantile = |quantile| move |sample: &Sample| sample.ages[at].quantile_ms(quantile);
    let (median, most) = (quantile(0.5), quantile(0.99));
    let band = over.samples.iter().map(|sample| (over.place(sample), median(sample), most(sample))).collect();
    over.chart(
        &format!("Age of {} messages when a viewer has them", list.name()),
        "From when a message was due, so that a send that waited counts in full.",
        Axis::log("age (ms)"),
        vec![
            Series::band("p50 to p99", band),
            over.line("p99.9", quantile(0.999)),
            over.line("longest", quantile(1.0)),
        ],
    )
}

fn delivered(over: &Over<'_>) -> Chart {
    let received =
        |name, list: List| over.line(name, move |sample| sample.counters.received[list.index()] as f64);
    over.chart(
        "Messages delivered",
        "Over all viewers.",
        Axis::linear("messages a second"),
        vec![received("normal", List::Normal), received("priority", List::Priority)],
    )
}

fn sent(over: &Over<'_>) -> Chart {
    let sum = |name, of: fn(&Sample) -> [u64; 2]| {
        over.line(name, move |sample| of(sample).iter().sum::<u64>() as f64)
    };
    over.chart(
        "Messages sent",
        "",
        Axis::linear("messages a second"),
        vec![
            sum("due", |sample| sample.counters.due),
            sum("acknowledged", |sample| sample.counters.acknowledged),
            sum("refused", |sample| sample.counters.refused),
        ],
    )
}

fn requests(over: &Over<'_>) -> Chart {
    over.chart(
        "Requests",
        "",
        Axis::linear("requests a second"),
        vec![
            over.line("polls", |sample| sample.counters.polls as f64),
            over.line("answers", |sample| sample.counters.answers as f64),
            over.line("answers without a message", |sample| sample.counters.empty_answers as f64),
            over.line("new connections", |sample| sample.counters.connects as f64),
        ],
    )
}

fn cpu(over: &Over<'_>) -> Chart {
    over.chart(
        "Processor time",
        "",
        Axis::linear("cores"),
        vec![
            over.server("server", |server| server.cpu_s),
            over.line("load test", |sample| sample.client_cpu_s),
        ],
    )
}

fn cpu_per_delivery(over: &Over<'_>) -> Chart {
    let per_delivery = |sample: &Sample| {
        let received = sample.counters.received.iter().sum::<u64>() as f64;
        let cpu_s = sample.server.and_then(|server| server.cpu_s);
        cpu_s.filter(|_| received > 0.0).map_or(f64::NAN, |cpu_s| cpu_s * 1e6 / received)
    };
    over.chart(
        "Server CPU for each message delivered",
        "Everything that the server did in the second, divided by the messages that viewers received in it.",
        Axis::log("CPU a delivery (µs)"),
        vec![over.line("server", per_delivery)],
    )
}

fn memory(over: &Over<'_>) -> Chart {
    over.chart(
        "Memory",
        "",
        Axis::linear("memory (MiB)"),
        vec![
            over.server("server", |server| Some(server.memory_bytes? as f64 / MIB)),
            over.line("load test", |sample| sample.client_memory_bytes as f64 / MIB),
        ],
    )
}

fn memory_per_poll(over: &Over<'_>) -> Chart {
    let before = over.samples.iter().find_map(|sample| sample.server?.memory_bytes).unwrap_or(0);
    let per_poll = |server: &ServerSample| {
        let parked =
            server.parked_polls.map(|parked| parked as f64).filter(|parked| *parked >= PARKED_MIN)?;
        Some(server.memory_bytes?.saturating_sub(before) as f64 / KIB / parked)
    };
    over.chart(
        "Server memory for each parked poll",
        "What the server took on top of its first second.",
        Axis::linear("memory a parked poll (KiB)"),
        vec![over.server("server", per_poll)],
    )
}

fn connections(over: &Over<'_>) -> Chart {
    over.chart(
        "Connections",
        "",
        Axis::linear("connections"),
        vec![
            over.line("clients connected", |sample| sample.connected as f64),
            over.line("of those, waiting for an answer", |sample| sample.parked as f64),
            over.server("open on the server", |server| server.connections.map(|count| count as f64)),
            over.server("polls parked on the server", |server| server.parked_polls.map(|count| count as f64)),
        ],
    )
}

fn online(over: &Over<'_>) -> Chart {
    // A server that never tells leaves a plot of the truth alone, which `connections` shows already.
    let tells = over.samples.iter().any(|sample| {
        sample.server_users.is_some() || sample.server.is_some_and(|server| server.online_users.is_some())
    });
    let samples: &[Sample] = if tells { over.samples } else { &[] };
    let over = Over { samples, moments: over.moments.clone(), ..*over };
    over.chart(
        "Online count against the truth",
        "",
        Axis::linear("users"),
        vec![
            over.line("watched room: truth", |sample| sample.watched_users as f64),
            over.line("watched room: told in answers", |sample| {
                sample.server_users.map_or(f64::NAN, |users| users as f64)
            }),
            over.line("all rooms: truth", |sample| sample.online_users as f64),
            over.server("all rooms: server", |server| server.online_users.map(|users| users as f64)),
        ],
    )
}

fn pressure(over: &Over<'_>) -> Chart {
    let steps = over.server("server", |server| server.pressure_step.map(|step| step as f64));
    over.chart(
        "Pressure step of the server",
        "How far it has gone in giving up comfort to keep what matters.",
        Axis::linear("step"),
        vec![steps],
    )
}

fn mishaps(over: &Over<'_>) -> Chart {
    let sum = |name, of: fn(&Sample) -> [u64; 2]| {
        over.line(name, move |sample| of(sample).iter().sum::<u64>() as f64)
    };
    over.chart(
        "Errors and late sends",
        "",
        Axis::linear("a second"),
        vec![
            over.line("errors", |sample| sample.counters.errors_all() as f64),
            sum("sends that went out late", |sample| sample.counters.late),
            sum("sends that never went out", |sample| sample.counters.missed),
        ],
    )
}
