//! How old messages are when viewers have them.

use super::{Cycle, Demand};

/// Longest age told apart (seconds).
const AGE_MAX_S: f64 = 600.0;

/// Expected ages of messages, of both kinds of viewers together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ages {
    /// Of normal messages.
    pub normal: Quantiles,
    /// Of priority messages.
    pub priority: Quantiles,
}

/// Seconds from the send to the viewer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quantiles {
    /// Half of all deliveries are no older.
    pub p50_s: f64,
    /// 99 of 100 are no older.
    pub p99_s: f64,
}

/// What an age is made of besides waiting for one's turn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ways {
    /// Accepting, notices, the network towards the viewer (seconds).
    pub way_s: f64,
    /// How long a node takes to answer everybody who is parked (seconds).
    pub fan_out_s: f64,
    /// How long it takes to answer all who are held as well (seconds).
    pub urgent_fan_out_s: f64,
}

/// A share of deliveries that wait alike.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// The rest of an away time that is evenly spread over this range: the renewal process's residual life.
    Residual(f64, f64),
    /// Evenly spread from nothing to this.
    Even(f64),
}

impl Wait {
    /// The share that waits longer than `age_s`.
    fn survival(self, age_s: f64) -> f64 {
        match self {
            Self::Residual(least, most) => {
                let mean = f64::midpoint(least, most);
                if mean <= 0.0 || age_s >= most {
                    0.0
                } else if age_s <= least {
                    1.0 - age_s / mean
                } else {
                    (most - age_s).powi(2) / (2.0 * (most - least)) / mean
                }
            }
            Self::Even(most) if most > 0.0 => (1.0 - age_s / most).max(0.0),
            Self::Even(_) => 0.0,
        }
    }
}

impl Ages {
    /// Of a room with these two cycles.
    #[must_use]
    pub fn of(demand: &Demand, polite: &Cycle, held: &Cycle, ways: Ways) -> Self {
        let (polite_share, held_share) = (demand.crowd.polite_share, 1.0 - demand.crowd.polite_share);
        let round_trip_s = demand.crowd.round_trip_s;
        let mut normal = Vec::new();
        let mut priority = Vec::new();
        for (share, cycle) in [(polite_share, polite), (held_share, held)] {
            // Messages that come while the viewer is away wait for its return, the others for their turn.
            let away = share * cycle.away_s / (cycle.away_s + cycle.parked_s).max(f64::MIN_POSITIVE);
            let (least, most) = cycle.away_range_s;
            normal.push((away, Wait::Residual(least, most)));
            normal.push((share - away, Wait::Even(ways.fan_out_s)));
        }
        let away = polite_share * polite.away_s / (polite.away_s + polite.parked_s).max(f64::MIN_POSITIVE);
        priority.push((away, Wait::Residual(polite.away_range_s.0, polite.away_range_s.1)));
        priority.push((polite_share - away, Wait::Even(ways.urgent_fan_out_s)));
        // Of a held client only the network stands in the way.
        let away = held_share * (round_trip_s / held.period_s).min(1.0);
        priority.push((away, Wait::Residual(round_trip_s, round_trip_s)));
        priority.push((held_share - away, Wait::Even(ways.urgent_fan_out_s)));
        Self { normal: Quantiles::of(&normal, ways.way_s), priority: Quantiles::of(&priority, ways.way_s) }
    }
}

impl Quantiles {
    fn of(waits: &[(f64, Wait)], way_s: f64) -> Self {
        let at = |left: f64| {
            // Survival only falls, so halving finds where it passes.
            let (mut low, mut high) = (0.0, AGE_MAX_S);
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                let survival: f64 = waits.iter().map(|(share, wait)| share * wait.survival(middle)).sum();
                if survival > left { low = middle } else { high = middle }
            }
            way_s + high
        };
        Self { p50_s: at(0.5), p99_s: at(0.01) }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::demand::tests::room, *};

    const NOTHING: Ways = Ways { way_s: 0.0, fan_out_s: 0.0, urgent_fan_out_s: 0.0 };

    fn ages(demand: &Demand, ways: Ways) -> Ages {
        Ages::of(demand, &Cycle::polite(demand), &Cycle::held(demand), ways)
    }

    fn near(found: f64, expect: f64) {
        assert!((found - expect).abs() < 0.002 * expect, "{found} is not {expect}");
    }

    #[test]
    fn polite_viewers_wait_for_half_a_period() {
        // Pauses of 5 to 6 s. p50: 1 - x / 5.5 = 0.5. p99: (6 - x)² / 2 / 5.5 = 0.01.
        let ages = ages(&room(15_000_000, 100.0), NOTHING);
        near(ages.normal.p50_s, 2.75);
        near(ages.normal.p99_s, 6.0 - 0.11_f64.sqrt());
        assert_eq!(ages.normal, ages.priority, "a pause is a pause: nobody is there to be told");
    }

    #[test]
    fn held_viewers_get_priority_at_once() {
        let mut demand = room(15_000_000, 100.0);
        demand.crowd.polite_share = 0.0;
        let ways = Ways { way_s: 0.01, fan_out_s: 0.1, urgent_fan_out_s: 0.2 };
        let ages = ages(&demand, ways);
        near(ages.normal.p50_s, 2.51);
        near(ages.normal.p99_s, 4.96);
        near(ages.priority.p50_s, 0.11);
        near(ages.priority.p99_s, 0.208);
    }

    #[test]
    fn priority_messages_leave_the_ages_of_normal_ones_as_they_are() {
        let mut demand = room(15_000_000, 100.0);
        (demand.crowd.polite_share, demand.traffic.priority_per_s) = (0.0, 0.2);
        near(ages(&demand, NOTHING).normal.p50_s, 2.5);
        near(ages(&demand, NOTHING).normal.p99_s, 4.95);
    }

    #[test]
    fn quiet_room_is_as_fast_as_its_fan_out() {
        let ways = Ways { way_s: 0.01, fan_out_s: 0.1, urgent_fan_out_s: 0.1 };
        // A room of ten is never held: everybody is parked when a message comes.
        let ages = ages(&room(10, 0.1), ways);
        near(ages.normal.p50_s, 0.06);
        near(ages.normal.p99_s, 0.109);
    }
}
