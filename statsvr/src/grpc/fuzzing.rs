//! Fuzz target of what nodes tell each other of who is online.

use std::fmt::Debug;

use prost::Message;
use proto::{Malformed, internal as wire};

use super::convert::{room_shares, series_query, series_range, wire_shares};
use crate::{
    Batch, Clock, NodeId, Nodes, Report, RoomShare, Series, SplitReach, StatsSettings, Statsvr, Taken,
    Update, Viewer, ViewersQuery, aggregate::Aggregator,
};

const NOW_MS: u64 = 1_000_000;

/// Every request and answer of `StatsService`. The first byte says which. A batch that was understood is counted as well, and
/// a report added up.
///
/// # Panics
/// If something that was understood is not understood the same once more, or can't be counted.
pub fn stats_wire(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 9 {
        0 => {
            let to_wire = |batch: &Batch| wire::HeartbeatBatch::from(batch.clone());
            if let Some(batch) = understood(data, to_wire, Batch::try_from) {
                count(batch);
            }
        }
        1 => {
            let to_wire = |report: &Report| wire::StatsReport::from(report.clone());
            if let Some(report) = understood(data, to_wire, Report::try_from) {
                add_up(&report);
            }
        }
        2 => {
            let to_wire = |update: &Update| wire::StatsUpdate::from(update);
            understood(data, to_wire, Update::try_from);
        }
        3 => {
            let to_wire = |taken: &Taken| wire::HeartbeatsTaken::from(taken.clone());
            understood(data, to_wire, Taken::try_from);
        }
        4 => {
            let to_wire = |query: &ViewersQuery| wire::ViewersQuery::from(query.clone());
            understood(data, to_wire, ViewersQuery::try_from);
        }
        5 => {
            let to_wire = |viewer: &Viewer| wire::OnlineViewer::from(viewer.clone());
            understood(data, to_wire, Viewer::try_from);
        }
        6 => {
            let to_wire = |reach: &SplitReach| wire::SplitReach::from(reach.clone());
            if let Some(mut reach) = understood(data, to_wire, SplitReach::try_from) {
                // Of two splits, as an answer about a room has them.
                let other = reach.clone();
                reach.merge(&other);
            }
        }
        7 => {
            let to_wire = |series: &Series| wire::SeriesAnswer::from(series.clone());
            understood(data, to_wire, Series::try_from);
            let Ok(query) = wire::SeriesQuery::decode(data) else { return };
            let Some(Ok(room)) = query.room.clone().map(room::RoomKey::try_from) else { return };
            if let Ok(range) = series_range(&query) {
                assert_eq!(series_range(&series_query(&room, range)), Ok(range));
            }
        }
        _ => {
            let to_wire = |shares: &Vec<RoomShare>| wire_shares(shares.clone());
            understood(data, to_wire, room_shares);
        }
    }
}

/// What `data` says, if it says something: the same once it was written and read again. Bytes are compared, because a NaN is not
/// equal to itself.
fn understood<W: Message + Default, T: Debug>(
    data: &[u8],
    to_wire: impl Fn(&T) -> W,
    from_wire: impl Fn(W) -> Result<T, Malformed>,
) -> Option<T> {
    let value = from_wire(W::decode(data).ok()?).ok()?;
    let written = to_wire(&value).encode_to_vec();
    let again = from_wire(W::decode(written.as_slice()).expect("our own")).expect("our own");
    assert_eq!(to_wire(&again).encode_to_vec(), written, "{value:?}, then {again:?}");
    Some(value)
}

fn count(batch: Batch) {
    let (clock, _) = Clock::manual(NOW_MS);
    let id = NodeId::new("a");
    let statsvr = Statsvr::new(id.clone(), StatsSettings::default(), clock, true, None);
    let _ = statsvr.take(batch);
    let _ = statsvr.round(&Nodes::new([(id, 0)]));
}

fn add_up(report: &Report) {
    let id = NodeId::new("a");
    let nodes = Nodes::new([(id.clone(), 0), (report.node.clone(), 0)]);
    let mut aggregator = Aggregator::new(id, StatsSettings::default().window_ms(), false, None);
    for _ in 0..2 {
        aggregator.take(report.clone(), NOW_MS);
        let _ = aggregator.round(&nodes, NOW_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::stats_wire;
    use crate::replay::replay;

    #[test]
    fn corpus_is_read_without_a_finding() {
        replay("stats_wire", stats_wire);
    }
}
