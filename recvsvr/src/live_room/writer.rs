//! What notices told of a room: taken down by whoever writes it, under its lock.

use room::{Change, Epoch, List, Notice, PerList, Seq};

use crate::{ahead::Ahead, snapshot::Snapshot};

/// What the writer of a room knows beside its snapshot.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The log's generation, as the last notice told it. Of another one nothing that was noticed holds.
    pub(super) epoch: Option<Epoch>,
    /// The newest sequence that a notice told of, seen or not.
    pub(super) noticed: PerList<Seq>,
    /// How many changes of settings notices told of.
    pub(super) settings_noticed: u64,
    /// Redactions of messages that are not here yet: notices of the two lists may overtake each other.
    pub(super) early: Vec<Early>,
    /// Messages that were noticed while the log was read, or before it is.
    pub(super) ahead: PerList<Ahead>,
}

impl Writer {
    /// Takes down what a notice tells of, whether or not it can be used.
    pub(super) fn note(&mut self, notice: &Notice) {
        if self.epoch.is_some_and(|epoch| epoch != notice.epoch) {
            self.forget(notice.epoch);
        }
        self.epoch = Some(notice.epoch);
        match &notice.change {
            Change::Appended { list, messages, .. } => {
                let newest = messages.last().map_or(Seq(0), |newest| newest.seq);
                self.noticed[*list] = self.noticed[*list].max(newest);
            }
            Change::Settings { .. } => self.settings_noticed += 1,
            Change::Viewed { bounds, .. } => {
                self.noticed = PerList::from_fn(|list| self.noticed[list].max(bounds[list].last));
            }
        }
    }

    /// Whether all that notices told of is in a snapshot.
    pub(super) fn has_all_noticed(&self, snapshot: &Snapshot) -> bool {
        self.epoch.is_none_or(|epoch| epoch == snapshot.epoch)
            && List::ALL.into_iter().all(|list| snapshot.lists[list].last() >= self.noticed[list])
    }

    /// Memory of the messages that are kept ahead (bytes).
    pub(super) fn bytes_ahead(&self) -> usize {
        List::ALL.into_iter().map(|list| self.ahead[list].bytes()).sum()
    }

    /// Begins anew with another log.
    pub(super) fn forget(&mut self, epoch: Epoch) {
        let settings_noticed = self.settings_noticed;
        *self = Self { epoch: Some(epoch), settings_noticed, ..Self::default() };
    }
}

/// A redaction that came before the message it names. At most [`EARLY_MAX`] are kept.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) list: List,
    pub(super) seq: Seq,
    pub(super) redact_seq: Seq,
}

/// More redactions of messages that are not here than this (count) and the room is read anew.
pub(super) const EARLY_MAX: usize = 1_024;
