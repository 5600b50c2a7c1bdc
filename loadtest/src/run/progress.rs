//! What a run tells while it goes on: a bar on a terminal, lines elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{RunPlan, Sample};
use crate::mark::List;

/// Lines that a run writes at most, where no bar can be drawn.
const LINES_MAX: u64 = 120;

/// Shows the seconds of a run.
#[derive(Debug)]
pub(crate) struct Progress {
    kind: Kind,
    duration_s: u64,
}

#[derive(Debug)]
enum Kind {
    Bar(ProgressBar),
    /// A line every so many seconds.
    Lines(u64),
    Quiet,
}

impl Progress {
    /// Of a run: a bar where stderr is a terminal, lines where not, nothing where nothing is to be shown.
    pub(crate) fn new(plan: &RunPlan) -> Self {
        let duration_s = (plan.profile.clock_duration() + plan.profile.settle).as_secs();
        let kind = if !plan.shows_progress {
            Kind::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(duration_s), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} s  {wide_msg}")
                .expect("the template is good");
            bar.set_style(style);
            bar.set_prefix(plan.profile.name.clone());
            // Also between seconds, so that it stays where it is when the window changes.
            bar.enable_steady_tick(Duration::from_millis(500));
            Kind::Bar(bar)
        } else {
            Kind::Lines(duration_s.div_ceil(LINES_MAX).max(1))
        };
        Self { kind, duration_s }
    }

    /// Shows a second.
    pub(crate) fn show(&self, sample: &Sample) {
        match &self.kind {
            Kind::Bar(bar) => {
                bar.set_position(u64::from(sample.at_s) + 1);
                bar.set_message(line_of(sample));
            }
            Kind::Lines(every) if u64::from(sample.at_s).is_multiple_of(*every) => {
                eprintln!("{:>4}/{} s  {}", sample.at_s + 1, self.duration_s, line_of(sample));
            }
            Kind::Lines(_) | Kind::Quiet => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

/// A second in one line.
fn line_of(sample: &Sample) -> String {
    let counters = &sample.counters;
    let p99 = |list: List| match sample.ages[list.index()].quantile(0.99) {
        Some(age) => format!("{:.1} ms", age.as_secs_f64() * 1e3),
        None => "-".to_owned(),
    };
    let mut line = format!(
        "{} connected, {} parked, {} polls/s, {} messages/s, p99 normal {}, priority {}, {} errors",
        sample.connected,
        sample.parked,
        counters.polls,
        counters.received[0] + counters.received[1],
        p99(List::Normal),
        p99(List::Priority),
        counters.errors_all()
    );
    if let Some((what, _)) = counters.errors.iter().max_by_key(|(_, count)| **count) {
        line += &format!(" ({what})");
    }
    if let Some(cpu_s) = sample.server.and_then(|server| server.cpu_s) {
        line += &format!(", server {:.0} % CPU", cpu_s * 1e2);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_the_most_frequent_error() {
        let mut sample = Sample { connected: 7, ..Sample::default() };
        assert!(line_of(&sample).contains("7 connected") && line_of(&sample).ends_with("0 errors"));
        sample.counters.add_error("poll 503 node_full", 2);
        sample.counters.add_error("poll overdue", 1);
        assert!(line_of(&sample).ends_with("3 errors (poll 503 node_full)"), "{}", line_of(&sample));
    }
}
