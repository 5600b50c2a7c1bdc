//! Profiles: who comes, what they do, what is sent, and what is to be expected of it.
//!
//! A profile is a TOML file that tells a story. Unknown keys are refused, every value is checked before a socket opens, and
//! the ones that ship with the load test are in its binary.

use std::{ops::Range, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

mod behaviour;
mod check;
mod crowd;
mod duration;
mod expect;
mod messages;
mod shipped;

pub(crate) use self::{
    behaviour::{Behaviour, Kind},
    crowd::Crowd,
    expect::Expect,
    messages::{Burst, Messages},
    shipped::{SHIPPED, Shipped},
};

/// How long the last messages may take to the last viewer, unless a profile says otherwise.
const SETTLE: Duration = Duration::from_secs(10);

/// What is played.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// 1-32 of `a-z 0-9 -`.
    pub(crate) name: String,
    /// What happens, and what it is good for: a few sentences.
    pub(crate) story: String,
    /// How long the story is.
    #[serde(with = "duration")]
    pub(crate) duration: Duration,
    /// Seconds of the story that pass in one second on the clock. All times of the story (`duration`, `at`, `every`, `over`,
    /// `back_after`, `back_within`, `session`, `away`) are divided by it; rates and the times of polls are not.
    #[serde(default = "one")]
    pub(crate) compression: f64,
    /// After the story, how long the last messages may take to the last viewer (on the clock).
    #[serde(default = "settle", with = "duration")]
    pub(crate) settle: Duration,
    /// Rooms, from 1; clients are spread over them in turn.
    #[serde(default = "one_room")]
    pub(crate) rooms: u32,
    /// Who connects.
    pub(crate) clients: Clients,
    /// When they come and go.
    #[serde(default)]
    pub(crate) crowd: Crowd,
    /// What they do; shares add up to 1.
    #[serde(default = "polite_alone")]
    pub(crate) behaviour: Vec<Behaviour>,
    /// What is sent.
    #[serde(default)]
    pub(crate) messages: Vec<Messages>,
    /// Environment of a server that the run starts itself (`--server`): `BIGROOM_…` variables.
    #[serde(default)]
    pub(crate) server_env: std::collections::BTreeMap<String, String>,
    /// What may happen without spoiling the run, and bounds that must hold.
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// Who connects.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clients {
    /// Most clients that are online at a time; the crowd's curve gives shares of it.
    pub(crate) count: u32,
    /// Clients a user, on average: with 1.8, nine devices belong to five users.
    #[serde(default = "one")]
    pub(crate) devices_per_user: f64,
    /// Viewers in a thread of their own, in the first room, whose latencies no crowd of the load test adds to; they are
    /// online throughout, on top of `count`.
    #[serde(default = "probes")]
    pub(crate) probes: u32,
}

/// What the command line changes about a profile.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Overrides {
    /// Multiplies clients and rooms.
    pub(crate) scale: Option<f64>,
    /// Clients, instead of the profile's.
    pub(crate) clients: Option<u32>,
    /// Time on the clock. A compressed story is compressed more or less; another is cut off, or goes on as it ended.
    pub(crate) duration: Option<Duration>,
}

impl Profile {
    /// The shipped profile of a name, or the one in a file if it ends in `.toml`; changed and checked.
    ///
    /// # Errors
    /// If there is none, or if a key or a value in it is wrong; the message names key, value and rule.
    pub(crate) fn load(name: &str, overrides: Overrides) -> Result<Self> {
        let mut profile = if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(name).with_context(|| format!("read {name}"))?;
            Self::parse(&text).with_context(|| format!("read {name}"))?
        } else {
            let shipped = Shipped::named(name)?;
            Self::parse(shipped.text).with_context(|| format!("read the profile {name}"))?
        };
        profile.change(overrides)?;
        profile.check().with_context(|| format!("check the profile {name}"))?;
        Ok(profile)
    }

    /// Reads and checks a profile.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let profile: Self = toml::from_str(text)?;
        profile.check()?;
        Ok(profile)
    }

    /// A time of the story, on the clock.
    pub(crate) fn on_clock(&self, time: Duration) -> Duration {
        time.div_f64(self.compression)
    }

    /// How long the story takes on the clock.
    pub(crate) fn clock_duration(&self) -> Duration {
        self.on_clock(self.duration)
    }

    fn change(&mut self, overrides: Overrides) -> Result<()> {
        if let Some(scale) = overrides.scale {
            anyhow::ensure!(
                scale > 0.0 && scale <= 1_000.0,
                "--scale {scale} must be above 0 and at most 1000"
            );
            let scaled = |count: u32| ((f64::from(count) * scale).round() as u32).max(1);
            self.clients.count = scaled(self.clients.count);
            if self.rooms > 1 {
                self.rooms = scaled(self.rooms);
            }
        }
        if let Some(clients) = overrides.clients {
            self.clients.count = clients;
        }
        if overrides.scale.is_some() || overrides.clients.is_some() {
            self.expect.leave_out_size();
        }
        self.rooms = self.rooms.min(self.clients.count.max(1));
        if let Some(duration) = overrides.duration {
            anyhow::ensure!(!duration.is_zero(), "--duration 0s must be longer than nothing");
            if self.compression == 1.0 {
                self.duration = duration;
            } else {
                self.compression = self.duration.as_secs_f64() / duration.as_secs_f64();
            }
        }
        Ok(())
    }
}

impl Clients {
    /// The user that a client is a device of.
    pub(crate) fn user_of(&self, client: u32) -> u32 {
        (f64::from(client) / self.devices_per_user + 1e-9) as u32
    }

    /// Bounds that part `clients` into `parts` of about equal size, so that all devices of a user are in one part.
    pub(crate) fn bounds(&self, clients: Range<u32>, parts: u32) -> Vec<u32> {
        let parts = parts.max(1);
        let mut bounds = vec![clients.start];
        for part in 1..parts {
            let count = u64::from(clients.end - clients.start);
            let offset =
                u32::try_from(count * u64::from(part) / u64::from(parts)).expect("less than the count");
            let mut bound = clients.start + offset;
            while bound > clients.start
                && bound < clients.end
                && self.user_of(bound) == self.user_of(bound - 1)
            {
                bound += 1;
            }
            bounds.push(bound.max(*bounds.last().expect("it begins with one")));
        }
        bounds.push(clients.end);
        bounds
    }
}

const fn one() -> f64 {
    1.0
}

const fn one_room() -> u32 {
    1
}

const fn probes() -> u32 {
    4
}

const fn settle() -> Duration {
    SETTLE
}

fn polite_alone() -> Vec<Behaviour> {
    vec![Behaviour::default()]
}

#[cfg(test)]
mod tests;
