//! The sweep: finds lists with expired messages that no append deletes, and has the writer delete them.
//!
//! It walks over all heads in turn, a bounded number each second, so that a list that has fallen silent gives its
//! space back, too. Nothing depends on when it comes by: readers apply retention themselves.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rocksdb::{Direction, IteratorMode};
use room::{List, RoomKey};

use super::{
    Shared,
    columns::{Column, Log, unix_ms},
    keys,
    queue::Queue,
    reader::{Reader, read_failed},
    record::Head,
    retention,
    writer::Operation,
};
use crate::StoreError;

const PAUSE: Duration = Duration::from_secs(1);
/// Most heads looked at in a round (count): a million lists take about eight minutes.
const HEADS_MAX: usize = 2_048;
/// Most lists trimmed in a round (count): each leaves a range tombstone until the next compaction.
const TRIMS_MAX: usize = 64;

/// Sweeps until nobody holds the other end of `stop`.
pub(super) fn run(shared: &Shared, writer: &Arc<Queue<Operation>>, stop: &Receiver<()>) {
    let mut from = Vec::new();
    while stop.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        let log = shared.log.read();
        if let (Some(log), None) = (log.as_ref(), shared.health.write_failure()) {
            // Where something can't be read, the round ends there, and the next goes on behind it.
            let _ = shared.health.note(round(shared, log, writer, &mut from));
        }
    }
}

/// Looks at the heads from `from` on, and leaves there where the next round begins.
fn round(
    shared: &Shared,
    log: &Log,
    writer: &Queue<Operation>,
    from: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let reader = Reader::new(log, shared.options.retention);
    let start = std::mem::take(from);
    let heads =
        log.db().iterator_cf(log.column(Column::Heads), IteratorMode::From(&start, Direction::Forward));
    let mut trims = 0;
    for (looked, entry) in heads.enumerate() {
        let (key, value) = entry.map_err(|error| read_failed(&error))?;
        if looked == HEADS_MAX || trims == TRIMS_MAX {
            *from = key.into_vec();
            return Ok(());
        }
        *from = [&key[..], &[0]].concat();
        let (room, list) = keys::parse_head(&key)
            .ok_or_else(|| StoreError::Corrupt("the key of a head is damaged".to_owned()))?;
        let head = Head::decode(&value)
            .map_err(|error| StoreError::Corrupt(format!("head of {room} {}: {error}", list.as_str())))?;
        if let Some(first) = worth_trimming(&reader, &room, list, &head)? {
            // With a full queue there is more urgent work; the next time round will do.
            if writer.try_push(Operation::Trim { room, list, first }) {
                trims += 1;
            }
        }
    }
    from.clear();
    Ok(())
}

/// The list's first kept message, if there is enough before it to be deleted.
fn worth_trimming(
    reader: &Reader<'_>,
    room: &RoomKey,
    list: List,
    head: &Head,
) -> Result<Option<u64>, StoreError> {
    if head.trimmed > head.last {
        return Ok(None); // empty and clean, as most lists are in the end
    }
    let settings = reader.settings(room)?.unwrap_or_default();
    let kept = reader.bounds(room, list, head, &settings, unix_ms())?.0;
    let expired = kept.first.0 - head.trimmed;
    let slack = if kept.is_empty() { 1 } else { retention::SWEEP_SLACK.max(kept.len() / 8) };
    Ok((expired >= slack).then_some(kept.first.0))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use room::{AppId, MessageType, PerList, Post, Retention, Role, RoomId, Sender, Seq, UserId};

    use super::*;
    use crate::{Append, RocksStore, RoomLog as _, Store, StoreOptions};

    fn room() -> RoomKey {
        RoomKey::new(AppId::default(), RoomId::internal("r"))
    }

    fn append(accepted_at_us: u64) -> Append {
        Append {
            room: room(),
            list: List::Normal,
            id: None,
            content_hash: 0,
            post: Post {
                kind: MessageType::default(),
                sender: Sender { id: UserId::internal("u"), role: Role::Speaker },
                text: Some("x".to_owned()),
                data: None,
            },
            accepted_at_us,
        }
    }

    fn messages_on_disk(store: &RocksStore) -> usize {
        let log = store.shared.log.read();
        let log = log.as_ref().unwrap();
        log.db().iterator_cf(log.column(Column::Messages), IteratorMode::Start).count()
    }

    async fn append_many(store: &Arc<RocksStore>, count: usize, accepted_at_us: u64) {
        let mut appends = tokio::task::JoinSet::new();
        for _ in 0..count {
            let store = Arc::clone(store);
            appends.spawn(async move { store.append(append(accepted_at_us)).await.unwrap() });
        }
        appends.join_all().await;
    }

    #[tokio::test]
    async fn silent_list_gives_its_space_back_but_not_its_sequence() {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
        append_many(&store, 100, 1_000_000).await;
        let deadline = Instant::now() + Duration::from_secs(10);
        while messages_on_disk(&store) > 0 {
            assert!(Instant::now() < deadline, "{} are left", messages_on_disk(&store));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        store.close().await;
        let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
        let bounds = store.view(&room()).await.unwrap().bounds.normal;
        assert_eq!((bounds.first, bounds.last), (Seq(101), Seq(100)));
        assert_eq!(store.append(append(1_000_000)).await.unwrap().seq, Seq(101));
    }

    #[tokio::test]
    async fn busy_list_keeps_little_more_than_its_count() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            retention: PerList::from_fn(|_| Retention { count: 10, age: Duration::from_secs(3_600) }),
            ..StoreOptions::default()
        };
        let store = RocksStore::open(dir.path(), options).unwrap();
        let now_us = unix_ms() * 1_000;
        for _ in 0..3 {
            append_many(&store, 1_000, now_us).await;
            let most = 10 + usize::try_from(retention::append_slack(10)).unwrap();
            assert!(messages_on_disk(&store) <= most, "{}", messages_on_disk(&store));
        }
        let page = store.read(&room(), List::Normal, crate::Range::After(Seq(0)), 100).await.unwrap();
        assert_eq!((page.messages.len(), page.bounds.first), (10, Seq(2_991)));
    }
}
