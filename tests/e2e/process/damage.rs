//! Data directories that are not what they were: a start is refused, loudly, before anything is lost.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::harness::{Options, Request, Server, Stopped, seqs};

/// A server that has some messages, after a crash.
async fn crashed() -> Stopped {
    let server = Server::start(Options::default()).await;
    for at in 1..=50 {
        server.sent("r", &json!({ "text": format!("message {at}"), "data": "x".repeat(100) })).await;
    }
    server.kill9()
}

async fn check_refused(stopped: &Stopped, case: &str) {
    let refusal = stopped.start_refused().await;
    assert_eq!(refusal.code, Some(1), "{case}: {}", refusal.stderr);
    let dir = stopped.data_dir();
    assert!(
        refusal.stderr.contains(dir.to_str().unwrap()),
        "{case}: the directory is not named: {}",
        refusal.stderr
    );
    assert!(!refusal.stderr.contains("panicked"), "{case}: {}", refusal.stderr);
}

fn marker(stopped: &Stopped) -> PathBuf {
    stopped.data_dir().join("bigroom.epoch")
}

fn log(stopped: &Stopped) -> PathBuf {
    stopped.data_dir().join("log")
}

/// The write-ahead log that the last messages are in: the largest file of its kind.
fn write_ahead_log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("a write-ahead log")
}

#[tokio::test]
async fn marker_and_log_must_both_be_there() {
    let stopped = crashed().await;
    let aside = stopped.data_dir().join("aside");
    fs::rename(marker(&stopped), &aside).unwrap();
    check_refused(&stopped, "a log without a marker").await;
    fs::rename(&aside, marker(&stopped)).unwrap();

    let aside = stopped.data_dir().with_file_name("log-aside");
    fs::rename(log(&stopped), &aside).unwrap();
    check_refused(&stopped, "a marker without a log").await;
    fs::create_dir(log(&stopped)).unwrap();
    check_refused(&stopped, "a marker with an empty log").await;
    fs::remove_dir_all(log(&stopped)).unwrap();
    fs::rename(&aside, log(&stopped)).unwrap();

    let server = stopped.start().await;
    assert_eq!(seqs(&server.history("r", "").await["messages"]).len(), 50, "the refusals changed nothing");
}

#[tokio::test]
async fn unreadable_markers_are_refused() {
    let stopped = crashed().await;
    let good = fs::read(marker(&stopped)).unwrap();
    for bad in [&b""[..], b"\xff\xfe\x00", b"nonsense\n", &good[..good.len() / 2]] {
        fs::write(marker(&stopped), bad).unwrap();
        check_refused(&stopped, "an unreadable marker").await;
    }
    fs::write(marker(&stopped), good).unwrap();
    stopped.start().await;
}

#[tokio::test]
async fn log_of_another_epoch_is_refused() {
    let (stopped, other) = (crashed().await, crashed().await);
    fs::remove_dir_all(log(&stopped)).unwrap();
    fs::rename(log(&other), log(&stopped)).unwrap();
    check_refused(&stopped, "another directory's log").await;
}

#[tokio::test]
async fn damage_in_the_middle_of_the_log_is_refused() {
    let stopped = crashed().await;
    let path = write_ahead_log(&log(&stopped));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 16] {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    check_refused(&stopped, "a damaged write-ahead log").await;
}

/// What a power failure leaves of a record that was being written, and that nobody was told was there.
#[tokio::test]
async fn torn_last_record_is_fine() {
    let stopped = crashed().await;
    let path = write_ahead_log(&log(&stopped));
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
    let server = stopped.start().await;
    let kept = seqs(&server.history("r", "limit=1000").await["messages"]);
    assert!(kept.len() >= 49, "only the last record was torn, {} are left", kept.len());
    assert_eq!(kept, (1..=kept.len() as u64).collect::<Vec<_>>());
    assert_eq!(server.say("r", "next").await["seq"], kept.len() + 1);
}

#[tokio::test]
async fn damage_found_while_reading_is_told_and_no_hole() {
    let server = Server::start(Options::default()).await;
    let messages: Vec<_> =
        (0..100).map(|at| json!({ "text": at.to_string(), "data": "x".repeat(5_000) })).collect();
    server.batch("r", &json!(messages)).await;
    // A start has written everything into tables; the largest holds the messages.
    let stopped = server.stop().await.start().await.stop().await;
    let files = fs::read_dir(log(&stopped)).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let table = tables.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("a table");
    let mut bytes = fs::read(&table).unwrap();
    let at = bytes.len() / 3;
    for byte in &mut bytes[at..at + 64] {
        *byte ^= 0x55;
    }
    fs::write(&table, bytes).unwrap();

    let server = stopped.start().await;
    for request in [
        Request::get("/v1/rooms/r/history?since=0&limit=1000"),
        Request::poll("r", "cursor=-1&limit=1000&timeout_ms=0"),
    ] {
        let problem = server.call(request).await.expect_problem(500, "internal");
        assert!(!problem.to_string().contains(".sst"), "paths stay in the log: {problem}");
    }
    assert_eq!(server.ops_get("/readyz").await.status, 503);
    assert_eq!(server.ops_get("/healthz").await.status, 200);
    assert!(server.metric("bigroom_log_corruption_total", &[]).await >= 1.0);
}
