//! Leaving by word: on one thread, of a client whose polls may wait, or be answered right now, on all others.
//!
//! Clocks do not decide what came first: a poll that is answered while its client leaves, or one told of within the same
//! 10 ms, would look younger than the leave, and count for another window. A leave is told to all threads before it is
//! answered, and each looks before whatever it does next. What a thread has of the client by then was begun before.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use room::RoomKey;

use super::{Collector, Visitor, Waiting, told::Told};
use crate::{DeviceHash, UserHash};

/// Most leavings that are remembered for threads that have not looked yet (count); of one more, what another thread has of
/// its client goes on as if it had not left.
const LEAVINGS_MAX: usize = 65_536;

/// A client that has left a room.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// The collector that was told.
    collector: u64,
    room: RoomKey,
    user: UserHash,
    device: DeviceHash,
    at_ms: u64,
}

/// The latest leavings of all threads. The lock is taken by leaves and by those who look after one.
pub(crate) type Leavings = Told<Leaving>;

impl Default for Leavings {
    fn default() -> Self {
        Self::new(LEAVINGS_MAX)
    }
}

/// Up to which leaving a thread has heard: what it begins then loses against later ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment(u64);

/// A client of whom another thread was told that it has left, and how many beats waited in the queue then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    user: UserHash,
    device: DeviceHash,
    behind: usize,
    at_ms: u64,
}

impl Collector {
    /// `visitor` has left the room with this device: offline at once, whatever of it was begun before, on any thread. Its
    /// polls are to be ended, see [`Collector::take_ended`].
    pub fn left(&mut self, room: &RoomKey, visitor: &Visitor, now_ms: u64) {
        let (user, device) = (visitor.user, visitor.device);
        let leaving = Leaving { collector: self.number, room: room.clone(), user, device, at_ms: now_ms };
        self.stats.leavings.publish(Arc::new(leaving));
        self.hear();
        let index = self.room(room);
        self.push(index, visitor, 0, now_ms, true);
        self.due_at_ms = self.due_at_ms.min(now_ms);
    }

    /// The seats of polls whose clients have left by word since the last call: they prove nothing any more, and are to be
    /// ended.
    pub fn take_ended(&mut self) -> Vec<u32> {
        let Self { ended, parked, .. } = self;
        // A place may be another poll's by now.
        let polls = ended.drain(..).filter_map(|number| parked[number as usize].as_ref());
        polls.filter(|poll| poll.has_left).map(|poll| poll.seat).collect()
    }

    /// What is begun now, for [`Collector::has_left_since`].
    pub fn moment(&mut self) -> Moment {
        self.hear();
        Moment(self.leavings_read)
    }

    /// Whether a client has left by word since a moment: then what it began before proves nothing. Moments should be
    /// short ago: as many leavings are looked through as there were since.
    #[must_use]
    pub fn has_left_since(&self, moment: Moment, room: &RoomKey, visitor: &Visitor) -> bool {
        self.stats.leavings.any_since(moment.0, |leaving| {
            (leaving.user, leaving.device) == (visitor.user, visitor.device) && leaving.room == *room
        })
    }

    /// Looks who has left on other threads: before everything else that is done here.
    pub(super) fn hear(&mut self) {
        for leaving in self.stats.leavings.unread(&mut self.leavings_read) {
            let Leaving { collector, user, device, at_ms, .. } = *leaving;
            let Some(&index) = self.index.get(&leaving.room) else { continue };
            self.leave_polls(index, user, device);
            let (is_own, most) = (collector == self.number, self.settings.beats_max);
            let queue = self.queue(index);
            if !is_own && !queue.beats.is_empty() && queue.left.len() < most {
                queue.left.push(Left { user, device, behind: queue.beats.len(), at_ms });
            }
        }
    }

    /// All that a client has parked here proves nothing any more.
    fn leave_polls(&mut self, index: u32, user: UserHash, device: DeviceHash) {
        // A client's polls are a list, the newest first.
        let mut next = self.clients.forget(index, user, device);
        while let Some(number) = next {
            let Some(poll) = self.parked[number as usize].as_mut() else { break };
            poll.has_left = true;
            next = poll.before;
            self.ended.push(number);
        }
    }
}

/// Beats with a leave behind the last one of each client that has left on another thread, whose own leave may travel ahead
/// of them.
pub(super) fn with_leaves(beats: Vec<Waiting>, left: Vec<Left>) -> Vec<Waiting> {
    let left: HashMap<_, _> = left.into_iter().map(|left| ((left.user, left.device), left)).collect();
    let mut said = HashSet::new();
    let mut reversed = Vec::with_capacity(beats.len() + left.len());
    for (at, beat) in beats.into_iter().enumerate().rev() {
        let client = (beat.user, beat.device);
        if let Some(left) = left.get(&client).filter(|left| at < left.behind)
            && said.insert(client)
            && !beat.is_leave
        {
            reversed.push(Waiting { is_leave: true, at_ms: left.at_ms.max(beat.at_ms), place: 0, ..beat });
        }
        reversed.push(beat);
    }
    reversed.reverse();
    reversed
}
