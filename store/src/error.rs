//! What can go wrong in a store.

/// Why a store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The sender used this id for another content.
    #[error("the id was used for another message")]
    IdReused,
    /// No such message is kept.
    #[error("no such message is kept")]
    NotFound,
    /// The log can't be written now; nothing was.
    #[error("the log can't be written: {0}")]
    Unavailable(String),
    /// The write failed in a way that leaves open whether it is there. A retry with the same id finds out.
    #[error("the log did not answer: {0}")]
    Unknown(String),
    /// What was read is not what was written.
    #[error("the log is damaged: {0}")]
    Corrupt(String),
    /// The data directory can't be opened; the sentence names it and says what to do.
    #[error("{0}")]
    Open(String),
}
