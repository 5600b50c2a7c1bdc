//! What `bigroom plan` is told.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use room::{
    POLL_LIMIT_DEFAULT, POLL_LIMIT_MAX, POLL_TIMEOUT_DEFAULT_MS, PollPolicy,
    capacity::{Crowd, Demand, NodeSize, Seeds, Traffic},
};

use crate::cli::Failure;

/// Most clients that are planned for: more than there are people.
const CLIENTS_MAX: u64 = 10_000_000_000;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Plans nodes for one room from measured costs. Give --online, or the three numbers that it is grown from.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Clients online at the peak
    #[arg(long, value_name = "COUNT", value_parser = count, conflicts_with_all = ["monthly_users", "daily_share", "peak_hour_share"])]
    online: Option<u64>,
    /// People who come in a month
    #[arg(long, value_name = "COUNT", value_parser = count, requires_all = ["daily_share", "peak_hour_share"])]
    monthly_users: Option<u64>,
    /// Share of those who come on a day, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "monthly_users")]
    daily_share: Option<f64>,
    /// Share of those who are there in the busiest hour, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "monthly_users")]
    peak_hour_share: Option<f64>,
    /// Clients a person has open, 1 to 100; the poll policy goes by people
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = |text: &str| within(text, 1.0, 100.0))]
    devices: f64,
    /// Normal messages a second in the room
    #[arg(long, value_name = "RATE", default_value = "20", value_parser = |text: &str| within(text, 0.0, 1e6))]
    rate: f64,
    /// Priority messages a second
    #[arg(long, value_name = "RATE", default_value = "0.2", value_parser = |text: &str| within(text, 0.0, 1e4))]
    priority_rate: f64,
    /// Bytes of a message's text; 130 more are around it
    #[arg(long, value_name = "BYTES", default_value = "200", value_parser = |text: &str| within(text, 1.0, 16_384.0))]
    text_bytes: f64,
    /// Most messages of an answer (`limit`), 1 to 1000
    #[arg(long, value_name = "COUNT", default_value_t = POLL_LIMIT_DEFAULT as u32, value_parser = clap::value_parser!(u32).range(1..=POLL_LIMIT_MAX as i64))]
    limit: u32,
    /// Share of clients that wait `poll_after_ms`, 0 to 1; the others keep a poll parked, and are held
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = share)]
    polite_share: f64,
    /// Network between clients and proxies, there and back (ms)
    #[arg(long, value_name = "MS", default_value = "60", value_parser = |text: &str| within(text, 0.0, 10_000.0))]
    round_trip_ms: f64,
    /// What is left of an answer after compression, above 0 to 1; its processor time is not in the costs
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = positive_share)]
    compressed_share: f64,
    /// Share of the clients that come within --join-time: the steepest join to plan for
    #[arg(long, value_name = "SHARE", default_value = "0.8", value_parser = share)]
    join_share: f64,
    /// How long that takes
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = join_time)]
    join_time: Duration,
    /// Poll policy: default or off
    #[arg(long, default_value = "default", value_parser = ["default", "off"])]
    policy: String,
    /// Load factor of the nodes, 1 to 4: intervals are that much longer
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = |text: &str| within(text, 1.0, 4.0))]
    load_factor: f64,
    /// Cores of a node
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = |text: &str| within(text, 0.1, 1_024.0))]
    cores: f64,
    /// Memory of a node (GiB)
    #[arg(long, value_name = "GIB", default_value = "32", value_parser = |text: &str| within(text, 0.1, 65_536.0))]
    memory_gib: f64,
    /// Network of a node, each way (Gbit/s)
    #[arg(long, value_name = "GBIT", default_value = "25", value_parser = |text: &str| within(text, 0.001, 10_000.0))]
    network_gbit: f64,
    /// Clients that one proxy may hold (`limits.parked_polls_max`)
    #[arg(long, value_name = "COUNT", default_value = "200000", value_parser = count)]
    clients_per_node: u64,
    /// Share of a node that is planned with, above 0 to 1; the rest is head-room
    #[arg(long, value_name = "SHARE", default_value = "0.6", value_parser = positive_share)]
    utilisation: f64,
    /// Nodes of each role on top: so many may be lost at the peak
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    spare: u64,
    /// Measured costs [default: those of the release]
    #[arg(long, value_name = "FILE")]
    pub(super) costs: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl PlanArgs {
    /// The room at its peak.
    pub(super) fn demand(&self) -> Result<Demand, Failure> {
        let clients = self.clients()?;
        Ok(Demand {
            crowd: Crowd {
                clients,
                devices_per_user: self.devices,
                polite_share: self.polite_share,
                limit: self.limit,
                timeout: Duration::from_millis(POLL_TIMEOUT_DEFAULT_MS),
                round_trip_s: self.round_trip_ms / 1e3,
                joins_per_s: clients as f64 * self.join_share / self.join_time.as_secs_f64(),
            },
            traffic: Traffic {
                normal_per_s: self.rate,
                priority_per_s: self.priority_rate,
                text_bytes: self.text_bytes,
                compressed_share: self.compressed_share,
            },
            policy: if self.policy == "off" { PollPolicy::off() } else { PollPolicy::default() },
            load_factor: self.load_factor,
        })
    }

    fn clients(&self) -> Result<u64, Failure> {
        let clients = match (self.online, self.monthly_users, self.daily_share, self.peak_hour_share) {
            (Some(online), ..) => online,
            (None, Some(monthly_users), Some(daily_share), Some(peak_hour_share)) => {
                Seeds { monthly_users, daily_share, peak_hour_share, devices: self.devices }.clients()
            }
            _ => {
                return Err(Failure::new(
                    2,
                    "say for how many: --online, or --monthly-users with --daily-share and --peak-hour-share",
                ));
            }
        };
        if clients == 0 {
            return Err(Failure::new(
                2,
                "the shares leave nobody at the peak: raise them, or --monthly-users",
            ));
        }
        Ok(clients)
    }

    /// A node as it is bought.
    pub(super) fn node(&self) -> NodeSize {
        NodeSize {
            cores: self.cores,
            memory_bytes: self.memory_gib * GIB,
            network_bits_per_s: self.network_gbit * 1e9,
            clients_max: self.clients_per_node as f64,
            utilisation: self.utilisation,
            spare: self.spare,
        }
    }
}

fn count(text: &str) -> Result<u64, String> {
    let digits: String = text.chars().filter(|letter| !matches!(letter, '_' | ',')).collect();
    let count = digits.parse().map_err(|_| "must be a whole number, such as 15000000".to_owned())?;
    (1..=CLIENTS_MAX).contains(&count).then_some(count).ok_or_else(|| format!("must be 1 to {CLIENTS_MAX}"))
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    (least..=most).contains(&value).then_some(value).ok_or_else(|| format!("must be {least} to {most}"))
}

fn share(text: &str) -> Result<f64, String> {
    within(text, 0.0, 1.0)
}

fn positive_share(text: &str) -> Result<f64, String> {
    share(text).and_then(|share| if share > 0.0 { Ok(share) } else { Err("must be above 0".to_owned()) })
}

fn join_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(1)..=Duration::from_secs(86_400);
    range.contains(&time).then_some(time).ok_or_else(|| "must be 1s to 1day".to_owned())
}
