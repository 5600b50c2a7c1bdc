use room::ErrorCode;

use super::*;

fn parse(json: &str, mode: PatchMode) -> Result<SettingsPatch, Problem> {
    SettingsPatch::from_json(
        &Bytes::copy_from_slice(json.as_bytes()),
        mode,
        &RoomId::internal("r1"),
        "default",
    )
}

fn changed(json: &str, mode: PatchMode, now: &RoomSettings) -> RoomSettings {
    parse(json, mode).unwrap().apply(now, &SendLimits::default())
}

fn all_set() -> RoomSettings {
    let retention = Retention { count: 7, age: Duration::from_secs(70) };
    RoomSettings {
        state: RoomState::Closed,
        muted: true,
        cooldown: Duration::from_millis(1_500),
        room_rate: Some(9),
        user_rate: Some(0),
        retention: PerList { priority: Some(retention), normal: Some(retention) },
    }
}

#[test]
fn merge_changes_what_it_names() {
    let now = all_set();
    assert_eq!(changed("{}", PatchMode::Merge, &now), now);
    let expect = RoomSettings { muted: false, user_rate: Some(3), ..now.clone() };
    assert_eq!(changed(r#"{"muted":false,"limits":{"user_rate":3}}"#, PatchMode::Merge, &now), expect);
    let mut expect = now.clone();
    expect.retention.normal = Some(Retention { count: 8, age: Duration::from_secs(70) });
    assert_eq!(changed(r#"{"retention":{"normal":{"count":8}}}"#, PatchMode::Merge, &now), expect);
}

#[test]
fn null_in_a_merge_resets() {
    let now = all_set();
    let all = r#"{"state":null,"muted":null,"cooldown_ms":null,"limits":null,"retention":null}"#;
    assert_eq!(changed(all, PatchMode::Merge, &now), RoomSettings::default());
    let each = r#"{"state":null,"muted":null,"cooldown_ms":null,"limits":{"room_rate":null,"user_rate":null},
        "retention":{"normal":null,"priority":{"count":null,"age_s":null}}}"#;
    assert_eq!(changed(each, PatchMode::Merge, &now), RoomSettings::default());
    let expect = Retention { count: 7, age: Duration::from_secs(3600) };
    let half = r#"{"retention":{"normal":{"age_s":null}}}"#;
    assert_eq!(changed(half, PatchMode::Merge, &now).retention.normal, Some(expect));
}

#[test]
fn replace_resets_what_it_leaves_out() {
    assert_eq!(changed("{}", PatchMode::Replace, &all_set()), RoomSettings::default());
    let expect = RoomSettings { muted: true, ..Default::default() };
    assert_eq!(changed(r#"{"muted":true}"#, PatchMode::Replace, &all_set()), expect);
    let expect = Some(Retention { count: 5, age: Duration::from_secs(24 * 3600) });
    let count = r#"{"retention":{"priority":{"count":5}}}"#;
    assert_eq!(changed(count, PatchMode::Replace, &all_set()).retention.priority, expect);
}

#[test]
fn document_can_be_put_back_as_it_was_got() {
    let defaults = SendLimits::default();
    for settings in [all_set(), RoomSettings::default()] {
        let document = settings_json(&RoomId::internal("r1"), &settings, &defaults, "default");
        for mode in [PatchMode::Merge, PatchMode::Replace] {
            let after = changed(&document.to_string(), mode, &all_set());
            assert_eq!(settings_json(&RoomId::internal("r1"), &after, &defaults, "default"), document);
        }
    }
}

#[test]
fn document_has_the_defaults_filled_in() {
    let document =
        settings_json(&RoomId::internal("r1"), &RoomSettings::default(), &SendLimits::default(), "default");
    let expect = json!({
        "room": "r1", "state": "live", "muted": false, "cooldown_ms": 0,
        "limits": { "room_rate": 200, "user_rate": 5 },
        "retention": {
            "normal": { "count": 10_000, "age_s": 3_600 },
            "priority": { "count": 100_000, "age_s": 86_400 },
        },
        "sect": "default",
    });
    assert_eq!(document, expect);
}

#[test]
fn every_refusal_names_its_field() {
    for (json, says) in [
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        (r#"{"mutd":true}"#, "unknown field \"mutd\""),
        (r#"{"state":"open"}"#, "state must be live or closed"),
        (r#"{"state":1}"#, "state must be"),
        (r#"{"muted":"yes"}"#, "muted must be true or false"),
        (r#"{"muted":0}"#, "muted must be"),
        (r#"{"cooldown_ms":-1}"#, "cooldown_ms must be a whole number from 0 to 86400000"),
        (r#"{"cooldown_ms":86400001}"#, "cooldown_ms must be"),
        (r#"{"cooldown_ms":1.5}"#, "cooldown_ms must be"),
        (r#"{"cooldown_ms":"1"}"#, "cooldown_ms must be"),
        (r#"{"cooldown_ms":99999999999999999999999}"#, "cooldown_ms must be"),
        (r#"{"limits":1}"#, "limits must be a JSON object"),
        (r#"{"limits":{"rate":1}}"#, "unknown field \"limits.rate\""),
        (r#"{"limits":{"room_rate":1000001}}"#, "limits.room_rate must be"),
        (r#"{"limits":{"user_rate":-1}}"#, "limits.user_rate must be"),
        (r#"{"retention":[]}"#, "retention must be a JSON object"),
        (r#"{"retention":{"low":{}}}"#, "unknown field \"retention.low\""),
        (r#"{"retention":{"normal":1}}"#, "retention.normal must be a JSON object"),
        (r#"{"retention":{"normal":{"age":1}}}"#, "unknown field \"retention.normal.age\""),
        (r#"{"retention":{"normal":{"count":0}}}"#, "retention.normal.count must be"),
        (r#"{"retention":{"normal":{"count":10000001}}}"#, "retention.normal.count must be"),
        (r#"{"retention":{"priority":{"age_s":0}}}"#, "retention.priority.age_s must be"),
        (r#"{"retention":{"priority":{"age_s":31536001}}}"#, "retention.priority.age_s must be"),
        (r#"{"room":"r2"}"#, "room must be \"r1\""),
        (r#"{"sect":"vip"}"#, "sect must be \"default\""),
        (r#"{"sect":null}"#, "sect must be"),
    ] {
        for mode in [PatchMode::Merge, PatchMode::Replace] {
            let problem = parse(json, mode).expect_err(json);
            assert_eq!(problem.code, ErrorCode::InvalidMessage, "{json}");
            assert!(problem.detail.contains(says), "{json}: {problem}");
        }
    }
    assert_eq!(parse("{", PatchMode::Merge).unwrap_err().code, ErrorCode::InvalidJson);
    assert_eq!(parse(r#"{"a":1,"a":1}"#, PatchMode::Merge).unwrap_err().code, ErrorCode::InvalidJson);
    for json in [r#"{"muted":null}"#, r#"{"limits":null}"#, r#"{"retention":{"normal":null}}"#] {
        assert_eq!(parse(json, PatchMode::Replace).unwrap_err().code, ErrorCode::InvalidMessage, "{json}");
    }
}
