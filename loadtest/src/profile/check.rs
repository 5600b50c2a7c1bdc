//! Whether a profile can be played: each rule names key, value and what it must be.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Behaviour, Kind, Messages, Profile};

/// Longest run on the clock.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most clients of a run.
const CLIENTS_MAX: u32 = 10_000_000;
/// Most messages of a run: the audit remembers each of them (8 bytes in a process).
const MESSAGES_MAX: f64 = 16e6;
/// Most connections that send messages of one kind.
const SENDERS_MAX: u32 = 256;
/// Most messages a second of one kind: beyond it, their times are closer than the clock of the load test tells apart.
const RATE_MAX: f64 = 100_000.0;

impl Profile {
    /// Checks every value.
    ///
    /// # Errors
    /// The first rule that is broken, with key and value.
    pub(super) fn check(&self) -> Result<()> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            (1..=32).contains(&self.name.len()) && self.name.bytes().all(is_name),
            "name = {:?} must be 1-32 of a-z 0-9 -",
            self.name
        );
        ensure!(!self.story.trim().is_empty(), "story must say what happens");
        ensure!(
            self.compression.is_finite() && self.compression > 0.0,
            "compression = {} must be above 0",
            self.compression
        );
        let duration = self.clock_duration();
        ensure!(
            duration >= Duration::from_secs(1) && duration <= DURATION_MAX,
            "duration = {:?} on the clock must be 1s to 24h",
            duration
        );
        ensure!(self.settle <= Duration::from_secs(600), "settle = {:?} must be at most 10m", self.settle);
        ensure!(self.rooms >= 1, "rooms = 0 must be 1 or more");
        self.check_clients()?;
        self.check_crowd()?;
        self.check_behaviour()?;
        self.messages.iter().try_for_each(|messages| messages.check(self))?;
        let sum: f64 = self.messages.iter().map(|messages| messages.count(self)).sum();
        ensure!(
            sum <= MESSAGES_MAX,
            "messages: {sum:.0} are more than the {MESSAGES_MAX:.0} that one run can audit: shorten it or lower the rates"
        );
        for name in self.server_env.keys() {
            ensure!(name.starts_with("BIGROOM_"), "server_env: {name} must begin with BIGROOM_");
        }
        ensure!(
            self.expect.probes_p99_max.is_none() || self.clients.probes > 0,
            "expect.probes_p99_max needs clients.probes of 1 or more"
        );
        if let Some(polls) = self.expect.polls_per_client_max {
            ensure!(
                polls > 0.0 && polls.is_finite(),
                "expect.polls_per_client_max = {polls} must be above 0"
            );
        }
        is_share("expect.late_share_max", self.expect.late_share_max)
    }

    fn check_clients(&self) -> Result<()> {
        let clients = &self.clients;
        ensure!(
            (1..=CLIENTS_MAX).contains(&clients.count),
            "clients.count = {} must be 1 to {CLIENTS_MAX}",
            clients.count
        );
        ensure!(
            (1.0..=100.0).contains(&clients.devices_per_user),
            "clients.devices_per_user = {} must be 1 to 100",
            clients.devices_per_user
        );
        ensure!(clients.probes <= 100, "clients.probes = {} must be at most 100", clients.probes);
        ensure!(
            self.rooms <= clients.count,
            "rooms = {} must be at most clients.count = {}: a room without a viewer shows nothing",
            self.rooms,
            clients.count
        );
        Ok(())
    }

    fn check_crowd(&self) -> Result<()> {
        let crowd = &self.crowd;
        ensure!(!crowd.curve.is_empty(), "crowd.curve must have a point");
        let ascends = crowd.curve.windows(2).all(|pair| pair[0].at < pair[1].at);
        ensure!(ascends, "crowd.curve must ascend by at");
        crowd.curve.iter().try_for_each(|point| is_share("crowd.curve: online", point.online))?;
        is_share("crowd.says_goodbye", crowd.says_goodbye)?;
        ensure!(
            crowd.session.is_none_or(|session| !session.is_zero()) && !crowd.away.is_zero(),
            "crowd.session and crowd.away must be longer than nothing"
        );
        crowd.cut.iter().try_for_each(|cut| is_positive_share("crowd.cut: share", cut.share))
    }

    fn check_behaviour(&self) -> Result<()> {
        ensure!(
            !self.behaviour.is_empty() && self.behaviour.len() <= 16,
            "behaviour must be there 1 to 16 times"
        );
        self.behaviour.iter().try_for_each(Behaviour::check)?;
        let sum: f64 = self.behaviour.iter().map(|behaviour| behaviour.share).sum();
        ensure!((sum - 1.0).abs() < 1e-6, "behaviour: the shares add up to {sum}, they must to 1");
        Ok(())
    }
}

impl Behaviour {
    fn check(&self) -> Result<()> {
        is_positive_share("behaviour.share", self.share)?;
        ensure!(
            self.timeout <= Duration::from_secs(30),
            "behaviour.timeout = {:?} must be at most 30s",
            self.timeout
        );
        ensure!((1..=1000).contains(&self.limit), "behaviour.limit = {} must be 1 to 1000", self.limit);
        // Without a message of the past, nobody knows where in the list a reader began.
        ensure!((1..=1000).contains(&self.tail), "behaviour.tail = {} must be 1 to 1000", self.tail);
        ensure!(
            self.pause.is_none() || self.kind == Kind::Polite,
            "behaviour.pause is for kind = \"polite\" alone"
        );
        match (self.kind, self.read_bytes_per_s) {
            (Kind::Slow, Some(bytes)) => {
                ensure!(bytes >= 100, "behaviour.read_bytes_per_s = {bytes} must be 100 or more");
            }
            (Kind::Slow, None) => {
                anyhow::bail!("behaviour.read_bytes_per_s must be there with kind = \"slow\"")
            }
            (_, Some(_)) => anyhow::bail!("behaviour.read_bytes_per_s is for kind = \"slow\" alone"),
            (_, None) => {}
        }
        Ok(())
    }
}

impl Messages {
    fn check(&self, profile: &Profile) -> Result<()> {
        ensure!(
            self.curve.windows(2).all(|pair| pair[0].at < pair[1].at),
            "messages.curve must ascend by at"
        );
        for point in &self.curve {
            let all = point.rate * f64::from(profile.rooms);
            ensure!(
                point.rate >= 0.0 && all <= RATE_MAX,
                "messages.curve: rate = {} must be 0 or more, and at most {RATE_MAX} over all rooms",
                point.rate
            );
        }
        let [least, most] = self.bytes;
        ensure!(
            least <= most && most <= 16_000,
            "messages.bytes = [{least}, {most}] must ascend, and be at most 16000: a send may be 16384 bytes long"
        );
        ensure!(
            (1..=SENDERS_MAX).contains(&self.senders),
            "messages.senders = {} must be 1 to {SENDERS_MAX}",
            self.senders
        );
        for burst in &self.burst {
            ensure!(burst.count >= 1, "messages.burst: count = 0 must be 1 or more");
            ensure!(
                burst.every.is_none_or(|every| profile.on_clock(every) >= Duration::from_millis(10)),
                "messages.burst: every must be 10ms or more on the clock"
            );
        }
        Ok(())
    }

    /// About how many messages there will be.
    fn count(&self, profile: &Profile) -> f64 {
        let seconds = profile.clock_duration().as_secs_f64();
        let highest = self.curve.iter().map(|point| point.rate).fold(0.0, f64::max);
        let bursts: f64 = self
            .burst
            .iter()
            .map(|burst| {
                let times =
                    burst.every.map_or(1.0, |every| seconds / profile.on_clock(every).as_secs_f64() + 1.0);
                f64::from(burst.count) * times
            })
            .sum();
        (highest * seconds + bursts) * f64::from(profile.rooms)
    }
}

fn is_share(key: &str, share: f64) -> Result<()> {
    ensure!((0.0..=1.0).contains(&share), "{key} = {share} must be 0 to 1");
    Ok(())
}

fn is_positive_share(key: &str, share: f64) -> Result<()> {
    ensure!(share > 0.0 && share <= 1.0, "{key} = {share} must be above 0 and at most 1");
    Ok(())
}
