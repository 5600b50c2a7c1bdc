//! Idempotency: what is remembered under a client's id.

use std::time::Duration;

use room::{MessageId, Seq};

use super::record::{IdRecord, RecordError};
use crate::{Appended, StoreError};

/// What `bytes` remember, unless the window has passed: compaction may take its time, readers don't wait for it.
pub(crate) fn remembered(
    bytes: &[u8],
    now_ms: u64,
    window: Duration,
) -> Result<Option<IdRecord>, StoreError> {
    let record = IdRecord::decode(bytes).map_err(|error| damaged(&error))?;
    Ok((!record.is_over(now_ms, window)).then_some(record))
}

/// The answer to a repeat: that of the first time.
pub(crate) fn first_answer(record: &IdRecord, id: MessageId) -> Result<Appended, StoreError> {
    Ok(Appended {
        id,
        list: record.list().map_err(|error| damaged(&error))?,
        seq: Seq(record.seq),
        sent_at_ms: record.sent_at_ms,
        is_duplicate: true,
    })
}

fn damaged(error: &RecordError) -> StoreError {
    StoreError::Corrupt(format!("what is remembered of a client's id: {error}"))
}
