//! What a play gave.

use serde::Serialize;

use super::Figure;
use crate::{audit::Verdict, measure::Spent};

/// What one play against one contender gave.
#[derive(Serialize, Debug)]
pub(crate) struct Outcome {
    /// In the order of the report.
    #[serde(serialize_with = "as_map")]
    pub(crate) figures: Vec<(Figure, f64)>,
    /// Over the measured part alone; `None` where nothing of it is counted.
    pub(crate) spent: Option<Spent>,
    pub(crate) verdict: Verdict,
}

impl Outcome {
    /// A play that did not come to its end.
    pub(crate) fn failed(why: &str) -> Self {
        let errors = [(why.to_owned(), 1)].into();
        Self { figures: Vec::new(), spent: None, verdict: Verdict { errors, ..Verdict::default() } }
    }

    /// The figure that matters most, as text.
    pub(crate) fn first_figure(&self) -> String {
        self.figures.first().map_or_else(String::new, |(figure, value)| {
            format!("{} {} {}", figure.title(), figure.show(*value), figure.unit())
        })
    }
}

/// One play, with its place in the whole.
#[derive(Serialize, Debug)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) contender: &'static str,
    /// From 0.
    pub(crate) repeat: u32,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

fn as_map<S: serde::Serializer>(figures: &[(Figure, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(figures.iter().map(|(figure, value)| (figure.key(), value)))
}
