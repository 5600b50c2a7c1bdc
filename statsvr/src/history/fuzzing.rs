//! Fuzz target of what is kept of rooms and told to other nodes.

use super::{
    Step,
    block::{Block, BlockError},
    share::{Share, SharedBlock},
    summary::Summary,
};
use crate::unique::{EXACT_MAX, PRECISION, UniqueViewers};

/// Points of a history, summaries, sets of viewers, and shares of all these. The first byte says which.
///
/// # Panics
/// If what was read is not what comes of writing it and reading it again.
pub fn kept(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 5 {
        0 => Step::ALL.into_iter().for_each(|step| points(step, data)),
        1 => {
            if let Some(summary) = Summary::decode(data) {
                let written = summary.encode();
                let again = Summary::decode(&written).expect("our own");
                assert_eq!(again.encode(), written);
            }
        }
        2 => viewers(data),
        3 => {
            // A sketch is too long for a fuzzer to find: its registers are the bytes again and again.
            let registers = data.iter().copied().cycle().take((1 << PRECISION) / 4 * 3);
            let anchor = (EXACT_MAX as f64).to_be_bytes();
            let head = [1, 1, 1, PRECISION].into_iter().chain(anchor);
            viewers(&head.chain(registers).collect::<Vec<_>>());
        }
        _ => {
            let Ok(share) = Share::decode(data) else { return };
            for set in [share.session, share.total] {
                viewers(&set.encode());
            }
            for SharedBlock { step, base, points, .. } in share.blocks {
                assert_eq!(points.first().map(|(first, _)| Block::base_of(step, *first)), Some(base));
            }
        }
    }
}

fn points(step: Step, data: &[u8]) {
    let points = match Block::decode(step, data) {
        Ok(points) => points,
        Err(BlockError::Damaged | BlockError::Version(_)) => return,
    };
    let Some((first, _)) = points.first() else { return };
    assert!(points.len() as u64 <= step.block_intervals());
    let mut block = Block::new(step, *first);
    points.iter().for_each(|(interval, tally)| block.put(step, *interval, tally));
    assert_eq!(Block::decode(step, block.bytes()), Ok(points));
}

fn viewers(data: &[u8]) {
    let Ok(set) = UniqueViewers::decode(data) else { return };
    let written = set.encode();
    assert_eq!(written.len(), set.encoded_bytes());
    assert_eq!(UniqueViewers::decode(&written).expect("our own").encode(), written);
    let mut twice = set.clone();
    assert!(!twice.merge(&set), "nobody new");
    let mut more = set.clone();
    more.insert(u64::MAX / 3);
    assert!(more.count().count >= set.count().count);
}

#[cfg(test)]
mod tests {
    use super::kept;
    use crate::replay::replay;

    #[test]
    fn corpora_are_read_without_a_finding() {
        replay("stats", kept);
    }
}
