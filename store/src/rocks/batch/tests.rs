use room::{AppId, MessageType, Post, Role, RoomId, Sender, UserId};

use super::*;
use crate::{RocksStore, StoreOptions};

fn key(room: &str) -> RoomKey {
    RoomKey::new(AppId::default(), RoomId::internal(room))
}

fn append(room: &str, list: List, id: Option<&str>, content_hash: u64) -> Append {
    Append {
        room: key(room),
        list,
        id: id.map(MessageId::internal),
        content_hash,
        post: Post {
            kind: MessageType::default(),
            sender: Sender { id: UserId::internal("u"), role: Role::Speaker },
            text: Some("x".to_owned()),
            data: None,
        },
        accepted_at_us: 1_000_000 + content_hash,
    }
}

/// Makes a batch of the appends and finishes it.
fn batched(appends: Vec<Append>) -> (usize, Vec<Notice>, Vec<Result<Appended, StoreError>>) {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
    let log = store.shared.log.read();
    let log = log.as_ref().unwrap();
    let mut batch = Batch::new(&store.shared, log);
    let mut answers = Vec::new();
    for append in appends {
        let (sender, answer) = answer::answer();
        batch.append(append, sender);
        answers.push(answer);
    }
    let (writes, effects) = batch.finish();
    let notices = effects.notices.clone();
    effects.answer();
    (writes.len(), notices, answers.iter().map(|answer| answer.take().unwrap()).collect())
}

#[test]
fn id_seen_in_the_same_batch_is_a_repeat() {
    let (writes, notices, answers) = batched(vec![
        append("r", List::Normal, Some("1"), 7),
        append("r", List::Normal, Some("1"), 7),
        append("r", List::Normal, Some("1"), 8),
    ]);
    assert_eq!((writes, notices.len()), (3, 1), "a message, an id and a head");
    assert!(matches!(&answers[0], Ok(first) if !first.is_duplicate && first.seq == Seq(1)));
    assert!(matches!(&answers[1], Ok(repeat) if repeat.is_duplicate && repeat.seq == Seq(1)));
    assert!(matches!(&answers[2], Err(StoreError::IdReused)));
}

#[test]
fn neighbours_in_a_list_share_a_notice() {
    use List::{Normal, Priority};
    let (writes, notices, answers) = batched(vec![
        append("a", Normal, None, 3),
        append("b", Normal, None, 3),
        append("a", Normal, None, 2),
        append("a", Priority, None, 5),
        append("a", Priority, None, 6),
        append("a", Normal, None, 9),
    ]);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(writes, 6 + 3, "six messages, and the heads of three lists");
    let told: Vec<_> = notices
        .iter()
        .map(|notice| match &notice.change {
            Change::Appended { list, prev, messages, accepted_at_us } => {
                (notice.room.room.as_str(), *list, prev.0, messages.len(), *accepted_at_us - 1_000_000)
            }
            Change::Settings { .. } | Change::Viewed { .. } => panic!("no settings were changed"),
        })
        .collect();
    assert_eq!(
        told,
        [("a", Normal, 0, 2, 2), ("b", Normal, 0, 1, 3), ("a", Priority, 0, 2, 5), ("a", Normal, 2, 1, 9)]
    );
}

#[test]
fn unwritten_batch_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), StoreOptions::default()).unwrap();
    let log = store.shared.log.read();
    let mut batch = Batch::new(&store.shared, log.as_ref().unwrap());
    let (sender, answer) = answer::answer();
    batch.append(append("r", List::Normal, None, 1), sender);
    batch.finish().1.fail(&StoreError::Unavailable("disk full".to_owned()));
    assert!(matches!(answer.take(), Some(Err(StoreError::Unavailable(_)))));
    assert!(store.shared.rooms.get(&key("r")).is_none());
    let room = Reader::new(log.as_ref().unwrap(), StoreOptions::default().retention).room(&key("r")).unwrap();
    assert_eq!(room.heads.normal, record::Head::EMPTY);
}
