use super::*;
use crate::mark::List;

const MINIMAL: &str = "name = \"x\"\nstory = \"y\"\nduration = \"10s\"\n[clients]\ncount = 10\n";

/// What refuses a profile.
fn refusal(text: &str) -> String {
    format!("{:#}", Profile::parse(text).expect_err(text))
}

#[test]
fn every_shipped_profile_is_good_and_named_as_its_file() {
    for shipped in &SHIPPED {
        let profile = Profile::load(shipped.name, Overrides::default()).expect(shipped.name);
        assert_eq!(profile.name, shipped.name);
        assert!(!profile.messages.is_empty(), "{}", shipped.name);
        assert!(profile.clock_duration() <= Duration::from_secs(3600), "{}", shipped.name);
    }
}

#[test]
fn every_shipped_profile_is_good_at_a_tenth() {
    for shipped in &SHIPPED {
        let overrides = Overrides { scale: Some(0.1), ..Overrides::default() };
        Profile::load(shipped.name, overrides).expect(shipped.name);
    }
}

#[test]
fn profile_survives_its_encoding() {
    for shipped in &SHIPPED {
        let profile = Profile::parse(shipped.text).unwrap();
        let json = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile, "{}", shipped.name);
        let toml = toml::to_string(&profile).unwrap();
        assert_eq!(Profile::parse(&toml).unwrap(), profile, "{}", shipped.name);
    }
}

#[test]
fn minimal_profile_has_the_defaults() {
    let profile = Profile::parse(MINIMAL).unwrap();
    assert_eq!((profile.rooms, profile.compression, profile.settle), (1, 1.0, SETTLE));
    assert_eq!(profile.behaviour, [Behaviour::default()]);
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    for (text, key) in [
        (format!("colour = 1\n{MINIMAL}"), "colour"),
        (format!("{MINIMAL}colour = 1\n"), "colour"),
        (format!("{MINIMAL}[crowd]\ncolour = 1\n"), "colour"),
        (
            format!("{MINIMAL}[[crowd.cut]]\nat = \"1s\"\nshare = 1.0\nback_within = \"1s\"\nwhen = 1\n"),
            "when",
        ),
        (format!("{MINIMAL}[[behaviour]]\nkind = \"polite\"\nmood = 1\n"), "mood"),
        (format!("{MINIMAL}[[messages]]\nlist = \"normal\"\nsize = 1\n"), "size"),
        (format!("{MINIMAL}[expect]\nluck = true\n"), "luck"),
    ] {
        assert!(refusal(&text).contains(key), "{text}");
    }
}

#[test]
fn bad_values_are_refused_with_key_and_value() {
    for (text, words) in [
        (MINIMAL.replace("\"x\"", "\"X y\""), "name = \"X y\""),
        (MINIMAL.replace("10s", "0s"), "duration"),
        (MINIMAL.replace("10s", "ten"), "`ten` is no duration"),
        (MINIMAL.replace("count = 10", "count = 0"), "clients.count = 0"),
        (format!("rooms = 11\n{MINIMAL}"), "rooms = 11"),
        (format!("compression = 0.0\n{MINIMAL}"), "compression = 0"),
        (format!("{MINIMAL}devices_per_user = 0.5\n"), "devices_per_user = 0.5"),
        (format!("{MINIMAL}[crowd]\ncurve = []\n"), "crowd.curve"),
        (format!("{MINIMAL}[crowd]\ncurve = [{{ at = \"1s\", online = 1.5 }}]\n"), "online = 1.5"),
        (
            format!(
                "{MINIMAL}[crowd]\ncurve = [{{ at = \"1s\", online = 0.5 }}, {{ at = \"1s\", online = 1 }}]\n"
            ),
            "ascend",
        ),
        (format!("{MINIMAL}[[behaviour]]\nkind = \"polite\"\nshare = 0.5\n"), "add up to 0.5"),
        (format!("{MINIMAL}[[behaviour]]\nkind = \"slow\"\n"), "read_bytes_per_s"),
        (format!("{MINIMAL}[[behaviour]]\nkind = \"rude\"\npause = \"1s\"\n"), "pause"),
        (format!("{MINIMAL}[[behaviour]]\nkind = \"polite\"\ntimeout = \"31s\"\n"), "timeout"),
        (format!("{MINIMAL}[[behaviour]]\nkind = \"angry\"\n"), "angry"),
        (format!("{MINIMAL}[[messages]]\nlist = \"third\"\n"), "third"),
        (format!("{MINIMAL}[[messages]]\nlist = \"normal\"\nbytes = [9, 8]\n"), "bytes = [9, 8]"),
        (
            format!("{MINIMAL}[[messages]]\nlist = \"normal\"\ncurve = [{{ at = \"0s\", rate = -1 }}]\n"),
            "rate = -1",
        ),
        (
            format!(
                "{}[[messages]]\nlist = \"normal\"\ncurve = [{{ at = \"0s\", rate = 90000 }}]\n",
                MINIMAL.replace("10s", "1h")
            ),
            "one run can audit",
        ),
        (format!("{MINIMAL}[server_env]\nPATH = \"x\"\n"), "PATH"),
    ] {
        assert!(refusal(&text).contains(words), "{text}: {}", refusal(&text));
    }
}

#[test]
fn compressed_story_is_compressed_to_the_duration_asked_for() {
    let load = |name| {
        let overrides = Overrides { duration: Some(Duration::from_secs(20)), ..Overrides::default() };
        Profile::load(name, overrides).unwrap()
    };
    let viral = load("viral");
    assert_eq!(viral.clock_duration().as_secs(), 20);
    assert_eq!(viral.duration, Duration::from_secs(126 * 60));
    assert_eq!((load("soak").duration.as_secs(), load("soak").compression), (20, 1.0));
}

#[test]
fn scale_multiplies_clients_and_rooms() {
    let mut profile = Profile::parse(&format!("rooms = 4\n{MINIMAL}")).unwrap();
    profile.change(Overrides { scale: Some(0.5), ..Overrides::default() }).unwrap();
    assert_eq!((profile.clients.count, profile.rooms), (5, 2));
    assert!(profile.change(Overrides { scale: Some(0.0), ..Overrides::default() }).is_err());
}

#[test]
fn devices_of_a_user_stay_in_one_part() {
    let clients = Clients { count: 1_000, devices_per_user: 1.8, probes: 0 };
    for parts in 1..20 {
        let bounds = clients.bounds(0..1_000, parts);
        assert_eq!((bounds.len(), bounds[0], *bounds.last().unwrap()), (parts as usize + 1, 0, 1_000));
        assert!(bounds.is_sorted());
        for bound in &bounds[1..bounds.len() - 1] {
            assert_ne!(clients.user_of(*bound), clients.user_of(bound - 1), "{parts} parts: {bound}");
        }
    }
    assert_eq!(clients.user_of(999) + 1, 556, "1,000 clients of 1.8 a user");
}

#[test]
fn unknown_profile_is_answered_with_the_names_of_all() {
    let error = Profile::load("nothing", Overrides::default()).unwrap_err().to_string();
    assert!(error.contains("mass-return") && error.contains(".toml"), "{error}");
}

#[test]
fn lists_are_named_as_on_the_wire() {
    for list in List::ALL {
        let text = format!("{MINIMAL}[[messages]]\nlist = \"{}\"\n", list.name());
        assert_eq!(Profile::parse(&text).unwrap().messages[0].list, list);
    }
}
