//! The verdict over a run's facts.

use serde::{Deserialize, Serialize};

use super::Facts;
use crate::{
    mark::List,
    profile::Expect,
    run::{
        counted::{MARK_S, counted},
        outcome::RunOutcome,
    },
};

/// Whether a run counts.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct RunVerdict {
    /// Messages acknowledged, by list.
    pub(crate) acknowledged: [u64; 2],
    /// Messages received, over all viewers, by list.
    pub(crate) received: [u64; 2],
    /// Messages that viewers were told they can't get any more, by list.
    pub(crate) skipped: [u64; 2],
    /// Messages lost, over all viewers, by list.
    pub(crate) lost: [u64; 2],
    /// Received more than once, by list.
    pub(crate) repeated: [u64; 2],
    /// Received after a later one of the same list, by list.
    pub(crate) out_of_order: [u64; 2],
    /// What spoils the run; empty if it counts. In the order of weight.
    pub(crate) findings: Vec<Finding>,
    /// What is worth knowing and was allowed by the profile.
    pub(crate) remarks: Vec<Finding>,
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct Finding {
    /// What, as a phrase: `lost priority messages`, `poll 503 node_full`, `p99 of priority messages above 1s`.
    pub(crate) what: String,
    /// How often; for a bound, the measured value in its unit.
    pub(crate) count: u64,
}

impl RunVerdict {
    /// Judges a whole run: all of its shares merged.
    pub(crate) fn of(outcome: &RunOutcome, expect: &Expect) -> Self {
        let facts = &outcome.facts;
        let log = LogJudgement::of(facts);
        let oddities = &facts.oddities;
        let both = |of: fn(usize, &Facts, &LogJudgement) -> u64| [of(0, facts, &log), of(1, facts, &log)];
        let mut verdict = Self {
            acknowledged: facts.acknowledged(),
            received: facts.received,
            skipped: facts.skipped,
            lost: both(|list, facts, log| facts.oddities.lost[list] + log.lost[list]),
            repeated: oddities.repeated,
            out_of_order: oddities.out_of_order,
            ..Self::default()
        };
        for list in List::ALL {
            let (at, name) = (list.index(), list.name());
            verdict.find(&format!("lost {name} messages"), verdict.lost[at]);
            verdict.find(&format!("repeated {name} messages"), verdict.repeated[at]);
            verdict.find(&format!("{name} messages out of order"), verdict.out_of_order[at]);
        }
        verdict.find("answers with a normal message ahead of a priority one", oddities.priority_after_normal);
        verdict.find(
            "readers saw another message under the same sequence number",
            oddities.dissent + log.dissent,
        );
        verdict.find("messages twice in the log", log.doubled);
        verdict.find("messages that were never sent", oddities.unknown + log.unknown);
        verdict.find("gaps that don't add up", oddities.gap_arithmetic);
        verdict.find("sequence numbers unaccounted for", facts.unaccounted());
        verdict.find("answers against the rules of the contract", oddities.answer_rules);
        verdict.find("empty answers before the poll's time was over", oddities.early_empty);
        verdict.find("sends acknowledged out of order", oddities.send_order);
        verdict.find("skipped priority messages", facts.skipped[List::Priority.index()]);
        verdict.weigh("skipped normal messages", facts.skipped[List::Normal.index()], expect.normal_gap);
        verdict.weigh(
            "answers that started over in another epoch",
            oddities.epoch_changes,
            expect.epoch_change,
        );
        verdict.weigh("sends whose answer never came", facts.unanswered.iter().sum(), expect.unanswered);
        for (what, count) in &outcome.totals.errors {
            verdict.weigh(what, *count, expect.allows_error(what));
        }
        verdict.weigh_bounds(outcome, expect);
        verdict.weigh_server(outcome, expect);
        verdict.weigh_counts(outcome, expect);
        if verdict.acknowledged == [0; 2] && !expect.silence {
            verdict
                .findings
                .push(Finding { what: "nothing was sent, so nothing is shown".to_owned(), count: 1 });
        }
        if outcome.is_cut_short {
            verdict.remarks.push(Finding { what: "ended before its time".to_owned(), count: 1 });
        }
        verdict
    }

    /// Whether the run counts.
    pub(crate) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// One line: the word, and the counts behind it.
    pub(crate) fn summary(&self) -> String {
        let sum = |counts: [u64; 2]| counts[0] + counts[1];
        let mut line = format!(
            "{}: {} acknowledged, {} received, {} lost, {} repeated, {} out of order, {} skipped",
            if self.is_clean() { "clean" } else { "NOT CLEAN" },
            sum(self.acknowledged),
            sum(self.received),
            sum(self.lost),
            sum(self.repeated),
            sum(self.out_of_order),
            sum(self.skipped),
        );
        for finding in &self.findings {
            line += &format!("; {} × {}", finding.count, finding.what);
        }
        line
    }

    fn weigh_bounds(&mut self, outcome: &RunOutcome, expect: &Expect) {
        let (late, due) = (outcome.totals.late, outcome.totals.due);
        let late_share = (late[0] + late[1]) as f64 / (due[0] + due[1]).max(1) as f64;
        let missed = outcome.totals.missed;
        self.weigh("sends went out late", late[0] + late[1], late_share <= expect.late_share_max);
        self.weigh("sends were missed", missed[0] + missed[1], expect.missed);
        let [priority, normal] = [List::Priority, List::Normal].map(List::index);
        for (ages, bound, whose) in [
            (&outcome.ages[priority], expect.priority_p99_max, "priority messages"),
            (&outcome.ages[normal], expect.normal_p99_max, "normal messages"),
            (&outcome.probe_ages[priority], expect.probes_p99_max, "priority messages, seen by probes"),
            (&outcome.probe_ages[normal], expect.probes_p99_max, "normal messages, seen by probes"),
        ] {
            let Some((bound, p99)) = bound.zip(ages.quantile(0.99)).filter(|(bound, p99)| p99 > bound) else {
                continue;
            };
            let what = format!("ms is the p99 age of {whose}, above {}", humantime::format_duration(bound));
            self.findings.push(Finding { what, count: u64::try_from(p99.as_millis()).unwrap_or(u64::MAX) });
        }
    }

    /// Judges what the server takes and what it lets clients do.
    fn weigh_server(&mut self, outcome: &RunOutcome, expect: &Expect) {
        let servers = || outcome.samples.iter().filter_map(|sample| sample.server);
        let gap = servers().filter_map(|server| server.priority_gap).sum();
        self.find("priority messages that the server counts as skipped", gap);
        let memory_mib = servers().filter_map(|server| server.memory_bytes).max().map(|bytes| bytes >> 20);
        match (expect.server_memory_max_mib, memory_mib) {
            (Some(bound), Some(mib)) if mib > bound => {
                let what = format!("MiB is the server's largest memory, above {bound}");
                self.findings.push(Finding { what, count: mib });
            }
            (Some(bound), None) => {
                let what = format!("bound of {bound} MiB was not judged: the server's memory is not known");
                self.remarks.push(Finding { what, count: 1 });
            }
            _ => {}
        }
        let client_seconds: u64 = outcome.samples.iter().map(|sample| sample.connected).sum();
        if let Some(bound) = expect.polls_per_client_max
            && outcome.totals.polls as f64 > bound * client_seconds as f64
        {
            let what = format!("polls were sent, above {bound} a second for each client who was there");
            self.findings.push(Finding { what, count: outcome.totals.polls });
        }
    }

    fn weigh_counts(&mut self, outcome: &RunOutcome, expect: &Expect) {
        let Some(within) = expect.counts_within else { return };
        let marks = outcome.samples.len().saturating_sub(1) / MARK_S as usize;
        let counted = counted(&outcome.samples, within);
        self.find(
            "times at which the server did not tell who is online",
            (marks - counted.len().min(marks)) as u64,
        );
        let wrong = counted.iter().filter(|counted| !counted.is_right()).count();
        let within = humantime::format_duration(within);
        self.find(
            &format!("times at which other users or clients were told than had been there within {within}"),
            wrong as u64,
        );
    }

    fn find(&mut self, what: &str, count: u64) {
        self.weigh(what, count, false);
    }

    fn weigh(&mut self, what: &str, count: u64, is_allowed: bool) {
        if count > 0 {
            let list = if is_allowed { &mut self.remarks } else { &mut self.findings };
            list.push(Finding { what: what.to_owned(), count });
        }
    }
}

impl Facts {
    /// Sequence numbers that readers went through, without having received them, been told to miss them or lost them.
    ///
    /// Zero by construction of the audit; anything else is a fault of the load test itself.
    fn unaccounted(&self) -> u64 {
        let of_list = |list: usize| {
            let fresh = self.received[list] - self.oddities.repeated[list];
            let passed = fresh + self.skipped[list] + self.oddities.lost[list];
            self.spanned[list].abs_diff(passed)
        };
        of_list(0) + of_list(1)
    }
}

/// What only the whole of a list shows.
#[derive(Default)]
struct LogJudgement {
    /// Not received at the end by readers who were online, and before the first by readers who came to an empty list.
    lost: [u64; 2],
    /// Acknowledged as one message, seen as another.
    dissent: u64,
    /// Messages that have two sequence numbers.
    doubled: u64,
    /// Messages seen with a number that was not given out.
    unknown: u64,
}

impl LogJudgement {
    fn of(facts: &Facts) -> Self {
        let mut judgement = Self::default();
        for lists in facts.rooms.values() {
            for list in List::ALL.map(List::index) {
                let of_list = &lists[list];
                let mut log = of_list.acknowledged.clone();
                judgement.dissent += log.merge(&of_list.seen);
                let mut numbers: Vec<u32> = log.iter().map(|(_, number)| number).collect();
                numbers.sort_unstable();
                judgement.doubled += numbers.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
                judgement.unknown +=
                    numbers.iter().rev().take_while(|number| u64::from(**number) >= facts.sent[list]).count()
                        as u64;
                // Readers are held to what was acknowledged, and no further: a send without an answer may be in the log.
                let Some((first, last)) =
                    of_list.acknowledged.first_seq().zip(of_list.acknowledged.last_seq())
                else {
                    continue;
                };
                let first = log.first_seq().map_or(first, |seen| seen.min(first));
                for (next, count) in &of_list.ends {
                    let next = if *next == 0 { first } else { *next };
                    judgement.lost[list] += (last + 1).saturating_sub(next) * count;
                }
                for (start, count) in &of_list.starts {
                    judgement.lost[list] += start.saturating_sub(first) * count;
                }
            }
        }
        judgement
    }
}

#[cfg(test)]
mod tests;
