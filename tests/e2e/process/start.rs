//! Starting, and refusing to.

use crate::harness::{Options, Server, config, data_dir, spawn_refused};

/// A refusal is one sentence on stderr that names what it is about.
fn check_sentence(stderr: &str, names: &str) {
    let words: Vec<_> = stderr.lines().filter(|line| !line.starts_with('{')).collect();
    let sentence = words.last().copied().or_else(|| stderr.lines().last()).unwrap_or_default();
    assert!(sentence.contains(names), "{names} is not named in {stderr:?}");
    assert!(words.len() <= 1, "more than one line: {stderr:?}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[tokio::test]
async fn port_in_use_is_no_start() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    for flag in ["--listen", "--ops-listen"] {
        let refusal = spawn_refused(config("").args(&[flag, &taken])).await;
        assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
        check_sentence(&refusal.stderr, &taken);
    }
}

#[tokio::test]
async fn two_servers_do_not_share_a_port() {
    let first = Server::start(Options::default()).await;
    let taken = first.addr.to_string();
    let refusal = spawn_refused(config("").args(&["--listen", &taken])).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    check_sentence(&refusal.stderr, &taken);
}

#[tokio::test]
async fn locked_data_directory_is_no_start() {
    let server = Server::start(Options::default()).await;
    let dir = data_dir(&server).join("data");
    let refusal = spawn_refused(config("").args(&["--data-dir", dir.to_str().unwrap()])).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    check_sentence(&refusal.stderr, dir.to_str().unwrap());
    server.say("r", "the first one is not disturbed").await;
}

#[tokio::test]
async fn data_directory_that_is_a_file_is_no_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let refusal = spawn_refused(config("").args(&["--data-dir", path])).await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    check_sentence(&refusal.stderr, path);
}

#[tokio::test]
async fn bad_configuration_is_no_start() {
    for (toml, names) in [("unknown_key = 1\n", "unknown_key"), ("[limits]\nroom_rate = -2\n", "room_rate")] {
        let refusal = spawn_refused(config(toml)).await;
        assert_eq!(refusal.code, Some(2), "{}", refusal.stderr);
        check_sentence(&refusal.stderr, names);
    }
}

#[tokio::test]
async fn first_log_lines_name_the_addresses() {
    let server = Server::start(Options::default()).await;
    let (addr, ops) = (server.addr.to_string(), server.ops.to_string());
    let log = server.log();
    let first: String = log.lines().take(10).collect();
    assert!(first.contains(&addr) && first.contains(&ops), "{log}");
}

#[tokio::test]
async fn interrupt_drains_like_sigterm() {
    let server = Server::start(Options::default()).await;
    server.say("r", "x").await;
    server.sigint();
    let (status, stopped) = server.exit(crate::harness::DEADLINE).await;
    assert_eq!(status.code(), Some(0));
    let server = stopped.start().await;
    assert_eq!(server.history("r", "").await["last_seq"], 1);
}
