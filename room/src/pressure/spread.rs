//! Spreading the wake-ups of big rooms.

use std::time::Duration;

/// From more than so many parked polls of one room on a node, wake-ups for normal messages are spread.
pub const SPREAD_FROM_POLLS: usize = 10_000;

/// How long the last one waits at the most. The promise to clients is 100 ms: the rest is for the turn it is woken in.
pub const SPREAD_MAX: Duration = Duration::from_millis(80);

/// How many of a worker's `waking` polls of a room may have been woken `elapsed` after its turn came, when the node
/// has `parked` polls of that room over all its workers.
///
/// All at once where those are at most [`SPREAD_FROM_POLLS`]; else an even share of [`SPREAD_MAX`]. It rises with the
/// time and holds nobody beyond that. Only for normal messages: priority is never spread.
#[must_use]
pub fn may_be_woken(waking: usize, parked: usize, elapsed: Duration) -> usize {
    if parked <= SPREAD_FROM_POLLS || elapsed >= SPREAD_MAX {
        return waking;
    }
    (waking as u128 * elapsed.as_micros()).div_ceil(SPREAD_MAX.as_micros()) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn big_rooms_are_spread_and_small_ones_are_not() {
        let ms = Duration::from_millis;
        for (waking, parked, elapsed, expect) in [
            (0, 0, ms(0), 0),
            (10_000, 10_000, ms(0), 10_000),
            (20_000, 20_000, ms(0), 0),
            (5_000, 20_000, ms(40), 2_500),
            (20_000, 20_000, ms(1), 250),
            (20_000, 20_000, ms(40), 10_000),
            (20_000, 20_000, ms(80), 20_000),
            (20_000, 20_000, Duration::MAX, 20_000),
            (usize::MAX, usize::MAX, ms(100), usize::MAX),
        ] {
            assert_eq!(may_be_woken(waking, parked, elapsed), expect, "{waking} {parked} {elapsed:?}");
        }
    }

    proptest! {
        #[test]
        fn never_goes_back_and_never_beyond_the_total(total in 0usize..1_000_000, early_us in 0u64..100_000, later_us in 0u64..100_000) {
            let early = may_be_woken(total, 20_000, Duration::from_micros(early_us));
            let late = may_be_woken(total, 20_000, Duration::from_micros(early_us + later_us));
            prop_assert!(early <= late && late <= total);
        }
    }
}
