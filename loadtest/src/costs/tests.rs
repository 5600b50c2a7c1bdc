use super::*;

const COMPARISON: &str = include_str!("../../../docs/benchmarks/cost.json");

#[test]
fn shipped_costs_are_those_of_the_committed_comparison() {
    assert_eq!(of_comparison(COMPARISON, ONLINE).unwrap(), SHIPPED);
    let (table, costs) = load(None).unwrap();
    assert_eq!(table.figures["poll_us"].value, costs.poll_us);
}

#[test]
fn message_costs_what_an_answer_costs_beyond_its_first() {
    let run = |scenario: &str, figures: &str| {
        format!(r#"{{"scenario":"{scenario}","contender":"bigroom","figures":{{{figures}}}}}"#)
    };
    let runs = [
        run(
            PARKED,
            r#""cpu_us_per_delivery":10,"client_cpu_us_per_delivery":8,"memory_bytes_per_poll":2500"#,
        ),
        run(HELD, r#""cpu_us_per_answer":35,"messages_per_answer":101,"client_cpu_us_per_delivery":0.18"#),
        run(CONNECTIONS, r#""cpu_us_per_connection":40"#),
        run(SENDS, r#""cpu_us_per_send":20,"sends_per_s":50000"#),
        run(MODERATE_SENDS, r#""send_p50_ms":0.5"#),
        run(MODERATE_SENDS, r#""send_p50_ms":null"#),
    ];
    let text = format!(
        r#"{{"command":"c","is_quick":false,"machine":{{"cpu":"x","cores":2,"kernel":"k","commit":"0"}},"runs":[{}]}}"#,
        runs.join(",")
    );
    let table: CostTable = toml::from_str(&of_comparison(&text, ONLINE).unwrap()).unwrap();
    let costs = table.costs().unwrap();
    assert_eq!(costs.message_us, 0.25);
    assert!((costs.client_message_us - 0.1018).abs() < 1e-9, "{}", costs.client_message_us);

    let without = text.replace("cpu_us_per_connection", "other");
    let error = format!("{:#}", of_comparison(&without, ONLINE).unwrap_err());
    assert!(error.contains("chapter `connections`"), "{error}");
    let quick = text.replace(r#""is_quick":false"#, r#""is_quick":true"#);
    assert!(of_comparison(&quick, ONLINE).is_err());
    let error = format!("{:#}", of_comparison(&text, "nothing").unwrap_err());
    assert!(error.contains("online_bench"), "{error}");
}
