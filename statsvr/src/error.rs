//! Why a number can't be had.

use room::{ErrorCode, Problem};

/// Why a statsvr did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// The node does not answer, or not in time. Another one may.
    #[error("the statistics can't be reached now: {0}")]
    Unavailable(String),
    /// The store, which keeps the past, can't be read.
    #[error("the statistics' history can't be read: {0}")]
    Store(String),
    /// The question or the answer is not one that nodes of this version understand.
    #[error("{0}")]
    Malformed(String),
}

impl From<StatsError> for Problem {
    /// The causes stay here.
    fn from(error: StatsError) -> Self {
        match error {
            StatsError::Unavailable(_) => {
                Self::new(ErrorCode::LogUnavailable, "the statistics can't be reached now: try again later")
            }
            StatsError::Store(_) | StatsError::Malformed(_) => Self::new(
                ErrorCode::Internal,
                "the statistics can't be read or the server has a fault: its log says more",
            ),
        }
    }
}

impl From<proto::Malformed> for StatsError {
    fn from(error: proto::Malformed) -> Self {
        Self::Malformed(error.to_string())
    }
}
