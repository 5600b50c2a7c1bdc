//! The report as Markdown.

use std::fmt::{self, Write as _};

use super::{Report, Subject};
use crate::{
    audit::Verdict,
    bench::{Figure, Run},
    stats::Spread,
};

/// The contender whose ratios to the others are shown.
const OURS: &str = "bigroom";
/// What others may take of one core before the report warns of them.
const NOISE_SHARE: f64 = 0.1;

impl Report {
    /// The whole report.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        self.write_all(&mut out).expect("memory takes all writes");
        out
    }

    fn write_all(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# What it costs\n")?;
        if self.is_quick {
            writeln!(out, "**A quick run: it shows that everything works, not what it costs.**\n")?;
        }
        writeln!(
            out,
            "All figures are of one run, in which the servers took turns; compare within it, not between runs."
        )?;
        writeln!(
            out,
            "Cells are the median of {} repeats (least to most). CPU is user and system time of the server's",
            self.repeats
        )?;
        writeln!(out, "processes. A ratio is the median of the repeats' ratios.\n")?;
        self.write_verdict(out)?;
        for (name, story) in &self.stories {
            self.write_scenario(out, name, story)?;
        }
        self.write_conditions(out)
    }

    fn write_verdict(&self, out: &mut String) -> fmt::Result {
        let word = if self.is_clean() { "clean" } else { "NOT CLEAN: the figures do not count" };
        writeln!(out, "## Verdict: {word}\n")?;
        for Subject { name: contender, .. } in &self.subjects {
            let mut sum = Verdict::default();
            self.runs
                .iter()
                .filter(|run| run.contender == *contender)
                .for_each(|run| sum.add(&run.outcome.verdict));
            writeln!(out, "- {contender}: {}", sum.summary())?;
        }
        if let Some(others) = self.others_share().filter(|others| others.median > NOISE_SHARE) {
            writeln!(
                out,
                "\n**Noisy: other processes took {:.0} % of one core's time in the median of the runs.** Only large \
                 differences mean anything.",
                others.median * 100.0
            )?;
        }
        for note in &self.notes {
            writeln!(out, "\n{note}")?;
        }
        writeln!(out)
    }

    fn write_scenario(&self, out: &mut String, name: &str, story: &str) -> fmt::Result {
        writeln!(out, "## {}{}\n\n{story}\n", name[..1].to_uppercase(), &name[1..])?;
        let contenders = self.contenders(|run| run.scenario == name);
        let others: Vec<_> =
            contenders.iter().filter(|other| **other != OURS && contenders.contains(&OURS)).collect();
        write!(out, "| |")?;
        contenders.iter().try_for_each(|contender| write!(out, " {contender} |"))?;
        others.iter().try_for_each(|other| write!(out, " {OURS} / {other} |"))?;
        writeln!(out, "\n| --- |{}", " --- |".repeat(contenders.len() + others.len()))?;
        for figure in self.figures(name) {
            let unit = if figure.unit().is_empty() { String::new() } else { format!(" ({})", figure.unit()) };
            write!(out, "| {}{unit} |", figure.title())?;
            for contender in &contenders {
                let spread =
                    Spread::of(self.values(name, contender, figure).into_iter().map(|(_, value)| value));
                write!(out, " {} |", spread.map_or("-".to_owned(), |spread| shown(figure, spread)))?;
            }
            for other in &others {
                let ratio = self.ratio(name, figure, other);
                write!(
                    out,
                    " {} |",
                    ratio.map_or("-".to_owned(), |spread| format!(
                        "{:.2} ({:.2} to {:.2})",
                        spread.median, spread.min, spread.max
                    ))
                )?;
            }
            writeln!(out)?;
        }
        writeln!(out)
    }

    fn write_conditions(&self, out: &mut String) -> fmt::Result {
        let machine = &self.machine;
        writeln!(out, "## Conditions\n")?;
        writeln!(out, "- Command: `{}`", self.command)?;
        writeln!(out, "- Commit {}; load test built as {}", machine.commit, machine.client_profile)?;
        writeln!(
            out,
            "- {} with {} cores, {} MiB; Linux {}",
            machine.cpu, machine.cores, machine.memory_mib, machine.kernel
        )?;
        writeln!(
            out,
            "- {:.0} s in all; load average {} before, {} after",
            self.duration_s, machine.load, self.load_after
        )?;
        if let Some(others) = self.others_share() {
            writeln!(
                out,
                "- Other processes took {:.1} % of one core's time in the median of the runs, {:.1} % in the worst",
                others.median * 100.0,
                others.max * 100.0
            )?;
        }
        writeln!(out, "- Except for the sends, the server has one core for itself, and the client another")?;
        for subject in &self.subjects {
            writeln!(out, "- {}: {}", subject.name, subject.about)?;
        }
        Ok(())
    }

    /// Who played, in the order of their first run.
    fn contenders(&self, wanted: impl Fn(&Run) -> bool) -> Vec<&'static str> {
        let mut names = Vec::new();
        for run in self.runs.iter().filter(|run| wanted(run)) {
            if !names.contains(&run.contender) {
                names.push(run.contender);
            }
        }
        names
    }

    /// Figures of a scenario, in the order of the contender that has most.
    fn figures(&self, scenario: &str) -> Vec<Figure> {
        let runs = self.runs.iter().filter(|run| run.scenario == scenario);
        let longest = runs.max_by_key(|run| run.outcome.figures.len());
        longest.map(|run| run.outcome.figures.iter().map(|(figure, _)| *figure).collect()).unwrap_or_default()
    }

    /// Values of a figure, with the repeat each is from.
    fn values(&self, scenario: &str, contender: &str, figure: Figure) -> Vec<(u32, f64)> {
        self.runs
            .iter()
            .filter(|run| run.scenario == scenario && run.contender == contender)
            .filter_map(|run| Some((run.repeat, run.outcome.figures.iter().find(|(of, _)| *of == figure)?.1)))
            .collect()
    }

    /// Ours to another's, repeat by repeat.
    fn ratio(&self, scenario: &str, figure: Figure, other: &str) -> Option<Spread> {
        let theirs = self.values(scenario, other, figure);
        let ratios = self.values(scenario, OURS, figure).into_iter().filter_map(|(repeat, ours)| {
            let (_, theirs) = theirs.iter().find(|(of, _)| *of == repeat)?;
            Some(ours / theirs)
        });
        Spread::of(ratios)
    }

    /// What others took of the machine, as a share of one core.
    fn others_share(&self) -> Option<Spread> {
        Spread::of(
            self.runs
                .iter()
                .filter_map(|run| run.outcome.spent)
                .map(|spent| spent.others_cpu_s / spent.wall_s),
        )
    }
}

fn shown(figure: Figure, spread: Spread) -> String {
    format!("{} ({} to {})", figure.show(spread.median), figure.show(spread.min), figure.show(spread.max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bench::Outcome, machine::Machine};

    fn run(contender: &'static str, repeat: u32, value: f64, lost: u64) -> Run {
        let verdict = Verdict { acknowledged: 1, received: 10, lost, ..Verdict::default() };
        let outcome = Outcome { figures: vec![(Figure::CpuPerDelivery, value)], spent: None, verdict };
        Run { scenario: "storm".to_owned(), contender, repeat, outcome }
    }

    fn report(runs: Vec<Run>) -> Report {
        Report {
            command: "loadtest bench".to_owned(),
            machine: Machine::look(),
            load_after: String::new(),
            duration_s: 1.0,
            repeats: 2,
            is_quick: false,
            subjects: vec![Subject { name: "bigroom", about: "ours".to_owned() }],
            stories: vec![("storm".to_owned(), "Many messages.".to_owned())],
            notes: Vec::new(),
            runs,
        }
    }

    #[test]
    fn ratios_are_taken_within_a_repeat() {
        let report = report(vec![
            run("bigroom", 0, 20.0, 0),
            run("floor", 0, 10.0, 0),
            run("floor", 1, 1.0, 0),
            run("bigroom", 1, 3.0, 0),
        ]);
        let text = report.markdown();
        assert!(text.contains("| server CPU a message delivered (µs) | 11.5 (3.00 to 20.0) | 5.50 (1.00 to 10.0) | 2.50 (2.00 to 3.00) |"), "{text}");
        assert!(text.contains("## Verdict: clean"), "{text}");
    }

    #[test]
    fn lost_message_is_said_first() {
        let report = report(vec![run("bigroom", 0, 20.0, 3)]);
        assert!(!report.is_clean());
        let text = report.markdown();
        assert!(text.contains("NOT CLEAN"), "{text}");
        assert!(text.contains("10 received, 3 lost"), "{text}");
    }
}
