//! A log's failures as gRPC statuses, and back.

use proto::Malformed;
use tonic::{Code, Status};

use crate::StoreError;

/// What a failure of the log is to whoever asked. It is not the node's fault, so the code is none by which nodes count as failed.
pub(super) fn of(error: &StoreError) -> Status {
    let code = match error {
        StoreError::Unavailable(_) | StoreError::Unknown(_) => Code::FailedPrecondition,
        StoreError::Corrupt(_) => Code::DataLoss,
        StoreError::IdReused | StoreError::NotFound | StoreError::Open(_) => Code::Internal,
    };
    Status::new(code, error.to_string())
}

/// What a status means for the log.
pub(super) fn to_error(status: &Status) -> StoreError {
    let message = status.message().to_owned();
    match status.code() {
        Code::DataLoss => StoreError::Corrupt(message),
        _ => StoreError::Unavailable(message),
    }
}

/// A request that no node of this version writes.
pub(super) fn malformed(error: Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

/// An answer that no node of this version gives.
pub(super) fn bad_answer(error: Malformed) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
