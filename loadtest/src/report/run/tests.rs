use std::collections::BTreeMap;

use roxmltree::Document;

use super::*;
use crate::{
    mark::List,
    run::{ClientCost, Counters, Finding, Latencies, Sample, ServerSample, Span, Target},
};

const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=alert(1)> & \"quoted\" 'too' <!-- \u{7}";

fn latencies(pairs: &[(u64, u64)]) -> Latencies {
    let pairs: BTreeMap<_, _> = pairs.iter().copied().collect();
    serde_json::from_value(serde_json::to_value(pairs).unwrap()).unwrap()
}

fn profile() -> Profile {
    Profile::parse(
        "name = \"evening\"\nstory = \"Everybody comes, and is cut off once.\"\nduration = \"60s\"\n\
         [clients]\ncount = 1000\n\
         [crowd]\ncut = [{ at = \"30s\", share = 0.5, back_after = \"2s\", back_within = \"5s\" }]\n\
         [[messages]]\nlist = \"normal\"\ncurve = [{ at = \"0s\", rate = 10.0 }]\n",
    )
    .unwrap()
}

/// A minute with a thousand viewers and ten messages a second; half of them are away from the thirtieth second on.
fn outcome() -> RunOutcome {
    let mut outcome = RunOutcome { peak_connected: 1_000, ..RunOutcome::default() };
    for at_s in 0..60 {
        let connected = if (30..40).contains(&at_s) { 500 } else { (u64::from(at_s) * 100).min(1_000) };
        let age_us = 2_000 + u64::from(at_s) * 100;
        let counters = Counters {
            polls: connected * 10,
            answers: connected * 10,
            received: [connected, connected * 10],
            due: [1, 10],
            acknowledged: [1, 10],
            late: [0, u64::from(at_s == 31)],
            connects: 100,
            errors: if at_s == 30 {
                [("poll connection closed".to_owned(), 500)].into()
            } else {
                BTreeMap::new()
            },
            ..Counters::default()
        };
        let server = ServerSample {
            cpu_s: Some(0.0005 * connected as f64),
            memory_bytes: Some((20 << 20) + connected * 2_048),
            parked_polls: Some(connected),
            connections: Some(connected + 9),
            online_users: Some(connected),
            ..ServerSample::default()
        };
        let ages = [
            latencies(&[(800, 5), (1_200, connected)]),
            latencies(&[(age_us, connected * 9), (age_us * 3, connected)]),
        ];
        for list in List::ALL.map(List::index) {
            outcome.ages[list].merge(&ages[list]);
        }
        outcome.totals.merge(&counters);
        outcome.samples.push(Sample {
            at_s,
            connected,
            parked: connected,
            online_users: connected,
            watched_users: connected,
            watched_clients: connected,
            watched: Span::default(),
            told: None,
            server_users: (at_s > 0).then_some(connected.saturating_sub(u64::from(at_s == 5) * 7)),
            counters,
            ages,
            server: Some(server),
            client_cpu_s: 0.05,
            client_memory_bytes: (10 << 20) + connected * 300,
        });
    }
    outcome.client = ClientCost {
        cpu_s: 3.0,
        memory_before_bytes: 10 << 20,
        memory_peak_bytes: (10 << 20) + 300_000,
        threads: 2,
        processes: 1,
    };
    outcome
}

fn report() -> RunReport {
    let profile = profile();
    let target = Target { authority: "127.0.0.1:8080".to_owned(), address: ([127, 0, 0, 1], 8080).into() };
    let plan = RunPlan {
        run_id: "test".to_owned(),
        clients: 0..profile.clients.count,
        profile,
        targets: vec![target],
        ops: Vec::new(),
        server_pid: None,
        sends: true,
        probes: true,
        watches: true,
        shows_progress: false,
        threads: 1,
        start_at_unix_ms: 1_795_000_000_000,
        seed: 1,
        token: Some("s3cret".to_owned()),
        viewer_tokens: vec!["s3cret".to_owned()],
        allow_remote: false,
    };
    let verdict =
        RunVerdict { acknowledged: [60, 600], received: [50_000, 500_000], ..RunVerdict::default() };
    RunReport::of(&plan, outcome(), verdict, Machine::look(), "bigroom 0.1.0".to_owned())
}

fn embedded(page: &str) -> &str {
    let begin = "<script type=\"application/json\" id=\"run\">";
    let json = &page[page.find(begin).unwrap() + begin.len()..];
    &json[..json.find("</script>").unwrap()]
}

fn plots(page: &str) -> Vec<&str> {
    let parts = page.split("<svg ").skip(1);
    parts
        .map(|part| {
            &page[part.as_ptr() as usize - page.as_ptr() as usize - 5..][..part.find("</svg>").unwrap() + 11]
        })
        .collect()
}

#[test]
fn page_has_verdict_figures_and_plots() {
    let page = report().page().unwrap();
    let verdict = page.find("Clean: every message accounted for").unwrap();
    assert!(
        verdict < page.find("<table>").unwrap() && page.find("<table>") < page.find("<svg"),
        "verdict first"
    );
    let titles: Vec<_> = plots(&page)
        .into_iter()
        .map(|plot| Document::parse(plot).unwrap_or_else(|error| panic!("{error}: {plot}")))
        .map(|plot| plot.root_element().attribute("aria-label").unwrap().to_owned())
        .collect();
    assert_eq!(
        titles,
        [
            "Ages over the whole run",
            "Age of priority messages when a viewer has them",
            "Age of normal messages when a viewer has them",
            "Messages delivered",
            "Messages sent",
            "Requests",
            "Processor time",
            "Server CPU for each message delivered",
            "Memory",
            "Server memory for each parked poll",
            "Connections",
            "Online count against the truth",
            "Errors and late sends",
        ]
    );
    assert!(page.contains("50 % of the clients are cut off"));
}

#[test]
fn run_without_a_view_of_the_server_has_no_plots_of_it() {
    let mut report = report();
    report.outcome.samples.iter_mut().for_each(|sample| (sample.server, sample.server_users) = (None, None));
    let page = report.page().unwrap();
    assert!(
        !page.contains("Server CPU") && !page.contains("Online count") && page.contains("Processor time")
    );
    assert!(!report.table().contains("parked poll"));
}

#[test]
fn run_without_a_second_still_has_a_report() {
    let mut report = report();
    report.outcome = RunOutcome::default();
    assert_eq!(plots(&report.page().unwrap()).len(), 0);
    assert!(report.table().starts_with("evening: "));
}

#[test]
fn page_loads_nothing_from_elsewhere() {
    let page = report().page().unwrap();
    assert!(page.contains("default-src 'none'"));
    let allowed = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for loader in ["http:", "https:", "src=", "<link", "url(", "@import", "<iframe", "fetch("] {
        assert!(!allowed.contains(loader), "{loader}");
    }
}

#[test]
fn text_from_outside_stays_text() {
    let mut report = report();
    report.profile.story = HOSTILE.to_owned();
    report.server = HOSTILE.to_owned();
    report.command = HOSTILE.to_owned();
    report.targets = vec![HOSTILE.to_owned()];
    report.workers = vec![HOSTILE.to_owned()];
    report.verdict.findings = vec![Finding { what: HOSTILE.to_owned(), count: 1 }];
    report.verdict.remarks = report.verdict.findings.clone();
    report.outcome.totals.add_error(HOSTILE, 1);
    let page = report.page().unwrap();
    assert!(!page.contains("<img") && !page.contains("<script>alert") && !page.contains("<!--"));
    assert_eq!(page.matches("<script").count(), 2);
    assert!(page.contains("Not clean: the figures do not count"));
    let again: RunReport = serde_json::from_str(embedded(&page)).unwrap();
    assert_eq!((again.profile.story.as_str(), &again.verdict), (HOSTILE, &report.verdict));
    assert!(!report.table().contains('\u{7}'), "a terminal obeys control characters");
}

#[test]
fn secrets_are_in_no_report() {
    let report = report();
    assert!(!report.json().unwrap().contains("s3cret") && !report.page().unwrap().contains("s3cret"));
}

#[test]
fn table_has_the_verdict_first_and_the_figures_right() {
    let mut report = report();
    let table = report.table();
    assert!(table.starts_with("evening: clean"), "{table}");
    let value = |name: &str| {
        let line = table
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {table}"));
        line.trim_start()[name.len()..].trim().to_owned()
    };
    // 0.5 ms of CPU a viewer and second; 11 messages.
    assert_eq!(value("processor time a message delivered"), "45.45 µs");
    assert_eq!(value("memory a parked poll, when most were parked"), "2.00 KiB of 1,000");
    assert_eq!(value("most connections at a time"), "1,000");
    assert_eq!(
        value("online count of the watched room, furthest from the truth"),
        "493 told, 500 there, in second 6"
    );
    assert_eq!(value("sent more than 5 ms late"), "1 normal, 0 priority");
    report.verdict.findings.push(Finding { what: "lost priority messages".to_owned(), count: 3 });
    assert!(report.table().starts_with("evening: NOT CLEAN"));
    assert!(report.table().lines().next().unwrap().ends_with("3 × lost priority messages"));
}

#[test]
fn report_is_the_same_after_reading_it_again() {
    let report = report();
    let directory = tempfile::tempdir().unwrap();
    let [json, page] = report.write(directory.path()).unwrap();
    let again = RunReport::read(&json).unwrap();
    assert_eq!(again.table(), report.table());
    assert_eq!(again.page().unwrap(), std::fs::read_to_string(page).unwrap());

    let out = directory.path().join("elsewhere");
    assert!(show(&ReportArgs { report: json, out: Some(out.clone()) }).unwrap());
    assert_eq!(std::fs::read_to_string(out.join(PAGE_NAME)).unwrap(), report.page().unwrap());
}

#[test]
fn report_of_another_schema_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, told) in
        [("{\"schema\":2}", "schema 2"), ("{}", "is no report of a run"), ("[", "is no report of a run")]
    {
        std::fs::write(file.path(), text).unwrap();
        let error = format!("{:#}", RunReport::read(file.path()).unwrap_err());
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn thousands_are_apart() {
    for (value, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(figures::count(value), shown);
    }
}
