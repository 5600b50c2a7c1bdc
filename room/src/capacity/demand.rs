//! What is asked of a cluster.

use std::time::Duration;

use crate::PollPolicy;

/// A room at its peak, and what is sent there.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Who is there.
    pub crowd: Crowd,
    /// What is sent.
    pub traffic: Traffic,
    /// How often viewers are answered.
    pub policy: PollPolicy,
    /// What the policy's intervals are multiplied by: 1 to 4, a node's load factor.
    pub load_factor: f64,
}

/// Viewers of one room.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Crowd {
    /// Clients that are online at the peak; each is one connection.
    pub clients: u64,
    /// Clients a user, 1 or more: the policy goes by users.
    pub devices_per_user: f64,
    /// Share of clients that wait as they are told (0 to 1); the others poll again at once, and are held.
    pub polite_share: f64,
    /// Most messages that they take in an answer.
    pub limit: u32,
    /// Longest hold that they ask for.
    pub timeout: Duration,
    /// There and back over the network (seconds).
    pub round_trip_s: f64,
    /// New connections a second.
    pub joins_per_s: f64,
}

/// What is sent to one room.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Traffic {
    /// Normal messages a second.
    pub normal_per_s: f64,
    /// Priority messages a second.
    pub priority_per_s: f64,
    /// Text of a message (bytes).
    pub text_bytes: f64,
    /// What is left of an answer after compression, as a share of it (above 0 to 1).
    pub compressed_share: f64,
}

/// What a peak is grown from, where nobody has counted one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Seeds {
    /// People who come in a month.
    pub monthly_users: u64,
    /// Share of them who come on a day.
    pub daily_share: f64,
    /// Share of those who are there in the busiest hour.
    pub peak_hour_share: f64,
    /// Clients that each has open.
    pub devices: f64,
}

impl Seeds {
    /// Clients online at the peak: monthly users × daily share × peak-hour share × devices.
    #[must_use]
    pub fn clients(&self) -> u64 {
        let peak = self.monthly_users as f64 * self.daily_share * self.peak_hour_share * self.devices;
        peak.round() as u64
    }
}

impl Crowd {
    /// People, whom the policy goes by.
    #[must_use]
    pub fn users(&self) -> u64 {
        (self.clients as f64 / self.devices_per_user).round() as u64
    }
}

impl Traffic {
    /// Messages of both lists a second.
    #[must_use]
    pub fn messages_per_s(&self) -> f64 {
        self.normal_per_s + self.priority_per_s
    }

    /// An answer with so many messages, before compression (bytes).
    #[must_use]
    pub fn answer_bytes(&self, messages: f64) -> f64 {
        super::ANSWER_BYTES + messages * (super::ENVELOPE_BYTES + self.text_bytes)
    }
}

impl Demand {
    /// The least time between two answers with normal messages (seconds).
    #[must_use]
    pub fn interval_s(&self) -> f64 {
        self.policy.interval(self.crowd.users()).as_secs_f64() * self.load_factor
    }

    /// The same room with another number of clients, who come in proportion.
    #[must_use]
    pub fn with_clients(&self, clients: u64) -> Self {
        let joins_per_s = if self.crowd.clients == 0 {
            0.0
        } else {
            self.crowd.joins_per_s * clients as f64 / self.crowd.clients as f64
        };
        Self { crowd: Crowd { clients, joins_per_s, ..self.crowd }, ..self.clone() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A room of so many polite viewers, under the policy as shipped.
    pub(crate) fn room(clients: u64, normal_per_s: f64) -> Demand {
        Demand {
            crowd: Crowd {
                clients,
                devices_per_user: 1.0,
                polite_share: 1.0,
                limit: 1_000,
                timeout: Duration::from_secs(25),
                round_trip_s: 0.0,
                joins_per_s: 0.0,
            },
            traffic: Traffic { normal_per_s, priority_per_s: 0.0, text_bytes: 200.0, compressed_share: 1.0 },
            policy: PollPolicy::default(),
            load_factor: 1.0,
        }
    }

    #[test]
    fn seeds_multiply() {
        let seeds =
            Seeds { monthly_users: 100_000_000, daily_share: 0.5, peak_hour_share: 0.2, devices: 1.5 };
        assert_eq!(seeds.clients(), 15_000_000);
    }

    #[test]
    fn interval_goes_by_users_and_load() {
        let mut demand = room(15_000_000, 1.0);
        assert_eq!(demand.interval_s(), 5.0);
        demand.crowd.devices_per_user = 2.0;
        assert_eq!((demand.crowd.users(), demand.interval_s()), (7_500_000, 3.0));
        demand.load_factor = 2.0;
        assert_eq!(demand.interval_s(), 6.0);
    }

    #[test]
    fn joins_go_with_the_crowd() {
        let mut demand = room(1_000, 1.0);
        demand.crowd.joins_per_s = 50.0;
        assert_eq!(demand.with_clients(500).crowd.joins_per_s, 25.0);
        assert_eq!(room(0, 1.0).with_clients(500).crowd.joins_per_s, 0.0);
    }
}
