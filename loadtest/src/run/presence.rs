//! Who is online in truth: distinct users, as the contract counts them.

use std::collections::VecDeque;

/// How long a user who left without a word still counts (seconds): the window of a server as shipped.
const WINDOW_S: u32 = 30;

/// Users of one thread's clients. All devices of a user are in the same thread.
#[derive(Debug)]
pub(super) struct Presence {
    first_user: u32,
    rooms: u32,
    users: Vec<User>,
    /// When users who left without a word stop counting, ascending, and who.
    gone: VecDeque<(u32, u32)>,
    /// Users online now, in all rooms and in the first.
    online: u64,
    watched: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct User {
    devices: u8,
    /// When it stops counting, if it has gone without a word; 0 otherwise.
    until_s: u32,
}

impl Presence {
    /// Nobody; users are numbered from `first_user` on, and are in the rooms in turn.
    pub(super) fn new(first_user: u32, count: u32, rooms: u32) -> Self {
        Self {
            first_user,
            rooms,
            users: vec![User::default(); count as usize],
            gone: VecDeque::new(),
            online: 0,
            watched: 0,
        }
    }

    /// A device of a user connected.
    pub(super) fn come(&mut self, user: u32) {
        let entry = &mut self.users[(user - self.first_user) as usize];
        let was_online = entry.devices > 0 || entry.until_s > 0;
        entry.devices = entry.devices.saturating_add(1);
        entry.until_s = 0;
        if !was_online {
            self.count(user, 1);
        }
    }

    /// A device went, with or without a word.
    pub(super) fn go(&mut self, user: u32, now_s: u32, says_goodbye: bool) {
        let entry = &mut self.users[(user - self.first_user) as usize];
        entry.devices = entry.devices.saturating_sub(1);
        if entry.devices > 0 {
            return;
        }
        if says_goodbye {
            self.count(user, -1);
        } else {
            entry.until_s = now_s + WINDOW_S;
            self.gone.push_back((entry.until_s, user));
        }
    }

    /// Users online now: in all rooms, and in the first.
    pub(super) fn at(&mut self, now_s: u32) -> (u64, u64) {
        while let Some(&(until_s, user)) = self.gone.front()
            && until_s <= now_s
        {
            self.gone.pop_front();
            let entry = &mut self.users[(user - self.first_user) as usize];
            if entry.devices == 0 && entry.until_s == until_s {
                entry.until_s = 0;
                self.count(user, -1);
            }
        }
        (self.online, self.watched)
    }

    fn count(&mut self, user: u32, change: i64) {
        self.online = self.online.saturating_add_signed(change);
        if user.is_multiple_of(self.rooms) {
            self.watched = self.watched.saturating_add_signed(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_with_two_devices_counts_once() {
        let mut presence = Presence::new(10, 5, 2);
        presence.come(10);
        presence.come(10);
        presence.come(11);
        assert_eq!(presence.at(0), (2, 1));
        presence.go(10, 0, true);
        assert_eq!(presence.at(0), (2, 1));
        presence.go(10, 0, true);
        assert_eq!(presence.at(0), (1, 0));
    }

    #[test]
    fn user_without_a_word_counts_for_the_window() {
        let mut presence = Presence::new(0, 5, 1);
        presence.come(3);
        presence.go(3, 5, false);
        assert_eq!(presence.at(5 + WINDOW_S - 1), (1, 1));
        assert_eq!(presence.at(5 + WINDOW_S), (0, 0));
    }

    #[test]
    fn user_who_comes_back_in_time_never_stopped_counting() {
        let mut presence = Presence::new(0, 5, 1);
        presence.come(3);
        presence.go(3, 5, false);
        presence.come(3);
        assert_eq!(presence.at(100), (1, 1));
        presence.go(3, 100, false);
        presence.come(3);
        presence.go(3, 110, false);
        assert_eq!(presence.at(130), (1, 1), "the window counts from the last time");
        assert_eq!(presence.at(140), (0, 0));
    }
}
