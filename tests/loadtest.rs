//! The load test against the real binary: its verdict on a server that does what it should, and on one that refuses.

#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

use std::{path::Path, process::ExitCode};

/// A small crowd with everything in it: rooms, devices, leaves, a cut, slow and rude readers, bursts in both lists.
const STORY: &str = r#"
name = "everything"
story = "A little of all that can happen."
duration = "6s"
rooms = 3

[clients]
count = 90
devices_per_user = 1.8
probes = 2

[crowd]
curve = [{ at = "0s", online = 0.2 }, { at = "1s", online = 1.0 }, { at = "4s", online = 1.0 }, { at = "5s", online = 0.6 }]
session = "4s"
away = "500ms"
cut = [{ at = "2500ms", share = 0.7, back_after = "100ms", back_within = "500ms" }]

[[behaviour]]
kind = "polite"
share = 0.6
tail = 20

[[behaviour]]
kind = "rude"
share = 0.3

[[behaviour]]
kind = "slow"
share = 0.1
read_bytes_per_s = 4000

[[messages]]
list = "normal"
curve = [{ at = "500ms", rate = 10.0 }]
burst = [{ at = "3s", count = 30 }]
bytes = [30, 600]

[[messages]]
list = "priority"
curve = [{ at = "500ms", rate = 2.0 }]
senders = 2

[server_env]
BIGROOM_LIMITS__ROOM_RATE = "0"
BIGROOM_LIMITS__USER_RATE = "0"

[expect]
normal_gap = true
"#;

/// Plays a story against a server of its own; the exit code, and the report.
fn play(story: &str) -> (ExitCode, serde_json::Value) {
    let directory = tempfile::tempdir().unwrap();
    let (profile, out) = (directory.path().join("story.toml"), directory.path().join("out"));
    std::fs::write(&profile, story).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let code = loadtest::main_from([
        "loadtest".to_owned(),
        "run".to_owned(),
        "--quiet".to_owned(),
        "--profile".to_owned(),
        text(&profile),
        "--server".to_owned(),
        env!("CARGO_BIN_EXE_bigroom").to_owned(),
        "--out".to_owned(),
        text(&out),
    ]);
    let report = std::fs::read_to_string(out.join("run.json")).expect("a run that ended has a report");
    (code, serde_json::from_str(&report).unwrap())
}

#[test]
fn load_test_finds_nothing_wrong() {
    let (code, report) = play(STORY);
    let verdict = &report["verdict"];
    assert_eq!(code, ExitCode::SUCCESS, "{verdict:#}");
    assert_eq!(verdict["findings"], serde_json::json!([]));
    let sum = |counts: &serde_json::Value| counts[0].as_u64().unwrap() + counts[1].as_u64().unwrap();
    let (acknowledged, received) = (sum(&verdict["acknowledged"]), sum(&verdict["received"]));
    assert!(acknowledged >= 200 && received >= 10 * acknowledged, "{verdict:#}");
    let totals = &report["outcome"]["totals"];
    assert!(totals["reconnects"].as_u64().unwrap() >= 50, "the cut had everybody come back: {totals:#}");
    assert!(totals["departures"].as_u64().unwrap() > 0, "{totals:#}");
}

#[test]
fn load_test_fails_a_server_that_refuses() {
    let story = STORY.replace("ROOM_RATE = \"0\"", "ROOM_RATE = \"1\"");
    let (code, report) = play(&story);
    assert_eq!(code, ExitCode::FAILURE);
    let findings = report["verdict"]["findings"].to_string();
    assert!(findings.contains("send 429 rate_limited"), "{findings}");
}
