//! The command line of a run.

use std::{net::ToSocketAddrs as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::{RunPlan, Target};
use crate::profile::{Overrides, Profile};

/// Most threads that carry clients in one process.
const THREADS_MAX: u32 = 64;
/// Clients for which one thread is enough: on a machine with two cores, a second one costs more than it gives below this.
const CLIENTS_PER_THREAD: u32 = 20_000;

/// Plays one profile against servers, and judges it. Exit code 1: the run does not count.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// A profile that ships with the load test (`loadtest profiles` lists them), or a file that ends in .toml
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub(crate) profile: String,
    /// Servers to connect to, in turn: http://HOST:PORT
    #[arg(long, value_name = "URL", value_delimiter = ',', required_unless_present = "server")]
    pub(crate) target: Vec<String>,
    /// A bigroom binary: the run starts `bigroom serve` of its own on loopback, with data in a temporary directory, and stops it
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) server: Option<PathBuf>,
    /// Ops listeners of the servers, for what their metrics tell: HOST:PORT
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) ops: Vec<String>,
    /// Process id of a server on this machine: processor time and memory of its process tree are measured
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Multiplies the profile's clients and rooms
    #[arg(long, value_name = "FACTOR")]
    pub(crate) scale: Option<f64>,
    /// Clients, instead of the profile's
    #[arg(long, value_name = "COUNT")]
    pub(crate) clients: Option<u32>,
    /// Time on the clock: a compressed story is compressed to it, another is cut off or goes on as it ended
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Decides all that is left to chance
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Threads that carry clients [default: one for every 20000 clients, at most one for every two cores]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(THREADS_MAX)))]
    pub(crate) threads: Option<u32>,
    /// Token for sending, and for viewers without one of their own
    #[arg(long, value_name = "TOKEN", env = "LOADTEST_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Tokens of viewers, one a line: client N has the one in line N modulo their count
    #[arg(long, value_name = "FILE")]
    pub(crate) viewer_tokens: Option<PathBuf>,
    /// Allow targets that are not on this machine: only where you may load the server, and everything on the way to it
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Directory for run.json and run.html [default: none, the table goes to stdout alone]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) out: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl RunArgs {
    /// The profile as it is to be played.
    ///
    /// # Errors
    /// If it is not there, or if a value breaks a rule.
    pub(crate) fn profile(&self) -> Result<Profile> {
        let overrides = Overrides { scale: self.scale, clients: self.clients, duration: self.duration };
        Profile::load(&self.profile, overrides)
    }

    /// The whole run: all clients, all switches on; when it starts is left at 0 and to be set.
    ///
    /// # Errors
    /// If profile, targets or tokens are wrong; if a target is elsewhere without `--allow-remote`.
    pub(crate) fn plan(&self) -> Result<RunPlan> {
        let profile = self.profile()?;
        let resolve = |texts: &[String]| -> Result<Vec<Target>> {
            texts.iter().map(|text| Target::parse(text, self.allow_remote)).collect()
        };
        let viewer_tokens = match &self.viewer_tokens {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                let tokens: Vec<_> =
                    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
                ensure!(!tokens.is_empty(), "there is no token in {}", path.display());
                tokens
            }
            None => Vec::new(),
        };
        for token in self.token.iter().chain(&viewer_tokens) {
            ensure!(
                token.bytes().all(|byte| byte.is_ascii_graphic()),
                "a token must be printable ASCII without spaces"
            );
        }
        let cores =
            std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        let threads = profile.clients.count.div_ceil(CLIENTS_PER_THREAD).min(cores / 2);
        Ok(RunPlan {
            run_id: run_id(),
            clients: 0..profile.clients.count,
            targets: resolve(&self.target)?,
            ops: resolve(&self.ops)?,
            server_pid: self.server_pid,
            sends: true,
            probes: true,
            watches: true,
            shows_progress: !self.quiet,
            threads: self.threads.unwrap_or(threads).clamp(1, THREADS_MAX),
            start_at_unix_ms: 0,
            seed: self.seed,
            token: self.token.clone(),
            viewer_tokens,
            allow_remote: self.allow_remote,
            profile,
        })
    }
}

impl Target {
    /// Resolves `http://host:port`, or `host:port`.
    ///
    /// # Errors
    /// If it is none, does not resolve, or is not on loopback and that is not allowed.
    pub(crate) fn parse(text: &str, allow_remote: bool) -> Result<Self> {
        ensure!(
            !text.starts_with("https://"),
            "{text}: targets are spoken to without TLS; name the address behind it"
        );
        let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        ensure!(!authority.contains('/'), "{text}: a target is http://HOST:PORT, without a path");
        let address = authority
            .to_socket_addrs()
            .with_context(|| format!("resolve {text}: a target is http://HOST:PORT"))?
            .next()
            .with_context(|| format!("resolve {text}: there is no such host"))?;
        ensure!(
            allow_remote || address.ip().is_loopback(),
            "{text} is not on this machine: a load test against a server that is not yours is an attack. Say \
             --allow-remote if you may"
        );
        Ok(Self { authority: authority.to_owned(), address })
    }
}

/// Rooms of this run are named by it: the time in base 36, so that runs sort, and the process.
fn run_id() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut value = since.as_millis() << 16 | u128::from(std::process::id() & 0xffff);
    let mut digits = Vec::new();
    while value > 0 {
        digits.push(char::from_digit((value % 36) as u32, 36).expect("less than 36"));
        value /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_elsewhere_is_refused_without_a_word() {
        let error = Target::parse("http://192.0.2.1:80", false).unwrap_err().to_string();
        assert!(error.contains("--allow-remote"), "{error}");
        assert!(Target::parse("http://192.0.2.1:80", true).is_ok());
    }

    #[test]
    fn target_is_host_and_port() {
        let target = Target::parse("http://127.0.0.1:8080/", false).unwrap();
        assert_eq!(
            (target.authority.as_str(), target.address),
            ("127.0.0.1:8080", ([127, 0, 0, 1], 8080).into())
        );
        for wrong in ["https://127.0.0.1:1", "127.0.0.1", "http://127.0.0.1:1/v1", "http://127.0.0.1:x", ""] {
            assert!(Target::parse(wrong, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn run_id_fits_into_a_rooms_name() {
        let id = run_id();
        assert!((8..=16).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }
}
