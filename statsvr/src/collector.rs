//! Gathers proofs of presence on one thread, and sends them on in batches.
//!
//! # Contract
//! - **No lock on a poll's path.** A [`Collector`] belongs to one thread; a poll costs it a few look-ups in its own tables.
//! - **A parked poll keeps its user online** by itself: it is told again long before the window is over. The first time is a
//!   second after it was parked: a leave of the same client that another thread told within the same tick of the
//!   window (500 ms) outdoes the poll's first beat, and hides the client until the next, for two seconds at most.
//! - **Who leaves is offline at once:** a close while parked, or an explicit leave, is sent within 110 ms. A close counts
//!   only if no other poll of that client is parked in this process. A leave wins over all that its client has begun before
//!   it in this process, and loses against what begins later.
//! - **Bounded.** As many beats as make a batch are sent early. While no statsvr answers, they wait up to
//!   [`CollectorSettings::beats_max`]; the beats of parked polls are told anew later, and the others are dropped and counted.

mod clients;
mod closings;
mod dispatch;
mod leavings;
mod names;
mod retelling;
#[cfg(test)]
mod tests;
mod told;
mod wanted;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use clients::Clients;
use closings::Closing;
pub(crate) use closings::Closings;
use dispatch::BATCH_BEATS;
pub(crate) use leavings::Leavings;
use leavings::Left;
pub use leavings::Moment;
use names::Names;
use room::{Identity, Role, RoomKey, Seq, UserId};
pub(crate) use wanted::Wanted;

use crate::{DeviceHash, Name, Stats, UserHash, metrics::Dropped};

/// How often [`Collector::tick`] must be called, at least.
pub const TICK_EVERY: Duration = Duration::from_millis(50);

/// How a collector sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CollectorSettings {
    /// Beats wait at most so long for others.
    pub flush_after: Duration,
    /// Most beats that wait while no statsvr answers (count, 32 bytes each): more are dropped. Otherwise what makes a batch is
    /// sent early.
    pub beats_max: usize,
    /// Names that are remembered, in case a statsvr asks (count, about 100 bytes each), twice.
    pub names_max: usize,
}

impl Default for CollectorSettings {
    fn default() -> Self {
        Self { flush_after: Duration::from_secs(1), beats_max: 131_072, names_max: 65_536 }
    }
}

/// Who polls, as far as statistics go. Made once a connection and kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Visitor {
    /// The person, or the connection of nobody in particular.
    pub user: UserHash,
    /// The device.
    pub device: DeviceHash,
    /// The name for the list of viewers.
    pub id: Option<UserId>,
    /// The role for it.
    pub role: Role,
}

impl Visitor {
    /// The visitor behind `identity`. `connection` is a number that no other connection of the deployment has, by which callers
    /// who name nobody are counted: random ones do.
    #[must_use]
    pub fn new(identity: &Identity, connection: u64) -> Self {
        Self {
            user: match &identity.user {
                Some(user) => UserHash::new(&identity.app, user),
                None => UserHash::anonymous(&identity.app, connection),
            },
            device: DeviceHash::new(identity.device.as_ref()),
            id: identity.user.clone(),
            role: identity.role,
        }
    }
}

/// A parked poll. It must come back to the collector that made it, by one of [`Collector::answered`],
/// [`Collector::closed`].
#[derive(PartialEq, Eq, Debug)]
pub struct Parked(u32);

/// A beat that waits to be sent.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    user: UserHash,
    device: DeviceHash,
    is_leave: bool,
    at_ms: u64,
    /// One more than the cursor's sequence number; 0 without a cursor.
    place: u64,
}

/// What waits to be sent of one room.
struct RoomQueue {
    room: RoomKey,
    hash: u64,
    beats: Vec<Waiting>,
    names: Vec<Name>,
    /// Who has left on other threads since those beats began to wait, in the order in which that was heard.
    left: Vec<Left>,
    /// Parked polls and closings that refer to it.
    users: u32,
}

struct ParkedPoll {
    room: u32,
    visitor: Visitor,
    place: u64,
    told_at_ms: u64,
    /// Where whoever parked it finds it again.
    seat: u32,
    /// The poll that the client parked before.
    before: Option<u32>,
    /// The client has left explicitly: the poll proves nothing any more.
    has_left: bool,
}

/// Gathers what happens on one thread. See the module's documentation.
pub struct Collector {
    stats: Arc<Stats>,
    settings: CollectorSettings,
    number: u64,
    index: HashMap<RoomKey, u32>,
    /// The room that was asked for last, which mostly is the next one as well.
    last_room: u32,
    rooms: Vec<Option<RoomQueue>>,
    free_rooms: Vec<u32>,
    parked: Vec<Option<ParkedPoll>>,
    free_parked: Vec<u32>,
    /// Polls that were told once, and when, oldest first. Those that are over leave it when they come first. Beyond
    /// [`CollectorSettings::beats_max`] they wait for a third of the window like those told twice.
    told_once: VecDeque<(u32, u64)>,
    clients: Clients,
    names: Names,
    wanted: Arc<Wanted>,
    closings: Vec<(Arc<Closing>, u32)>,
    closings_read: u64,
    leavings_read: u64,
    /// Polls whose clients have left by word, until somebody asks for their seats.
    ended: Vec<u32>,
    num_waiting: usize,
    /// When what waits must be sent (Unix milliseconds).
    due_at_ms: u64,
    next_retell_at_ms: u64,
}

impl Collector {
    /// A collector for the calling thread.
    #[must_use]
    pub fn new(stats: Arc<Stats>, mut settings: CollectorSettings) -> Self {
        // Parked polls are told every third of the window: what waits for a short one must not be late for it.
        settings.flush_after = settings.flush_after.min(Duration::from_millis(stats.window_ms() / 4));
        let (number, closings_read) = stats.closings.enter();
        let leavings_read = stats.leavings.next();
        Self {
            stats,
            settings,
            number,
            index: HashMap::new(),
            last_room: 0,
            rooms: Vec::new(),
            free_rooms: Vec::new(),
            parked: Vec::new(),
            free_parked: Vec::new(),
            told_once: VecDeque::new(),
            clients: Clients::default(),
            names: Names::new(settings.names_max),
            wanted: Arc::default(),
            closings: Vec::new(),
            closings_read,
            leavings_read,
            ended: Vec::new(),
            num_waiting: 0,
            due_at_ms: u64::MAX,
            next_retell_at_ms: 0,
        }
    }

    /// `visitor` did something that proves presence: sent, or polled and was answered at once. `seq` is where the poll's
    /// cursor is in the priority list, at most its last sequence number; `None` without a cursor.
    pub fn seen(&mut self, room: &RoomKey, visitor: &Visitor, seq: Option<Seq>, now_ms: u64) {
        self.hear();
        let index = self.room(room);
        self.push(index, visitor, place(seq), now_ms, false);
    }

    /// A poll is parked: its user is online until it is given back, and for a window after. `seat` is what
    /// [`Collector::take_ended`] calls it by.
    pub fn parked(
        &mut self,
        room: &RoomKey,
        visitor: Visitor,
        seq: Option<Seq>,
        seat: u32,
        now_ms: u64,
    ) -> Parked {
        self.hear();
        let index = self.room(room);
        self.push(index, &visitor, place(seq), now_ms, false);
        self.queue(index).users += 1;
        let number = self.free_parked.pop().unwrap_or_else(|| {
            self.parked.push(None);
            u32::try_from(self.parked.len() - 1)
                .expect("fewer polls are parked than there are ports and addresses")
        });
        let before = self.clients.add(index, &visitor, number);
        let poll = ParkedPoll {
            room: index,
            visitor,
            place: place(seq),
            told_at_ms: now_ms,
            seat,
            before,
            has_left: false,
        };
        self.parked[number as usize] = Some(poll);
        self.remember_told_once(number, now_ms);
        Parked(number)
    }

    /// A parked poll was answered. Gives back whether its client has left explicitly, so that nothing should go on in its name.
    pub fn answered(&mut self, parked: Parked, now_ms: u64) -> bool {
        self.hear();
        let Some((poll, _)) = self.take(parked) else { return false };
        // Told less than a step of the window ago: the end of presence would be the same.
        if !poll.has_left && now_ms.saturating_sub(poll.told_at_ms) >= 500 {
            self.push(poll.room, &poll.visitor, poll.place, now_ms, false);
        }
        poll.has_left
    }

    /// The client of a parked poll has closed its connection: it is gone, unless it has another poll parked.
    pub fn closed(&mut self, parked: Parked, now_ms: u64) {
        self.hear();
        let Some((poll, is_last)) = self.take(parked) else { return };
        if !is_last || poll.has_left {
            return;
        }
        let hash = self.queue(poll.room).hash;
        let closing = Arc::new(Closing::new(self.number, hash, &poll.visitor, now_ms));
        self.queue(poll.room).users += 1;
        self.closings.push((Arc::clone(&closing), poll.room));
        self.stats.closings.publish(closing);
    }

    /// A parked poll has ended that proves nothing beyond when it was last told: in tests, the end of a client that has left.
    #[cfg(test)]
    pub(crate) fn ended(&mut self, parked: Parked) {
        self.take(parked);
    }

    /// Polls that are parked here.
    #[must_use]
    pub fn num_parked(&self) -> usize {
        self.parked.len() - self.free_parked.len()
    }

    /// Does what is due: must be called every [`TICK_EVERY`].
    pub fn tick(&mut self, now_ms: u64) {
        self.gather(now_ms);
        if self.is_due(now_ms) {
            self.flush(now_ms);
        }
    }

    /// Whether what waits should be sent.
    fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.due_at_ms || self.num_waiting >= BATCH_BEATS.min(self.settings.beats_max)
    }

    /// Everything of a tick but sending.
    fn gather(&mut self, now_ms: u64) {
        self.hear();
        self.answer_closings();
        self.finish_closings(now_ms);
        self.tell_again(now_ms);
        if now_ms >= self.next_retell_at_ms {
            self.retell_parked(now_ms);
        }
        self.tell_names();
    }

    fn room(&mut self, room: &RoomKey) -> u32 {
        let last = self.rooms.get(self.last_room as usize).and_then(Option::as_ref);
        if last.is_none_or(|last| last.room != *room) {
            self.last_room = self.index.get(room).copied().unwrap_or_else(|| self.add_room(room));
        }
        self.last_room
    }

    fn add_room(&mut self, room: &RoomKey) -> u32 {
        let queue = RoomQueue {
            room: room.clone(),
            hash: crate::nodes::room_hash(room),
            beats: Vec::new(),
            names: Vec::new(),
            left: Vec::new(),
            users: 0,
        };
        let index = self.free_rooms.pop().unwrap_or_else(|| {
            self.rooms.push(None);
            u32::try_from(self.rooms.len() - 1).expect("a thread has fewer rooms than polls")
        });
        self.rooms[index as usize] = Some(queue);
        self.index.insert(room.clone(), index);
        index
    }

    fn queue(&mut self, index: u32) -> &mut RoomQueue {
        self.rooms[index as usize].as_mut().expect("a room stays while something refers to it")
    }

    fn push(&mut self, index: u32, visitor: &Visitor, place: u64, at_ms: u64, is_leave: bool) {
        if self.num_waiting >= self.settings.beats_max && self.stats.nodes().live().is_empty() {
            self.stats.metrics.dropped(Dropped::Collector, 1);
            return;
        }
        self.num_waiting += 1;
        self.due_at_ms = self.due_at_ms.min(at_ms + self.settings.flush_after.as_millis() as u64);
        let queue = self.rooms[index as usize].as_mut().expect("a room stays while something refers to it");
        queue.beats.push(Waiting { user: visitor.user, device: visitor.device, is_leave, at_ms, place });
        if !is_leave && self.names.remember(queue.hash, visitor) {
            queue.names.push(Name { user: visitor.user, id: visitor.id.clone(), role: visitor.role });
        }
    }

    /// Gives back whether that was the client's last one here.
    fn take(&mut self, parked: Parked) -> Option<(ParkedPoll, bool)> {
        let poll = self.parked.get_mut(parked.0 as usize)?.take()?;
        self.free_parked.push(parked.0);
        self.queue(poll.room).users -= 1;
        let is_last = self.unlink(parked.0, &poll);
        Some((poll, is_last))
    }

    /// Takes a poll out of the list of its client's; gives back whether it was the last one.
    fn unlink(&mut self, number: u32, poll: &ParkedPoll) -> bool {
        let (room, user, device) = (poll.room, poll.visitor.user, poll.visitor.device);
        if poll.has_left {
            return true;
        }
        let Some(last) = self.clients.end(room, user, device, (number, poll.before)) else {
            return poll.before.is_none();
        };
        // A client has few polls at a time: the limit for one user is 20 by default.
        let mut at = last;
        while let Some(later) = self.parked[at as usize].as_mut() {
            if later.before == Some(number) {
                later.before = poll.before;
                break;
            }
            let Some(before) = later.before else { break };
            at = before;
        }
        false
    }

    /// Sends the names that statsvrs have asked for.
    fn tell_names(&mut self) {
        for (room, user) in self.wanted.take() {
            let index = self.room(&room);
            let hash = self.queue(index).hash;
            let Some(name) = self.names.find(hash, user) else { continue };
            self.queue(index).names.push(name);
            self.due_at_ms = 0;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stats.closings.exit();
    }
}

fn place(seq: Option<Seq>) -> u64 {
    seq.map_or(0, |seq| seq.0.saturating_add(1))
}
