use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: PlanArgs,
}

fn plan(words: &[&str]) -> Result<String, Failure> {
    run(&Cli::try_parse_from([&["plan"], words].concat()).unwrap().args)
}

fn json(words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&plan(&[words, &["--json"]].concat()).unwrap()).unwrap()
}

#[test]
fn fifteen_million_are_planned_for() {
    let plan = json(&["--online", "15000000", "--rate", "200"]);
    assert_eq!(plan["interval_ms"], 5_000.0);
    assert_eq!(plan["roles"]["sendsvr"]["nodes"], 1);
    assert!(plan["roles"]["proxy"]["nodes"].as_u64().unwrap() > 100, "{plan}");
    // Six answers of 200 for what comes in 5.5 s, and five round trips of 60 ms more: not 15 million / 5 s.
    let polls_per_s = plan["polls_per_s"].as_f64().unwrap();
    assert!((polls_per_s / (15e6 * 6.0 / 5.86) - 1.0).abs() < 0.01, "{polls_per_s}");
}

#[test]
fn table_says_what_json_says() {
    let words = ["--online", "15,000,000", "--rate", "20", "--polite-share", "0.9"];
    let table = plan(&words).unwrap();
    let json = json(&words);
    for (name, value) in [("proxy", &json["roles"]["proxy"]), ("statsvr", &json["roles"]["statsvr"])] {
        let line = table.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).unwrap();
        assert!(line.contains(&format!(" {} ", value["nodes"])), "{line}");
    }
    for part in ["15,000,000 clients", "ulimit -n", "priority", "bigroom_connections", "loadtest compare"] {
        assert!(table.contains(part), "{part} is missing:\n{table}");
    }
}

#[test]
fn seeds_make_the_peak() {
    let grown = json(&[
        "--monthly-users",
        "100000000",
        "--daily-share",
        "0.5",
        "--peak-hour-share",
        "0.2",
        "--devices",
        "1.5",
    ]);
    assert_eq!(
        (&grown["demand"]["clients"], &grown["demand"]["users"]),
        (&15_000_000.into(), &10_000_000.into())
    );
}

#[test]
fn other_costs_are_taken_from_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("costs.toml");
    let mut table: CostTable = toml::from_str(SHIPPED_COSTS).unwrap();
    table.figures.get_mut("poll_bytes").unwrap().value *= 100.0;
    std::fs::write(&path, toml::to_string(&table).unwrap()).unwrap();
    let words = ["--online", "15000000", "--rate", "1"];
    let dear = json(&[&words[..], &["--costs", path.to_str().unwrap()]].concat());
    assert_eq!(dear["roles"]["proxy"]["bound"], "memory");
    assert!(dear["roles"]["proxy"]["nodes"].as_u64() > json(&words)["roles"]["proxy"]["nodes"].as_u64());

    table.figures.remove("send_us");
    std::fs::write(&path, toml::to_string(&table).unwrap()).unwrap();
    let failure = plan(&["--online", "1", "--costs", path.to_str().unwrap()]).unwrap_err();
    assert!(failure.exit_code == 2 && failure.line.contains("figures.send_us is missing"), "{failure}");
    std::fs::write(&path, "schema = 1\nmode = 2").unwrap();
    let failure = plan(&["--online", "1", "--costs", path.to_str().unwrap()]).unwrap_err();
    assert!(failure.line.contains("loadtest compare"), "{failure}");
    let failure = plan(&["--online", "1", "--costs", "/nowhere/costs.toml"]).unwrap_err();
    assert!(failure.exit_code == 1 && failure.line.contains("/nowhere/costs.toml"), "{failure}");
}

#[test]
fn what_cannot_be_planned_says_what_to_do() {
    for (words, part) in [
        (&["--rate", "1"][..], "--online"),
        (&["--online", "100", "--rate", "900000"], "lower the rate"),
        (&["--online", "100", "--rate", "5000", "--round-trip-ms", "200"], "raise the limit"),
        (&["--online", "100", "--memory-gib", "0.5"], "MiB"),
        (&["--monthly-users", "10", "--daily-share", "0.01", "--peak-hour-share", "0.01"], "nobody"),
    ] {
        let failure = plan(words).unwrap_err();
        assert!(failure.exit_code == 2 && failure.line.contains(part), "{words:?}: {failure}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for words in [
        ["--online", "0"],
        ["--online", "many"],
        ["--online", "99999999999999"],
        ["--utilisation", "0"],
        ["--utilisation", "NaN"],
        ["--limit", "1001"],
        ["--daily-share", "0.5"],
        ["--monthly-users", "5"],
        ["--join-time", "0s"],
    ] {
        assert!(Cli::try_parse_from([&["plan"], &words[..]].concat()).is_err(), "{words:?}");
    }
}
