//! The real nginx and HAProxy, with the configurations of `deploy/`: only addresses, paths and sizes are replaced, as their
//! READMEs say.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::{Conn, DEADLINE, Request, eventually, free_addr};

/// Which balancer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Nginx,
    Haproxy,
}

/// Where the proxies are that a balancer is to use: for clients, and for operators.
pub(crate) type Upstreams = [(SocketAddr, SocketAddr); 2];

/// A running balancer; it ends with this value.
pub(crate) struct Balancer {
    /// Where clients connect.
    pub(crate) addr: SocketAddr,
    process: Child,
    dir: TempDir,
}

/// How many requests, or connections, of an address the shipped configurations allow.
const PER_ADDRESS: &str = "4000";

impl Balancer {
    /// Starts one before two proxies, and waits until it passes requests on.
    pub(crate) async fn start(kind: Kind, upstreams: Upstreams) -> Self {
        Self::start_limited(kind, upstreams, PER_ADDRESS).await
    }

    /// Starts one that allows an address so much at a time.
    pub(crate) async fn start_limited(kind: Kind, upstreams: Upstreams, per_address: &str) -> Self {
        let dir = TempDir::with_prefix("bigroom-balancer-").expect("a temporary directory");
        let addr = free_addr();
        let command = match kind {
            Kind::Nginx => nginx(&dir, addr, upstreams, per_address),
            Kind::Haproxy => haproxy(&dir, addr, upstreams, per_address),
        };
        Self::run(command, dir, addr).await
    }

    /// Starts HAProxy as a balancer of TCP before one server, which it tells of its clients by the PROXY protocol: `send_proxy`
    /// is the server's word for the version. It checks the server's health by the same port and protocol.
    pub(crate) async fn start_tcp(upstream: SocketAddr, send_proxy: &str) -> Self {
        let dir = TempDir::with_prefix("bigroom-balancer-").expect("a temporary directory");
        let addr = free_addr();
        let text = format!(
            "defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 60s\n    timeout server 60s\n\
             listen clients\n    bind {addr}\n    default-server inter 100ms fall 1 rise 1\n    \
             server one {upstream} {send_proxy} check check-send-proxy\n"
        );
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        Self::run(command, dir, addr).await
    }

    async fn run(mut command: Command, dir: TempDir, addr: SocketAddr) -> Self {
        let kind = command.get_program().to_owned();
        // Distributions put them where not every user looks.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
        let log = fs::File::create(dir.path().join("log")).unwrap();
        command.env("PATH", path).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("{kind:?} ({error}): `scripts/install-prerequisites test` installs what tests need")
        });
        let mut this = Self { addr, process, dir };
        eventually(DEADLINE, "the balancer", || {
            let ended = this.process.try_wait().unwrap();
            let log = this.log();
            assert!(ended.is_none(), "{kind:?} did not start:\n{log}");
            async move {
                let Ok(mut conn) = Conn::try_open(addr).await else { return Err(log) };
                match conn.try_call(&Request::get("/openapi.json")).await {
                    Some(answer) if answer.status == 200 => Ok(()),
                    answer => Err(format!("{answer:?}\n{log}")),
                }
            }
        })
        .await;
        this
    }

    /// A new connection of a client.
    pub(crate) async fn conn(&self) -> Conn {
        Conn::open(self.addr).await
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the balancer's log:\n{}---", self.log());
        }
        // The master of nginx ends its workers: killed, it would leave them.
        self.signal(Signal::TERM);
        let deadline = Instant::now() + DEADLINE;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The text of a shipped configuration with these parts replaced; each of them must be there.
fn substituted(file: &str, parts: &[(&str, String)]) -> String {
    let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
    let mut text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    for (from, to) in parts {
        assert!(text.contains(from), "{path} has no {from:?} any more: see its README");
        text = text.replace(from, to);
    }
    text
}

fn nginx(dir: &TempDir, listen: SocketAddr, upstreams: Upstreams, per_address: &str) -> Command {
    let [(one, _), (two, _)] = upstreams;
    let here = dir.path().display();
    // Only root's nginx changes its user, and only root may write to the distribution's directories.
    let user = if geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {here}/{kind};\n"))
        .concat();
    let parts = [
        ("user www-data;", user.to_owned()),
        ("pid /run/nginx.pid;", format!("pid {here}/nginx.pid;")),
        ("worker_processes auto;", "worker_processes 2;".to_owned()),
        ("worker_rlimit_nofile 262144;", String::new()),
        ("worker_connections 131072;", "worker_connections 500;".to_owned()),
        ("http {\n", format!("http {{\n{temporary}")),
        ("127.0.0.1:8088", listen.to_string()),
        ("127.0.0.1:7400", one.to_string()),
        ("127.0.0.1:7401", two.to_string()),
        ("limit_conn address 4000;", format!("limit_conn address {per_address};")),
    ];
    let file = dir.path().join("nginx.conf");
    fs::write(&file, substituted("nginx/nginx.conf", &parts)).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file).args(["-e", "stderr", "-g", "daemon off;"]);
    command
}

fn haproxy(dir: &TempDir, listen: SocketAddr, upstreams: Upstreams, per_address: &str) -> Command {
    let [(one, one_ops), (two, two_ops)] = upstreams;
    let parts = [
        ("maxconn 100000", "maxconn 500".to_owned()),
        ("/run/haproxy/admin.sock", dir.path().join("admin.sock").display().to_string()),
        ("127.0.0.1:8089", listen.to_string()),
        ("127.0.0.1:7400", one.to_string()),
        ("127.0.0.1:7401", two.to_string()),
        ("check port 7450", format!("check port {}", one_ops.port())),
        ("check port 7451", format!("check port {}", two_ops.port())),
        ("sc0_conn_cur gt 4000", format!("sc0_conn_cur gt {per_address}")),
    ];
    let file = dir.path().join("haproxy.cfg");
    fs::write(&file, substituted("haproxy/haproxy.cfg", &parts)).unwrap();
    let mut command = Command::new("haproxy");
    // One process in the foreground.
    command.arg("-db").arg("-f").arg(file);
    command
}
