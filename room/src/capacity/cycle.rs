//! One viewer from an answer to the next.

use super::{Demand, POLITE_JITTER};

/// Mean deadline of a poll, as a share of the timeout it asks for: it lies at random between 0.9 and 1.
const DEADLINE_SHARE: f64 = 0.95;

/// What one kind of viewer does, on average, from one answer that brings it up to date to the next.
///
/// Messages are taken to come at random (a Poisson process). The viewer is away for [`Cycle::away_s`], whatever comes;
/// then it waits for the first message if none came meanwhile.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cycle {
    /// The least and the most that a message which comes just after an answer waits (seconds): the pause of a polite
    /// client or the hold of another, and the network.
    pub away_range_s: (f64, f64),
    /// Its mean (seconds).
    pub away_s: f64,
    /// Then parked, with nothing waiting (seconds).
    pub parked_s: f64,
    /// From one answer to the next (seconds).
    pub period_s: f64,
    /// Messages in all of its answers, both lists.
    pub messages: f64,
    /// Polls, 1 or more: what does not fit one answer is asked for at once, and a priority message ends the poll of a held
    /// client alone.
    pub polls: f64,
    /// Whether messages come faster than the viewer can ask for them.
    pub falls_behind: bool,
}

impl Cycle {
    /// Of a client that waits as it is told.
    #[must_use]
    pub fn polite(demand: &Demand) -> Self {
        let (interval_s, round_trip_s) = (demand.interval_s(), demand.crowd.round_trip_s);
        let range = (interval_s + round_trip_s, interval_s * (1.0 + POLITE_JITTER) + round_trip_s);
        Self::of(demand, range, f64::midpoint(range.0, range.1))
    }

    /// Of a client that polls again at once, and is held. Priority messages cut through the hold, which goes on.
    #[must_use]
    pub fn held(demand: &Demand) -> Self {
        let (interval_s, round_trip_s) = (demand.interval_s(), demand.crowd.round_trip_s);
        // Its next poll is on its way while the hold runs.
        let most_s = interval_s.max(round_trip_s);
        let mut cycle = Self::of(demand, (most_s, most_s), most_s);
        if !cycle.falls_behind {
            let priority_per_s = demand.traffic.priority_per_s;
            // Those that come while the client asks again share an answer.
            let cuts_per_s = priority_per_s / (1.0 + priority_per_s * round_trip_s);
            cycle.polls += cuts_per_s * (most_s - round_trip_s);
        }
        cycle
    }

    fn of(demand: &Demand, away_range_s: (f64, f64), away_s: f64) -> Self {
        let (rate, round_trip_s) = (demand.traffic.messages_per_s(), demand.crowd.round_trip_s);
        let deadline_s = demand.crowd.timeout.as_secs_f64() * DEADLINE_SHARE;
        let parked_s = if rate > 0.0 {
            (-rate * away_s).exp() * -f64::exp_m1(-rate * deadline_s) / rate
        } else {
            deadline_s
        };
        // A poll that is answered at once and held by nobody still takes the time of its making.
        let limit = f64::from(demand.crowd.limit);
        let while_paging = rate * round_trip_s / limit;
        let falls_behind = while_paging >= 1.0;
        let first_s = (away_s + parked_s).max(LEAST_PERIOD_S);
        let polls = (rate * first_s / limit).ceil().max(1.0);
        let period_s = if falls_behind { round_trip_s } else { first_s + (polls - 1.0) * round_trip_s };
        let (polls, messages) = if falls_behind { (1.0, limit) } else { (polls, rate * period_s) };
        Self { away_range_s, away_s, parked_s, period_s, messages, polls, falls_behind }
    }

    /// Polls of one such client a second.
    #[must_use]
    pub fn polls_per_s(&self) -> f64 {
        self.polls / self.period_s
    }

    /// Messages in an answer.
    #[must_use]
    pub fn messages_per_poll(&self) -> f64 {
        self.messages / self.polls
    }
}

/// Shortest period that has a meaning (seconds): what a poll takes on loopback.
const LEAST_PERIOD_S: f64 = 0.000_1;

#[cfg(test)]
mod tests {
    use super::{super::demand::tests::room, *};

    fn near(found: f64, expect: f64) {
        assert!((found / expect - 1.0).abs() < 1e-6, "{found} is not {expect}");
    }

    #[test]
    fn busy_room_is_asked_once_an_interval() {
        // 5 s, and 10 % of jitter on average; 100 messages a second are 550 of them.
        let cycle = Cycle::polite(&room(15_000_000, 100.0));
        near(cycle.period_s, 5.5);
        near(cycle.messages, 550.0);
        near(cycle.polls, 1.0);
        near(cycle.polls_per_s(), 1.0 / 5.5);
        near(Cycle::held(&room(15_000_000, 100.0)).period_s, 5.0);
    }

    #[test]
    fn more_than_an_answer_holds_takes_more_polls() {
        // 200 a second over 5.5 s are 1,100; answers of 200 take six polls, five of them a round trip later each.
        let mut demand = room(15_000_000, 200.0);
        demand.crowd.limit = 200;
        let cycle = Cycle::polite(&demand);
        near(cycle.polls, 6.0);
        near(cycle.messages_per_poll(), 1_100.0 / 6.0);
        demand.crowd.round_trip_s = 0.1;
        // 5.6 s away, 1,120 messages, six polls, five round trips of 0.1 s more.
        near(Cycle::polite(&demand).period_s, 6.1);
    }

    #[test]
    fn quiet_room_costs_its_timeouts() {
        near(Cycle::polite(&room(10, 0.0)).period_s, 23.75);
        // One message in ten seconds, nobody held: parked until it comes, for 10 s · (1 - e^-2.375) on average.
        let cycle = Cycle::polite(&room(10, 0.1));
        near(cycle.parked_s, 10.0 * (1.0 - (-2.375_f64).exp()));
    }

    #[test]
    fn priority_messages_cost_held_clients_a_poll_each() {
        let mut demand = room(15_000_000, 100.0);
        demand.traffic.priority_per_s = 0.2;
        let (held, polite) = (Cycle::held(&demand), Cycle::polite(&demand));
        near(held.away_s, 5.0);
        near(held.polls, 1.0 + 0.2 * 5.0);
        near(polite.away_s, 5.5);
        near(polite.polls, 1.0);
    }

    #[test]
    fn client_that_cannot_follow_is_told() {
        let mut demand = room(100, 5_000.0);
        (demand.crowd.limit, demand.crowd.round_trip_s) = (200, 0.05);
        let cycle = Cycle::polite(&demand);
        assert!(cycle.falls_behind);
        near(cycle.polls_per_s(), 20.0);
    }
}
