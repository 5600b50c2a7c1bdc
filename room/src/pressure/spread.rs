//! Waking the polls of a big room over a while instead of in one burst.

use std::time::Duration;

/// With more polls of a room parked on a node than this (count), wake-ups for normal messages are spread.
pub const WAKEUP_SPREAD_FROM: usize = 10_000;

/// Over how long they are spread. The contract says 100 ms: the rest is for the last turn to be done.
pub const WAKEUP_SPREAD: Duration = Duration::from_millis(80);

/// How long a turn is: after each, some more are woken.
const TURN: Duration = Duration::from_millis(5);

/// How many of `count` polls that a normal message wakes may be woken by `elapsed` after it came, where `parked` polls
/// of the room are parked on the node: all of them in a room that is not big or once [`WAKEUP_SPREAD`] is over, equal
/// parts in each turn before. Never less than before as time goes on. Not for priority messages: those wake everybody.
#[must_use]
pub fn spread_wakeups(parked: usize, count: usize, elapsed: Duration) -> usize {
    if parked <= WAKEUP_SPREAD_FROM || elapsed >= WAKEUP_SPREAD {
        return count;
    }
    let turns = WAKEUP_SPREAD.as_millis() / TURN.as_millis();
    let begun = elapsed.as_millis() / TURN.as_millis() + 1;
    (count as u128 * begun).div_ceil(turns) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_room_is_woken_at_once() {
        assert_eq!(spread_wakeups(10_000, 10_000, Duration::ZERO), 10_000);
        assert_eq!(spread_wakeups(10_001, 10_001, Duration::ZERO), 626);
    }

    proptest! {
        #[test]
        fn big_room_is_woken_in_equal_turns(count in 1usize..1_000_000, parked in 10_001usize..1_000_000) {
            let turns: Vec<usize> = (0..=80)
                .map(|ms| spread_wakeups(parked, count, Duration::from_millis(ms)))
                .collect();
            prop_assert!(turns[0] > 0, "the first are woken at once");
            prop_assert_eq!(turns[80], count);
            prop_assert_eq!(turns[75], count, "the last turn is within the time");
            for pair in turns.windows(2) {
                prop_assert!(pair[0] <= pair[1] && pair[1] - pair[0] <= count.div_ceil(16));
            }
        }
    }
}
