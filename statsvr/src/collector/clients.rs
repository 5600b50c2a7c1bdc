//! Which polls of each client are parked on this thread.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use room::RoomKey;

use super::{Visitor, closings::Closing};
use crate::{DeviceHash, UserHash, identity::mix, nodes::room_hash};

/// Takes a key that is a hash already.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = mix(self.0 ^ u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }
}

type Client = (u32, UserHash, DeviceHash);

/// The number of the poll that each client parked last in a room. It leads to the one before: see [`Clients::add`].
#[derive(Default)]
pub(super) struct Clients(HashMap<Client, u32, BuildHasherDefault<Hashed>>);

impl Clients {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note of a poll; gives back the one that the client parked before it, if that is still parked. The caller keeps
    /// it with the poll: the polls of a client are a list.
    pub(super) fn add(&mut self, room: u32, visitor: &Visitor, number: u32) -> Option<u32> {
        self.0.insert((room, visitor.user, visitor.device), number)
    }

    /// A poll of the client is over. If it was the last that the client parked, the one before takes its place; otherwise
    /// gives back the last one, by which the list is to be found that the poll must be taken out of.
    pub(super) fn end(
        &mut self,
        room: u32,
        user: UserHash,
        device: DeviceHash,
        (number, before): (u32, Option<u32>),
    ) -> Option<u32> {
        let Entry::Occupied(mut last) = self.0.entry((room, user, device)) else { return None };
        if *last.get() != number {
            return Some(*last.get());
        }
        match before {
            Some(before) => drop(last.insert(before)),
            None => drop(last.remove()),
        }
        None
    }

    /// Nothing of the client's is parked any more; gives back the poll that it parked last.
    pub(super) fn forget(&mut self, room: u32, user: UserHash, device: DeviceHash) -> Option<u32> {
        self.0.remove(&(room, user, device))
    }

    pub(super) fn has_client(&self, room: u32, user: UserHash, device: DeviceHash) -> bool {
        self.0.contains_key(&(room, user, device))
    }

    /// Whether the client that `closing` is about is here.
    pub(super) fn has(&self, rooms: &HashMap<RoomKey, u32>, closing: &Closing) -> bool {
        let mut rooms = rooms.iter().filter(|(room, _)| room_hash(room) == closing.room);
        rooms.any(|(_, index)| self.has_client(*index, closing.user, closing.device))
    }
}
