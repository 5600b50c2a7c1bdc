//! Readers that are further behind than memory reaches: read from the store, once for all at the same place.

use std::sync::Arc;

use room::{Cursor, Epoch, List, PerList, Problem, Seq, pressure::PressureStep};
use store::{Page, Range};

use crate::{
    answer::{Terms, answer, count_gap, pace},
    encode::{self, Encoded, Form, Messages, Parts},
    hold::{Decision, Waiting},
    live_room::{LiveRoom, Loading, begin_load},
    metrics,
    rooms::{Rooms, is_replaced, refusal},
    slice::{Available, Portion, Slice, cut},
    snapshot::Served,
    worker::now_ms,
};

/// What makes two loads the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct LoadKey {
    epoch: Epoch,
    seen: (Seq, Seq),
    restarted: bool,
    wants_kept: bool,
    limit: usize,
    form: Form,
    step: PressureStep,
    drain_step: Option<u64>,
    /// When the reader was last served, if it is still held: then it gets priority messages only.
    held_since_ms: Option<u64>,
}

/// Answers a reader out of the store.
///
/// At most [`crate::rooms::LOADS_MAX`] reads are under way. Beyond it, a reader that lacks only normal messages is
/// moved forward to what is in memory; one that lacks priority messages waits its turn.
pub(crate) async fn read(
    rooms: Arc<Rooms>,
    room: Arc<LiveRoom>,
    waiting: Waiting,
    decision: Decision,
    terms: Terms,
) -> Result<Arc<Encoded>, Problem> {
    let seen = waiting.place.seen;
    let key = LoadKey {
        epoch: waiting.place.epoch,
        seen: (seen.priority, seen.normal),
        restarted: waiting.place.restarted,
        wants_kept: waiting.place.wants_kept,
        limit: terms.limit,
        form: terms.form,
        step: terms.step,
        drain_step: terms.drain_step,
        held_since_ms: (decision == Decision::AnswerHeld).then_some(waiting.place.served_at_ms),
    };
    let under_way = room.loads.lock().get(&key).cloned();
    if let Some(load) = under_way {
        return take(load.await);
    }
    if rooms.loads.available_permits() == 0
        && let Some(snapshot) = room.snapshot()
        && let Some((encoded, slice)) =
            answer(&snapshot, &waiting, decision, &Terms { shed: true, ..terms }, now_ms())
    {
        count_gap(&slice);
        return Ok(encoded);
    }
    let load = {
        let mut loads = room.loads.lock();
        let (rooms, loaded) = (Arc::clone(&rooms), Arc::clone(&room));
        let load = loads.entry(key).or_insert_with(|| {
            begin_load(async move {
                let _ended = Loading(|| drop(loaded.loads.lock().remove(&key)));
                read_pages(&rooms, &loaded, &waiting, decision, &terms).await
            })
        });
        load.clone()
    };
    take(load.await)
}

/// What every reader that shared a load does with it.
fn take(loaded: Result<(Arc<Encoded>, Slice), Problem>) -> Result<Arc<Encoded>, Problem> {
    let (encoded, slice) = loaded?;
    count_gap(&slice);
    Ok(encoded)
}

async fn read_pages(
    rooms: &Rooms,
    room: &LiveRoom,
    waiting: &Waiting,
    decision: Decision,
    terms: &Terms,
) -> Result<(Arc<Encoded>, Slice), Problem> {
    let _permit = rooms.loads.acquire().await.expect("the semaphore is never closed");
    ::metrics::counter!(metrics::PULLS, "reason" => "catch_up").increment(1);
    let page = |list| rooms.log.read(&room.key, list, Range::After(waiting.place.seen[list]), terms.limit);
    let pages = PerList {
        priority: page(List::Priority).await.map_err(|e| refusal(&e))?,
        normal: page(List::Normal).await.map_err(|e| refusal(&e))?,
    };
    if List::ALL.into_iter().any(|list| pages[list].epoch != waiting.place.epoch) {
        // What another log has behind this place is not what the reader lacks. It starts over once the room is read anew.
        rooms.want_pull(&room.key);
        return Err(is_replaced());
    }
    let settings = room
        .with_snapshot(|snapshot| snapshot.map(|snapshot| Arc::clone(&snapshot.settings)))
        .unwrap_or_default();
    let slice = slice(&pages, waiting, terms.limit, decision == Decision::AnswerHeld);
    let now_ms = now_ms();
    let (poll_after_ms, served) = pace(waiting, &slice, decision, terms, now_ms);
    let served_at_ms = match served {
        Served::Now => now_ms,
        Served::At(at_ms) => at_ms,
    };
    let epoch = waiting.place.epoch;
    let parts = Parts {
        epoch,
        messages: PerList::from_fn(|list| Messages::Stored(&pages[list].messages[..slice.parts[list].count])),
        next_cursor: Cursor { epoch, room: room.hash, seen: slice.next, served_at_ms },
        up_to_date: slice.up_to_date,
        gap: slice.gap,
        poll_after_ms,
        settings: &settings,
        online: room.online.counts(now_ms).filter(|_| !terms.step.leaves_out_extras()),
        degraded: terms.step.degraded(),
        accepted_at_us: PerList::default(),
        is_drain: terms.drain_step.is_some(),
    };
    Ok((Arc::new(encode::encode(&parts, terms.form)), slice))
}

/// Cuts the slice out of what was read.
fn slice(pages: &PerList<Page>, waiting: &Waiting, limit: usize, withhold_normal: bool) -> Slice {
    let available = PerList::from_fn(|list| {
        let Page { messages, bounds, .. } = &pages[list];
        let from = messages.first().map_or(bounds.first, |first| first.seq);
        Available { from, last: bounds.last, kept_from: bounds.first.max(from) }
    });
    // Not thinned under pressure: what was read begins at the oldest, and only a few read at a time.
    cut(waiting.place, available, Portion { limit, withhold_normal, normal_max: None })
}
