//! Scrolling back: pages of a list, straight from the log.

use room::{List, Problem, RoomKey, Seq};
use store::{Range, RoomLog};

use crate::{encode::json, rooms::refusal};

/// Which page of a list.
#[derive(Clone, Copy, Debug)]
pub struct HistoryAsk {
    /// The list.
    pub list: List,
    /// Only messages after this place.
    pub since: Option<Seq>,
    /// Only messages before this place.
    pub before: Option<Seq>,
    /// Most messages.
    pub limit: usize,
    /// Newest first.
    pub reverse: bool,
}

/// A page of history as JSON: `{ "messages": […], "first_seq", "last_seq" }`, the last two being what the list
/// keeps.
///
/// `before` alone gives the page right before it, as does `reverse`; otherwise the page begins right after `since`,
/// or at the oldest kept.
///
/// # Errors
/// `internal` or `log_unavailable` if the log can't be read.
pub async fn history(log: &dyn RoomLog, room: &RoomKey, ask: HistoryAsk) -> Result<Vec<u8>, Problem> {
    let since = ask.since.unwrap_or_default();
    let before = ask.before.unwrap_or(Seq(u64::MAX));
    let from_the_end = ask.reverse || (ask.before.is_some() && ask.since.is_none());
    let range = if from_the_end { Range::Before(before) } else { Range::After(since) };
    let page = log.read(room, ask.list, range, ask.limit).await.map_err(|e| refusal(&e))?;
    let mut messages: Vec<_> =
        page.messages.iter().filter(|message| message.seq > since && message.seq < before).collect();
    if ask.reverse {
        messages.reverse();
    }
    let mut out = Vec::with_capacity(64 + 320 * messages.len());
    out.extend_from_slice(b"{\"messages\":[");
    for (at, message) in messages.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::write_message(&mut out, message);
    }
    out.extend_from_slice(
        format!("],\"first_seq\":{},\"last_seq\":{}}}", page.bounds.first, page.bounds.last).as_bytes(),
    );
    Ok(out)
}
