//! A viewer: where it is in its cycle, what it has, and whether it got everything once.

use room::{List, PerList};

/// What a viewer is doing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum State {
    /// Not there.
    #[default]
    Away,
    /// Pausing, or on the network.
    Resting,
    /// Its poll is parked.
    Parked,
    /// Its poll is to be answered as soon as the node gets to it.
    Queued,
}

/// One simulated viewer.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) room: u16,
    pub(super) proxy: u16,
    pub(super) state: State,
    pub(super) is_polite: bool,
    /// It has no cursor yet.
    pub(super) is_new: bool,
    pub(super) is_connected: bool,
    /// Its next answer pays for a new connection.
    pub(super) connects: bool,
    /// Connections and losses of them: events of an earlier one are void.
    pub(super) life: u32,
    /// Polls: timers of an earlier one are void.
    pub(super) turn: u32,
    /// Refusals and losses in a row.
    pub(super) failures: u8,
    /// The cursor.
    pub(super) seen: PerList<u64>,
    /// The cursor's time (milliseconds); 0 for one that holds nobody.
    pub(super) served_at_ms: u64,
    /// When its poll may be given normal messages, and when it is answered at the latest (milliseconds).
    pub(super) eligible_at_ms: u64,
    pub(super) deadline_ms: u64,
    /// Since when it is there: older messages have no age for it.
    pub(super) since_us: u64,
    /// When it got into its node's queue.
    pub(super) queued_us: u64,
    pub(super) ledger: Ledger,
}

/// What a viewer was given, counted apart from its cursor.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Ledger {
    /// Where it began, by list; `None` before its first answer.
    began: Option<PerList<u64>>,
    received: PerList<u64>,
    skipped: PerList<u64>,
    /// The greatest sequence number received, by list.
    highest: PerList<u64>,
    /// Messages that it had before, by list.
    pub(super) repeated: PerList<u64>,
}

impl Ledger {
    /// The first answer put it here.
    pub(super) fn begin(&mut self, seen: PerList<u64>) {
        self.began = Some(seen);
        self.highest = seen;
    }

    /// It got the messages from `first` on, as many as `count`, and was told to miss `skipped` before them.
    pub(super) fn take(&mut self, list: List, first: u64, count: u64, skipped: u64) {
        self.received[list] += count;
        self.skipped[list] += skipped;
        self.repeated[list] += (self.highest[list] + 1).saturating_sub(first).min(count);
        if count > 0 {
            self.highest[list] = self.highest[list].max(first + count - 1);
        }
    }

    /// Messages of a list up to its cursor that it neither got nor was told to miss.
    pub(super) fn lost(&self, list: List, seen: u64) -> u64 {
        let Some(began) = self.began else { return 0 };
        (seen - began[list]).saturating_sub(self.received[list] + self.skipped[list] - self.repeated[list])
    }

    /// Messages that it was told to miss.
    pub(super) fn skipped(&self, list: List) -> u64 {
        self.skipped[list]
    }
}

impl Client {
    pub(super) fn new(room: u16, is_polite: bool) -> Self {
        Self {
            room,
            proxy: 0,
            state: State::Away,
            is_polite,
            is_new: true,
            is_connected: false,
            connects: false,
            life: 0,
            turn: 0,
            failures: 0,
            seen: PerList::default(),
            served_at_ms: 0,
            eligible_at_ms: 0,
            deadline_ms: 0,
            since_us: 0,
            queued_us: 0,
            ledger: Ledger::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledger_finds_what_is_lost_and_what_comes_twice() {
        let mut ledger = Ledger::default();
        ledger.begin(PerList { priority: 0, normal: 10 });
        ledger.take(List::Normal, 11, 5, 0);
        assert_eq!((ledger.lost(List::Normal, 15), ledger.repeated.normal), (0, 0));
        ledger.take(List::Normal, 18, 2, 2);
        assert_eq!(ledger.lost(List::Normal, 19), 0, "16 and 17 were announced");
        assert_eq!(ledger.lost(List::Normal, 22), 3);
        ledger.take(List::Normal, 19, 1, 0);
        assert_eq!(ledger.repeated.normal, 1);
        assert_eq!(Ledger::default().lost(List::Priority, 7), 0);
    }
}
