//! Many clients in one thread, over one epoll instance, next to nothing a client.
//!
//! A client must cost less than the server that it measures, or it measures itself. So an answer that equals an earlier one
//! is not parsed again, readers share cursors, and what is remembered of a list is a number a reader.

mod answers;
mod client;
mod connections;
mod goodbyes;
mod partings;
pub(super) mod tally;
mod timers;
mod visits;

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use mio::{Events, Poll, Token};

use self::{
    client::{Client, State},
    goodbyes::Goodbyes,
    partings::Partings,
    tally::{Second, Tally},
    timers::Timers,
};
use super::{
    RunPlan,
    answer::Answers,
    clock::{Clock, micros, micros_of},
    facts::Facts,
    presence::Presence,
    requests::{Caller, Requests, room_of},
    schedule::{Curve, Draw, chance, rank},
    settled::Settled,
};
use crate::profile::{Behaviour, Kind};

const EVENTS_MAX: usize = 512;
/// Longest wait for events: how exactly a second ends, and how soon a stop is seen.
const TURN_MAX: Duration = Duration::from_millis(20);
/// Bytes that are read at a time: more than most answers.
const READ_BYTES: usize = 256 * 1024;
/// Most events of the plan that are served before the network has its turn again.
const DUE_MAX: usize = 256;
/// How much longer than its time a poll may take before the client gives it up, and how long connecting may take.
const GRACE_US: u64 = 10_000_000;
/// Where a slow reader's kernel buffer ends: what it takes in unread is what it could have read anyway.
const SLOW_RECEIVE_BYTES: usize = 4096;

/// One thread's clients.
pub(super) struct Share {
    /// Their numbers among all clients of the run.
    pub(super) clients: std::ops::Range<u32>,
    /// Whether they are probes: in the first room, from the start to the end, polite.
    pub(super) are_probes: bool,
}

/// Clients, and what they have seen.
pub(super) struct Crowd<'p> {
    plan: &'p RunPlan,
    share: Share,
    clock: Clock,
    requests: Requests<'p>,
    behaviours: Vec<Behaviour>,
    poll: Poll,
    buffer: Box<[u8]>,
    scratch: Vec<u8>,
    clients: Vec<Client>,
    timers: Timers,
    answers: Answers,
    goodbyes: Goodbyes,
    partings: Partings,
    presence: Presence,
    tally: Tally,
    facts: Facts,
    /// Connections that are made, and those with a poll under way.
    connected: u64,
    parked: u64,
    server_users: Option<u64>,
    /// The next second to hand over.
    second: u32,
    draws: u32,
    /// When the last message was received, and when the story is over (microseconds).
    last_received_us: u64,
    end_us: u64,
    is_settling: bool,
}

impl<'p> Crowd<'p> {
    /// Nobody connected yet; everything planned.
    pub(super) fn new(plan: &'p RunPlan, share: Share, clock: Clock) -> Result<Self> {
        let profile = &plan.profile;
        let count = share.clients.end - share.clients.start;
        let behaviours =
            if share.are_probes { vec![Behaviour::default()] } else { profile.behaviour.clone() };
        let mut crowd = Self {
            plan,
            clock,
            requests: Requests::new(plan),
            behaviours,
            poll: Poll::new().context("open an epoll instance")?,
            buffer: vec![0; READ_BYTES].into(),
            scratch: Vec::new(),
            clients: std::iter::repeat_with(Client::default).take(count as usize).collect(),
            timers: Timers::default(),
            answers: Answers::default(),
            goodbyes: Goodbyes::default(),
            partings: Partings::default(),
            presence: Presence::new(
                profile.clients,
                share.clients.clone(),
                if share.are_probes { 1 } else { profile.rooms },
            ),
            tally: Tally::new(),
            facts: Facts::default(),
            connected: 0,
            parked: 0,
            server_users: None,
            second: 0,
            draws: 0,
            last_received_us: 0,
            end_us: micros(profile.clock_duration()),
            is_settling: false,
            share,
        };
        crowd.plan_clients();
        Ok(crowd)
    }

    /// Plays the story to its end, and lets it settle; hands over each second, and tells what was seen.
    ///
    /// # Errors
    /// If waiting for the network fails; that a server fails is counted.
    pub(super) fn run(
        mut self,
        seconds: &SyncSender<(bool, Second)>,
        settled: &Settled,
        stop: &AtomicBool,
    ) -> Result<Facts> {
        let settle_us = micros(self.plan.profile.settle);
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.clock.await_start();
        loop {
            let now_us = self.clock.now_us();
            self.hand_over(now_us, seconds);
            if !self.is_settling && (now_us >= self.end_us || stop.load(Ordering::Relaxed)) {
                self.is_settling = true;
                self.end_us = now_us.min(self.end_us);
            }
            if self.is_settling && (now_us >= self.end_us + settle_us || self.has_settled(now_us, settled)) {
                break;
            }
            self.serve_due(now_us);
            let until_due = self.timers.next_us().map_or(TURN_MAX, |due_us| self.clock.until(due_us));
            match self.poll.poll(&mut events, Some(until_due.min(TURN_MAX))) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error).context("wait for events");
                }
                _ => {}
            }
            for event in &events {
                let Token(place) = event.token();
                if place >= partings::FIRST_TOKEN {
                    self.serve_parting(place);
                } else if place >= goodbyes::FIRST_TOKEN {
                    self.goodbyes.serve(event, &mut self.tally.counters);
                } else {
                    self.serve(place as u32, event.is_writable(), event.is_readable());
                }
            }
        }
        self.note_ends();
        // The rest of a second is one too.
        let second = self.take_second();
        let _ = seconds.send((self.share.are_probes, second));
        Ok(self.facts)
    }

    /// Plans every client's coming and going.
    fn plan_clients(&mut self) {
        let profile = &self.plan.profile;
        let curve = Curve::of_crowd(&profile.crowd, profile);
        for place in 0..self.clients.len() as u32 {
            let client = self.share.clients.start + place;
            if self.share.are_probes {
                self.timers.add(0, place, timers::Event::Come);
                continue;
            }
            let mut draw = chance(self.plan.seed, client, Draw::Behaviour);
            let behaviour = self.behaviours.iter().position(|behaviour| {
                draw -= behaviour.share;
                draw < 0.0
            });
            let last = self.behaviours.len() - 1;
            self.clients[place as usize].behaviour =
                u8::try_from(behaviour.unwrap_or(last)).expect("at most 16");
            for crossing in curve.crossings(rank(self.plan.seed, client)) {
                let event = if crossing.is_up { timers::Event::Come } else { timers::Event::Go };
                self.timers.add(micros_of(crossing.at_s), place, event);
            }
        }
        if !self.share.are_probes {
            for (nth, cut) in profile.crowd.cut.iter().enumerate() {
                let nth = u32::try_from(nth).expect("few cuts");
                self.timers.add(micros(profile.on_clock(cut.at)), 0, timers::Event::Cut(nth));
            }
        }
    }

    fn caller(&self, place: u32) -> Caller {
        let client = self.share.clients.start + place;
        let room = if self.share.are_probes { 0 } else { room_of(self.plan, client) };
        let entry = &self.clients[place as usize];
        let target = (client as usize + usize::from(entry.failures)) % self.plan.targets.len();
        Caller { client, user: self.plan.profile.clients.user_of(client), room, target }
    }

    fn behaviour(&self, place: u32) -> &Behaviour {
        &self.behaviours[usize::from(self.clients[place as usize].behaviour)]
    }

    /// Hands over the seconds that are over.
    fn hand_over(&mut self, now_us: u64, seconds: &SyncSender<(bool, Second)>) {
        while u64::from(self.second + 1) * 1_000_000 <= now_us {
            self.give_up_overdue(now_us);
            let second = self.take_second();
            // The receiver goes only with the run.
            let _ = seconds.send((self.share.are_probes, second));
        }
    }

    fn take_second(&mut self) -> Second {
        let mut second = self.tally.take(self.second);
        self.second += 1;
        let (online, watched) = self.presence.at(self.second);
        let sample = &mut second.sample;
        (sample.connected, sample.parked) = (self.connected, self.parked);
        (sample.online_users, sample.watched_users, sample.watched_clients) =
            (online, watched.users, watched.clients);
        sample.watched = self.presence.take_span();
        sample.server_users = self.server_users;
        second
    }

    /// Whether everybody has what was sent.
    ///
    /// Where the senders are elsewhere, nobody knows what the last message is; so it waits until it has been quiet for long.
    fn has_settled(&self, now_us: u64, settled: &Settled) -> bool {
        if settled.sends_elsewhere() {
            let quiet_since_us = self.last_received_us.max(self.end_us);
            return now_us >= quiet_since_us + settled.quiet_us();
        }
        settled.last_seqs().is_some_and(|last| {
            (0_u32..).zip(&self.clients).all(|(place, client)| {
                let room = self.caller(place).room as usize;
                let is_held = client.state != State::Away && self.behaviour(place).kind != Kind::Slow;
                !is_held
                    || (client.place.is_known
                        && (0..2)
                            .all(|list| client.place.next[list] > last[room][list] || last[room][list] == 0))
            })
        })
    }

    /// Notes where readers stand who are held to the end.
    fn note_ends(&mut self) {
        for place in 0..self.clients.len() as u32 {
            let client = &self.clients[place as usize];
            if client.state == State::Away || self.behaviour(place).kind == Kind::Slow {
                continue;
            }
            if !client.place.is_known {
                self.tally.counters.add_error("poll unanswered at the end", 1);
                continue;
            }
            let (next, room) = (client.place.next, self.caller(place).room);
            for (list, next) in self.facts.room(room).iter_mut().zip(next) {
                *list.ends.entry(next).or_default() += 1;
            }
        }
    }

    fn draw(&mut self, client: u32) -> f64 {
        self.draws = self.draws.wrapping_add(1);
        chance(self.plan.seed, client, Draw::Jitter(self.draws))
    }
}
