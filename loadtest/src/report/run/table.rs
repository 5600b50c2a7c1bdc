//! The report as text, for a terminal.

use std::fmt::{self, Write as _};

use super::{RunReport, figures};

impl RunReport {
    /// The verdict first, then the figures, then the conditions.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        self.write_table(&mut out).expect("memory takes all writes");
        out
    }

    fn write_table(&self, out: &mut String) -> fmt::Result {
        let groups = figures::figures(&self.outcome, &self.profile);
        let conditions = self.conditions();
        let names = groups.iter().flat_map(|group| group.rows.iter().map(|(name, _)| name.as_str()));
        let names = names.chain(conditions.iter().map(|(name, _)| *name));
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);

        writeln!(out, "{}: {}", plain(&self.profile.name), plain(&self.verdict.summary()))?;
        for finding in &self.verdict.remarks {
            writeln!(
                out,
                "  not counted against it: {} × {}",
                figures::count(finding.count),
                plain(&finding.what)
            )?;
        }
        for group in &groups {
            writeln!(out, "\n{}", group.title)?;
            for (name, value) in &group.rows {
                writeln!(out, "  {name:width$}  {}", plain(value))?;
            }
        }
        writeln!(out, "\nConditions")?;
        for (name, value) in &conditions {
            writeln!(out, "  {name:width$}  {}", plain(value))?;
        }
        Ok(())
    }
}

/// Text without control characters: names of profiles and commands come from outside, and a terminal obeys some.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
