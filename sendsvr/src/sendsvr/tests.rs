use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use room::{Change, Content, MessageId, Notice, Priority, Role, RoomState};
use store::{Range, RoomLog as _};

use super::*;
use crate::{
    Setting,
    testing::{TestStore, caller, room, speaker, text, with_id},
    underway::BYTES_MAX,
};

fn over(store: &Arc<TestStore>, limits: SendLimits) -> Arc<Sendsvr> {
    Sendsvr::new(Arc::clone(store) as Arc<dyn Store>, limits)
}

fn unlimited() -> SendLimits {
    SendLimits { room_rate: 0, user_rate: 0, priority_rate: 0, ..SendLimits::default() }
}

/// A store and a sendsvr without limits over it.
fn fresh() -> (Arc<TestStore>, Arc<Sendsvr>) {
    let store = TestStore::open();
    let sendsvr = over(&store, unlimited());
    (store, sendsvr)
}

/// The bytes that may be under way when nothing is.
const FREE: usize = BYTES_MAX as usize;

fn code(outcome: &Result<Sent, Problem>) -> &'static str {
    match outcome {
        Ok(sent) if sent.is_duplicate => "duplicate",
        Ok(_) => "ok",
        Err(problem) => problem.code.as_str(),
    }
}

/// Waits for what another task is about to do.
async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition is met in time");
}

async fn change(sendsvr: &Sendsvr, key: &RoomKey, patch: SettingsPatch) {
    sendsvr.change_settings(&caller("mod", Role::Moderator), key, patch).await.unwrap();
}

#[tokio::test]
async fn sent_message_is_in_the_log() {
    let (store, sendsvr) = fresh();
    let draft = Draft { priority: Priority::High, ..with_id("m1", "hi") };
    let sent = sendsvr.send(&caller("u1", Role::Broadcaster), &room("r"), draft).await.unwrap();
    assert_eq!((sent.id.as_str(), sent.list, sent.seq), ("m1", List::Priority, Seq(1)));
    assert_eq!((sent.epoch, sent.is_duplicate), (store.epoch(), false));
    let page = store.read(&room("r"), List::Priority, Range::After(Seq(0)), 10).await.unwrap();
    let [message] = &page.messages[..] else { panic!("{page:?}") };
    assert_eq!((message.seq, &message.id, message.sent_at_ms), (sent.seq, &sent.id, sent.sent_at_ms));
    let Content::Post(post) = &message.content else { panic!("{message:?}") };
    assert_eq!((post.sender.id.as_str(), post.sender.role), ("u1", Role::Broadcaster));
    assert_eq!(post.text.as_deref(), Some("hi"));
}

#[tokio::test]
async fn repeat_gets_the_first_answer() {
    let (_store, sendsvr) = fresh();
    let (a, b) = (speaker("a"), speaker("b"));
    let first = sendsvr.send(&a, &room("r"), with_id("m", "hi")).await.unwrap();
    let again = sendsvr.send(&a, &room("r"), with_id("m", "hi")).await.unwrap();
    assert_eq!(again, Sent { is_duplicate: true, ..first });
    assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("m", "ho")).await), "id_reused");
    let low = Draft { priority: Priority::Low, ..with_id("m", "hi") };
    assert_eq!(code(&sendsvr.send(&a, &room("r"), low).await), "id_reused");
    assert_eq!(code(&sendsvr.send(&b, &room("r"), with_id("m", "hi")).await), "ok");
    assert_eq!(code(&sendsvr.send(&a, &room("r2"), with_id("m", "hi")).await), "ok");
}

#[tokio::test]
async fn repeat_costs_nothing_and_needs_no_open_room() {
    let store = TestStore::open();
    let sendsvr = over(&store, SendLimits { user_rate: 1, user_burst: 1, ..SendLimits::default() });
    let a = speaker("a");
    assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("m", "hi")).await), "ok");
    change(&sendsvr, &room("r"), SettingsPatch::closing()).await;
    for _ in 0..5 {
        assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("m", "hi")).await), "duplicate");
    }
    assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("n", "hi")).await), "room_closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_sends_of_one_id_make_one_message() {
    let store = TestStore::open();
    let (clock, _hand) = Clock::manual();
    let sendsvr = Sendsvr::with_clock(Arc::clone(&store) as Arc<dyn Store>, SendLimits::default(), clock);
    let sends = (0..100).map(|_| {
        let sendsvr = Arc::clone(&sendsvr);
        tokio::spawn(async move { sendsvr.send(&speaker("a"), &room("r"), with_id("m", "hi")).await })
    });
    let outcomes: Vec<_> = join_all(sends).await.into_iter().map(|outcome| code(&outcome.unwrap())).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "ok").count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "duplicate").count(), 99);
    assert_eq!(store.writes(), 1);
    let mut left = 0;
    while sendsvr.send(&speaker("a"), &room("r"), text("x")).await.is_ok() {
        left += 1;
    }
    assert_eq!(left, 9, "one of a burst of ten was used");
}

#[tokio::test]
async fn refused_send_leaves_no_trace() {
    let store = TestStore::open();
    let (clock, _hand) = Clock::manual();
    let limits = SendLimits { user_burst: 2, ..SendLimits::default() };
    let sendsvr = Sendsvr::with_clock(Arc::clone(&store) as Arc<dyn Store>, limits, clock);
    let a = speaker("a");
    change(
        &sendsvr,
        &room("r"),
        SettingsPatch { cooldown: Setting::Set(Duration::from_secs(9)), ..Default::default() },
    )
    .await;
    store.refuse(true);
    for _ in 0..5 {
        assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("m", "hi")).await), "log_unavailable");
    }
    store.refuse(false);
    change(&sendsvr, &room("r"), SettingsPatch { muted: Setting::Set(true), ..Default::default() }).await;
    for _ in 0..5 {
        assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("m", "hi")).await), "muted");
    }
    change(&sendsvr, &room("r"), SettingsPatch { muted: Setting::Reset, ..Default::default() }).await;
    assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("m", "other")).await), "ok");
    assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("n", "hi")).await), "slow_mode");
    change(&sendsvr, &room("r"), SettingsPatch { cooldown: Setting::Reset, ..Default::default() }).await;
    assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("n", "hi")).await), "ok");
    assert_eq!(code(&sendsvr.send(&a, &room("r"), with_id("o", "hi")).await), "rate_limited");
}

#[tokio::test]
async fn send_is_finished_when_its_caller_leaves() {
    let (store, sendsvr) = fresh();
    store.hold();
    let send = {
        let sendsvr = Arc::clone(&sendsvr);
        tokio::spawn(async move { sendsvr.send(&speaker("a"), &room("r"), with_id("m", "hi")).await })
    };
    until(|| store.writes() == 1).await;
    send.abort();
    assert!(send.await.unwrap_err().is_cancelled());
    let again = {
        let sendsvr = Arc::clone(&sendsvr);
        tokio::spawn(async move { sendsvr.send(&speaker("a"), &room("r"), with_id("m", "hi")).await })
    };
    let drained = {
        let sendsvr = Arc::clone(&sendsvr);
        tokio::spawn(async move { sendsvr.drain().await })
    };
    tokio::task::yield_now().await;
    assert!(!drained.is_finished());
    store.release(1);
    assert_eq!(code(&again.await.unwrap()), "duplicate");
    drained.await.unwrap();
    assert_eq!(store.writes(), 1);
}

#[tokio::test]
async fn next_one_tries_when_the_first_is_refused() {
    let (store, sendsvr) = fresh();
    store.hold();
    store.refuse(true);
    let send = || {
        let sendsvr = Arc::clone(&sendsvr);
        tokio::spawn(async move { sendsvr.send(&speaker("a"), &room("r"), with_id("m", "hi")).await })
    };
    let first = send();
    until(|| store.writes() == 1).await;
    let second = send();
    store.release(1);
    assert_eq!(code(&first.await.unwrap()), "log_unavailable");
    until(|| store.writes() == 2).await;
    store.refuse(false);
    store.release(1);
    assert_eq!(code(&second.await.unwrap()), "ok");
}

#[tokio::test]
async fn rights_decide_what_may_be_sent() {
    let (store, sendsvr) = fresh();
    for (rights, normal, high) in [
        (Role::Viewer, "forbidden", "forbidden"),
        (Role::Speaker, "ok", "forbidden"),
        (Role::Broadcaster, "ok", "ok"),
        (Role::Moderator, "ok", "ok"),
        (Role::Ops, "ok", "ok"),
    ] {
        let caller = Caller { rights, ..speaker("a") };
        assert_eq!(code(&sendsvr.send(&caller, &room("r"), text("x")).await), normal, "{rights}");
        let draft = Draft { priority: Priority::High, ..text("x") };
        assert_eq!(code(&sendsvr.send(&caller, &room("r"), draft).await), high, "{rights}");
    }
    let (caller, before) = (caller("b", Role::Broadcaster), store.view(&room("r")).await.unwrap());
    let forbidden = Err(ErrorCode::Forbidden);
    let retract = sendsvr.retract(&caller, &room("r"), List::Normal, Seq(1)).await;
    assert_eq!(retract.map(|_| ()).map_err(|p| p.code), forbidden);
    let settings = sendsvr.change_settings(&caller, &room("r"), SettingsPatch::closing()).await;
    assert_eq!(settings.map(|_| ()).map_err(|p| p.code), forbidden);
    assert_eq!(store.view(&room("r")).await.unwrap().bounds, before.bounds);
}

#[tokio::test]
async fn settings_hold_from_their_answer_on() {
    let (store, sendsvr) = fresh();
    let a = speaker("a");
    assert_eq!(code(&sendsvr.send(&a, &room("r"), text("x")).await), "ok");
    for (patch, expect) in [
        (SettingsPatch { muted: Setting::Set(true), ..Default::default() }, "muted"),
        (SettingsPatch::closing(), "room_closed"),
        (
            SettingsPatch {
                state: Setting::Set(RoomState::Live),
                muted: Setting::Reset,
                ..Default::default()
            },
            "ok",
        ),
    ] {
        change(&sendsvr, &room("r"), patch).await;
        assert_eq!(code(&sendsvr.send(&a, &room("r"), text("x")).await), expect);
    }
    change(&sendsvr, &room("r"), SettingsPatch::closing()).await;
    assert!(sendsvr.view(&room("r")).await.unwrap().settings.is_closed());
    // One that has not seen the change reads it with the first send.
    let other = over(&store, unlimited());
    assert_eq!(code(&other.send(&a, &room("r"), text("x")).await), "room_closed");
}

#[tokio::test]
async fn batch_keeps_order_and_places() {
    let (_store, sendsvr) = fresh();
    let broadcaster = caller("a", Role::Broadcaster);
    let refused = Problem::new(ErrorCode::InvalidId, "x");
    let drafts = vec![
        Ok(text("1")),
        Ok(with_id("m", "2")),
        Err(refused.clone()),
        Ok(with_id("m", "2")),
        Ok(with_id("m", "other")),
        Ok(Draft { priority: Priority::High, ..text("3") }),
        Ok(text("4")),
    ];
    let outcomes = sendsvr.send_batch(&broadcaster, &room("r"), drafts).await;
    let codes: Vec<_> = outcomes.iter().map(code).collect();
    assert_eq!(codes, ["ok", "ok", "invalid_id", "duplicate", "id_reused", "ok", "ok"]);
    assert_eq!(outcomes[2], Err(refused));
    let seqs: Vec<_> = outcomes.iter().flatten().map(|sent| (sent.list, sent.seq.0)).collect();
    let (normal, priority) = (List::Normal, List::Priority);
    assert_eq!(seqs, [(normal, 1), (normal, 2), (normal, 2), (priority, 1), (normal, 3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn full_batch_ascends() {
    let (_store, sendsvr) = fresh();
    let drafts = (0..100).map(|number| Ok(text(&number.to_string()))).collect();
    let outcomes = sendsvr.send_batch(&speaker("a"), &room("r"), drafts).await;
    let seqs: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().seq.0).collect();
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn each_of_a_batch_counts_in_the_limits() {
    let store = TestStore::open();
    let (clock, _hand) = Clock::manual();
    let sendsvr = Sendsvr::with_clock(Arc::clone(&store) as Arc<dyn Store>, SendLimits::default(), clock);
    let mut drafts: Vec<_> = (0..12).map(|_| Ok(text("x"))).collect();
    drafts.insert(3, Ok(with_id("m", "x")));
    drafts.insert(4, Ok(with_id("m", "x")));
    let outcomes = sendsvr.send_batch(&speaker("a"), &room("r"), drafts).await;
    let count = |word| outcomes.iter().filter(|outcome| code(outcome) == word).count();
    assert_eq!((count("ok"), count("duplicate"), count("rate_limited")), (10, 1, 3));
}

#[tokio::test]
async fn batches_with_crossed_ids_both_end() {
    let (_store, sendsvr) = fresh();
    let a = speaker("a");
    let ids = |ids: [&str; 2]| ids.map(|id| Ok(with_id(id, "x"))).to_vec();
    let (key, forth, back) = (room("r"), ids(["m", "n"]), ids(["n", "m"]));
    let (forth, back) = tokio::join!(sendsvr.send_batch(&a, &key, forth), sendsvr.send_batch(&a, &key, back));
    let new = forth.iter().chain(&back).filter(|outcome| code(outcome) == "ok").count();
    assert_eq!((new, forth.len() + back.len()), (2, 4));
}

#[derive(Default)]
struct Heard(Mutex<Vec<MessageId>>);

impl NoticeSink for Heard {
    fn notice(&self, notice: &Notice) {
        if let Change::Appended { messages, .. } = &notice.change {
            self.0.lock().extend(messages.iter().map(|message| message.id.clone()));
        }
    }
}

#[tokio::test]
async fn recvsvr_hears_before_the_sender() {
    let (_store, sendsvr) = fresh();
    let heard = [Arc::new(Heard::default()), Arc::new(Heard::default())];
    for heard in &heard {
        sendsvr.add_recvsvr(&(Arc::clone(heard) as Arc<dyn NoticeSink>));
    }
    for number in 0..10 {
        let id = number.to_string();
        let sent = sendsvr.send(&speaker("a"), &room("r"), with_id(&id, "x")).await.unwrap();
        for heard in &heard {
            assert_eq!(heard.0.lock().last(), Some(&sent.id));
        }
    }
}

#[tokio::test]
async fn retraction_is_done_once() {
    let (_store, sendsvr) = fresh();
    let moderator = caller("mod", Role::Moderator);
    let sent = sendsvr.send(&speaker("a"), &room("r"), with_id("m", "x")).await.unwrap();
    let first = sendsvr.retract(&moderator, &room("r"), sent.list, sent.seq).await.unwrap();
    let again = sendsvr.retract(&moderator, &room("r"), sent.list, sent.seq).await.unwrap();
    assert_eq!((first.is_duplicate, again.is_duplicate, first.redact_seq), (false, true, again.redact_seq));
    let unknown = sendsvr.retract(&moderator, &room("r"), List::Normal, Seq(9)).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    // The id still stands for the message that was.
    assert_eq!(code(&sendsvr.send(&speaker("a"), &room("r"), with_id("m", "x")).await), "duplicate");
}

#[tokio::test]
async fn drain_waits_for_every_write_that_was_begun() {
    let (store, sendsvr) = fresh();
    let moderator = caller("mod", Role::Moderator);
    let sent = sendsvr.send(&moderator, &room("r"), text("x")).await.unwrap();
    store.hold();
    // Each is begun and left at once by its caller.
    let leave = |work: tokio::task::JoinHandle<()>, writes: usize| {
        let store = Arc::clone(&store);
        async move {
            until(|| store.writes() == writes).await;
            work.abort();
            assert!(work.await.unwrap_err().is_cancelled());
        }
    };
    let (service, by) = (Arc::clone(&sendsvr), moderator.clone());
    let work = async move { drop(service.send(&by, &room("r"), with_id("m", "x")).await) };
    leave(tokio::spawn(work), 2).await;
    let (service, by) = (Arc::clone(&sendsvr), moderator.clone());
    let work = async move { drop(service.send_batch(&by, &room("r"), vec![Ok(with_id("n", "x"))]).await) };
    leave(tokio::spawn(work), 3).await;
    let (service, by) = (Arc::clone(&sendsvr), moderator.clone());
    let work = async move { drop(service.retract(&by, &room("r"), sent.list, sent.seq).await) };
    leave(tokio::spawn(work), 4).await;
    let (service, by) = (Arc::clone(&sendsvr), moderator.clone());
    let work = async move { drop(service.change_settings(&by, &room("r"), SettingsPatch::closing()).await) };
    leave(tokio::spawn(work), 5).await;

    let service = Arc::clone(&sendsvr);
    let drained = tokio::spawn(async move { service.drain().await });
    // One more while it is being drained.
    let service = Arc::clone(&sendsvr);
    let late = tokio::spawn(async move { service.send(&speaker("b"), &room("r2"), text("x")).await });
    until(|| store.writes() == 6).await;
    for left in (0..5).rev() {
        assert!(!drained.is_finished(), "{left}");
        store.release(1);
        // All but the last can be seen to be done: they give back their places.
        until(|| sendsvr.underway.bytes_left.available_permits() >= FREE - left * (WRITE_BYTES + 1)).await;
    }
    drained.await.unwrap();
    assert_eq!(code(&late.await.unwrap()), "ok");

    assert!(sendsvr.view(&room("r")).await.unwrap().settings.is_closed());
    store.release(10);
    assert!(sendsvr.retract(&moderator, &room("r"), sent.list, sent.seq).await.unwrap().is_duplicate);
    for id in ["m", "n"] {
        assert_eq!(code(&sendsvr.send(&moderator, &room("r"), with_id(id, "x")).await), "duplicate");
    }
    // And it can be done again.
    sendsvr.drain().await;
}

#[tokio::test]
async fn sends_under_way_are_bounded() {
    let (store, sendsvr) = fresh();
    let moderator = caller("mod", Role::Moderator);
    let sent = sendsvr.send(&moderator, &room("r"), text("x")).await.unwrap();
    let writes = store.writes();
    // As many as there may be, but for room for one short message.
    let mut others = sendsvr.underway.place(FREE - WRITE_BYTES - 1).unwrap();
    assert_eq!(code(&sendsvr.send(&speaker("a"), &room("r"), text("x")).await), "ok");
    let two = vec![Ok(text("x")), Err(Problem::new(ErrorCode::InvalidId, "x")), Ok(text("y"))];
    let outcomes = sendsvr.send_batch(&speaker("a"), &room("r"), two).await;
    let codes: Vec<_> = outcomes.iter().map(code).collect();
    assert_eq!(codes, ["log_unavailable", "invalid_id", "log_unavailable"]);
    drop(others);
    others = sendsvr.underway.place(FREE).unwrap();
    let problem = sendsvr.send(&speaker("a"), &room("r"), with_id("m", "x")).await.unwrap_err();
    assert_eq!((problem.code, problem.retry_after_s()), (ErrorCode::LogUnavailable, Some(1)));
    let retracted = sendsvr.retract(&moderator, &room("r"), sent.list, sent.seq).await;
    assert_eq!(retracted.unwrap_err().code, ErrorCode::LogUnavailable);
    let changed = sendsvr.change_settings(&moderator, &room("r"), SettingsPatch::closing()).await;
    assert_eq!(changed.unwrap_err().code, ErrorCode::LogUnavailable);
    assert_eq!(store.writes(), writes + 1);
    drop(others);
    assert_eq!(code(&sendsvr.send(&speaker("a"), &room("r"), with_id("m", "x")).await), "ok");
    until(|| sendsvr.underway.bytes_left.available_permits() == FREE).await;
}

#[tokio::test(start_paused = true)]
async fn caller_is_answered_while_the_log_stalls() {
    let (store, sendsvr) = fresh();
    store.hold();
    let problem = sendsvr.send(&speaker("a"), &room("r"), with_id("m", "x")).await.unwrap_err();
    assert_eq!((problem.code, problem.retry_after_s()), (ErrorCode::LogUnavailable, Some(1)));
    assert!(problem.detail.contains("try again with the same id"), "{problem}");
    let refused = Problem::new(ErrorCode::InvalidId, "x");
    let batch = vec![Ok(with_id("n", "x")), Err(refused.clone())];
    let outcomes = sendsvr.send_batch(&speaker("a"), &room("r"), batch).await;
    assert_eq!((code(&outcomes[0]), &outcomes[1]), ("log_unavailable", &Err(refused)));
    let (moderator, other) = (caller("mod", Role::Moderator), room("r2"));
    let closed = sendsvr.change_settings(&moderator, &other, SettingsPatch::closing()).await;
    assert_eq!(closed.unwrap_err().code, ErrorCode::LogUnavailable);

    tokio::time::resume();
    store.release(100);
    sendsvr.drain().await;
    for id in ["m", "n"] {
        assert_eq!(code(&sendsvr.send(&speaker("a"), &room("r"), with_id(id, "x")).await), "duplicate");
    }
    assert!(sendsvr.view(&other).await.unwrap().settings.is_closed());
}
