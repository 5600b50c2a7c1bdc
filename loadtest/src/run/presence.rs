//! Who is online in truth: distinct users and their clients, as the contract counts them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::profile::Clients;

/// How long a client that went while it paused between two polls still counts (seconds): the window of a server as shipped.
const WINDOW_S: u32 = 30;

/// How a client went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Going {
    /// The server knows at once: it was told, or it saw a connection end whose poll it held.
    Known,
    /// Between two polls and without a word: the server waits for a window.
    Unknown,
}

/// People and devices.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct Present {
    /// Distinct users.
    pub(crate) users: u64,
    /// Clients: (user, device) pairs.
    pub(crate) clients: u64,
}

/// The fewest and the most that there were at any moment of a second.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub(crate) struct Span {
    /// The fewest users, the fewest clients.
    pub(crate) least: Present,
    /// The most users, the most clients.
    pub(crate) most: Present,
}

/// One thread's clients. All devices of a user are in the same thread.
#[derive(Debug)]
pub(super) struct Presence {
    clients: Clients,
    first_client: u32,
    first_user: u32,
    rooms: u32,
    states: Vec<State>,
    /// By user: how many of its clients count.
    counting: Vec<u8>,
    /// When clients that went without a word stop counting, ascending, and which.
    gone: VecDeque<(u32, u32)>,
    /// Users online now in all rooms.
    online: u64,
    /// Who is in the first room now.
    watched: Present,
    /// Who was there within the second.
    span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    #[default]
    Away,
    Here,
    /// It counts until then (seconds).
    Until(u32),
}

impl Presence {
    /// Nobody; users are in the rooms in turn.
    pub(super) fn new(clients: Clients, numbers: std::ops::Range<u32>, rooms: u32) -> Self {
        let first_user = clients.user_of(numbers.start);
        let users = clients.user_of(numbers.end) + 1 - first_user;
        Self {
            first_client: numbers.start,
            first_user,
            rooms,
            states: vec![State::Away; numbers.len()],
            counting: vec![0; users as usize],
            gone: VecDeque::new(),
            online: 0,
            watched: Present::default(),
            span: Span::default(),
            clients,
        }
    }

    /// A client connected.
    pub(super) fn come(&mut self, client: u32) {
        let state = &mut self.states[(client - self.first_client) as usize];
        if std::mem::replace(state, State::Here) == State::Away {
            self.count(client, 1);
        }
    }

    /// A client went.
    pub(super) fn go(&mut self, client: u32, now_s: u32, going: Going) {
        let state = &mut self.states[(client - self.first_client) as usize];
        if going == Going::Unknown {
            *state = State::Until(now_s + WINDOW_S);
            self.gone.push_back((now_s + WINDOW_S, client));
        } else if std::mem::replace(state, State::Away) != State::Away {
            self.count(client, -1);
        }
    }

    /// Users online now in all rooms, and who is in the first.
    pub(super) fn at(&mut self, now_s: u32) -> (u64, Present) {
        while let Some(&(until_s, client)) = self.gone.front()
            && until_s <= now_s
        {
            self.gone.pop_front();
            let state = &mut self.states[(client - self.first_client) as usize];
            if *state == State::Until(until_s) {
                *state = State::Away;
                self.count(client, -1);
            }
        }
        (self.online, self.watched)
    }

    /// Who was in the first room since the last call.
    pub(super) fn take_span(&mut self) -> Span {
        std::mem::replace(&mut self.span, Span { least: self.watched, most: self.watched })
    }

    fn count(&mut self, client: u32, change: i8) {
        let user = self.clients.user_of(client);
        let counting = &mut self.counting[(user - self.first_user) as usize];
        let was_online = *counting > 0;
        *counting = counting.saturating_add_signed(change);
        let is_online = *counting > 0;
        let users = i64::from(is_online) - i64::from(was_online);
        self.online = self.online.saturating_add_signed(users);
        if user.is_multiple_of(self.rooms) {
            self.watched.users = self.watched.users.saturating_add_signed(users);
            self.watched.clients = self.watched.clients.saturating_add_signed(change.into());
            self.span.least = self.span.least.each(self.watched, u64::min);
            self.span.most = self.span.most.each(self.watched, u64::max);
        }
    }
}

impl Present {
    /// Number by number.
    pub(crate) fn each(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self { users: of(self.users, other.users), clients: of(self.clients, other.clients) }
    }
}

impl Span {
    /// Of both crowds together: at no moment there were fewer, or more.
    pub(crate) fn plus(self, other: Self) -> Self {
        let sum = |one: Present, two| one.each(two, |one, two| one + two);
        Self { least: sum(self.least, other.least), most: sum(self.most, other.most) }
    }

    /// Over both times.
    pub(crate) fn widened(self, other: Self) -> Self {
        Self { least: self.least.each(other.least, u64::min), most: self.most.each(other.most, u64::max) }
    }

    /// Whether there were so many at some moment: users and clients each for itself.
    pub(crate) fn holds(self, told: Present) -> bool {
        (self.least.users..=self.most.users).contains(&told.users)
            && (self.least.clients..=self.most.clients).contains(&told.clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients of users with two devices each.
    fn presence(numbers: std::ops::Range<u32>, rooms: u32) -> Presence {
        let clients = Clients { count: 100, devices_per_user: 2.0, probes: 0 };
        Presence::new(clients, numbers, rooms)
    }

    fn watched(users: u64, clients: u64) -> Present {
        Present { users, clients }
    }

    #[test]
    fn user_with_two_devices_counts_once() {
        let mut presence = presence(20..30, 2);
        [20, 21, 22].into_iter().for_each(|client| presence.come(client));
        assert_eq!(presence.at(0), (2, watched(1, 2)));
        presence.go(20, 0, Going::Known);
        assert_eq!(presence.at(0), (2, watched(1, 1)));
        presence.go(21, 0, Going::Known);
        presence.go(21, 0, Going::Known);
        assert_eq!(presence.at(0), (1, watched(0, 0)));
    }

    #[test]
    fn client_without_a_word_counts_for_the_window() {
        let mut presence = presence(0..5, 1);
        presence.come(3);
        presence.go(3, 5, Going::Unknown);
        assert_eq!(presence.at(5 + WINDOW_S - 1), (1, watched(1, 1)));
        assert_eq!(presence.at(5 + WINDOW_S), (0, watched(0, 0)));
    }

    #[test]
    fn client_that_comes_back_in_time_never_stopped_counting() {
        let mut presence = presence(0..5, 1);
        presence.come(3);
        presence.go(3, 5, Going::Unknown);
        presence.come(3);
        assert_eq!(presence.at(100), (1, watched(1, 1)));
        presence.go(3, 100, Going::Unknown);
        presence.come(3);
        presence.go(3, 110, Going::Unknown);
        assert_eq!(presence.at(130), (1, watched(1, 1)), "the window counts from the last time");
        assert_eq!(presence.at(140), (0, watched(0, 0)));
    }

    #[test]
    fn span_has_what_was_there_between_two_looks() {
        let mut presence = presence(0..6, 1);
        [0, 1, 2].into_iter().for_each(|client| presence.come(client));
        presence.take_span();
        presence.come(4);
        [4, 2, 0].into_iter().for_each(|client| presence.go(client, 0, Going::Known));
        let span = presence.take_span();
        assert_eq!((span.least, span.most), (watched(1, 1), watched(3, 4)));
        assert!(span.holds(watched(2, 2)) && !span.holds(watched(0, 1)) && !span.holds(watched(1, 5)));
        let later = presence.take_span();
        assert_eq!((later.least, later.most), (watched(1, 1), watched(1, 1)));
        assert!(later.widened(span).holds(watched(3, 4)));
    }
}
