//! The real binary's arguments: exit codes, and one line on stderr where something is wrong.
#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Runs `bigroom` without the caller's own variables.
fn bigroom(args: &[&str], env: &[(&str, &str)], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bigroom"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BIGROOM_")) {
        command.env_remove(name);
    }
    command.args(args).envs(env.iter().copied()).current_dir(dir).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Asserts the exit code and that stderr is one line, with all `parts` in it.
fn assert_refused(output: &Output, exit_code: i32, parts: &[&str]) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(exit_code), "{stderr}");
    assert_eq!(stderr.matches('\n').count(), 1, "not one line:\n{stderr}");
    assert!(output.stdout.is_empty(), "{}", stdout(output));
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
}

#[test]
fn help_and_version_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    for (args, part) in [
        (&["--help"][..], "Usage: bigroom <COMMAND>"),
        (&["serve", "--help"], "--ops-listen <ADDRESS>"),
        (&["statsvr", "--help"], "--nodes <ADDRESSES>"),
        (&["token", "--help"], "--ttl <DURATION>"),
        (&["pressure", "--help"], "--for <DURATION>"),
        (&["--version"], concat!("bigroom ", env!("CARGO_PKG_VERSION"), "\n")),
    ] {
        let output = bigroom(args, &[], dir.path());
        assert!(output.status.success() && output.stderr.is_empty());
        assert!(stdout(&output).contains(part), "{}", stdout(&output));
    }
}

#[test]
fn bad_arguments_are_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for (args, parts) in [
        (&[][..], &["requires a subcommand", "--help"][..]),
        (&["fly"], &["'fly'"]),
        (&["serve", "--lisen", "x"], &["'--lisen'"]),
        (&["serve", "--listen"], &["--listen"]),
        (&["serve", "--listen", "here"], &["listen", "\"here\"", "must be an address", "--listen"]),
        (&["serve", "--ops-listen", "1"], &["ops_listen", "\"1\"", "--ops-listen"]),
        (&["serve", "--insecure=maybe"], &["insecure", "maybe", "true or false"]),
        (&["serve", "--data-dir", ""], &["data_dir", "must be a path"]),
        (&["serve", "--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2"], &["--listen", "multiple times"]),
        (&["serve", "more"], &["'more'"]),
        (&["serve", "--nodes", "127.0.0.1:1"], &["'--nodes'"]),
        (&["statsvr", "--listen", "here"], &["stats.listen", "\"here\"", "must be an address", "--listen"]),
        (&["statsvr", "--nodes", "here"], &["stats.nodes", "here", "addresses", "--nodes"]),
        (&["statsvr", "--nodes", "127.0.0.1:0"], &["stats.nodes", "127.0.0.1:0"]),
        (&["statsvr", "--nodes", "a:1,a:1"], &["stats.nodes", "none twice"]),
        (&["statsvr", "--ops-listen", "1"], &["ops_listen", "\"1\"", "--ops-listen"]),
        (&["statsvr", "--data-dir", ""], &["data_dir", "must be a path"]),
        (&["statsvr", "--auth-key-file", "k"], &["'--auth-key-file'"]),
        (&["statsvr", "more"], &["'more'"]),
        (&["token"], &["--sub", "--room"]),
        (&["token", "--sub", "a b", "--room", "*"], &["--sub", "a b", "A-Z a-z 0-9"]),
        (&["token", "--sub", "u", "--room", "*", "--role", "king"], &["--role", "king", "moderator"]),
        (&["token", "--sub", "u", "--room", "*", "--ttl", "1"], &["--ttl", "'1'", "duration"]),
        (&["token", "--sub", "u", "--room", "*", "--ttl", "0s"], &["--ttl", "0s", "at least 1s"]),
        (&["token", "--sub", "u", "--room", "*"], &["--auth-key-file"]),
        (&["pressure", "--step", "5"], &["--step", "'5'", "0 to 4"]),
        (&["pressure", "--step", "1", "--for", "2h"], &["--for", "2h", "1s to 1h"]),
        (&["pressure", "--for", "2s"], &["--step"]),
        (&["pressure", "--ops", "here"], &["--ops", "here"]),
        (&["key", "--alg", "RS256"], &["--alg", "RS256", "HS256, EdDSA or ES256"]),
    ] {
        assert_refused(&bigroom(args, &[], dir.path()), 2, parts);
    }
}

#[test]
fn bad_configuration_is_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.toml"), "[limits]\nroom_rate = -1\n").unwrap();
    fs::write(dir.path().join("unknown.toml"), "[limits]\nroomrate = 1\n").unwrap();
    fs::write(dir.path().join("broken.toml"), "[limits\n").unwrap();
    let stats = [("BIGROOM_STATS__NODES", "nowhere")];
    for command in ["serve", "statsvr"] {
        assert_refused(
            &bigroom(&[command], &stats, dir.path()),
            2,
            &["BIGROOM_STATS__NODES", "nowhere", "none twice"],
        );
    }
    for (args, env, parts) in [
        (
            &["--config", "bad.toml"][..],
            None,
            &["limits.room_rate", "-1", "from 0 to 1000000", "bad.toml"][..],
        ),
        (&["--config", "unknown.toml"], None, &["limits.roomrate", "no such key", "unknown.toml"]),
        (&["--config", "broken.toml"], None, &["broken.toml", "line 1"]),
        (&[], Some(("BIGROOM_CONFIG", "bad.toml")), &["limits.room_rate", "-1"]),
        (
            &[],
            Some(("BIGROOM_LIMITS__ROOM_RATE", "abc")),
            &["BIGROOM_LIMITS__ROOM_RATE", "abc", "whole number"],
        ),
        (&[], Some(("BIGROOM_LISEN", "x")), &["BIGROOM_LISEN", "no such key"]),
        (&[], Some(("BIGROOM_TLS__CERT", "cert.pem")), &["tls.cert", "cert.pem", "tls.key"]),
    ] {
        let args = [&["serve"], args].concat();
        assert_refused(&bigroom(&args, env.as_slice(), dir.path()), 2, parts);
    }
}

#[test]
fn what_can_not_be_done_is_one_line_and_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("empty.json"), "").unwrap();
    fs::write(dir.path().join("rsa.json"), r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#).unwrap();
    fs::write(dir.path().join("bad.pem"), "").unwrap();
    let local = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    for (args, parts) in [
        (&["--listen", "0.0.0.0:0"][..], &["0.0.0.0:0", "auth_key_file", "insecure"][..]),
        (&["--config", "none.toml"], &["none.toml"]),
        (&["--sects", "none.toml"], &["sects", "none.toml"]),
        (&[&local[..], &["--auth-key-file", "none.json"]].concat(), &["auth_key_file", "none.json"]),
        (&[&local[..], &["--auth-key-file", "empty.json"]].concat(), &["empty.json", "it is empty"]),
        (&[&local[..], &["--auth-key-file", "rsa.json"]].concat(), &["rsa.json", "no usable key"]),
    ] {
        let args = [&["serve"], args].concat();
        assert_refused(&bigroom(&args, &[], dir.path()), 1, parts);
    }
    let own = ["statsvr", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    for (args, parts) in [
        (&["--config", "none.toml"][..], &["none.toml"][..]),
        (&["--nodes", "127.0.0.1:1"], &["stats.nodes", "stats.listen"]),
        (&["--data-dir", "empty.json"], &["empty.json"]),
    ] {
        assert_refused(&bigroom(&[&own[..], args].concat(), &[], dir.path()), 1, parts);
    }
    let tls = [("BIGROOM_TLS__CERT", "bad.pem"), ("BIGROOM_TLS__KEY", "bad.pem")];
    let args = [&["serve"], &local[..]].concat();
    assert_refused(&bigroom(&args, &tls, dir.path()), 1, &["tls.cert", "bad.pem"]);
}

#[test]
fn token_is_printed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for alg in ["HS256", "EdDSA", "ES256"] {
        let key = bigroom(&["key", "--alg", alg, "--kid", "mine"], &[], dir.path());
        assert!(key.status.success() && key.stderr.is_empty());
        fs::write(dir.path().join("keys.json"), &key.stdout).unwrap();

        let asked = [
            "token",
            "--sub",
            "u1",
            "--role",
            "broadcaster",
            "--room",
            "live-*",
            "--room",
            "x",
            "--ttl",
            "5m",
        ];
        let by_flag = bigroom(&[&asked[..], &["--auth-key-file", "keys.json"]].concat(), &[], dir.path());
        let by_variable = bigroom(&asked, &[("BIGROOM_AUTH_KEY_FILE", "keys.json")], dir.path());
        for output in [by_flag, by_variable] {
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            let token = stdout(&output);
            assert_eq!(token.trim_end().split('.').count(), 3, "{token}");
            assert_eq!(token.matches('\n').count(), 1, "{token}");

            let keys = bigroom::auth::KeySet::parse(&key.stdout).unwrap();
            let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
            let verified = bigroom::auth::Verifier::new(keys).verify(token.trim_end(), now_s).unwrap();
            assert_eq!(verified.identity.role, room::Role::Broadcaster);
            assert_eq!(verified.identity.rooms.len(), 2);
            assert!(verified.expires_at_s >= now_s + 300 && verified.expires_at_s < now_s + 360);
        }
    }
}

#[test]
fn token_needs_a_key_that_can_sign() {
    let dir = tempfile::tempdir().unwrap();
    let key = stdout(&bigroom(&["key", "--alg", "EdDSA"], &[], dir.path()));
    fs::write(dir.path().join("keys.json"), &key).unwrap();
    let public: String = key.lines().filter(|line| !line.contains("\"d\"")).collect();
    fs::write(dir.path().join("public.json"), public).unwrap();
    let asked = ["token", "--sub", "u1", "--room", "*", "--auth-key-file"];
    for (rest, exit_code, parts) in [
        (&["none.json"][..], 1, &["none.json"][..]),
        (&["public.json"], 1, &["private half"]),
        (&["keys.json", "--kid", "k9"], 2, &["kid", "k9", "k1 (EdDSA)"]),
    ] {
        assert_refused(&bigroom(&[&asked[..], rest].concat(), &[], dir.path()), exit_code, parts);
    }
}
