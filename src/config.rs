//! What an operator can set, and where from: flag over `BIGROOM_…` variable over file over default.
//!
//! [`Config::load`] reads all sources, refuses unknown keys and bad values, and gives back a [`Config`] that is
//! consistent in itself. It opens no socket. `bigroom.toml` at the root of the repository lists every key.

mod cors;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod nodes;
mod proxies;
mod setting;
mod sources;

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

pub use cors::CorsOrigins;
pub use error::ConfigError;
pub use keys::{env_names, key_names};
pub use nodes::{NodeAddress, NodeAddresses, is_node_address};
pub use proxies::TrustedProxies;
use room::{List, PerList, PollPolicy, PollWait, Retention};
pub use sources::{CONFIG_FILE_VARIABLE, VARIABLES_OF_THE_BUILD};

/// Where clients connect, unless configured.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where operators connect, unless configured.
pub const OPS_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
/// Where the message log is, unless configured.
pub const DATA_DIR_DEFAULT: &str = "./data";
/// Messages a second in one room.
pub const ROOM_RATE_DEFAULT: u32 = 200;
/// Messages a second by one user in one room.
pub const USER_RATE_DEFAULT: u32 = 5;
/// Messages that a user may send at once after a rest.
pub const USER_BURST_DEFAULT: u32 = 10;
/// Priority messages a second in one room.
pub const PRIORITY_RATE_DEFAULT: u32 = 50;
/// Largest body of one send (bytes).
pub const MESSAGE_BYTES_MAX_DEFAULT: usize = 16_384;
/// Polls of one user that may be parked at a time.
pub const POLLS_PER_USER_DEFAULT: u32 = 20;
/// Connections of one address: not limited, as a carrier's gateway is one address for thousands.
pub const CONNECTIONS_PER_IP_DEFAULT: u32 = 0;
/// Polls that one node parks at a time.
pub const PARKED_POLLS_MAX_DEFAULT: usize = 200_000;
/// Rooms whose recent messages are cached.
pub const ROOMS_CACHED_MAX_DEFAULT: usize = 1_000_000;
/// Recent messages that are cached, over all rooms (bytes).
pub const CACHE_BYTES_MAX_DEFAULT: ByteSize = ByteSize(512 << 20);
/// How long after their last poll a user counts as online.
pub const ONLINE_WINDOW_DEFAULT: Duration = Duration::from_secs(30);
/// Where a statsvr of its own is reached by other nodes, unless configured.
pub const STATS_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
/// Where a sendsvr or a recvsvr is reached by other nodes, unless configured.
pub const CLUSTER_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7071);
/// Where recvsvrs and proxies find the sendsvr, unless configured.
pub const CLUSTER_SENDSVR_DEFAULT: &str = "127.0.0.1:7071";
/// The sect of a recvsvr, unless configured.
pub const CLUSTER_SECT_DEFAULT: &str = "default";
/// The name that the certificates of all nodes are for, unless configured.
pub const CLUSTER_TLS_NAME_DEFAULT: &str = "bigroom";
/// Rooms whose viewers are counted.
pub const STATS_ROOMS_MAX_DEFAULT: usize = 1_000_000;
/// Names of a room that the list of its viewers keeps.
pub const STATS_NAMES_PER_ROOM_MAX_DEFAULT: usize = 100_000;
/// How long the id of a send is remembered.
pub const IDEMPOTENCY_WINDOW_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Longest time from a request's first byte to the end of its headers.
pub const HEADER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Longest time from the end of the headers to the end of the body.
pub const BODY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How long a connection is kept without a request.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(75);
/// Whether the balancers speak the PROXY protocol.
pub const PROXY_PROTOCOL_DEFAULT: bool = false;
/// Whether the node eases its load by itself.
pub const PRESSURE_ENABLED_DEFAULT: bool = true;
/// Threads that serve connections: one a core.
pub const WORKERS_DEFAULT: usize = 0;
/// What is logged.
pub const LOG_LEVEL_DEFAULT: &str = "info";
/// How long a node that was told to stop may take to finish.
pub const DRAIN_GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// Everything that can be set, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where clients connect. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where metrics, health and readiness are served. Port 0 lets the system choose.
    pub ops_listen: SocketAddr,
    /// Directory of the message log; made at the first start.
    pub data_dir: PathBuf,
    /// The sect table; without one all rooms are in one sect.
    pub sects: Option<PathBuf>,
    /// A JWK Set with the keys that tokens are checked by. Without, every caller has all rights.
    pub auth_key_file: Option<PathBuf>,
    /// Allows an address other than loopback without keys.
    pub insecure: bool,
    /// What clients may ask of the node.
    pub limits: Limits,
    /// What each list keeps in rooms that don't set it.
    pub retention: PerList<Retention>,
    /// Who counts as online.
    pub online: Online,
    /// How the nodes of a cluster find each other.
    pub cluster: Cluster,
    /// Where viewers are counted.
    pub stats: Stats,
    /// How long sends can be repeated.
    pub idempotency: Idempotency,
    /// The public listener.
    pub http: Http,
    /// The recent messages held in memory.
    pub cache: Cache,
    /// How often viewers are answered.
    pub poll: Poll,
    /// What the node does about its own load.
    pub pressure: Pressure,
    /// TLS on the public listener.
    pub tls: Tls,
    /// What is logged, and how.
    pub log: Log,
    /// How the node goes down.
    pub drain: Drain,
}

/// `[limits]`: what clients may ask of the node.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Messages a second in one room; 0 for no limit.
    pub room_rate: u32,
    /// Messages a second by one user in one room; 0 for no limit.
    pub user_rate: u32,
    /// Messages that a user may send at once after a rest.
    pub user_burst: u32,
    /// Priority messages a second in one room; 0 for no limit.
    pub priority_rate: u32,
    /// Largest body of one send (bytes).
    pub message_bytes_max: usize,
    /// Polls of one user that may be parked at a time; 0 for no limit.
    pub polls_per_user: u32,
    /// Connections of one address, or requests under way where balancers pass them on; 0 for no limit.
    pub connections_per_ip: u32,
    /// Polls that the node parks at a time.
    pub parked_polls_max: usize,
    /// Rooms whose recent messages are cached.
    pub rooms_cached_max: usize,
}

/// `[online]`: who counts as online.
#[derive(Clone, PartialEq, Debug)]
pub struct Online {
    /// How long after their last poll a user counts as online.
    pub window: Duration,
}

/// `[stats]`: where viewers are counted.
#[derive(Clone, PartialEq, Debug)]
pub struct Stats {
    /// Where `bigroom statsvr` is reached by other nodes. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The statsvrs of the cluster. `bigroom serve` counts by itself when there are none.
    pub nodes: NodeAddresses,
    /// Rooms whose viewers are counted.
    pub rooms_max: usize,
    /// Names of a room that the list of its viewers keeps.
    pub names_per_room_max: usize,
}

/// `[cluster]`: how the nodes of a cluster find each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Cluster {
    /// Where other nodes reach this one: a sendsvr or a recvsvr. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What other nodes are told instead of `listen`: where that is not what they reach.
    pub advertise: Option<NodeAddress>,
    /// Where the sendsvr is.
    pub sendsvr: NodeAddress,
    /// The sect that a recvsvr belongs to.
    pub sect: String,
    /// TLS between nodes; all of cert, key and ca, or none.
    pub tls: ClusterTls,
}

/// `[cluster.tls]`: TLS between nodes, each of which shows a certificate and asks for one.
#[derive(Clone, PartialEq, Debug)]
pub struct ClusterTls {
    /// PEM file with this node's certificate chain.
    pub cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
    /// PEM file with the certificate that has signed those of all nodes.
    pub ca: Option<PathBuf>,
    /// The name that the certificates of all nodes are for.
    pub name: String,
}

/// `[idempotency]`: how long sends can be repeated.
#[derive(Clone, PartialEq, Debug)]
pub struct Idempotency {
    /// How long the id of a send is remembered; at least two minutes.
    pub window: Duration,
}

/// `[http]`: the public listener.
#[derive(Clone, PartialEq, Debug)]
pub struct Http {
    /// Longest time from a request's first byte to the end of its headers.
    pub header_timeout: Duration,
    /// Longest time from the end of the headers to the end of the body.
    pub body_timeout: Duration,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// The pages that may call from a browser.
    pub cors_origins: CorsOrigins,
    /// The balancers that say whose connections and requests they pass on.
    pub trusted_proxies: TrustedProxies,
    /// Whether connections of theirs begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Threads that serve connections; 0 for one a core.
    pub workers: usize,
}

/// `[cache]`: the recent messages held in memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Cache {
    /// Most bytes of messages, over all rooms. Rooms without readers go first.
    pub bytes_max: ByteSize,
}

/// `[poll]`: how often viewers are answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Poll {
    /// Which table from online users to interval.
    pub policy: PolicyName,
    /// Who waits out the interval.
    pub wait: PollWait,
}

/// `[pressure]`: what the node does about its own load.
#[derive(Clone, PartialEq, Debug)]
pub struct Pressure {
    /// Whether it does anything by itself. Drills work either way.
    pub enabled: bool,
}

/// `[tls]`: TLS on the public listener; both or neither.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tls {
    /// PEM file with the certificate chain, the server's own first.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
}

/// `[log]`: what is logged, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// A level, or directives such as `info,hyper=warn`.
    pub level: String,
}

/// `[drain]`: how the node goes down.
#[derive(Clone, PartialEq, Debug)]
pub struct Drain {
    /// How long a node that was told to stop may take to finish.
    pub grace: Duration,
}

/// A number of bytes; in configuration a whole number or a text such as `512MiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

/// The poll policies that need no sect table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PolicyName {
    /// The interval grows with the room.
    #[default]
    Default,
    /// Everybody is answered at once.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl Poll {
    /// The table itself.
    #[must_use]
    pub fn policy(&self) -> PollPolicy {
        match self.policy {
            PolicyName::Default => PollPolicy::default(),
            PolicyName::Off => PollPolicy::off(),
        }
    }
}

impl ClusterTls {
    /// How nodes know each other by these files.
    ///
    /// # Errors
    /// For a file that can't be read.
    pub fn security(&self) -> Result<rpc::Security, rpc::SecurityError> {
        match (&self.cert, &self.key, &self.ca) {
            (Some(cert), Some(key), Some(ca)) => rpc::Security::mutual(cert, key, ca, &self.name),
            // Anything in between was refused.
            _ => Ok(rpc::Security::none()),
        }
    }
}

impl Tls {
    /// Certificate and key, if TLS is on.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.cert.as_deref().zip(self.key.as_deref())
    }
}

impl Config {
    /// What an operator should be told at start: everything that is allowed but unsafe or without effect.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.auth_key_file.is_none() {
            let reach = if self.listen.ip().to_canonical().is_loopback() {
                "on this machine"
            } else {
                "who reaches it"
            };
            warnings.push(format!("no auth_key_file: everybody {reach} has all rights in every room"));
        }
        if self.http.trusted_proxies.has_all_of_a_family() {
            warnings.push(
                "http.trusted_proxies has a prefix of no bits: everybody can choose the address that limits go by".into(),
            );
        }
        warnings
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            ops_listen: OPS_LISTEN_DEFAULT,
            data_dir: DATA_DIR_DEFAULT.into(),
            sects: None,
            auth_key_file: None,
            insecure: false,
            limits: Limits::default(),
            retention: PerList::from_fn(Retention::default_of),
            online: Online { window: ONLINE_WINDOW_DEFAULT },
            cluster: Cluster {
                listen: CLUSTER_LISTEN_DEFAULT,
                advertise: None,
                sendsvr: NodeAddress::known(CLUSTER_SENDSVR_DEFAULT),
                sect: CLUSTER_SECT_DEFAULT.into(),
                tls: ClusterTls { cert: None, key: None, ca: None, name: CLUSTER_TLS_NAME_DEFAULT.into() },
            },
            stats: Stats {
                listen: STATS_LISTEN_DEFAULT,
                nodes: NodeAddresses::default(),
                rooms_max: STATS_ROOMS_MAX_DEFAULT,
                names_per_room_max: STATS_NAMES_PER_ROOM_MAX_DEFAULT,
            },
            idempotency: Idempotency { window: IDEMPOTENCY_WINDOW_DEFAULT },
            http: Http {
                header_timeout: HEADER_TIMEOUT_DEFAULT,
                body_timeout: BODY_TIMEOUT_DEFAULT,
                idle_timeout: IDLE_TIMEOUT_DEFAULT,
                cors_origins: CorsOrigins::default(),
                trusted_proxies: TrustedProxies::default(),
                proxy_protocol: PROXY_PROTOCOL_DEFAULT,
                workers: WORKERS_DEFAULT,
            },
            cache: Cache { bytes_max: CACHE_BYTES_MAX_DEFAULT },
            poll: Poll { policy: PolicyName::default(), wait: PollWait::default() },
            pressure: Pressure { enabled: PRESSURE_ENABLED_DEFAULT },
            tls: Tls::default(),
            log: Log { format: LogFormat::default(), level: LOG_LEVEL_DEFAULT.into() },
            drain: Drain { grace: DRAIN_GRACE_DEFAULT },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            room_rate: ROOM_RATE_DEFAULT,
            user_rate: USER_RATE_DEFAULT,
            user_burst: USER_BURST_DEFAULT,
            priority_rate: PRIORITY_RATE_DEFAULT,
            message_bytes_max: MESSAGE_BYTES_MAX_DEFAULT,
            polls_per_user: POLLS_PER_USER_DEFAULT,
            connections_per_ip: CONNECTIONS_PER_IP_DEFAULT,
            parked_polls_max: PARKED_POLLS_MAX_DEFAULT,
            rooms_cached_max: ROOMS_CACHED_MAX_DEFAULT,
        }
    }
}

impl Config {
    fn retention_mut(&mut self, list: List) -> &mut Retention {
        &mut self.retention[list]
    }
}
