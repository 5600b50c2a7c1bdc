//! The command line: what the arguments mean, and the commands that need no server.
//!
//! Every error is one line. Exit codes: 0 done; 2 the command line or the configuration is written wrong, the line
//! names key, value and rule; 1 everything else, the line names the path or address.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use room::{AppId, DeviceId, UserId, pressure::PressureStep};

use crate::{
    auth::{Grant, GrantError, KeyAlgorithm, KeyFile, fresh_key_set},
    config::{Config, ConfigError, OPS_LISTEN_DEFAULT},
    plan::{self, PlanArgs},
    pressure::{Drill, FORCED_MAX, Order},
};

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Run a server.
    Serve(Box<Config>),
    /// Run a node of a cluster.
    Role(Role, Box<Config>),
    /// Print this on stdout: a token, a key, help.
    Print(String),
    /// Ask a node how it stands under its load, or force a step.
    Pressure(Drill),
}

/// What a node of a cluster does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It serves clients.
    Proxy,
    /// It owns the log.
    Sendsvr,
    /// It passes a sect's rooms on to proxies.
    Recvsvr,
    /// It counts viewers.
    Statsvr,
}

/// Why the process ends early.
#[derive(Debug, thiserror::Error)]
#[error("{line}")]
pub struct Failure {
    /// The process's exit code.
    pub exit_code: u8,
    /// What went wrong, in one line.
    pub line: String,
}

/// Role of a new token that asks for none.
const TOKEN_ROLE_DEFAULT: room::Role = room::Role::Viewer;
/// How long a new token is good.
const TOKEN_TTL_DEFAULT: &str = "1h";
/// Name of a new key.
const KEY_KID_DEFAULT: &str = "k1";
/// How long a drill lasts.
const FORCED_DEFAULT: &str = "60s";
/// Environment variable of `--auth-key-file`, here as in the configuration.
const KEY_FILE_VARIABLE: &str = "BIGROOM_AUTH_KEY_FILE";

/// A self-hosted live chatroom service for rooms of millions.
#[derive(Parser, Debug)]
#[command(name = "bigroom", version, disable_help_subcommand = true, arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
enum Command {
    /// Run a server, all roles in one process
    Serve(ServeArgs),
    /// Run a proxy: the front door of a cluster
    Proxy(ProxyArgs),
    /// Run a sendsvr: the one node of a cluster that has the message log
    Sendsvr(SendsvrArgs),
    /// Run a recvsvr: the memory of a sect's rooms, between log and proxies
    Recvsvr(RecvsvrArgs),
    /// Run a statsvr: counts the viewers of other nodes
    Statsvr(StatsvrArgs),
    /// Plan nodes for a room, from measured costs
    Plan(Box<PlanArgs>),
    /// Print a token, signed by a key of the key file
    Token(TokenArgs),
    /// Print a JWK Set with one new key, for --auth-key-file
    Key(KeyArgs),
    /// Print how a node stands under its load, or force a pressure step for a drill
    Pressure(PressureArgs),
}

/// Flags that are left out are looked up in BIGROOM_… variables and in the configuration file.
#[derive(Args, Debug)]
struct ServeArgs {
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where metrics, health and readiness are served [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
    /// Directory of the message log [default: ./data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Configuration file [default: none, or the one that BIGROOM_CONFIG names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sect table
    #[arg(long, value_name = "FILE")]
    sects: Option<String>,
    /// JWK Set with the keys that tokens are checked by; without, every caller has all rights
    #[arg(long, value_name = "FILE")]
    auth_key_file: Option<String>,
    /// Allow an address other than loopback without keys
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure: Option<String>,
}

/// Flags that are left out are looked up in BIGROOM_… variables and in the configuration file.
#[derive(Args, Debug)]
struct ProxyArgs {
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where metrics, health and readiness are served [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
    /// Where the sendsvr is [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDRESS")]
    sendsvr: Option<String>,
    /// All statsvrs of the cluster, with commas between
    #[arg(long, value_name = "ADDRESSES")]
    nodes: Option<String>,
    /// Configuration file [default: none, or the one that BIGROOM_CONFIG names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// JWK Set with the keys that tokens are checked by; without, every caller has all rights
    #[arg(long, value_name = "FILE")]
    auth_key_file: Option<String>,
    /// Allow an address other than loopback without keys
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure: Option<String>,
}

/// Flags that are left out are looked up in BIGROOM_… variables and in the configuration file.
#[derive(Args, Debug)]
struct SendsvrArgs {
    /// Where other nodes reach it (gRPC) [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where metrics, health and readiness are served [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
    /// Directory of the message log [default: ./data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// All statsvrs of the cluster, with commas between
    #[arg(long, value_name = "ADDRESSES")]
    nodes: Option<String>,
    /// Sect table [default: one sect, `default`]
    #[arg(long, value_name = "FILE")]
    sects: Option<String>,
    /// Configuration file [default: none, or the one that BIGROOM_CONFIG names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Flags that are left out are looked up in BIGROOM_… variables and in the configuration file.
#[derive(Args, Debug)]
struct RecvsvrArgs {
    /// Where proxies reach it (gRPC) [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// What proxies are told instead, where that is not what they reach
    #[arg(long, value_name = "ADDRESS")]
    advertise: Option<String>,
    /// Where metrics, health and readiness are served [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
    /// Where the sendsvr is [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDRESS")]
    sendsvr: Option<String>,
    /// The sect that it belongs to [default: default]
    #[arg(long, value_name = "NAME")]
    sect: Option<String>,
    /// Configuration file [default: none, or the one that BIGROOM_CONFIG names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Flags that are left out are looked up in BIGROOM_… variables and in the configuration file.
#[derive(Args, Debug)]
struct StatsvrArgs {
    /// Where other nodes reach it (gRPC); as it stands among the nodes [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// All statsvrs of the cluster, this one among them, with commas between [default: this one alone]
    #[arg(long, value_name = "ADDRESSES")]
    nodes: Option<String>,
    /// Where metrics, health and readiness are served [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
    /// Directory of the numbers over time [default: ./data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Configuration file [default: none, or the one that BIGROOM_CONFIG names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct TokenArgs {
    /// User id
    #[arg(long, value_name = "USER", value_parser = UserId::new)]
    sub: UserId,
    /// viewer, speaker, broadcaster, moderator or ops
    #[arg(long, default_value_t = TOKEN_ROLE_DEFAULT)]
    role: room::Role,
    /// Pattern of rooms that the token is good for, * for any run of characters; may be repeated
    #[arg(long, value_name = "PATTERN", required = true)]
    room: Vec<String>,
    /// How long the token is good, such as 90s, 1h or 7days
    #[arg(long, value_name = "DURATION", default_value = TOKEN_TTL_DEFAULT, value_parser = ttl)]
    ttl: Duration,
    /// App that the rooms belong to [default: default]
    #[arg(long, value_parser = AppId::new)]
    app: Option<AppId>,
    /// Device that the token is for
    #[arg(long, value_parser = DeviceId::new)]
    device: Option<DeviceId>,
    /// JWK Set with the key to sign by [env: BIGROOM_AUTH_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    auth_key_file: Option<PathBuf>,
    /// Which key to sign by [default: the first one that has a private half]
    #[arg(long)]
    kid: Option<String>,
}

#[derive(Args, Debug)]
struct KeyArgs {
    /// Name of the key, which tokens will carry
    #[arg(long, default_value = KEY_KID_DEFAULT)]
    kid: String,
    /// HS256, EdDSA or ES256
    #[arg(long, default_value_t = KeyAlgorithm::Hs256)]
    alg: KeyAlgorithm,
}

#[derive(Args, Debug)]
struct PressureArgs {
    /// The node's ops listener
    #[arg(long, value_name = "ADDRESS", default_value_t = OPS_LISTEN_DEFAULT)]
    ops: SocketAddr,
    /// Step to hold, 0 to 4; none for the node's own [default: print how it stands]
    #[arg(long, value_name = "STEP", value_parser = step)]
    step: Option<ForcedStep>,
    /// How long the step holds, 1s to 1h; then the node goes by its load again
    #[arg(long = "for", value_name = "DURATION", default_value = FORCED_DEFAULT, value_parser = drill_time, requires = "step")]
    lasts: Duration,
}

/// The value of `--step`.
#[derive(Clone, Copy, Debug)]
struct ForcedStep(Option<PressureStep>);

/// Reads the command line and what goes with it, and does everything that needs no server.
///
/// # Errors
/// With exit code 2 for what is written wrong, 1 for what can't be done.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Action, Failure> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Action::Print(error.render().to_string()));
        }
        Err(error) => return Err(Failure::usage(first_paragraph(&error.render().to_string()))),
    };
    match cli.command {
        Command::Serve(args) => Ok(Action::Serve(Box::new(config(args.flags(), args.config, env)?))),
        Command::Proxy(args) => role(Role::Proxy, args.flags(), args.config, env),
        Command::Sendsvr(args) => role(Role::Sendsvr, args.flags(), args.config, env),
        Command::Recvsvr(args) => role(Role::Recvsvr, args.flags(), args.config, env),
        Command::Statsvr(args) => role(Role::Statsvr, args.flags(), args.config, env),
        Command::Plan(args) => plan::run(&args).map(Action::Print),
        Command::Token(args) => args.token(env).map(|token| Action::Print(token + "\n")),
        Command::Key(args) => args.key().map(Action::Print),
        Command::Pressure(args) => Ok(Action::Pressure(args.drill())),
    }
}

/// Flags as they were given, by the key that each sets.
type Flags = Vec<(&'static str, Option<String>)>;

fn config(
    flags: Flags,
    file: Option<PathBuf>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, Failure> {
    let flags: Vec<_> = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    Ok(Config::load(&flags, env, file)?)
}

fn role(
    role: Role,
    flags: Flags,
    file: Option<PathBuf>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Action, Failure> {
    Ok(Action::Role(role, Box::new(config(flags, file, env)?)))
}

impl ServeArgs {
    fn flags(&self) -> Flags {
        vec![
            ("listen", self.listen.clone()),
            ("ops_listen", self.ops_listen.clone()),
            ("data_dir", self.data_dir.clone()),
            ("sects", self.sects.clone()),
            ("auth_key_file", self.auth_key_file.clone()),
            ("insecure", self.insecure.clone()),
        ]
    }
}

impl ProxyArgs {
    fn flags(&self) -> Flags {
        vec![
            ("listen", self.listen.clone()),
            ("ops_listen", self.ops_listen.clone()),
            ("cluster.sendsvr", self.sendsvr.clone()),
            ("stats.nodes", self.nodes.clone()),
            ("auth_key_file", self.auth_key_file.clone()),
            ("insecure", self.insecure.clone()),
        ]
    }
}

impl SendsvrArgs {
    fn flags(&self) -> Flags {
        vec![
            ("cluster.listen", self.listen.clone()),
            ("ops_listen", self.ops_listen.clone()),
            ("data_dir", self.data_dir.clone()),
            ("stats.nodes", self.nodes.clone()),
            ("sects", self.sects.clone()),
        ]
    }
}

impl RecvsvrArgs {
    fn flags(&self) -> Flags {
        vec![
            ("cluster.listen", self.listen.clone()),
            ("cluster.advertise", self.advertise.clone()),
            ("ops_listen", self.ops_listen.clone()),
            ("cluster.sendsvr", self.sendsvr.clone()),
            ("cluster.sect", self.sect.clone()),
        ]
    }
}

impl StatsvrArgs {
    fn flags(&self) -> Flags {
        vec![
            ("stats.listen", self.listen.clone()),
            ("stats.nodes", self.nodes.clone()),
            ("ops_listen", self.ops_listen.clone()),
            ("data_dir", self.data_dir.clone()),
        ]
    }
}

impl TokenArgs {
    fn token(self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Result<String, Failure> {
        let from_env =
            || env.into_iter().find(|(name, _)| name == KEY_FILE_VARIABLE).map(|(_, path)| path.into());
        let Some(path) = self.auth_key_file.or_else(from_env) else {
            return Err(Failure::usage(format!(
                "--auth-key-file is missing: a token is signed by a key ({KEY_FILE_VARIABLE} names it, too)"
            )));
        };
        let file = KeyFile::read(&path).map_err(|error| Failure::new(1, error.to_string()))?;
        let grant = Grant {
            user: self.sub,
            role: self.role,
            rooms: self.room,
            ttl: self.ttl,
            app: self.app.unwrap_or_default(),
            device: self.device,
        };
        let now_s = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        Ok(grant.sign(&file.keys, self.kid.as_deref(), now_s)?)
    }
}

impl KeyArgs {
    fn key(self) -> Result<String, Failure> {
        let set =
            fresh_key_set(self.alg, &self.kid).map_err(|error| Failure::new(1, format!("{error:#}")))?;
        Ok(format!("{set:#}\n"))
    }
}

impl PressureArgs {
    fn drill(self) -> Drill {
        let order = match self.step {
            None => Order::Show,
            Some(ForcedStep(None)) => Order::End,
            Some(ForcedStep(Some(step))) => Order::Force(step, self.lasts),
        };
        Drill { ops: self.ops, order }
    }
}

impl Failure {
    /// A failure from its sentence, made one line.
    #[must_use]
    pub fn new(exit_code: u8, sentence: impl AsRef<str>) -> Self {
        let line = sentence.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { exit_code, line }
    }

    fn usage(sentence: impl AsRef<str>) -> Self {
        Self::new(2, sentence)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

impl From<GrantError> for Failure {
    fn from(error: GrantError) -> Self {
        let exit_code = match error {
            GrantError::UnknownKid { .. } | GrantError::Refused(_) => 2,
            GrantError::PublicOnly(_) | GrantError::Signature(_) => 1,
        };
        Self::new(exit_code, error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    /// A server that could not start, or broke.
    fn from(error: anyhow::Error) -> Self {
        Self::new(1, format!("{error:#}"))
    }
}

fn step(text: &str) -> Result<ForcedStep, &'static str> {
    if text == "none" {
        return Ok(ForcedStep(None));
    }
    let step = text.parse().ok().and_then(PressureStep::new);
    step.map(|step| ForcedStep(Some(step))).ok_or("must be a whole number from 0 to 4, or none")
}

fn drill_time(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| (Duration::from_secs(1)..=FORCED_MAX).contains(time))
        .ok_or("must be a duration with its unit, such as 60s or 5m, from 1s to 1h")
}

fn ttl(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text)
        .ok()
        .filter(|ttl| ttl.as_secs() >= 1)
        .ok_or("must be a duration with its unit, such as 90s, 1h or 7days, of at least 1s")
}

/// The sentence of a parser's error: what is wrong, without tips and usage, and where to read more.
fn first_paragraph(error: &str) -> String {
    let sentence = error.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    format!("{sentence}; --help lists what there is")
}
