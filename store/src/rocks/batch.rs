//! One write of the log in the making: many changes, one sync.
//!
//! Each change sees those before it in the batch. Nothing of it shows outside before [`Batch::finish`] has been
//! written: then the rooms go to the cache, the notices to the sinks and the answers to the callers.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use rocksdb::{ColumnFamily, WriteBatch};
use room::{
    Bounds, Change, Content, Epoch, List, Message, MessageId, Notice, PerList, RoomKey, RoomSettings, Seq,
};

use super::{
    Shared,
    answer::{self, Together},
    columns::{Column, Log, unix_ms},
    ids, keys,
    reader::{Reader, read_failed},
    record::{self, IdRecord},
    retention,
    rooms::{Room, Stamp},
};
use crate::{Append, Appended, Retraction, RoomView, SettingsChange, StoreError};

/// Where an answer goes. A caller that went away is no reason to stop.
pub(crate) type Answer<T> = answer::Answer<Result<T, StoreError>>;

/// An answer that holds only if the batch is written.
enum Pending {
    Append(Answer<Appended>, Result<Appended, StoreError>),
    Retract(Answer<Retraction>, Result<Retraction, StoreError>),
    Settings(Answer<RoomView>, RoomView),
}

/// What became of a change while the batch was made.
enum Outcome<T> {
    /// The answer is certain already, whatever becomes of the batch.
    Settled(Result<T, StoreError>),
    /// The answer holds if the batch is written.
    Staged(Result<T, StoreError>),
}

impl<T> From<StoreError> for Outcome<T> {
    fn from(error: StoreError) -> Self {
        Self::Settled(Err(error))
    }
}

/// A room that the batch changes.
struct Staged {
    room: Room,
    touched: PerList<bool>,
    /// The room's latest notice, to which further messages of the same list are added.
    notice: Option<usize>,
}

/// Changes on their way to one write.
pub(crate) struct Batch<'a> {
    shared: &'a Shared,
    log: &'a Log,
    now_ms: u64,
    writes: WriteBatch,
    messages: &'a ColumnFamily,
    ids_column: &'a ColumnFamily,
    rooms: Vec<(RoomKey, Staged)>,
    /// Where they are in `rooms`.
    places: HashMap<RoomKey, usize>,
    /// The place asked for last: mostly it is asked for again, many rooms being one busy one.
    latest: usize,
    ids: HashMap<Vec<u8>, IdRecord>,
    notices: Vec<Notice>,
    pending: Vec<Pending>,
}

/// What follows once the batch has been written.
pub(crate) struct Effects {
    /// The rooms as they are now.
    pub(crate) rooms: Vec<(RoomKey, Room)>,
    /// In commit order for each room.
    pub(crate) notices: Vec<Notice>,
    answers: Vec<Pending>,
}

impl Effects {
    /// How many callers wait.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Answers all callers: what they asked for is durable and told.
    pub(crate) fn answer(self) {
        let mut appended = Together::new();
        for pending in self.answers {
            match pending {
                Pending::Append(answer, result) => appended.send(answer, result),
                Pending::Retract(answer, result) => answer.send(result),
                Pending::Settings(answer, view) => answer.send(Ok(view)),
            }
        }
        appended.wake();
    }

    /// Answers all callers that the write failed.
    pub(crate) fn fail(self, error: &StoreError) {
        for pending in self.answers {
            match pending {
                Pending::Append(answer, _) => answer.send(Err(error.clone())),
                Pending::Retract(answer, _) => answer.send(Err(error.clone())),
                Pending::Settings(answer, _) => answer.send(Err(error.clone())),
            }
        }
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn new(shared: &'a Shared, log: &'a Log) -> Self {
        Self {
            shared,
            log,
            now_ms: unix_ms(),
            writes: WriteBatch::default(),
            messages: log.column(Column::Messages),
            ids_column: log.column(Column::Ids),
            rooms: Vec::new(),
            places: HashMap::new(),
            latest: 0,
            ids: HashMap::new(),
            notices: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// How much there is to write so far (bytes).
    pub(crate) fn size_bytes(&self) -> usize {
        self.writes.size_in_bytes()
    }

    /// Whether the batch changes this room. Retractions and settings look at what is written, so they must not
    /// come behind a change of their room that is not.
    pub(crate) fn touches(&self, room: &RoomKey) -> bool {
        self.places.contains_key(room)
    }

    /// Adds an append, or answers it if it is a repeat.
    pub(crate) fn append(&mut self, append: Append, answer: Answer<Appended>) {
        match self.stage_append(append) {
            Outcome::Settled(result) => answer.send(self.shared.health.note(result)),
            Outcome::Staged(result) => self.pending.push(Pending::Append(answer, result)),
        }
    }

    /// Adds a retraction, or answers it if there is nothing to retract. The batch must not touch the room yet.
    pub(crate) fn retract(&mut self, room: &RoomKey, list: List, seq: Seq, answer: Answer<Retraction>) {
        match self.stage_retraction(room, list, seq.0) {
            Outcome::Settled(result) => answer.send(self.shared.health.note(result)),
            Outcome::Staged(result) => self.pending.push(Pending::Retract(answer, result)),
        }
    }

    /// Adds a change of settings. The batch must not touch the room yet.
    pub(crate) fn change_settings(
        &mut self,
        room: &RoomKey,
        change: SettingsChange,
        answer: Answer<RoomView>,
    ) {
        match self.stage_settings(room, change) {
            Ok(view) => self.pending.push(Pending::Settings(answer, view)),
            Err(error) => answer.send(self.shared.health.note(Err(error))),
        }
    }

    /// Deletes what lies before `first`, which retention has taken.
    pub(crate) fn trim(&mut self, key: &RoomKey, list: List, first: u64) {
        match self.staged(key) {
            Ok(staged) => {
                let head = &mut staged.room.heads[list];
                head.first = head.first.max(first.min(head.last + 1));
                self.delete_expired(key, list, 1);
            }
            // The sweep comes by again; the damage is noted.
            Err(error) => drop(self.shared.health.note::<()>(Err(error))),
        }
    }

    /// The write, and what follows it.
    pub(crate) fn finish(mut self) -> (WriteBatch, Effects) {
        let mut rooms = Vec::with_capacity(self.rooms.len());
        for (key, staged) in self.rooms {
            for list in List::ALL {
                if staged.touched[list] {
                    let head = staged.room.heads[list].encode();
                    self.writes.put_cf(self.log.column(Column::Heads), keys::head(&key, list), head);
                }
            }
            rooms.push((key, staged.room));
        }
        (self.writes, Effects { rooms, notices: self.notices, answers: self.pending })
    }

    /// The room's place among those that the batch changes.
    fn place(&mut self, key: &RoomKey) -> Option<usize> {
        if self.rooms.get(self.latest).is_none_or(|(latest, _)| latest != key) {
            self.latest = *self.places.get(key)?;
        }
        Some(self.latest)
    }

    /// The room as the changes so far leave it.
    fn staged(&mut self, key: &RoomKey) -> Result<&mut Staged, StoreError> {
        let place = match self.place(key) {
            Some(place) => place,
            None => {
                let room = match self.shared.rooms.get(key) {
                    Some(room) => room,
                    None => Reader::new(self.log, self.shared.options.retention).room(key)?,
                };
                self.latest = self.rooms.len();
                self.places.insert(key.clone(), self.latest);
                self.rooms.push((key.clone(), Staged { room, touched: PerList::default(), notice: None }));
                self.latest
            }
        };
        Ok(&mut self.rooms[place].1)
    }

    fn stage_append(&mut self, append: Append) -> Outcome<Appended> {
        let Append { room, list, id, content_hash, post, accepted_at_us } = append;
        let id_key = id.as_ref().map(|id| keys::id(&room, &post.sender.id, id));
        if let (Some(key), Some(id)) = (&id_key, &id) {
            let repeat = |record: &IdRecord| {
                if record.content_hash == content_hash {
                    ids::first_answer(record, id.clone())
                } else {
                    Err(StoreError::IdReused)
                }
            };
            if let Some(record) = self.ids.get(key) {
                return Outcome::Staged(repeat(record));
            }
            match self.remembered(key) {
                Ok(Some(record)) => return Outcome::Settled(repeat(&record)),
                Ok(None) => {}
                Err(error) => return error.into(),
            }
        }
        let message = match self.push(&room, list, accepted_at_us, id, Content::Post(post)) {
            Ok(message) => message,
            Err(error) => return error.into(),
        };
        if let Some(key) = id_key {
            let record = IdRecord::new(list, message.seq.0, message.sent_at_ms, content_hash, self.now_ms);
            self.writes.put_cf(self.ids_column, &key, record.encode());
            self.ids.insert(key, record);
        }
        Outcome::Staged(Ok(Appended {
            id: message.id.clone(),
            list,
            seq: message.seq,
            sent_at_ms: message.sent_at_ms,
            is_duplicate: false,
        }))
    }

    fn remembered(&self, id_key: &[u8]) -> Result<Option<IdRecord>, StoreError> {
        match self.log.get(Column::Ids, id_key) {
            Ok(Some(bytes)) => ids::remembered(&bytes, self.now_ms, self.shared.options.idempotency_window),
            Ok(None) => Ok(None),
            Err(error) => Err(read_failed(&error)),
        }
    }

    fn stage_retraction(&mut self, key: &RoomKey, list: List, seq: u64) -> Outcome<Retraction> {
        let reader = Reader::new(self.log, self.shared.options.retention);
        let found = reader.room(key).and_then(|room| {
            let kept = reader.bounds(key, list, &room.heads[list], &room.settings, self.now_ms)?.0;
            if seq < kept.first.0 || seq > kept.last.0 {
                return Err(StoreError::NotFound);
            }
            Ok((reader.message(key, list, seq)?, Seq(room.heads.priority.last).next()))
        });
        let (message, redact_seq) = match found {
            Ok(found) => found,
            Err(error) => return error.into(),
        };
        match message.content {
            Content::Post(_) => {}
            Content::Redact { .. } => return StoreError::NotFound.into(),
            Content::Retracted { redact_seq } => {
                return Outcome::Settled(Ok(Retraction { redact_seq, is_duplicate: true }));
            }
        }
        // So that nothing can fail between the two.
        if let Err(error) = self.staged(key) {
            return error.into();
        }
        // Before the redaction: if that pushes the message itself out, its bytes are deleted behind this.
        let tombstone = record::encode_message(&message.retracted(redact_seq));
        self.writes.put_cf(self.messages, keys::message(key, list, seq), tombstone);
        let id = MessageId::internal(&format!("redact:{}:{seq}", list.as_str()));
        let redact = Content::Redact { list, seq: Seq(seq), id: message.id };
        match self.push(key, List::Priority, self.now_ms * 1_000, Some(id), redact) {
            Ok(_) => Outcome::Staged(Ok(Retraction { redact_seq, is_duplicate: false })),
            Err(error) => error.into(),
        }
    }

    fn stage_settings(&mut self, key: &RoomKey, change: SettingsChange) -> Result<RoomView, StoreError> {
        let reader = Reader::new(self.log, self.shared.options.retention);
        let room = reader.room(key)?;
        let settings = catch_unwind(AssertUnwindSafe(|| change(&room.settings))).map_err(|_| {
            StoreError::Unavailable("the change of settings panicked; nothing was changed".to_owned())
        })?;
        let settings = Arc::new(settings);
        let mut bounds = PerList::from_fn(|_| Bounds::EMPTY);
        for list in List::ALL {
            // By the old settings first: what they have taken does not come back by new ones.
            let mut head = room.heads[list];
            head.first = reader.bounds(key, list, &head, &room.settings, self.now_ms)?.0.first.0;
            bounds[list] = reader.bounds(key, list, &head, &settings, self.now_ms)?.0;
        }
        let notice = self.notices.len();
        let staged = self.staged(key)?;
        staged.notice = Some(notice);
        staged.room.settings = Arc::clone(&settings);
        for list in List::ALL {
            staged.room.heads[list].first = bounds[list].first.0;
            // A list that never had a message needs no head.
            staged.touched[list] = bounds[list].last.0 > 0;
        }
        self.notices.push(Notice {
            room: key.clone(),
            epoch: self.shared.epoch,
            change: Change::Settings { settings: Arc::clone(&settings), bounds },
        });
        self.put_settings(key, &settings);
        for list in List::ALL {
            self.delete_expired(key, list, if bounds[list].is_empty() { 1 } else { retention::SWEEP_SLACK });
        }
        Ok(RoomView { settings, bounds })
    }

    fn put_settings(&mut self, key: &RoomKey, settings: &RoomSettings) {
        self.writes.put_cf(
            self.log.column(Column::Rooms),
            keys::room(key),
            record::encode_settings(settings),
        );
    }

    /// Puts a message at the end of a list.
    fn push(
        &mut self,
        key: &RoomKey,
        list: List,
        accepted_at_us: u64,
        id: Option<MessageId>,
        content: Content,
    ) -> Result<Arc<Message>, StoreError> {
        let defaults = self.shared.options.retention;
        let epoch = self.shared.epoch;
        let staged = self.staged(key)?;
        let kept = retention::of(&staged.room.settings, &defaults, list).count;
        let head = &mut staged.room.heads[list];
        let seq = head.last + 1;
        let sent_at_ms = (accepted_at_us / 1_000).max(head.last_sent_at_ms);
        head.last = seq;
        head.last_sent_at_ms = sent_at_ms;
        head.first = retention::first_by_count(head, kept);
        if head.first == seq {
            staged.room.oldest[list] = Some(Stamp { seq, sent_at_ms });
        }
        staged.touched[list] = true;
        let id = id.unwrap_or_else(|| made_id(epoch, list, seq));
        let message = Arc::new(Message { seq: Seq(seq), id, sent_at_ms, content });
        let bytes = record::encode_message(&message);
        self.writes.put_cf(self.messages, keys::message(key, list, seq), bytes);
        self.notify(key, list, Arc::clone(&message), accepted_at_us);
        self.delete_expired(key, list, retention::append_slack(kept));
        Ok(message)
    }

    /// Adds a message to the room's latest notice if that is of the same list, else to a new one.
    fn notify(&mut self, key: &RoomKey, list: List, message: Arc<Message>, accepted_at_us: u64) {
        let Some(place) = self.place(key) else {
            return;
        };
        let staged = &mut self.rooms[place].1;
        if let Some(latest) = staged.notice.and_then(|index| self.notices.get_mut(index))
            && let Change::Appended { list: of, messages, accepted_at_us: oldest, .. } = &mut latest.change
            && *of == list
        {
            messages.push(message);
            *oldest = accepted_at_us.min(*oldest);
            return;
        }
        staged.notice = Some(self.notices.len());
        let prev = Seq(message.seq.0 - 1);
        let change = Change::Appended { list, prev, messages: vec![message], accepted_at_us };
        self.notices.push(Notice { room: key.clone(), epoch: self.shared.epoch, change });
    }

    /// Deletes what lies before the list's first in one range, if there are at least `slack` places of it.
    fn delete_expired(&mut self, key: &RoomKey, list: List, slack: u64) {
        let Some(place) = self.place(key) else {
            return;
        };
        let staged = &mut self.rooms[place].1;
        let head = &mut staged.room.heads[list];
        if head.first - head.trimmed < slack {
            return;
        }
        let from = keys::message(key, list, head.trimmed);
        let to = keys::message(key, list, head.first);
        head.trimmed = head.first;
        staged.touched[list] = true;
        self.writes.delete_range_cf(self.messages, from, to);
    }
}

/// The id of a message that came without one: no other message of its list has it, in any epoch.
fn made_id(epoch: Epoch, list: List, seq: u64) -> MessageId {
    let list = match list {
        List::Priority => 'p',
        List::Normal => 'n',
    };
    MessageId::internal(&format!("{epoch}-{list}{seq}"))
}

#[cfg(test)]
mod tests;
