//! Workers and controllers as real processes: how they start, how they end, and what is said when one dies.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Longest that anything here may take: well beyond every deadline within the load test.
const PATIENCE: Duration = Duration::from_secs(120);

/// A child of the test; killed, by its id, when it is dropped.
struct Process(Child);

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
        Self(
            command
                .args(args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the binary was built"),
        )
    }

    /// Starts a worker, and reads its address.
    fn worker(args: &[&str]) -> (Self, String) {
        let mut worker = Self::start(&[&["worker"], args].concat());
        let mut line = String::new();
        BufReader::new(worker.0.stderr.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("a worker tells its address");
        let line: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(line["message"], "worker listening");
        let address = line["listen"].as_str().expect("an address").to_owned();
        (worker, address)
    }

    fn control(workers: &[&str], directory: &Path, target: &TcpListener) -> Self {
        let profile = directory.join("long.toml");
        let text = "name = \"long\"\nstory = \"It would take an hour.\"\nduration = \"1h\"\n\
                    [clients]\ncount = 40\nprobes = 0\n\
                    [[messages]]\nlist = \"normal\"\ncurve = [{ at = \"0s\", rate = 1.0 }]\n";
        std::fs::write(&profile, text).expect("the directory is there");
        let target = target.local_addr().expect("it listens").to_string();
        Self::start(&[
            "control",
            "--workers",
            &workers.join(","),
            "--profile",
            profile.to_str().expect("it is UTF-8"),
            "--target",
            &target,
            "--quiet",
        ])
    }

    fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it was killed");
    }

    /// Waits until it ends by itself.
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("it is a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "process {} does not end", self.0.id());
            std::thread::yield_now();
        }
    }

    fn stdout(&mut self) -> String {
        let mut text = String::new();
        self.0.stdout.take().expect("it is piped").read_to_string(&mut text).expect("it is UTF-8");
        text
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.0.stderr.take().expect("it is piped").read_to_string(&mut text).expect("it is UTF-8");
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that takes connections and never answers: enough for a run to be under way.
fn target() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port is free")
}

#[test]
fn killed_worker_fails_the_run_and_ends_it_on_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let target = target();
    let (mut stays, first) = Process::worker(&["--once"]);
    let (mut dies, second) = Process::worker(&[]);
    let mut control = Process::control(&[&first, &second], directory.path(), &target);
    // The run is under way as soon as somebody connects.
    let _client = target.accept().unwrap();
    dies.kill();

    assert_eq!(control.end().code(), Some(1), "an incomplete run does not count");
    let table = control.stdout();
    let verdict = table.lines().next().unwrap();
    assert!(verdict.starts_with("long: NOT CLEAN"), "{table}");
    assert!(verdict.contains(&format!("worker {second} was lost")), "{table}");
    assert!(stays.end().success(), "the other one has ended its share");
}

#[test]
fn killed_controller_ends_the_run_on_its_workers() {
    let directory = tempfile::tempdir().unwrap();
    let target = target();
    let (mut one, first) = Process::worker(&["--once"]);
    let (mut two, second) = Process::worker(&["--once"]);
    let mut control = Process::control(&[&first, &second], directory.path(), &target);
    let _client = target.accept().unwrap();
    control.kill();
    assert!(one.end().success() && two.end().success(), "nobody is left to play for");
}

#[test]
fn worker_ends_when_it_is_told_to() {
    let (mut worker, _) = Process::worker(&[]);
    kill_process(Pid::from_child(&worker.0), Signal::TERM).unwrap();
    assert!(worker.end().success());
}

#[test]
fn worker_does_not_listen_for_strangers() {
    let mut open = Process::start(&["worker", "--listen", "0.0.0.0:0"]);
    assert_eq!(open.end().code(), Some(1));
    assert!(open.stderr().contains("--allow-remote"));
    let mut no_secret = Process::start(&["worker", "--listen", "0.0.0.0:0", "--allow-remote"]);
    assert_eq!(no_secret.end().code(), Some(1));
    assert!(no_secret.stderr().contains("--secret-file"));
}

#[test]
fn controller_without_a_worker_says_which_one_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    // A port that was just free.
    let gone = target().local_addr().unwrap().to_string();
    let mut control = Process::control(&[&gone], directory.path(), &target());
    assert_eq!(control.end().code(), Some(1));
    let told = control.stderr();
    assert!(told.contains(&format!("prepare worker {gone}")) && told.contains("loadtest worker"), "{told}");
}
