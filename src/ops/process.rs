//! The process metrics that Prometheus clients share, read from the system at each scrape.

use std::{fmt::Write as _, fs};

use rustix::{
    param::page_size,
    time::{ClockId, clock_gettime},
};

/// Appends the process metrics to a Prometheus text. What the system doesn't tell is left out.
pub(super) fn append(text: &mut String) {
    let cpu_s = cpu_seconds();
    metric(text, "process_cpu_seconds_total", "counter", "CPU time used, in user and system", Some(cpu_s));
    let resident = resident_bytes().map(|bytes| bytes as f64);
    metric(text, "process_resident_memory_bytes", "gauge", "Memory that is resident", resident);
    // The directory is one of the open files while it is being counted.
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count().saturating_sub(1)) as f64);
    metric(text, "process_open_fds", "gauge", "Files and sockets that are open", open);
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|most| most as f64);
    metric(text, "process_max_fds", "gauge", "Files and sockets that may be open", most);
}

/// CPU time that the process has used, in user and system, over all threads.
pub(crate) fn cpu_seconds() -> f64 {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, value: Option<f64>) {
    if let Some(value) = value {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("writing to a String does not fail");
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_metrics_have_plausible_values() {
        let mut text = String::new();
        append(&mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
    }
}
