//! A scenario's plots: what comes in, how old messages are, what the nodes do.

use super::{Played, Sample};
use crate::report::plot::{Axis, Chart, Series};

/// File names and pictures.
pub(super) fn of(played: &Played) -> Vec<(String, String)> {
    let Played { scenario, outcome, .. } = played;
    let samples = &outcome.samples;
    let charts = [("requests", requests(samples)), ("ages", ages(samples)), ("nodes", nodes(samples))];
    charts
        .into_iter()
        .map(|(name, mut chart)| {
            chart.title = format!("{}: {}", scenario.title, chart.title);
            (format!("simulation-{}-{name}.svg", scenario.name), chart.svg_file())
        })
        .collect()
}

fn line(name: &str, samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Series {
    Series::line(name, samples.iter().map(|sample| (f64::from(sample.at_s), of(sample))).collect())
}

fn time() -> Axis {
    Axis::linear("virtual time (s)")
}

fn requests(samples: &[Sample]) -> Chart {
    let series = vec![
        line("viewers", samples, |sample| sample.online),
        line("polls/s", samples, |sample| sample.polls_per_s),
        line("notices/s", samples, |sample| sample.notices_per_s),
        line("connections/s", samples, |sample| sample.connects_per_s),
        line("refused/s", samples, |sample| sample.refused_per_s),
    ];
    Chart::new("viewers and requests", time(), Axis::log("count"), series)
}

fn ages(samples: &[Sample]) -> Chart {
    let seconds = |age_ms: Option<f64>| age_ms.map_or(f64::NAN, |age_ms| age_ms / 1e3);
    let series = vec![
        line("normal p50", samples, |sample| seconds(sample.normal_p50_ms)),
        line("normal p99", samples, |sample| seconds(sample.normal_p99_ms)),
        line("priority p50", samples, |sample| seconds(sample.priority_p50_ms)),
        line("priority p99", samples, |sample| seconds(sample.priority_p99_ms)),
        line("other rooms p99", samples, |sample| seconds(sample.others_p99_ms)),
        line("interval", samples, |sample| sample.interval_s),
    ];
    Chart::new("age of messages", time(), Axis::linear("age (s)"), series)
}

fn nodes(samples: &[Sample]) -> Chart {
    let series = vec![
        line("proxy CPU, mean", samples, |sample| sample.proxy_cpu * 100.0),
        line("proxy CPU, busiest second", samples, |sample| sample.proxy_cpu_most * 100.0),
        line("busiest recvsvr", samples, |sample| sample.recvsvr_cpu_most * 100.0),
        line("load factor × 10", samples, |sample| sample.load_factor * 10.0),
        line("pressure step × 10", samples, |sample| f64::from(sample.pressure_step) * 10.0),
    ];
    Chart::new("nodes", time(), Axis::linear("%"), series)
}

/// A number in a table: `2.7M`, `450k`, `12`.
pub(super) fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2}M", value / 1e6),
        1e3.. => format!("{:.1}k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}
