//! The real binary as a child process: started on free ports, watched, stopped in every way there is.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Conn, DEADLINE, Keys, Metrics, Request, chat::ParkedCount, eventually};

/// Limits that no test meets by accident.
const UNLIMITED: &str = "[limits]\nroom_rate = 0\nuser_rate = 0\npriority_rate = 0\n";
/// Log lines kept for the report of a failure.
const LOG_LINES_MAX: usize = 2_000;

/// How to start a server.
#[derive(Clone)]
pub(crate) struct Options {
    role: Role,
    config: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    keys: Option<Keys>,
}

/// What the process is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Serve,
    Proxy,
    Sendsvr,
    Recvsvr,
    Statsvr,
}

impl Role {
    /// The command that runs it.
    fn command(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Proxy => "proxy",
            Self::Sendsvr => "sendsvr",
            Self::Recvsvr => "recvsvr",
            Self::Statsvr => "statsvr",
        }
    }

    /// Under which key the log names its listener.
    fn listen_key(self) -> &'static str {
        match self {
            Self::Serve | Self::Proxy => "listen",
            Self::Sendsvr | Self::Recvsvr => "cluster_listen",
            Self::Statsvr => "stats_listen",
        }
    }

    /// Whether it has a data directory.
    fn has_data(self) -> bool {
        !matches!(self, Self::Proxy | Self::Recvsvr)
    }
}

/// Options with exactly this configuration file.
pub(crate) fn config(toml: &str) -> Options {
    Options { role: Role::Serve, config: toml.to_owned(), args: Vec::new(), env: Vec::new(), keys: None }
}

impl Default for Options {
    /// Free ports, a new data directory, no keys, no limits on sends.
    fn default() -> Self {
        config(UNLIMITED)
    }
}

impl Options {
    /// Adds to the configuration file.
    pub(crate) fn and(mut self, toml: &str) -> Self {
        self.config += "\n";
        self.config += toml;
        self
    }

    /// Adds command line arguments behind those of the harness.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Sets a variable of the process's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a statsvr instead of a server: [`Server::addr`] is then where other nodes reach it.
    pub(crate) fn statsvr(self) -> Self {
        self.role(Role::Statsvr)
    }

    /// Runs a node of a cluster instead of a server.
    pub(crate) fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Lets only callers in whose tokens these keys made.
    pub(crate) fn keys(mut self, keys: &Keys) -> Self {
        self.keys = Some(keys.clone());
        self
    }
}

/// What outlives the process: its files and how it is started.
struct Place {
    dir: TempDir,
    options: Options,
}

impl Place {
    fn new(options: Options) -> Self {
        Self { dir: TempDir::with_prefix("bigroom-e2e-").expect("a temporary directory"), options }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spawn(&self) -> (Process, Arc<Log>) {
        fs::write(self.path("bigroom.toml"), &self.options.config).expect("write the configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bigroom"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BIGROOM_"))
        {
            command.env_remove(name);
        }
        command.env("BIGROOM_LOG__FORMAT", "json").env_remove("RUST_LOG");
        // Many servers share a busy machine: what one does about its load is tested where it is forced.
        command.env("BIGROOM_PRESSURE__ENABLED", "false");
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
        command.arg(self.options.role.command()).arg("--config").arg(self.path("bigroom.toml"));
        let defaults = [
            ("--listen", "127.0.0.1:0".into()),
            ("--ops-listen", "127.0.0.1:0".into()),
            ("--data-dir", self.path("data")),
        ];
        for (flag, value) in defaults {
            if flag == "--data-dir" && !self.options.role.has_data() {
                continue;
            }
            if !self.options.args.iter().any(|arg| arg == flag) {
                command.arg(flag).arg(value);
            }
        }
        if let Some(keys) = &self.options.keys {
            keys.write(&self.path("keys.json"));
            command.arg("--auth-key-file").arg(self.path("keys.json"));
        }
        command.args(&self.options.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the binary");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let sink = Arc::clone(&log);
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| sink.push(line)));
        (Process(child), log)
    }
}

/// A child process; it is killed when dropped.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        // It may have ended before, which is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("ask for the child's state")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the process wrote to stderr, the latest lines of it.
#[derive(Default)]
struct Log(Mutex<std::collections::VecDeque<String>>);

impl Log {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().expect("no panic under the lock");
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.0.lock().expect("no panic under the lock");
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The address that a log line gives under `key`.
    fn addr(&self, key: &str) -> Option<SocketAddr> {
        let text = self.text();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut addrs = lines.filter_map(|line| {
            let value = line["fields"].get(key).or_else(|| line.get(key))?;
            value.as_str()?.parse::<SocketAddr>().ok()
        });
        addrs.find(|addr| addr.port() != 0)
    }
}

/// A running server; it ends with this value.
pub(crate) struct Server {
    /// The public listener.
    pub(crate) addr: SocketAddr,
    /// The ops listener.
    pub(crate) ops: SocketAddr,
    process: Process,
    log: Arc<Log>,
    place: Option<Place>,
    /// The polls that [`Server::park`] gave.
    pub(super) parked: ParkedCount,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) async fn start(options: Options) -> Self {
        Self::start_at(Place::new(options)).await
    }

    /// Starts a server that need not get ready.
    pub(crate) async fn start_unready(options: Options) -> Self {
        Self::listening_at(Place::new(options)).await
    }

    async fn start_at(place: Place) -> Self {
        let this = Self::listening_at(place).await;
        eventually(DEADLINE, "readiness", || async {
            let answer = this.ops_get("/readyz").await;
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}\n{}", this.log.text())) }
        })
        .await;
        this
    }

    async fn listening_at(place: Place) -> Self {
        let (process, log) = place.spawn();
        let listen_key = place.options.role.listen_key();
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut this = Self {
            addr: unknown,
            ops: unknown,
            process,
            log,
            place: Some(place),
            parked: ParkedCount::default(),
        };
        (this.addr, this.ops) = eventually(DEADLINE, "the addresses in the log", || {
            assert!(this.process.status().is_none(), "the server did not start:\n{}", this.log.text());
            let addrs = this.log.addr(listen_key).zip(this.log.addr("ops_listen"));
            std::future::ready(addrs.ok_or_else(|| this.log.text()))
        })
        .await;
        this
    }

    /// A new connection to the public listener.
    pub(crate) async fn conn(&self) -> Conn {
        Conn::open(self.addr).await
    }

    /// Sends a request on a connection of its own and reads the answer.
    pub(crate) async fn call(&self, request: Request) -> Answer {
        self.conn().await.call(&request).await
    }

    /// GETs a path of the ops listener.
    pub(crate) async fn ops_get(&self, path: &str) -> Answer {
        Conn::open(self.ops).await.call(&Request::get(path)).await
    }

    /// Reads the metrics.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.ops_get("/metrics").await.expect(200).text())
    }

    /// Reads one metric: the sum over all its samples with these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().await.sum(name, labels)
    }

    /// Writes the key file anew.
    pub(crate) fn replace_keys(&self, contents: &str) {
        let place = self.place.as_ref().expect("a running server has its place");
        // A rename, so that the server never reads half a file.
        fs::write(place.path("keys.new"), contents).expect("write the keys");
        fs::rename(place.path("keys.new"), place.path("keys.json")).expect("put the keys in place");
    }

    /// What the server logged so far, at most the latest 2,000 lines.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Kills the process as a crash would (SIGKILL).
    pub(crate) fn kill9(mut self) -> Stopped {
        self.process.kill();
        Stopped(self.place.take().expect("a running server has its place"))
    }

    /// Asks the process to drain (SIGTERM).
    pub(crate) fn sigterm(&self) {
        self.send_signal(Signal::TERM);
    }

    /// Asks the same as from a terminal (SIGINT).
    pub(crate) fn sigint(&self) {
        self.send_signal(Signal::INT);
    }

    fn send_signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("signal the server");
    }

    /// Lets the process have no more than that many files and sockets from now on.
    pub(crate) fn limit_fds(&self, count: u64) {
        let limit = Rlimit { current: Some(count), maximum: Some(count) };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("limit the server");
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.process.0.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn exit(mut self, deadline: Duration) -> (ExitStatus, Stopped) {
        let status = eventually(deadline, "the server's exit", || {
            std::future::ready(self.process.status().ok_or_else(|| self.log.text()))
        })
        .await;
        (status, Stopped(self.place.take().expect("a running server has its place")))
    }

    /// Ends the process in order (SIGTERM) and checks that it says so.
    pub(crate) async fn stop(self) -> Stopped {
        self.sigterm();
        let (status, stopped) = self.exit(DEADLINE).await;
        assert_eq!(status.code(), Some(0), "a drained server exits with 0");
        stopped
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let log = self.log.text();
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{log}---");
        } else {
            // Nothing panics on input: a task that did would otherwise only look like a closed connection.
            assert!(!log.contains("panicked at"), "the server panicked:\n{log}");
        }
    }
}

/// A server that was stopped; its data is still there.
pub(crate) struct Stopped(Place);

impl Stopped {
    /// Starts it again on the same data.
    pub(crate) async fn start(self) -> Server {
        Server::start_at(self.0).await
    }

    /// Starts it again with other options, and expects it to refuse.
    pub(crate) async fn start_refused(&self) -> Refusal {
        refused(&self.0).await
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.0.path("data")
    }
}

/// How a process ended that did not start to serve.
pub(crate) struct Refusal {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Everything on stderr.
    pub(crate) stderr: String,
}

/// Starts a server that must refuse, and waits for it to end.
pub(crate) async fn spawn_refused(options: Options) -> Refusal {
    refused(&Place::new(options)).await
}

async fn refused(place: &Place) -> Refusal {
    let (mut process, log) = place.spawn();
    let status = eventually(DEADLINE, "the refusal", || {
        std::future::ready(process.status().ok_or_else(|| log.text()))
    })
    .await;
    // The reading thread ends with the pipe; its last lines may still be on their way.
    let stderr = eventually(DEADLINE, "a word on stderr", || {
        let text = log.text();
        std::future::ready(if text.is_empty() { Err("nothing".to_owned()) } else { Ok(text) })
    })
    .await;
    Refusal { code: status.code(), stderr }
}

/// The data directory of a running server.
pub(crate) fn data_dir(server: &Server) -> &Path {
    server.place.as_ref().expect("a running server has its place").dir.path()
}
