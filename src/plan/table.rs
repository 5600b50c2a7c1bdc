//! A plan for people.

use std::fmt::{self, Write as _};

use room::capacity::RoleSize;

use super::Plan;

impl Plan {
    /// What it comes to, in a terminal.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("memory takes all writes");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Self { demand, sizing, .. } = self;
        let (crowd, traffic) = (&demand.crowd, &demand.traffic);
        writeln!(
            out,
            "One room, {} clients of {} users; {} normal and {} priority messages a second of {} bytes",
            whole(crowd.clients),
            whole(crowd.users()),
            traffic.normal_per_s,
            traffic.priority_per_s,
            traffic.text_bytes
        )?;
        writeln!(out, "\nRequests")?;
        row(out, "interval by the poll policy", &seconds(sizing.interval_s))?;
        row(out, "polls a second at the peak", &whole(sizing.polls_per_s))?;
        if sizing.hardest_polls_per_s > sizing.polls_per_s {
            let told = format!("{}, before the interval gets longer", whole(sizing.hardest_polls_per_s));
            row(out, "the most on the way there", &told)?;
        }
        row(out, "messages an answer", &format!("{:.1}", sizing.messages_per_poll))?;
        if crowd.polite_share > 0.0 && sizing.polite.polls > 1.0 {
            let told = format!(
                "{:.0} polls each: {:.0} messages come meanwhile, and an answer has at most {}",
                sizing.polite.polls, sizing.polite.messages, crowd.limit
            );
            row(out, "  in an interval", &told)?;
        }
        row(out, "new connections a second", &whole(crowd.joins_per_s))?;
        writeln!(out, "\nMessage age, from the send to the viewer")?;
        for (name, ages) in [("normal", sizing.ages.normal), ("priority", sizing.ages.priority)] {
            row(out, name, &format!("p50 {}, p99 {}", seconds(ages.p50_s), seconds(ages.p99_s)))?;
        }
        self.write_nodes(out)?;
        writeln!(out, "\nA proxy")?;
        row(out, "clients when the spare nodes are gone", &whole(sizing.clients_per_proxy))?;
        row(out, "open files (ulimit -n)", &format!("{} or more", whole(sizing.proxy_files)))?;
        writeln!(out, "\nAlerts: above")?;
        for alert in &self.alerts {
            writeln!(
                out,
                "  {:50} {:>10} {:16} {}",
                alert.metric,
                number(alert.above),
                alert.unit,
                alert.why
            )?;
        }
        let run = &self.costs.run;
        writeln!(
            out,
            "\nCosts: measured by `{}` on {} with {} cores (Linux {}, commit {}).",
            run.command, run.cpu, run.cores, run.kernel, run.commit
        )?;
        writeln!(
            out,
            "Not in them: TLS, the processor time of compression, and what a load balancer takes. Delivery from recvsvr to proxy \
             is\ntaken to cost what one to a viewer does. Play a part of it before you rely on it: `loadtest run`."
        )
    }

    fn write_nodes(&self, out: &mut String) -> fmt::Result {
        let Self { node, sizing, .. } = self;
        writeln!(
            out,
            "\nNodes of {} cores, {:.0} GiB, {:.0} Gbit/s; {:.0} % is planned with, {} of each are spare",
            node.cores,
            node.memory_bytes / GIB,
            node.network_bits_per_s / 1e9,
            node.utilisation * 100.0,
            node.spare
        )?;
        writeln!(
            out,
            "  {:8} {:>6}  {:8} {:>12} {:>10} {:>12} {:>12}",
            "role", "nodes", "bound by", "cores in use", "memory", "in", "out"
        )?;
        let roles = [
            ("proxy", &sizing.proxy),
            ("recvsvr", &sizing.recvsvr),
            ("sendsvr", &sizing.sendsvr),
            ("statsvr", &sizing.statsvr),
        ];
        for (name, RoleSize { nodes, bound, cores, memory_bytes, in_bits_per_s, out_bits_per_s }) in roles {
            writeln!(
                out,
                "  {name:8} {nodes:>6}  {:8} {cores:>12.2} {:>10} {:>12} {:>12}",
                bound.as_str(),
                bytes(*memory_bytes),
                bits(*in_bits_per_s),
                bits(*out_bits_per_s)
            )?;
        }
        writeln!(out, "  One sendsvr owns the log; its spare is a restart on the same data.")
    }
}

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

fn row(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "  {name:38} {value}")
}

fn seconds(value_s: f64) -> String {
    if value_s > 0.0 && value_s < 1.0 {
        format!("{:.0} ms", value_s * 1e3)
    } else {
        format!("{} s", number(value_s))
    }
}

/// To three digits, without zeros behind the point.
fn number(value: f64) -> String {
    if value >= 1_000.0 {
        return whole(value);
    }
    let text = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn bytes(value: f64) -> String {
    if value >= 1024.0 * GIB {
        format!("{:.1} TiB", value / GIB / 1024.0)
    } else {
        format!("{:.1} GiB", value / GIB)
    }
}

fn bits(value: f64) -> String {
    match value {
        1e12.. => format!("{:.2} Tbit/s", value / 1e12),
        1e9.. => format!("{:.1} Gbit/s", value / 1e9),
        _ => format!("{:.1} Mbit/s", value / 1e6),
    }
}

/// A whole number with its thousands apart: `15,000,000`.
fn whole(value: impl Into<Whole>) -> String {
    let digits = value.into().0.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number to be shown whole.
struct Whole(u64);

impl From<u64> for Whole {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl From<f64> for Whole {
    fn from(value: f64) -> Self {
        Self(value.round() as u64)
    }
}
