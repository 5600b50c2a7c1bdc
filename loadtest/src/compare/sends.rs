//! Durable sends, beside what the disk and a bare RocksDB can do.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Chapter, Figure, Outcome,
    play::{Contender, MESSAGE_BYTES, Scenario, Stage},
    storm::milliseconds,
};
use crate::{
    audit::Verdict,
    client::{Senders, histogram},
    cores::Placement,
    measure::Meter,
    peers::{Peer, Server, Start},
};

/// A RocksDB without a server in front.
pub(super) const BARE_ROCKSDB: &str = "bare RocksDB";
/// A file without anything.
pub(super) const APPEND: &str = "append + fdatasync";
const WARM_UP: Duration = Duration::from_millis(500);
/// Bytes of a record: a message with what a log keeps beside its text.
const RECORD_BYTES: usize = 300;

/// Name of the scenario with so many senders.
pub(super) fn name(senders: u32) -> String {
    format!("durable sends, {senders} at a time")
}

/// One sender, a few, many.
pub(super) fn scenarios<'a>(
    stage: &'a Stage,
    ours: &[&'a dyn Peer],
    append_bench: Option<PathBuf>,
) -> Vec<Scenario<'a>> {
    let time = stage.scale(Duration::from_secs(4), Duration::from_secs(1));
    [1, 16, 128]
        .into_iter()
        .map(|senders| {
            let mut scenario = of_server(stage, Chapter::Sends, ours, senders, time);
            if let Some(program) = append_bench.clone() {
                let play = move || rocksdb(&program, stage, senders);
                scenario.contenders.push(Contender::other(BARE_ROCKSDB, play));
            }
            if senders == 1 {
                scenario.contenders.push(Contender::other(APPEND, move || append(&stage.temp_dir, time)));
            }
            let story = format!(
                "Senders over HTTP ({senders}), each sending when its last message is acknowledged, for {time:?}; client \
                 and server share all cores. Beside them, on the same file system: a bare RocksDB with one writing thread \
                 that syncs what is queued at once, without HTTP; and one file, appended to and synced record by record."
            );
            scenario.told(name(senders), story)
        })
        .collect()
}

/// So many senders for a while, without a name.
pub(super) fn of_server<'a>(
    stage: &'a Stage,
    chapter: Chapter,
    ours: &[&'a dyn Peer],
    senders: u32,
    time: Duration,
) -> Scenario<'a> {
    let start = Start { placement: Placement::Shared, ..stage.start() };
    Scenario::of_servers(chapter, senders, ours, start, move |peer, server| play(peer, server, senders, time))
}

fn play(peer: &dyn Peer, server: &Server, senders: u32, time: Duration) -> Result<Outcome> {
    let mut senders = Senders::open(peer, server, senders, MESSAGE_BYTES)?;
    senders.run(WARM_UP)?;
    let meter = Meter::start(server.process.tree())?;
    let sent = senders.run(time)?;
    let spent = meter.spent()?;
    Ok(Outcome {
        figures: vec![
            (Figure::SendsPerSecond, sent.acknowledged as f64 / sent.wall.as_secs_f64()),
            (Figure::SendP50, milliseconds(&sent.latency, 0.5)),
            (Figure::SendP99, milliseconds(&sent.latency, 0.99)),
            (Figure::CpuPerSend, spent.server_cpu_s * 1e6 / sent.acknowledged as f64),
            (Figure::ClientCpuPerSend, spent.client_cpu_s * 1e6 / sent.acknowledged as f64),
        ],
        spent: Some(spent),
        verdict: senders.finish()?,
    })
}

/// Appends records to a file, each synced before the next.
fn append(directory: &Path, time: Duration) -> Result<Outcome> {
    let directory = tempfile::tempdir_in(directory).context("make a directory")?;
    let mut file = OpenOptions::new().create_new(true).append(true).open(directory.path().join("log"))?;
    let record = [b'x'; RECORD_BYTES];
    let mut latency = histogram();
    let began = Instant::now();
    let mut last = began;
    while last - began < time {
        file.write_all(&record)?;
        file.sync_data()?;
        let now = Instant::now();
        latency.saturating_record(u64::try_from((now - last).as_micros()).unwrap_or(u64::MAX).max(1));
        last = now;
    }
    let appended = latency.len();
    Ok(Outcome {
        figures: vec![
            (Figure::SendsPerSecond, appended as f64 / (last - began).as_secs_f64()),
            (Figure::SendP50, milliseconds(&latency, 0.5)),
            (Figure::SendP99, milliseconds(&latency, 0.99)),
        ],
        spent: None,
        verdict: Verdict { acknowledged: appended, received: appended, ..Verdict::default() },
    })
}

/// Runs the store's example for the bare RocksDB alone.
fn rocksdb(program: &Path, stage: &Stage, producers: u32) -> Result<Outcome> {
    let output = stage.cores.spawn(Placement::Shared, || {
        let mut command = Command::new(program);
        command.arg(&stage.temp_dir).args(["bare", &producers.to_string()]);
        command.output().with_context(|| format!("run {}", program.display()))
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let [rate, p50, p99] = bare_figures(&text, producers)
        .with_context(|| format!("read the output of {}: {text}", program.display()))?;
    Ok(Outcome {
        figures: vec![(Figure::SendsPerSecond, rate), (Figure::SendP50, p50), (Figure::SendP99, p99)],
        spent: None,
        // The program ends with an error if an append is not answered.
        verdict: Verdict { acknowledged: 1, received: 1, ..Verdict::default() },
    })
}

/// Rate a second, p50 and p99 in ms, from the table's line `bare RocksDB  <producers> <rate> <p50> <p99> <ratio>`.
fn bare_figures(table: &str, producers: u32) -> Option<[f64; 3]> {
    let producers = producers.to_string();
    table.lines().filter_map(|line| line.strip_prefix("bare RocksDB")).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [of, rate, p50, p99, _ratio] = fields[..] else { return None };
        (of == producers).then_some([rate.parse().ok()?, p50.parse().ok()?, p99.parse().ok()?])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_table() {
        let table = "200-byte texts\n                 producers   appends/s    p50 ms\n\
                     bare RocksDB             1       9301     0.105     0.172    1.00\n\
                     store                    1       8000     0.125     0.190    0.86\n";
        assert_eq!(bare_figures(table, 1), Some([9301.0, 0.105, 0.172]));
        assert_eq!(bare_figures(table, 16), None);
    }

    #[test]
    fn appending_to_a_file_is_timed() {
        let directory = tempfile::tempdir().unwrap();
        let outcome = append(directory.path(), Duration::from_millis(20)).unwrap();
        assert!(outcome.verdict.is_clean());
        assert!(outcome.figures.iter().all(|(_, value)| *value > 0.0), "{outcome:?}");
    }
}
