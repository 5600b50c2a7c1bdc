use std::ops::RangeInclusive;

use room::{MessageId, MessageType, NobodyCounts, Post, Role, Sender, Seq, UserId};

use super::*;

const EPOCH: Epoch = Epoch(1);
const LIMITS: TailLimits = TailLimits { messages: 2_048, bytes: 100_000 };
const LARGE: usize = 10_000;

fn room() -> LiveRoom {
    let key = RoomKey::canary();
    LiveRoom::new(key.clone(), 1, Online::new(Arc::new(NobodyCounts), key))
}

fn run(seqs: RangeInclusive<u64>, text_bytes: usize) -> Vec<Arc<Message>> {
    let message = |seq| {
        let sender = Sender { id: UserId::internal("u"), role: Role::Speaker };
        let text = Some("x".repeat(text_bytes));
        let content = Content::Post(Post { kind: MessageType::default(), sender, text, data: None });
        Arc::new(Message { seq: Seq(seq), id: MessageId::internal("m"), sent_at_ms: seq, content })
    };
    seqs.map(message).collect()
}

fn size(messages: &[Arc<Message>]) -> usize {
    messages.iter().map(|message| message.size_hint()).sum()
}

/// Normal messages are noticed.
fn notice(room: &LiveRoom, epoch: Epoch, messages: Vec<Arc<Message>>) -> Applied {
    let prev = Seq(messages[0].seq.0 - 1);
    let change = Change::Appended { list: List::Normal, prev, messages, accepted_at_us: 1 };
    room.apply(&Notice { room: room.key.clone(), epoch, change }, LIMITS, &StoreOptions::default())
}

/// The room is filled from a log whose normal list has these messages and no others.
fn fill(room: &LiveRoom, messages: Vec<Arc<Message>>) -> Filled {
    let last = messages.last().map_or(Seq(0), |newest| newest.seq);
    let normal = Page { epoch: EPOCH, messages, bounds: Bounds { first: Seq(1), last } };
    let pages =
        PerList { priority: Page { epoch: EPOCH, messages: Vec::new(), bounds: Bounds::EMPTY }, normal };
    let view = RoomView { settings: Arc::default(), bounds: PerList::from_fn(|list| pages[list].bounds) };
    room.fill_with(EPOCH, &view, &pages, room.settings_noticed(), LIMITS, &StoreOptions::default())
}

fn pull(room: &LiveRoom, messages: &[Arc<Message>]) -> Applied {
    pull_of(room, EPOCH, messages)
}

fn pull_of(room: &LiveRoom, epoch: Epoch, messages: &[Arc<Message>]) -> Applied {
    // What the list keeps is not looked at.
    let page = Page { epoch, messages: messages.to_vec(), bounds: Bounds::EMPTY };
    room.catch_up_with(List::Normal, &page, LIMITS)
}

fn last(room: &LiveRoom) -> u64 {
    room.snapshot().unwrap().lists.normal.last().0
}

/// The sequences of the normal messages in memory.
fn held(room: &LiveRoom) -> Vec<u64> {
    let tail = &room.snapshot().unwrap().lists.normal;
    tail.after(Seq(tail.start().0 - 1), usize::MAX >> 1).map(|cached| cached.message.seq.0).collect()
}

fn bytes(room: &LiveRoom) -> usize {
    room.bytes.load(Ordering::Relaxed)
}

fn tail_bytes(room: &LiveRoom) -> usize {
    room.snapshot().unwrap().bytes()
}

fn is_whole(room: &LiveRoom) -> bool {
    room.has_all_noticed(&room.snapshot().unwrap())
}

#[test]
fn burst_before_the_room_is_filled_is_bounded_and_counted() {
    let room = room();
    for seq in 1..=200 {
        assert_eq!(notice(&room, EPOCH, run(seq..=seq, LARGE)), Applied::Nothing);
        assert!(bytes(&room) <= LIMITS.bytes);
    }
    assert_eq!(bytes(&room), size(&run(192..=200, LARGE)));
    // What the cache does when memory is short reaches rooms that are still to be filled.
    room.shrink(TailLimits { bytes: LIMITS.bytes / 2, ..LIMITS });
    assert_eq!(bytes(&room), size(&run(197..=200, LARGE)));
    // What fell out is pulled, and what was left is not pulled again.
    assert_eq!(fill(&room, run(1..=50, 1)), Filled::Behind);
    assert_eq!((last(&room), bytes(&room)), (50, tail_bytes(&room) + size(&run(197..=200, LARGE))));
    assert_eq!(pull(&room, &run(51..=196, 1)), Applied::News);
    assert_eq!((last(&room), is_whole(&room), bytes(&room)), (200, true, tail_bytes(&room)));
    assert!(held(&room).is_sorted_by(|a, b| a + 1 == *b));
}

#[test]
fn burst_behind_a_gap_is_bounded_and_what_fell_out_is_pulled() {
    let room = room();
    assert_eq!(fill(&room, Vec::new()), Filled::Whole);
    for seq in (11..=70).step_by(3) {
        assert_eq!(notice(&room, EPOCH, run(seq..=seq + 2, LARGE)), Applied::Behind);
        assert!(bytes(&room) <= LIMITS.bytes);
    }
    assert_eq!(bytes(&room), size(&run(62..=70, LARGE)));
    // The gap alone is not enough any more; the pull goes on from where the room ends.
    assert_eq!(pull(&room, &run(1..=10, 1)), Applied::News);
    assert_eq!((last(&room), is_whole(&room)), (10, false));
    assert_eq!(bytes(&room), tail_bytes(&room) + size(&run(62..=70, LARGE)));
    assert_eq!(pull(&room, &run(11..=65, 1)), Applied::News);
    assert_eq!((last(&room), is_whole(&room)), (70, true));
    assert!(bytes(&room) == tail_bytes(&room) && bytes(&room) <= LIMITS.bytes);
    let seqs = held(&room);
    assert_eq!((seqs.last(), seqs.is_sorted_by(|a, b| a + 1 == *b)), (Some(&70), true));
}

#[test]
fn shrinking_reaches_what_is_kept_ahead() {
    let room = room();
    fill(&room, run(1..=10, 1));
    notice(&room, EPOCH, run(21..=25, LARGE));
    assert_eq!(bytes(&room), tail_bytes(&room) + size(&run(21..=25, LARGE)));
    room.shrink(TailLimits { messages: 1, bytes: LARGE });
    assert_eq!((held(&room), bytes(&room)), (vec![10], tail_bytes(&room)));
    assert_eq!(pull(&room, &run(11..=25, 1)), Applied::News);
    assert!(is_whole(&room));
    assert_eq!(held(&room), (10..=25).collect::<Vec<_>>());
}

#[test]
fn late_notice_closes_the_gap_without_a_pull() {
    let room = room();
    fill(&room, run(1..=10, 1));
    assert_eq!(notice(&room, EPOCH, run(13..=15, 1)), Applied::Behind);
    assert_eq!(notice(&room, EPOCH, run(11..=11, 1)), Applied::News);
    assert_eq!((last(&room), bytes(&room) > tail_bytes(&room)), (11, true));
    assert_eq!(notice(&room, EPOCH, run(12..=12, 1)), Applied::News);
    assert_eq!(held(&room), (1..=15).collect::<Vec<_>>());
    assert_eq!((is_whole(&room), bytes(&room)), (true, tail_bytes(&room)));
    // So does one that brings it all once more: nothing is kept twice.
    notice(&room, EPOCH, run(18..=20, LARGE));
    assert_eq!(notice(&room, EPOCH, run(14..=20, 1)), Applied::News);
    assert_eq!((held(&room), bytes(&room)), ((1..=20).collect(), tail_bytes(&room)));
}

#[test]
fn what_is_kept_of_one_log_goes_into_no_other() {
    let room = room();
    fill(&room, run(1..=10, 1));
    notice(&room, EPOCH, run(15..=16, LARGE));
    // Of the old log nothing is kept.
    assert_eq!(notice(&room, Epoch(2), run(12..=12, 1)), Applied::Behind);
    assert_eq!(bytes(&room), tail_bytes(&room) + size(&run(12..=12, 1)));
    // A pull of the old log that was under way.
    assert_eq!(pull(&room, &run(11..=11, 1)), Applied::News);
    assert_eq!((last(&room), is_whole(&room)), (11, false));
    // The notice was a stray one: the log is read as it is.
    assert_eq!(fill(&room, run(1..=11, 1)), Filled::Whole);
    assert_eq!((last(&room), bytes(&room)), (11, tail_bytes(&room)));
}

#[test]
fn pull_of_another_log_is_not_taken() {
    let room = room();
    assert_eq!(fill(&room, run(1..=10, 1)), Filled::Whole);
    assert_eq!(pull_of(&room, Epoch(EPOCH.0 + 1), &run(11..=20, 1)), Applied::Behind);
    assert_eq!(last(&room), 10);
    assert_eq!(pull(&room, &run(11..=20, 1)), Applied::News);
    assert_eq!(last(&room), 20);
}
