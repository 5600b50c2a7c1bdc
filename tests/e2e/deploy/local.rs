//! `deploy/local/cluster`: one command starts a whole cluster, one ends it, and nothing stays.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Conn, DEADLINE, Request, cursor, seqs, within};

/// Nodes of the cluster.
const NODES: usize = 11;
/// Ports that it takes, from its first one on.
const PORTS: u16 = 90;

/// The command on a directory and ports of its own; what it started ends with this value.
struct Local {
    dir: TempDir,
    port: u16,
}

impl Local {
    fn new() -> Self {
        let dir = TempDir::with_prefix("bigroom-local-").expect("a temporary directory");
        Self { dir, port: free_ports() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/local/cluster"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BIGROOM_"))
        {
            command.env_remove(name);
        }
        command
            .args(args)
            .env("CLUSTER_DIR", self.dir.path())
            .env("CLUSTER_PORT", self.port.to_string())
            .env("CLUSTER_BINARY", env!("CARGO_BIN_EXE_bigroom"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    async fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        let running = tokio::task::spawn_blocking(move || command.output().expect("run the script"));
        within(DEADLINE * 2, "the command", running).await.expect("no panic")
    }

    /// Runs a command that must succeed; what it printed.
    async fn done(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn proxy(&self, number: u16) -> SocketAddr {
        ([127, 0, 0, 1], self.port + number - 1).into()
    }

    /// Processes of this machine that have something to do with the directory.
    fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        // Recvsvrs and proxies have no directory, but a port of these.
        let needle = format!("127.0.0.1:{}", self.port + 10);
        for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&needle) || line.contains(&*self.dir.path().to_string_lossy()) {
                found.push(line);
            }
        }
        found
    }

    fn has_pid_files(&self) -> bool {
        fs::read_dir(self.dir.path()).unwrap().filter_map(Result::ok).any(|entry| is_pid_file(&entry.path()))
    }
}

fn is_pid_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pid")
}

impl Drop for Local {
    fn drop(&mut self) {
        drop(self.command(&["stop"]).output());
    }
}

/// The first of a run of ports that nobody has, outside of those that the system gives to others.
fn free_ports() -> u16 {
    let from = 10_000 + u16::try_from(std::process::id() % 200).unwrap() * PORTS;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..50)
        .map(|nth| from + nth * PORTS)
        .find(|first| (*first..first + PORTS).all(is_free))
        .expect("90 free ports in a row")
}

async fn send(proxy: SocketAddr, text: &str) -> u64 {
    let request = Request::send("demo", &json!({ "text": text, "priority": "high" }));
    Conn::open(proxy).await.call(&request).await.expect_json(201)["seq"].as_u64().unwrap()
}

#[tokio::test]
async fn cluster_starts_serves_is_drilled_and_stops() {
    let local = Local::new();
    let told = local.done(&["start"]).await;
    let proxies = [local.proxy(1), local.proxy(2)];
    for proxy in proxies {
        assert!(told.contains(&format!("http://{proxy}")), "{told}");
    }
    let status = local.done(&["status"]).await;
    assert_eq!(status.matches(" ready").count(), NODES, "{status}");

    // A second start finds it running, and does it no harm.
    let again = local.run(&["start"]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("runs already"), "{again:?}");

    // Through one proxy in, through the other out.
    assert_eq!(send(proxies[0], "one").await, 1);
    let mut reader = Conn::open(proxies[1]).await;
    let answer = reader.call(&Request::poll("demo", "cursor=-1")).await.expect_json(200);
    assert_eq!(seqs(&answer["priority"]), [1]);

    // Both recvsvrs of the room's sect go, one after the other, under a waiting reader.
    let mut at = cursor(&answer);
    for (round, node) in ["recvsvr-1", "recvsvr-2", "recvsvr-3", "recvsvr-4"].into_iter().enumerate() {
        reader.send(&Request::poll("demo", &format!("cursor={at}&timeout_ms=30000"))).await;
        local.done(&["kill", node]).await;
        let status = local.run(&["status"]).await;
        assert_eq!(status.status.code(), Some(1), "{status:?}");
        let status = String::from_utf8(status.stdout).unwrap();
        let line = status.lines().find(|line| line.starts_with(node)).unwrap();
        assert!(line.ends_with("not running"), "{line}");
        let seq = send(proxies[0], node).await;
        let answer = within(DEADLINE, "the message", reader.answer()).await.expect_json(200);
        assert_eq!(seqs(&answer["priority"]), [seq]);
        assert_eq!(seq, round as u64 + 2);
        at = cursor(&answer);
        local.done(&["restart", node]).await;
    }
    assert_eq!(local.done(&["status"]).await.matches(" ready").count(), NODES);
    assert_eq!(local.run(&["kill", "recvsvr-9"]).await.status.code(), Some(1));

    local.done(&["stop"]).await;
    assert_eq!(local.processes(), Vec::<String>::new());
    assert!(!local.has_pid_files());
    // What was sent is there after the next start.
    local.done(&["start"]).await;
    assert_eq!(send(proxies[1], "two").await, 6);
    local.done(&["stop"]).await;
    assert_eq!(local.processes(), Vec::<String>::new());
}

#[tokio::test]
async fn taken_port_is_named_and_nothing_is_started() {
    let local = Local::new();
    let taken = TcpListener::bind(("127.0.0.1", local.port + 1)).unwrap();
    let refused = local.run(&["start"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains(&format!("port {}, for proxy-2, is taken", local.port + 1)), "{stderr}");
    assert_eq!(local.processes(), Vec::<String>::new());
    drop(taken);
}

#[tokio::test]
async fn node_that_does_not_come_up_takes_the_others_along() {
    let local = Local::new();
    let mut command = local.command(&["start"]);
    // Proxies alone read keys, and they are the last.
    command.env("BIGROOM_AUTH_KEY_FILE", "/nonexistent/keys.json");
    let running = tokio::task::spawn_blocking(move || command.output().expect("run the script"));
    let output = within(DEADLINE * 2, "the refusal", running).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("proxy-1 did not start: see") && stderr.contains("keys.json"), "{stderr}");
    assert_eq!(local.processes(), Vec::<String>::new());
    assert!(!local.has_pid_files());
}

#[tokio::test]
async fn process_that_got_a_recorded_id_is_left_alone() {
    let local = Local::new();
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(local.dir.path().join("sendsvr.pid"), format!("{} 1 another-boot\n", stranger.id())).unwrap();
    local.done(&["stop"]).await;
    assert!(stranger.try_wait().unwrap().is_none(), "it was ended");
    assert_eq!(local.run(&["kill", "sendsvr"]).await.status.code(), Some(1));
    assert!(stranger.try_wait().unwrap().is_none(), "it was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}
