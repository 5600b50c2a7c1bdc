//! What one unit of work costs a node, as measured: the input of the planner and of the simulation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the table: goes up when a figure changes its meaning or is gone. New figures don't count.
pub const COSTS_SCHEMA: u32 = 1;

/// The measured figures, each with its unit and the run that it came from. `costs.toml` is this table.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CostTable {
    /// See [`COSTS_SCHEMA`].
    pub schema: u32,
    /// What was run.
    pub run: CostRun,
    /// By name; [`Costs`] says what each is.
    pub figures: BTreeMap<String, Cost>,
}

/// The run that figures came from.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct CostRun {
    /// The command that made it.
    pub command: String,
    /// Of the source.
    pub commit: String,
    /// Processor, as the kernel names it.
    pub cpu: String,
    /// Cores of the machine; each processor time is of one of them.
    pub cores: usize,
    /// Version of the kernel.
    pub kernel: String,
}

/// One figure.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// The median of the repeats.
    pub value: f64,
    /// `µs` (of one core), `ms`, `bytes` or `1/s`.
    pub unit: String,
    /// Scenario and figure of the run, and how this follows from them.
    pub from: String,
}

/// The figures as numbers. Every one is above zero.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Costs {
    /// A poll that is parked and answered with one message (µs of a core).
    pub poll_us: f64,
    /// Each further message of an answer (µs of a core), at [`Costs::text_bytes`] a text.
    pub message_us: f64,
    /// A new connection with its first poll, without TLS (µs of a core).
    pub connection_us: f64,
    /// A durable send, many at a time (µs of a core).
    pub send_us: f64,
    /// Durable sends that one log takes a second.
    pub sends_per_s: f64,
    /// From a send to its acknowledgement at a moderate rate (ms).
    pub send_ms: f64,
    /// Memory a parked poll, without the kernel's for its socket (bytes).
    pub poll_bytes: f64,
    /// A heartbeat, at a statsvr that keeps it (µs of a core).
    pub heartbeat_us: f64,
    /// An online user, at a statsvr that keeps it (bytes).
    pub user_bytes: f64,
    /// The load test's own cost of an answer with one message (µs of a core).
    pub client_poll_us: f64,
    /// The load test's own cost of each further message (µs of a core).
    pub client_message_us: f64,
    /// Text of each message in these runs (bytes).
    pub text_bytes: f64,
}

/// Why a table is of no use. Each names the figure and what it must be.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum CostError {
    /// Written by another version.
    #[error(
        "schema = {0} must be {COSTS_SCHEMA}: write the file anew with this version's `loadtest compare`"
    )]
    Schema(u32),
    /// A figure is not there.
    #[error("figures.{0} is missing: `loadtest compare --out` writes it")]
    Missing(&'static str),
    /// A figure has no meaning.
    #[error("figures.{name}: value = {value} must be above 0")]
    Value {
        /// Of the figure.
        name: &'static str,
        /// As it stands there.
        value: f64,
    },
    /// A figure is in another unit.
    #[error("figures.{name}: unit = {unit:?} must be {expected:?}")]
    Unit {
        /// Of the figure.
        name: &'static str,
        /// As it stands there.
        unit: String,
        /// As it must be.
        expected: &'static str,
    },
}

impl CostTable {
    /// The figures that the rules need; others may stand in the table, too.
    ///
    /// # Errors
    /// The first figure that is missing or wrong.
    pub fn costs(&self) -> Result<Costs, CostError> {
        if self.schema != COSTS_SCHEMA {
            return Err(CostError::Schema(self.schema));
        }
        Ok(Costs {
            poll_us: self.figure("poll_us", "µs")?,
            message_us: self.figure("message_us", "µs")?,
            connection_us: self.figure("connection_us", "µs")?,
            send_us: self.figure("send_us", "µs")?,
            sends_per_s: self.figure("sends_per_s", "1/s")?,
            send_ms: self.figure("send_ms", "ms")?,
            poll_bytes: self.figure("poll_bytes", "bytes")?,
            heartbeat_us: self.figure("heartbeat_us", "µs")?,
            user_bytes: self.figure("user_bytes", "bytes")?,
            client_poll_us: self.figure("client_poll_us", "µs")?,
            client_message_us: self.figure("client_message_us", "µs")?,
            text_bytes: self.figure("text_bytes", "bytes")?,
        })
    }

    fn figure(&self, name: &'static str, expected: &'static str) -> Result<f64, CostError> {
        let cost = self.figures.get(name).ok_or(CostError::Missing(name))?;
        if cost.unit != expected {
            return Err(CostError::Unit { name, unit: cost.unit.clone(), expected });
        }
        if !(cost.value.is_finite() && cost.value > 0.0) {
            return Err(CostError::Value { name, value: cost.value });
        }
        Ok(cost.value)
    }
}

impl Costs {
    /// An answer with `messages` of `text_bytes` each (µs of a core).
    ///
    /// What a message adds is mostly its bytes, so it grows with them.
    #[must_use]
    pub fn answer_us(&self, messages: f64, text_bytes: f64) -> f64 {
        let share = (crate::capacity::ENVELOPE_BYTES + text_bytes)
            / (crate::capacity::ENVELOPE_BYTES + self.text_bytes);
        self.poll_us + (messages - 1.0).max(0.0) * self.message_us * share
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Round figures, so that a person can work with them.
    pub(crate) const ROUND: Costs = Costs {
        poll_us: 10.0,
        message_us: 0.25,
        connection_us: 40.0,
        send_us: 20.0,
        sends_per_s: 50_000.0,
        send_ms: 1.0,
        poll_bytes: 2_500.0,
        heartbeat_us: 0.2,
        user_bytes: 50.0,
        client_poll_us: 10.0,
        client_message_us: 0.1,
        text_bytes: 200.0,
    };

    fn table() -> CostTable {
        let cost = |value: f64, unit: &str| Cost { value, unit: unit.to_owned(), from: "a run".to_owned() };
        let figures = [
            ("poll_us", cost(10.0, "µs")),
            ("message_us", cost(0.25, "µs")),
            ("connection_us", cost(40.0, "µs")),
            ("send_us", cost(20.0, "µs")),
            ("sends_per_s", cost(50_000.0, "1/s")),
            ("send_ms", cost(1.0, "ms")),
            ("poll_bytes", cost(2_500.0, "bytes")),
            ("heartbeat_us", cost(0.2, "µs")),
            ("user_bytes", cost(50.0, "bytes")),
            ("client_poll_us", cost(10.0, "µs")),
            ("client_message_us", cost(0.1, "µs")),
            ("text_bytes", cost(200.0, "bytes")),
        ];
        CostTable {
            schema: COSTS_SCHEMA,
            run: CostRun::default(),
            figures: figures.into_iter().map(|(name, cost)| (name.to_owned(), cost)).collect(),
        }
    }

    #[test]
    fn whole_table_gives_its_figures() {
        assert_eq!(table().costs(), Ok(ROUND));
    }

    #[test]
    fn wrong_figure_is_named() {
        let mut missing = table();
        missing.figures.remove("send_us");
        assert_eq!(missing.costs(), Err(CostError::Missing("send_us")));
        let mut unit = table();
        unit.figures.get_mut("send_ms").unwrap().unit = "s".to_owned();
        assert_eq!(unit.costs().unwrap_err().to_string(), "figures.send_ms: unit = \"s\" must be \"ms\"");
        for value in [0.0, -1.0, f64::NAN] {
            let mut wrong = table();
            wrong.figures.get_mut("poll_us").unwrap().value = value;
            assert!(matches!(wrong.costs(), Err(CostError::Value { name: "poll_us", .. })), "{value}");
        }
        assert_eq!(CostTable { schema: 7, ..table() }.costs(), Err(CostError::Schema(7)));
    }

    #[test]
    fn longer_answer_costs_more() {
        assert_eq!(ROUND.answer_us(1.0, 200.0), 10.0);
        assert_eq!(ROUND.answer_us(101.0, 200.0), 35.0);
        // Twice the bytes, envelope included: 2 x 330 - 130 = 530.
        assert_eq!(ROUND.answer_us(101.0, 530.0), 60.0);
        assert_eq!(ROUND.answer_us(0.0, 200.0), 10.0);
    }
}
