//! The real binary, against the floor server that it brings along.

use std::process::{Command, Output};

fn loadtest(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).args(args).output().expect("the binary was built")
}

#[test]
fn comparison_of_the_floor_is_clean_and_written_down() {
    let out = tempfile::tempdir().unwrap();
    let directory = out.path().to_str().unwrap();
    let output = loadtest(&[
        "compare",
        "--quick",
        "--peers",
        "floor",
        "--only",
        "backlog,connections,storm",
        "--out",
        directory,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let table = std::fs::read_to_string(out.path().join("cost.md")).unwrap();
    assert!(table.contains("## Verdict: clean"), "{table}");
    let json = std::fs::read_to_string(out.path().join("cost.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_eq!((&run["verdict"]["lost"], &run["contender"]), (&0.into(), &"floor".into()), "{run}");
        assert!(run["spent"]["server_cpu_s"].as_f64().unwrap() > 0.0, "{run}");
        assert!(run["figures"].as_object().unwrap().values().all(serde_json::Value::is_number), "{run}");
    }
}

#[test]
fn server_that_does_not_start_fails_the_comparison() {
    let output =
        loadtest(&["compare", "--quick", "--server", "/bin/false", "--peers", "floor", "--only", "hold"]);
    assert!(!output.status.success());
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("NOT CLEAN") && table.contains("ended at its start"), "{table}");
}

#[test]
fn server_that_is_not_there_is_named() {
    let output = loadtest(&["compare", "--server", "/nowhere/bigroom"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("find /nowhere/bigroom"));
}
