//! The simulation against itself, against the planner, and against hand-made cases.

use super::{
    meter::{Outcome, Sample},
    scenario::Scenario,
    *,
};

/// A scenario by name, so much smaller and shorter.
fn small(name: &str, viewers: u64, individuals: u32, duration_s: u32) -> Scenario {
    let scenario = shipped().into_iter().find(|scenario| scenario.name == name).unwrap();
    Scenario {
        viewers,
        individuals,
        planned_for: viewers,
        duration_s,
        sample_s: 1,
        crowd: vec![(0.0, 0.0), (5.0, 1.0)],
        has_neighbours: false,
        ..scenario
    }
}

/// Costs that stay as they are: see the file.
fn measured() -> room::Costs {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/simulate/tests/costs.toml");
    costs::load(Some(&path.into())).unwrap().1
}

fn play(scenario: &Scenario, seed: u64) -> Outcome {
    let (setup, _) = scenario.setup(seed, measured()).unwrap();
    World::new(&setup).unwrap().run()
}

/// The mean over the seconds after everybody has come and is counted.
fn mean(outcome: &Outcome, of: impl Fn(&Sample) -> f64) -> f64 {
    let steady = &outcome.samples[15..];
    steady.iter().map(of).sum::<f64>() / steady.len() as f64
}

fn near(what: &str, one: f64, other: f64, margin: f64) {
    assert!((one / other - 1.0).abs() <= margin, "{what}: {one} and {other}");
}

fn assert_clean(outcome: &Outcome) {
    let verdict = &outcome.verdict;
    assert_eq!((verdict.lost, verdict.repeated, verdict.skipped.priority), (0, 0, 0), "{verdict:?}");
    assert_eq!(verdict.unread, 0, "{verdict:?}");
    assert!(outcome.answers > 1_000 && outcome.messages > 1_000, "{} {}", outcome.answers, outcome.messages);
}

#[test]
fn same_seed_gives_the_same_bytes() {
    let report = |seed| {
        let scenario = small("loss", 200_000, 400, 40);
        let (setup, cluster) = scenario.setup(seed, measured()).unwrap();
        let played = vec![Played { scenario, cluster, outcome: World::new(&setup).unwrap().run() }];
        SimulationReport { command: "loadtest simulate".to_owned(), seed, played }
    };
    let (one, two, other) = (report(1), report(1), report(2));
    assert_eq!(one.json().unwrap(), two.json().unwrap());
    assert_eq!(one.markdown(), two.markdown());
    assert_ne!(one.json().unwrap(), other.json().unwrap());
}

#[test]
fn viewers_that_stand_for_ten_agree_with_ten_viewers() {
    let of = |individuals| play(&small("steady", 20_000, individuals, 60), 1);
    let (alone, weighted) = (of(20_000), of(2_000));
    for (what, of) in [
        ("polls", (|sample| sample.polls_per_s) as fn(&Sample) -> f64),
        ("messages", |sample| sample.delivered_per_s),
        ("cpu", |sample| sample.proxy_cpu),
    ] {
        near(what, mean(&weighted, of), mean(&alone, of), 0.03);
    }
    for list in [0, 1] {
        for quantile in [0.5, 0.99] {
            let [weighted, alone] =
                [&weighted, &alone].map(|outcome| outcome.ages[list].quantile_ms(quantile));
            near(&format!("age {list} {quantile}"), weighted, alone, 0.04);
        }
    }
    assert_clean(&alone);
    assert_clean(&weighted);
}

#[test]
fn planner_and_simulation_agree_on_a_steady_room() {
    for (viewers, polite_share, priority) in
        [(15_000_000, 1.0, 0.2), (2_000_000, 0.5, 0.0), (50_000, 0.0, 0.0), (2_000_000, 0.0, 1.0)]
    {
        let scenario = Scenario { polite_share, priority, ..small("steady", viewers, 4_000, 100) };
        let (setup, cluster) = scenario.setup(3, measured()).unwrap();
        let outcome = World::new(&setup).unwrap().run();
        near("polls", mean(&outcome, |sample| sample.polls_per_s), cluster.expected_polls_per_s, 0.05);
        near("p50", outcome.ages[1].quantile_ms(0.5), cluster.expected_normal_p50_ms, 0.10);
        near("p99", outcome.ages[1].quantile_ms(0.99), cluster.expected_normal_p99_ms, 0.10);
    }
}

#[test]
fn nothing_is_lost_when_nodes_are() {
    let outcome = play(&small("loss", 500_000, 2_000, 260), 5);
    assert_clean(&outcome);
    let reconnects: f64 = outcome.samples.iter().map(|sample| sample.reconnects_per_s).sum();
    near("a third comes back elsewhere", reconnects, 500_000.0 / 3.0, 0.15);
}

#[test]
fn policy_bounds_requests_and_keeps_priority_fast_for_who_waits() {
    let of = |is_policy_on| {
        let scenario = Scenario { is_policy_on, polite_share: 0.0, ..small("steady", 100_000, 1_000, 40) };
        play(&scenario, 7)
    };
    let (on, off) = (of(true), of(false));
    let polls = |outcome: &Outcome| mean(outcome, |sample| sample.polls_per_s);
    // As many as the network lets through (a round trip of 60 ms) against one in two seconds, and priority.
    assert!(polls(&on) < polls(&off) / 12.0, "{} {}", polls(&on), polls(&off));
    let priority_p99 = on.ages[0].quantile_ms(0.99);
    assert!(priority_p99 < 300.0, "{priority_p99}");
    assert!(on.ages[1].quantile_ms(0.5) > 800.0);
    assert_clean(&on);
    assert_clean(&off);
}

#[test]
fn room_moves_to_the_vip_sect_and_back_without_loss() {
    let scenario = Scenario {
        crowd: vec![(0.0, 0.0), (10.0, 0.15), (30.0, 0.15), (60.0, 1.0), (70.0, 1.0), (90.0, 0.1)],
        ..small("promotion", 200_000, 4_000, 220)
    };
    let outcome = play(&scenario, 11);
    let sects: Vec<_> = outcome.samples.iter().map(|sample| sample.sect).collect();
    let moves = sects.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((sects[25], sects[70], *sects.last().unwrap(), moves), (0, 1, 0, 2), "{sects:?}");
    assert_clean(&outcome);
    // A move costs less than a second of waiting: proxies are told at once what they missed.
    let most = |from: usize, to: usize| {
        outcome.samples[from..to].iter().filter_map(|sample| sample.normal_p99_ms).fold(0.0, f64::max)
    };
    let moved = sects.iter().position(|sect| *sect == 1).unwrap();
    assert!(most(moved, moved + 8) < most(70, 80) + 1_000.0);
}

#[test]
fn flood_beyond_the_limit_is_paged_without_loss() {
    let flood = Scenario { normal: vec![(0.0, 200.0)], ..small("flood", 15_000_000, 1_000, 40) };
    let outcome = play(&flood, 9);
    assert_clean(&outcome);
    // 200 a second for 15 million, 200 an answer: a poll a second each, though the interval is five. And one for a priority message
    // every five seconds, for those who are held then.
    near("polls", mean(&outcome, |sample| sample.polls_per_s), 15e6, 0.15);
}

#[test]
fn report_has_every_scenario_that_was_played() {
    let scenario = small("steady", 100_000, 300, 20);
    let (setup, cluster) = scenario.setup(1, measured()).unwrap();
    let played = vec![Played { scenario, cluster, outcome: World::new(&setup).unwrap().run() }];
    let report = SimulationReport { command: "c".to_owned(), seed: 1, played };
    let out = tempfile::tempdir().unwrap();
    report.write(out.path()).unwrap();
    let markdown = std::fs::read_to_string(out.path().join("simulation.md")).unwrap();
    assert!(markdown.contains("## 15 million, steady") && markdown.contains("simulation-steady-ages.svg"));
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(out.path().join("simulation.json")).unwrap()).unwrap();
    assert_eq!(json[0]["samples"].as_array().unwrap().len(), 20);
    let svg = std::fs::read_to_string(out.path().join("simulation-steady-ages.svg")).unwrap();
    roxmltree::Document::parse(&svg).unwrap();
}

#[test]
fn shipped_scenarios_have_names_of_their_own_and_clusters() {
    let costs = measured();
    let mut names = std::collections::BTreeSet::new();
    for scenario in shipped() {
        assert!(names.insert(scenario.name), "{}", scenario.name);
        scenario.setup(1, costs).unwrap();
        assert_eq!(scenario.duration_s % scenario.sample_s, 0, "{}", scenario.name);
    }
}
