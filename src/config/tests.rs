use std::{collections::BTreeMap, fs};

use super::*;

/// Loads a file's text with variables and flags.
fn load(file: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bigroom.toml");
    fs::write(&path, file).unwrap();
    let env: Vec<_> = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Config::load(&flags, env, Some(path))
}

fn refusal(file: &str, env: &[(&str, &str)], flags: &[(&'static str, &str)]) -> (u8, String) {
    let error = load(file, env, flags).unwrap_err();
    (error.exit_code(), error.to_string())
}

const SAMPLE: &str = include_str!("../../bigroom.toml");
const REFERENCE: &str = include_str!("../../docs/configuration.md");

#[test]
fn empty_file_is_the_default() {
    assert_eq!(load("", &[], &[]).unwrap(), Config::default());
}

#[test]
fn sample_is_the_default() {
    assert_eq!(load(SAMPLE, &[], &[]).unwrap(), Config::default());
}

#[test]
fn sample_lists_every_key() {
    let mut section = String::new();
    let mut listed = Vec::new();
    for line in SAMPLE.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((name, _)) = line.split_once(" = ") {
            listed.push(format!("{section}{name}"));
        }
    }
    for key in key_names() {
        assert!(listed.iter().any(|it| it == key), "{key} is not in bigroom.toml");
    }
}

#[test]
fn sample_with_every_key_set_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let sects = dir.path().join("sects.toml");
    fs::write(&sects, "[[sect]]\nname = \"a\"\n").unwrap();
    let all = SAMPLE
        .replace("# sects = \"sects.toml\"", &format!("sects = {sects:?}"))
        .replace("# auth_key_file", "auth_key_file")
        .replace("# advertise", "advertise")
        .replace("# ca = ", "ca = ")
        .replace("# cert", "cert")
        .replace("# key", "key");
    let config = load(&all, &[], &[]).unwrap();
    assert_eq!(config.tls.files(), Some((Path::new("cert.pem"), Path::new("key.pem"))));
    assert_eq!(config.auth_key_file, Some("keys.json".into()));
    assert_eq!(config.sects, Some(sects));
}

#[test]
fn reference_lists_every_key_and_variable() {
    for name in key_names().chain(env_names()).chain([CONFIG_FILE_VARIABLE]).chain(VARIABLES_OF_THE_BUILD) {
        assert!(REFERENCE.contains(&format!("`{name}`")), "{name} is not in docs/configuration.md");
    }
}

#[test]
fn flag_goes_over_variable_over_file() {
    let file = "listen = \"127.0.0.1:1\"\ndata_dir = \"file\"\nops_listen = \"127.0.0.1:1\"";
    let env = [("BIGROOM_LISTEN", "127.0.0.1:2"), ("BIGROOM_DATA_DIR", "variable")];
    let config = load(file, &env, &[("listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.data_dir, Path::new("variable"));
    assert_eq!(config.ops_listen.port(), 1);
}

#[test]
fn every_source_reads_every_type() {
    let from_file = "insecure = true\n[limits]\nroom_rate = 7\n[http]\ncors_origins = [\"https://a\", \"https://b\"]\n\
                     [cache]\nbytes_max = 2097152\n[log]\nformat = \"json\"\n[drain]\ngrace = \"1m 5s\"\n\
                     [retention.normal]\nage = \"2h\"";
    let from_env = [
        ("BIGROOM_INSECURE", "true"),
        ("BIGROOM_LIMITS__ROOM_RATE", "7"),
        ("BIGROOM_HTTP__CORS_ORIGINS", "https://a, https://b"),
        ("BIGROOM_CACHE__BYTES_MAX", "2MiB"),
        ("BIGROOM_LOG__FORMAT", "json"),
        ("BIGROOM_DRAIN__GRACE", "1m 5s"),
        ("BIGROOM_RETENTION__NORMAL__AGE", "2h"),
    ];
    let config = load(from_file, &[], &[]).unwrap();
    assert_eq!(config, load("", &from_env, &[]).unwrap());
    assert!(config.insecure);
    assert_eq!(config.limits.room_rate, 7);
    assert!(config.http.cors_origins.lists(b"https://b"));
    assert_eq!(config.cache.bytes_max, ByteSize(2 << 20));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.drain.grace, Duration::from_secs(65));
    assert_eq!(config.retention.normal.age, Duration::from_secs(7200));
    for array in [r#"["https://a", "https://b"]"#, "['https://a','https://b']", "https://a,https://b"] {
        let listed = load("", &[("BIGROOM_HTTP__CORS_ORIGINS", array)], &[]).unwrap();
        assert_eq!(listed.http.cors_origins, config.http.cors_origins, "{array}");
    }
}

#[test]
fn bad_values_are_named_with_key_value_and_rule() {
    for (variable, value, expect) in [
        (
            "BIGROOM_LIMITS__ROOM_RATE",
            "abc",
            "limits.room_rate = \"abc\": must be a whole number from 0 to 1000000 (BIGROOM_LIMITS__ROOM_RATE)",
        ),
        ("BIGROOM_LIMITS__ROOM_RATE", "-1", "must be a whole number from 0 to 1000000"),
        ("BIGROOM_LIMITS__ROOM_RATE", "1000001", "must be a whole number from 0 to 1000000"),
        ("BIGROOM_LIMITS__ROOM_RATE", "", "must be a whole number"),
        ("BIGROOM_LIMITS__USER_BURST", "0", "from 1 to 1000000"),
        ("BIGROOM_LIMITS__MESSAGE_BYTES_MAX", "0", "from 1 to 1048576"),
        ("BIGROOM_LIMITS__PARKED_POLLS_MAX", "0", "from 1 to 50000000"),
        ("BIGROOM_LISTEN", "8080", "must be an address with its port"),
        ("BIGROOM_LISTEN", "localhost:8080", "must be an address with its port"),
        ("BIGROOM_LISTEN", "127.0.0.1:65536", "must be an address with its port"),
        ("BIGROOM_DATA_DIR", "", "must be a path"),
        ("BIGROOM_INSECURE", "yes", "must be true or false"),
        ("BIGROOM_ONLINE__WINDOW", "30", "must be a duration with its unit"),
        ("BIGROOM_ONLINE__WINDOW", "0s", "from 1s to 1h"),
        ("BIGROOM_IDEMPOTENCY__WINDOW", "119s", "from 2m to 7days"),
        ("BIGROOM_RETENTION__NORMAL__COUNT", "0", "from 1 to 1000000000"),
        ("BIGROOM_RETENTION__PRIORITY__AGE", "999ms", "from 1s to 365days"),
        ("BIGROOM_HTTP__HEADER_TIMEOUT", "0s", "from 100ms to 1h"),
        ("BIGROOM_HTTP__CORS_ORIGINS", "example.com", "must be a list of origins"),
        ("BIGROOM_HTTP__CORS_ORIGINS", r#"["*", "https://a"]"#, "must be a list of origins"),
        ("BIGROOM_HTTP__CORS_ORIGINS", "[", "must be a list of origins"),
        ("BIGROOM_CACHE__BYTES_MAX", "5 parsecs", "from 1MiB to 1024TiB"),
        ("BIGROOM_CACHE__BYTES_MAX", "18446744073709551615TiB", "from 1MiB to 1024TiB"),
        ("BIGROOM_POLL__POLICY", "fast", "must be default or off"),
        ("BIGROOM_LOG__FORMAT", "xml", "must be human or json"),
        ("BIGROOM_LOG__LEVEL", "loud", "must be off, error, warn, info, debug or trace"),
        ("BIGROOM_DRAIN__GRACE", "-1s", "must be a duration with its unit"),
    ] {
        let (exit_code, sentence) = refusal("", &[(variable, value)], &[]);
        assert_eq!(exit_code, 2, "{sentence}");
        assert!(sentence.contains(expect), "{variable}={value}: {sentence}");
        assert!(
            sentence.contains(variable)
                && sentence.contains(&format!("{value:?}"))
                && !sentence.contains('\n'),
            "{sentence}"
        );
    }
}

#[test]
fn file_values_need_their_type() {
    for (file, expect) in [
        ("listen = 8080", "listen = 8080: must be an address"),
        ("[limits]\nroom_rate = \"5\"", "limits.room_rate = \"5\": must be a whole number"),
        ("[limits]\nroom_rate = 1.5", "limits.room_rate = 1.5: must be a whole number"),
        ("insecure = \"true\"", "insecure = \"true\": must be true or false"),
        ("[drain]\ngrace = 10", "drain.grace = 10: must be a duration"),
        ("[http]\ncors_origins = \"*\"", "http.cors_origins = \"*\": must be a list"),
        ("[http]\ncors_origins = [1]", "http.cors_origins = [1]: must be a list"),
        ("limits = 5", "limits = 5: there is no such key"),
        ("[listen]\na = 1", "listen = { a = 1 }: must be an address"),
    ] {
        let (exit_code, sentence) = refusal(file, &[], &[]);
        assert_eq!(exit_code, 2, "{sentence}");
        assert!(sentence.contains(expect) && sentence.contains("bigroom.toml)"), "{file}: {sentence}");
    }
}

#[test]
fn unknown_keys_are_refused() {
    for (file, key) in [
        ("lisen = \"127.0.0.1:1\"", "lisen"),
        ("[limits]\nroom_rat = 1", "limits.room_rat"),
        ("[limit]\nroom_rate = 1", "limit"),
        ("[retention]\ncount = 1", "retention.count"),
        ("[retention.low]\ncount = 1", "retention.low"),
        ("\"limits.room_rate\" = 1", "limits.room_rate"),
        (r#""room\nrate" = 1"#, r#""room\nrate""#),
        ("config = \"x\"", "config"),
    ] {
        let (exit_code, sentence) = refusal(file, &[], &[]);
        assert_eq!(exit_code, 2, "{sentence}");
        assert!(
            sentence.starts_with(&format!("{key} = ")) && sentence.contains("no such key"),
            "{file}: {sentence}"
        );
    }
    for variable in ["BIGROOM_LISEN", "BIGROOM_LIMITS_ROOM_RATE", "BIGROOM_", "BIGROOM_limits__room_rate"] {
        let (exit_code, sentence) = refusal("", &[(variable, "1")], &[]);
        assert_eq!(exit_code, 2, "{sentence}");
        assert!(sentence.starts_with(variable) && sentence.contains("no such key"), "{sentence}");
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    let env =
        [("BIGROOM_CACHE_DIR", "x"), ("BIGROOM_BUILD_JOBS", "x"), ("PATH", "x"), ("bigroom_listen", "x")];
    assert_eq!(load("", &env, &[]).unwrap(), Config::default());
}

#[test]
fn variable_names_the_file_where_no_flag_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    fs::write(&path, "data_dir = \"from a\"").unwrap();
    let env = || [(CONFIG_FILE_VARIABLE.into(), path.clone().into())];
    assert_eq!(Config::load(&[], env(), None).unwrap().data_dir, Path::new("from a"));
    let other = dir.path().join("b.toml");
    fs::write(&other, "data_dir = \"from b\"").unwrap();
    assert_eq!(Config::load(&[], env(), Some(other)).unwrap().data_dir, Path::new("from b"));
}

#[test]
fn files_that_are_no_toml_are_named_with_the_line() {
    let (exit_code, sentence) = refusal("insecure = false\nlisten 5\n", &[], &[]);
    assert_eq!(exit_code, 2);
    assert!(sentence.contains("bigroom.toml\": must be a TOML file, but line 2:"), "{sentence}");
    assert!(!sentence.contains('\n'), "{sentence}");
    let (_, sentence) = refusal("[limits]\nroom_rate = 1\nroom_rate = 2\n", &[], &[]);
    assert!(sentence.contains("line 3"), "{sentence}");
}

#[test]
fn missing_files_are_exit_code_1() {
    let error = Config::load(&[], [], Some("/nowhere/bigroom.toml".into())).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("/nowhere/bigroom.toml"), "{error}");
    let (exit_code, sentence) = refusal("sects = \"/nowhere/sects.toml\"", &[], &[]);
    assert_eq!(exit_code, 1);
    assert!(sentence.contains("sects = \"/nowhere/sects.toml\": the file can't be read"), "{sentence}");
}

#[test]
fn sect_table_must_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sects.toml");
    fs::write(&path, "vip = [").unwrap();
    let (exit_code, sentence) = refusal("", &[], &[("sects", path.to_str().unwrap())]);
    assert_eq!(exit_code, 2);
    assert!(sentence.contains("sects.toml: line 1"), "{sentence}");
    fs::write(&path, "[[sect]]\nname = \"vip-1\"\nweight = -2\n").unwrap();
    let (exit_code, sentence) = refusal("", &[], &[("sects", path.to_str().unwrap())]);
    assert_eq!(exit_code, 2);
    assert!(sentence.contains("sect \"vip-1\": weight = -2 must be 1 or more"), "{sentence}");
}

#[test]
fn tls_needs_certificate_and_key() {
    for key in ["cert", "key"] {
        let (exit_code, sentence) = refusal(&format!("[tls]\n{key} = \"x.pem\""), &[], &[]);
        assert_eq!(exit_code, 2);
        assert!(sentence.starts_with(&format!("tls.{key} = \"x.pem\": must come with tls.")), "{sentence}");
    }
}

#[test]
fn proxy_protocol_needs_somebody_to_trust() {
    let (exit_code, sentence) = refusal("[http]\nproxy_protocol = true", &[], &[]);
    assert_eq!(exit_code, 2);
    assert!(
        sentence.starts_with("http.proxy_protocol = true: must come with http.trusted_proxies"),
        "{sentence}"
    );
    for (file, variable) in [
        ("[http]\nproxy_protocol = true\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]", None),
        ("[http]\nproxy_protocol = true", Some("10.0.0.0/8, ::1")),
        ("[http]\nproxy_protocol = true", Some("[\"10.0.0.0/8\", \"::1\"]")),
    ] {
        let variables: Vec<_> =
            variable.map(|text| ("BIGROOM_HTTP__TRUSTED_PROXIES", text)).into_iter().collect();
        let trusted = load(file, &variables, &[]).unwrap().http.trusted_proxies;
        assert!(trusted.contains("10.1.1.1".parse().unwrap()) && trusted.contains("::1".parse().unwrap()));
    }
}

#[test]
fn open_address_needs_keys_or_insecure() {
    let open = |address: &str, rest: &str| load(&format!("listen = \"{address}\"\n{rest}"), &[], &[]);
    for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
        let error = open(address, "").unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains(address), "{error}");
        open(address, "insecure = true").unwrap();
        open(address, "auth_key_file = \"keys.json\"").unwrap();
    }
    for address in ["127.0.0.1:8080", "127.8.0.1:0", "[::1]:8080", "[::ffff:127.0.0.1]:80"] {
        open(address, "").unwrap();
    }
}

#[test]
fn unsafe_or_idle_settings_are_warned_of() {
    assert!(Config::default().warnings()[0].contains("everybody on this machine has all rights"));
    let open = Config { listen: "0.0.0.0:1".parse().unwrap(), insecure: true, ..Config::default() };
    assert!(open.warnings()[0].contains("everybody who reaches it has all rights"));
    let mut trusting = Config::default();
    trusting.http.trusted_proxies = TrustedProxies::parse(["10.0.0.0/8", "::/0"]).unwrap();
    assert!(trusting.warnings()[1].contains("everybody can choose the address"));
    let locked = Config { auth_key_file: Some("k".into()), ..Config::default() };
    assert!(locked.warnings().is_empty());
}

#[test]
fn keys_and_variables_are_unique() {
    let variables: BTreeMap<_, _> = env_names().zip(key_names()).collect();
    assert_eq!(variables.len(), key_names().count());
    assert_eq!(variables["BIGROOM_RETENTION__NORMAL__AGE"], "retention.normal.age");
}
