//! Many viewers of one room, and whoever sends to it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mio::{Events, Poll, Token};

use super::{
    AGE_MAX_US, Histogram, READ_BYTES,
    answer::{Answer, Answers, Position},
    histogram,
    publisher::Publisher,
    stream::Target,
    viewer::Viewer,
};
use crate::{
    audit::{Oddities, Received, Verdict, count_dissenters},
    mark::List,
    peers::{Peer, Server},
};

const EVENTS_MAX: usize = 512;
/// Longest wait for events: whoever drives a crowd looks at its deadline that often.
const TURN_MAX: Duration = Duration::from_millis(20);

/// What a viewer does with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Behaviour {
    /// Goes on from where the answer ended, after a pause.
    Follow(Duration),
    /// Asks for the same again: there is always something waiting.
    Repeat,
    /// Leaves.
    Leave,
}

/// What viewers got since the last look.
pub(crate) struct Tally {
    /// Messages received, over all viewers.
    pub(crate) received: u64,
    /// Polls answered.
    pub(crate) answers: u64,
    /// From when a message was due until it was received, by list (microseconds).
    pub(crate) ages: [Histogram; 2],
    /// From sending a poll until its answer was received (microseconds). For who does not pause, that is mostly waiting.
    pub(crate) poll_times: Histogram,
}

impl Tally {
    fn new() -> Self {
        Self { received: 0, answers: 0, ages: [histogram(), histogram()], poll_times: histogram() }
    }
}

/// Viewers, and whoever sends to them.
pub(crate) struct Crowd<'p> {
    peer: &'p dyn Peer,
    polls: Target,
    behaviour: Behaviour,
    start: Position,
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    scratch: Vec<u8>,
    answers: Answers,
    /// By token.
    viewers: Vec<Option<Viewer>>,
    free: Vec<usize>,
    opened: u32,
    /// Viewers of rooms that nobody writes to.
    elsewhere: u64,
    /// Viewers that were given a session, of peers that give one.
    greeted: u32,
    /// Viewers that pause, with the time of their next poll: ascending, because all pause equally long.
    resting: VecDeque<(Instant, usize)>,
    publisher: Publisher,
    began: Instant,
    tally: Tally,
    received_all: u64,
    /// Of these, by viewers who were given up.
    received_by_failed: u64,
    oddities: Oddities,
    errors: BTreeMap<String, u64>,
}

impl<'p> Crowd<'p> {
    /// Nobody yet; `start` is where viewers begin to read.
    pub(crate) fn new(
        peer: &'p dyn Peer,
        server: &Server,
        behaviour: Behaviour,
        message_bytes: usize,
    ) -> Result<Self> {
        let poll = Poll::new().context("open an epoll instance")?;
        let began = Instant::now();
        let publisher = Publisher::open(&server.sends, poll.registry(), message_bytes, began)?;
        Ok(Self {
            peer,
            polls: server.polls.clone(),
            behaviour,
            start: peer.origin(server)?,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BYTES].into(),
            scratch: Vec::new(),
            answers: Answers::default(),
            viewers: Vec::new(),
            free: Vec::new(),
            opened: 0,
            elsewhere: 0,
            greeted: 0,
            resting: VecDeque::new(),
            publisher,
            began,
            tally: Tally::new(),
            received_all: 0,
            received_by_failed: 0,
            oddities: Oddities::default(),
            errors: BTreeMap::new(),
        })
    }

    /// Adds a viewer, who polls at once.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.open_in(0, self.start)
    }

    /// Adds a viewer of a room that nobody writes to, who polls at once. It counts as connected, not as one to whom
    /// messages are owed.
    pub(crate) fn open_elsewhere(&mut self, room: u32) -> Result<()> {
        assert_ne!(room, 0, "room 0 is the one that is written to");
        self.elsewhere += 1;
        self.open_in(room, Position::START)
    }

    fn open_in(&mut self, room: u32, start: Position) -> Result<()> {
        let place = self.free.pop().unwrap_or(self.viewers.len());
        let mut viewer =
            Viewer::open(&self.polls, self.opened, room, start, self.poll.registry(), Token(place))?;
        self.opened += 1;
        viewer.ask(self.peer, &mut self.scratch)?;
        if place == self.viewers.len() {
            self.viewers.push(None);
        }
        self.viewers[place] = Some(viewer);
        Ok(())
    }

    /// Viewers that are connected.
    pub(crate) fn len(&self) -> usize {
        self.viewers.len() - self.free.len()
    }

    /// Sends a message now.
    pub(crate) fn send_now(&mut self, list: List) -> Result<()> {
        self.publisher.send_now(list, self.peer)
    }

    /// Sends messages at a rate from now on; zero for none.
    pub(crate) fn set_rate(&mut self, list: List, per_second: f64) {
        self.publisher.set_rate(list, per_second);
    }

    /// Whether every message that was due has been acknowledged.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.publisher.is_idle()
    }

    /// Whether as many messages were received as were sent to each viewer who is still there.
    pub(crate) fn has_everything(&self) -> bool {
        let sent: u64 = self.publisher.sent().into_iter().map(u64::from).sum();
        self.is_acknowledged()
            && self.received_all - self.received_by_failed >= sent * (self.len() as u64 - self.elsewhere)
    }

    /// Whether every viewer that was opened has what its peer gives it before any message; at once where that is
    /// nothing.
    pub(crate) fn is_seated(&self) -> bool {
        !self.peer.greets() || self.greeted >= self.opened
    }

    /// Messages that the server has acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.publisher.acknowledged()
    }

    /// Messages that went out later than they were due.
    pub(crate) fn late_sends(&self) -> u64 {
        self.publisher.late()
    }

    /// What viewers got since the last call.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::replace(&mut self.tally, Tally::new())
    }

    /// Drives everything until `done`, or until `timeout` is over; tells whether it was done.
    pub(crate) fn run(&mut self, timeout: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.turn(left.min(TURN_MAX))?;
        }
        Ok(true)
    }

    /// Sends what is due, waits for events no longer than until the next is, and serves them.
    pub(crate) fn turn(&mut self, longest: Duration) -> Result<()> {
        let mut wait = longest;
        let now = Instant::now();
        if let Some(due) = self.publisher.send_due(self.peer)? {
            wait = wait.min(due.saturating_duration_since(now));
        }
        while let Some(&(due, place)) = self.resting.front() {
            if due > now {
                wait = wait.min(due - now);
                break;
            }
            self.resting.pop_front();
            self.ask(place);
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(error).context("wait for events");
            }
            _ => {}
        }
        for event in &events {
            if !self.publisher.serve(event.token(), &mut self.buffer, self.peer)? {
                self.serve(event.token().0);
            }
        }
        self.events = events;
        Ok(())
    }

    /// The verdict over what has arrived, of a server that is known not to keep up: what is still to come is not lost.
    pub(crate) fn verdict_so_far(&self) -> Verdict {
        let lost = self.followers().map(Received::count_passed_over).sum();
        Verdict { lost, out_of_order: self.oddities.out_of_order, ..self.verdict() }
    }

    /// Viewers who go on from where they are; the others are held to all messages with each answer.
    fn followers(&self) -> impl Iterator<Item = &Received> {
        let follows = matches!(self.behaviour, Behaviour::Follow(_));
        self.viewers
            .iter()
            .flatten()
            .filter(move |viewer| follows && viewer.room == 0)
            .map(|viewer| &viewer.received)
    }

    /// The verdict at the end of a run in which every viewer was to get every message.
    pub(crate) fn verdict(&self) -> Verdict {
        let sent = self.publisher.sent();
        let lost = self.followers().map(|received| received.lost(&sent)).sum();
        let out_of_order = self.oddities.out_of_order + count_dissenters(self.followers(), &sent);
        let mut errors = self.errors.clone();
        for status in self.publisher.refused() {
            *errors.entry(format!("a send was refused with status {status}")).or_default() += 1;
        }
        Verdict {
            acknowledged: self.publisher.acknowledged(),
            received: self.received_all,
            lost,
            repeated: self.oddities.repeated,
            out_of_order,
            priority_after_normal: self.oddities.priority_after_normal,
            unknown: self.oddities.unknown,
            errors,
        }
    }

    fn serve(&mut self, place: usize) {
        let Some(Some(viewer)) = self.viewers.get_mut(place) else { return };
        match viewer.read(&mut self.buffer, &mut self.answers, self.peer) {
            Ok(None) => {}
            Ok(Some(answer)) => self.take(place, &answer),
            Err(error) => self.fail(place, format!("{error:#}")),
        }
    }

    fn take(&mut self, place: usize, answer: &Answer) {
        let Some(Some(viewer)) = self.viewers.get_mut(place) else { return };
        if answer.status != 200 {
            return self.fail(place, format!("a poll was answered with status {}", answer.status));
        }
        let now_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let sent = self.publisher.sent();
        if self.peer.puts_priority_first() {
            self.oddities.look_at_answer(&answer.marks);
        }
        for mark in &answer.marks {
            viewer.received.take(mark, &sent, &mut self.oddities);
            let age_us = now_us.saturating_sub(mark.due_us).clamp(1, AGE_MAX_US);
            self.tally.ages[mark.list.index()].saturating_record(age_us);
        }
        let asked_us = u64::try_from(viewer.asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tally.poll_times.saturating_record(asked_us.clamp(1, AGE_MAX_US));
        self.tally.answers += 1;
        self.tally.received += answer.marks.len() as u64;
        self.received_all += answer.marks.len() as u64;
        match self.behaviour {
            Behaviour::Follow(pause) => {
                if let Some(position) = answer.position {
                    self.greeted += u32::from(viewer.position.as_bytes().is_empty());
                    viewer.position = position;
                }
                if pause.is_zero() {
                    self.ask(place);
                } else {
                    self.resting.push_back((Instant::now() + pause, place));
                }
            }
            Behaviour::Repeat => {
                let received = std::mem::take(&mut viewer.received);
                if received.lost(&sent) > 0 {
                    return self.fail(place, "a poll was answered without all messages".to_owned());
                }
                self.ask(place);
            }
            Behaviour::Leave => {
                if viewer.received.lost(&sent) > 0 {
                    return self.fail(place, "a poll was answered without all messages".to_owned());
                }
                self.close(place);
            }
        }
    }

    fn ask(&mut self, place: usize) {
        let Some(Some(viewer)) = self.viewers.get_mut(place) else { return };
        if let Err(error) = viewer.ask(self.peer, &mut self.scratch) {
            self.fail(place, format!("{error:#}"));
        }
    }

    /// Notes what went wrong, and gives the viewer up.
    ///
    /// What it did not get is not counted as lost on top: the error alone spoils the run.
    fn fail(&mut self, place: usize, what: String) {
        *self.errors.entry(what).or_default() += 1;
        if let Some(Some(viewer)) = self.viewers.get(place) {
            self.received_by_failed += viewer.received.count();
        }
        self.close(place);
    }

    fn close(&mut self, place: usize) {
        self.viewers[place] = None;
        self.free.push(place);
    }
}
