//! The report as Markdown.

use std::fmt::{self, Write as _};

use super::{Report, Subject, plot_name};
use crate::{
    audit::Verdict,
    compare::{Cell, Figure, Growth, Judged, Met, OURS, ROWS_ELSEWHERE, has_point},
    stats::Spread,
};

/// What others may take of one core before the report warns of them.
const NOISE_SHARE: f64 = 0.1;

impl Report {
    /// The whole report; plots are in files whose names begin with `stem`.
    pub(crate) fn markdown(&self, stem: &str) -> String {
        let mut out = String::new();
        self.write_all(&mut out, stem).expect("memory takes all writes");
        out
    }

    fn write_all(&self, out: &mut String, stem: &str) -> fmt::Result {
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
            "Cells are the median of {} repeats (least to most), of three at most for a dear server. CPU is user and",
            self.repeats
        )?;
        writeln!(
            out,
            "system time of the server's processes. A ratio is the median of the repeats' ratios. Runs: [{stem}.json]({stem}.json)\n"
        )?;
        self.write_targets(out)?;
        self.write_verdict(out)?;
        for (name, story) in self.stories.iter().filter(|(name, _)| !has_point(name)) {
            self.write_scenario(out, name, story)?;
        }
        self.write_growth(out, stem)?;
        self.write_conditions(out)
    }

    fn write_targets(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## Figures to beat\n")?;
        if self.targets.iter().all(|judged| judged.met == Met::NotMeasured) {
            return writeln!(out, "None of them is measured in the chapters that were played.\n");
        }
        writeln!(out, "| # | scenario | figure | target | stretch | measured | |")?;
        writeln!(out, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for judged in self.targets.iter().filter(|judged| judged.met != Met::NotMeasured) {
            let Judged { row, scenario, what, target, stretch, .. } = judged;
            let stretch = stretch.as_deref().unwrap_or("-");
            let mut measured = judged.measured.map_or("-".to_owned(), compact);
            if let Some(for_stretch) = judged.measured_for_stretch {
                measured += &format!("; for the stretch {}", compact(for_stretch));
            }
            let met = match judged.met {
                Met::Stretch => "**stretch met**",
                Met::Target => "**met**",
                Met::Missed => "MISSED",
                Met::NotMeasured => "-",
            };
            writeln!(out, "| {row} | {scenario} | {what} | {target} | {stretch} | {measured} | {met} |")?;
        }
        let mut unmeasured: Vec<String> = self
            .targets
            .iter()
            .filter(|judged| judged.met == Met::NotMeasured)
            .map(|judged| judged.row.to_string())
            .collect();
        unmeasured.dedup();
        if !unmeasured.is_empty() {
            writeln!(out, "\nNot (wholly) measured in this run: rows {}.", unmeasured.join(", "))?;
        }
        writeln!(out, "{ROWS_ELSEWHERE}\n")
    }

    fn write_verdict(&self, out: &mut String) -> fmt::Result {
        let word = if self.runs.are_clean() { "clean" } else { "NOT CLEAN: the figures do not count" };
        writeln!(out, "## Verdict: {word}\n")?;
        for Subject { name: contender, .. } in &self.subjects {
            let mut sum = Verdict::default();
            self.runs
                .0
                .iter()
                .filter(|run| run.contender == *contender)
                .for_each(|run| sum.add(&run.outcome.verdict));
            writeln!(out, "- {contender}: {}", sum.summary())?;
        }
        if let Some(others) = self.runs.others_share().filter(|others| others.median > NOISE_SHARE) {
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
        let played = self.runs.contenders(|run| run.scenario == name);
        let others: Vec<_> =
            played.iter().filter(|other| **other != OURS && played.contains(&OURS)).collect();
        let absent: Vec<_> = self.absent.iter().filter(|absent| absent.scenario == name).collect();
        write!(out, "| |")?;
        played.iter().try_for_each(|contender| write!(out, " {contender} |"))?;
        absent.iter().try_for_each(|absent| write!(out, " {} |", absent.contender))?;
        others.iter().try_for_each(|other| write!(out, " {OURS} / {other} |"))?;
        writeln!(out, "\n| --- |{}", " --- |".repeat(played.len() + absent.len() + others.len()))?;
        for figure in self.runs.figures(name) {
            write!(out, "| {}{} |", figure.title(), unit_of(figure))?;
            for contender in &played {
                let spread = self.runs.spread(name, contender, figure);
                write!(out, " {} |", spread.map_or("-".to_owned(), |spread| shown(figure, spread)))?;
            }
            absent.iter().try_for_each(|_| write!(out, " - |"))?;
            for other in &others {
                let ours = Cell { scenario: name, contender: OURS, figure };
                let ratio = self.runs.ratio(ours, Cell { contender: other, ..ours });
                write!(out, " {} |", ratio.map_or("-".to_owned(), of_few_places))?;
            }
            writeln!(out)?;
        }
        for absent in absent {
            writeln!(out, "\n{} takes no part: {}.", absent.contender, absent.why)?;
        }
        writeln!(out)
    }

    fn write_growth(&self, out: &mut String, stem: &str) -> fmt::Result {
        let mut axes: Vec<&str> = self.growth.iter().map(|growth| growth.axis).collect();
        axes.dedup();
        for axis in axes {
            let growths: Vec<&Growth> = self.growth.iter().filter(|growth| growth.axis == axis).collect();
            let Some(first) = growths.first() else { continue };
            writeln!(out, "## Growth: {} against {}\n", first.figure.title(), first.label)?;
            let name =
                format!("growth, {} {}", first.points.first().map_or(0, |(point, _)| *point), first.label);
            if let Some((_, story)) = self.stories.iter().find(|(of, _)| *of == name) {
                writeln!(out, "{story}\n")?;
            }
            writeln!(out, "![plot]({})\n", plot_name(stem, axis))?;
            write!(out, "| {} |", first.label)?;
            growths
                .iter()
                .try_for_each(|growth| write!(out, " {}{} |", growth.contender, unit_of(growth.figure)))?;
            writeln!(out, "\n| --- |{}", " --- |".repeat(growths.len()))?;
            let mut points: Vec<u32> =
                growths.iter().flat_map(|growth| growth.points.iter().map(|(point, _)| *point)).collect();
            points.sort_unstable();
            points.dedup();
            for point in points {
                write!(out, "| {point} |")?;
                for growth in &growths {
                    let spread = growth.points.iter().find(|(of, _)| *of == point).map(|(_, spread)| *spread);
                    write!(
                        out,
                        " {} |",
                        spread.map_or("-".to_owned(), |spread| shown(growth.figure, spread))
                    )?;
                }
                writeln!(out)?;
            }
            writeln!(out)?;
            growths.iter().try_for_each(|growth| writeln!(out, "- {}", growth.sentence()))?;
            writeln!(out)?;
        }
        Ok(())
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
        if let Some(others) = self.runs.others_share() {
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
}

fn unit_of(figure: Figure) -> String {
    if figure.unit().is_empty() { String::new() } else { format!(" ({})", figure.unit()) }
}

fn of_few_places(spread: Spread) -> String {
    if spread.median < 0.1 {
        format!("{:.3} ({:.3} to {:.3})", spread.median, spread.min, spread.max)
    } else {
        format!("{:.2} ({:.2} to {:.2})", spread.median, spread.min, spread.max)
    }
}

/// A ratio or a value, without more digits than it deserves.
fn compact(spread: Spread) -> String {
    if spread.median < 100.0 {
        of_few_places(spread)
    } else {
        format!("{:.0} ({:.0} to {:.0})", spread.median, spread.min, spread.max)
    }
}

fn shown(figure: Figure, spread: Spread) -> String {
    format!("{} ({} to {})", figure.show(spread.median), figure.show(spread.min), figure.show(spread.max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::{Outcome, Run, Runs},
        machine::Machine,
        report::Absent,
    };

    fn run(contender: &'static str, repeat: u32, value: f64, lost: u64) -> Run {
        let verdict = Verdict { acknowledged: 1, received: 10, lost, ..Verdict::default() };
        let outcome = Outcome { figures: vec![(Figure::CpuPerDelivery, value)], spent: None, verdict };
        Run { scenario: "storm".to_owned(), contender, repeat, outcome }
    }

    fn report(runs: Vec<Run>) -> Report {
        let absent = Absent {
            scenario: "storm".to_owned(),
            contender: "pushpin",
            why: "it is far too dear".to_owned(),
        };
        Report {
            command: "loadtest compare".to_owned(),
            machine: Machine::look(),
            load_after: String::new(),
            duration_s: 1.0,
            repeats: 2,
            is_quick: false,
            subjects: vec![Subject { name: "bigroom", about: "ours".to_owned() }],
            stories: vec![("storm".to_owned(), "Many messages.".to_owned())],
            absent: vec![absent],
            notes: Vec::new(),
            targets: Vec::new(),
            growth: Vec::new(),
            runs: Runs(runs),
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
        let text = report.markdown("cost");
        assert!(text.contains("| server CPU a message delivered (µs) | 11.5 (3.00 to 20.0) | 5.50 (1.00 to 10.0) | - | 2.50 (2.00 to 3.00) |"), "{text}");
        assert!(text.contains("## Verdict: clean"), "{text}");
    }

    #[test]
    fn lost_message_is_said_first() {
        let report = report(vec![run("bigroom", 0, 20.0, 3)]);
        assert!(!report.runs.are_clean());
        let text = report.markdown("cost");
        assert!(text.contains("NOT CLEAN"), "{text}");
        assert!(text.contains("10 received, 3 lost"), "{text}");
    }

    #[test]
    fn absent_contender_is_there_with_its_reason() {
        let text = report(vec![run("bigroom", 0, 20.0, 0)]).markdown("cost");
        assert!(text.contains("| | bigroom | pushpin |"), "{text}");
        assert!(text.contains("pushpin takes no part: it is far too dear."), "{text}");
    }

    #[test]
    fn figures_to_beat_come_before_everything_else() {
        let runs = vec![run("bigroom", 0, 0.7, 0), run("nchan", 0, 1.5, 0), run("floor", 0, 0.5, 0)];
        let mut report = report(runs);
        report.targets = crate::compare::judge(&report.runs);
        let text = report.markdown("cost");
        assert!(text.contains("| 3 | storm | server CPU a message delivered | ≤ 0.5 × nchan | ≤ 1.3 × floor | 0.47 (0.47 to 0.47); for the stretch 1.40 (1.40 to 1.40) | **met** |"), "{text}");
        assert!(text.find("Figures to beat") < text.find("Verdict"), "{text}");
    }
}
