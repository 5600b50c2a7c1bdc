//! Whoever sends: what the profile has due, when it is due, whatever the server does.
//!
//! A message that can't go out when it is due waits for a connection, goes out late and counts as late; its age counts from
//! when it was due. A connection that breaks is made again, to the next of the servers, and the message under way is sent again
//! under its id, so that the log has it once. So is one that a node refused because it is going down.

mod line;

use std::{
    collections::{BTreeMap, VecDeque},
    iter::Peekable,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use mio::{Events, Poll, Token};

use self::line::{Line, Outcome};
use super::{
    RunPlan,
    clock::{Clock, micros, micros_of},
    crowd::tally::{Second, Tally},
    facts::Facts,
    requests::Requests,
    schedule::{Draw, chance, due_times},
    settled::Settled,
};
use crate::mark::{List, Mark};

const EVENTS_MAX: usize = 256;
/// Longest wait for events.
const TURN_MAX: Duration = Duration::from_millis(20);
/// Bytes that are read at a time: more than any acknowledgement.
const READ_BYTES: usize = 16 * 1024;
/// Messages of one kind that are due and wait for a connection; those beyond it are missed.
const WAITING_MAX: usize = 100_000;
/// What goes out within so long of its time is not late (microseconds).
const ON_TIME_US: u64 = 5_000;
/// Senders connect from addresses after those of any client.
const FIRST_SOURCE: u32 = 15_000_000;

/// All senders of a run.
pub(super) struct Senders<'p> {
    plan: &'p RunPlan,
    clock: Clock,
    requests: Requests<'p>,
    /// By room: whose names senders use.
    authors: Vec<Vec<u32>>,
    kinds: Vec<Kind>,
    /// Of all kinds, by token; with the index of its kind.
    lines: Vec<(usize, Line)>,
    /// Numbers given out, by list.
    numbers: [u32; 2],
    /// By line and room: the last sequence number acknowledged.
    orders: BTreeMap<(usize, u32), u64>,
    last_seqs: Vec<[u64; 2]>,
    tally: Tally,
    facts: Facts,
    second: u32,
}

/// Messages of one entry of the profile.
struct Kind {
    list: List,
    bytes: [u32; 2],
    times: Peekable<Box<dyn Iterator<Item = f64> + Send>>,
    next_room: u32,
    waiting: VecDeque<Due>,
    /// Lines without a message under way.
    free: Vec<usize>,
}

/// A message that is due.
#[derive(Clone, Copy, Debug)]
struct Due {
    mark: Mark,
    room: u32,
}

impl<'p> Senders<'p> {
    /// Connections for every kind of message, about to be made.
    pub(super) fn new(plan: &'p RunPlan, clock: Clock) -> Self {
        let mut lines = Vec::new();
        let kinds = plan.profile.messages.iter().enumerate().map(|(nth, messages)| {
            let first = lines.len();
            lines.extend((0..messages.senders).map(|_| (nth, Line::default())));
            let times: Box<dyn Iterator<Item = f64> + Send> = Box::new(due_times(messages, &plan.profile));
            Kind {
                list: messages.list,
                bytes: messages.bytes,
                times: times.peekable(),
                next_room: 0,
                waiting: VecDeque::new(),
                free: (first..lines.len()).collect(),
            }
        });
        let kinds = kinds.collect();
        Self {
            plan,
            clock,
            requests: Requests::new(plan),
            authors: Requests::authors(plan),
            kinds,
            lines,
            numbers: [0; 2],
            orders: BTreeMap::new(),
            last_seqs: vec![[0; 2]; plan.profile.rooms as usize],
            tally: Tally::new(),
            facts: Facts::default(),
            second: 0,
        }
    }

    /// Sends until the story is over, waits for the last acknowledgements, and tells readers what the last messages are.
    ///
    /// # Errors
    /// If waiting for the network fails; that a server fails is counted.
    pub(super) fn run(
        mut self,
        seconds: &SyncSender<(bool, Second)>,
        settled: &Settled,
        stop: &AtomicBool,
    ) -> Result<Facts> {
        let mut poll = Poll::new().context("open an epoll instance")?;
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; READ_BYTES];
        let mut end_us = micros(self.plan.profile.clock_duration());
        // Readers need what is left of the time.
        let patience_us = micros(self.plan.profile.settle / 2);
        for nth in 0..self.lines.len() {
            self.connect(nth, poll.registry());
        }
        self.clock.await_start();
        loop {
            let now_us = self.clock.now_us();
            if stop.load(Ordering::Relaxed) {
                end_us = end_us.min(now_us);
            }
            self.hand_over(now_us, seconds);
            self.queue_due(now_us, end_us);
            self.send_waiting(now_us);
            if now_us >= end_us && (self.is_idle() || now_us >= end_us + patience_us) {
                break;
            }
            self.reconnect_due(now_us, poll.registry());
            let next_s = self.kinds.iter_mut().filter_map(|kind| kind.times.peek()).copied().reduce(f64::min);
            let next_us = next_s.map(micros_of).filter(|due_us| *due_us <= end_us);
            let wait = next_us.map_or(TURN_MAX, |due_us| self.clock.until(due_us));
            match poll.poll(&mut events, Some(wait.min(TURN_MAX))) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error).context("wait for events");
                }
                _ => {}
            }
            for event in &events {
                let Token(nth) = event.token();
                self.serve(nth, event.is_writable(), event.is_readable(), &mut buffer);
            }
        }
        self.note_end(settled);
        let second = self.tally.take(self.second);
        let _ = seconds.send((false, second));
        Ok(self.facts)
    }

    fn connect(&mut self, nth: usize, registry: &mio::Registry) {
        let server = self.lines[nth].1.server(nth, self.plan.targets.len());
        let target = self.plan.targets[server].address;
        let source = FIRST_SOURCE + u32::try_from(nth).expect("few senders");
        if let Err(what) = self.lines[nth].1.connect(target, source, registry, Token(nth)) {
            self.tally.counters.add_error(&format!("send {what}"), 1);
            self.lines[nth].1.fail(self.clock.now_us());
        }
    }

    fn reconnect_due(&mut self, now_us: u64, registry: &mio::Registry) {
        for nth in 0..self.lines.len() {
            if self.lines[nth].1.is_due_again(now_us) {
                self.connect(nth, registry);
            }
        }
    }

    /// Queues what is due.
    fn queue_due(&mut self, now_us: u64, end_us: u64) {
        let rooms = self.plan.profile.rooms;
        for kind in &mut self.kinds {
            let list = kind.list;
            while let Some(due_s) = kind.times.next_if(|due_s| micros_of(*due_s) <= now_us.min(end_us)) {
                let counters = &mut self.tally.counters;
                counters.due[list.index()] += 1;
                let room = kind.next_room;
                kind.next_room = (room + 1) % rooms;
                if kind.waiting.len() >= WAITING_MAX {
                    counters.missed[list.index()] += 1;
                    continue;
                }
                let number = self.numbers[list.index()];
                self.numbers[list.index()] += 1;
                let mark = Mark { list, sender: 0, number, due_us: micros_of(due_s) };
                kind.waiting.push_back(Due { mark, room });
            }
        }
    }

    /// Gives waiting messages to connections that have nothing to do.
    fn send_waiting(&mut self, now_us: u64) {
        for kind in &mut self.kinds {
            while let Some(due) = kind.waiting.front().copied()
                && let Some(nth) = kind.free.pop()
            {
                kind.waiting.pop_front();
                let at = due.mark.list.index();
                self.tally.counters.late[at] += u64::from(now_us > due.mark.due_us + ON_TIME_US);
                let [least, most] = kind.bytes;
                let share = chance(self.plan.seed, due.mark.number, Draw::Bytes);
                let bytes = least + (f64::from(most - least + 1) * share) as u32;
                let author =
                    self.requests.author(due.mark.number, due.room, &self.authors[due.room as usize]);
                let line = &mut self.lines[nth].1;
                let target = line.server(nth, self.plan.targets.len());
                let author = super::requests::Caller { target, ..author };
                self.requests.send(&mut line.request, author, &due.mark, bytes as usize);
                line.begin(due);
                if let Err(what) = line.write() {
                    self.tally.counters.add_error(&format!("send {what}"), 1);
                    line.fail(now_us);
                }
            }
        }
    }

    fn serve(&mut self, nth: usize, is_writable: bool, is_readable: bool, buffer: &mut [u8]) {
        let line = &mut self.lines[nth].1;
        let mut served = if is_writable { line.write() } else { Ok(()) };
        if is_readable && served.is_ok() {
            match line.read(buffer) {
                Ok(Some(outcome)) => return self.take(nth, outcome),
                Ok(None) => {}
                Err(what) => served = Err(what),
            }
        }
        let now_us = self.clock.now_us();
        match served {
            Ok(()) => {}
            Err(line::CLOSED) if line.is_free() => line.expire(now_us),
            Err(what) => {
                self.tally.counters.add_error(&format!("send {what}"), 1);
                line.fail(now_us);
            }
        }
    }

    /// Takes a response.
    fn take(&mut self, nth: usize, outcome: Outcome) {
        let now_us = self.clock.now_us();
        let (kind, line) = &mut self.lines[nth];
        let Some(due) = line.end() else { return };
        self.kinds[*kind].free.push(nth);
        let list = due.mark.list.index();
        match outcome {
            Outcome::Acknowledged { seq } => {
                self.tally.counters.acknowledged[list] += 1;
                self.tally.sends[list].record(now_us.saturating_sub(due.mark.due_us), 1);
                if !self.facts.room(due.room)[list].acknowledged.note(seq, due.mark.number) {
                    self.facts.oddities.dissent += 1;
                }
                let before = self.orders.insert((nth, due.room), seq);
                self.facts.oddities.send_order += u64::from(before.is_some_and(|before| before >= seq));
                let last = &mut self.last_seqs[due.room as usize][list];
                *last = seq.max(*last);
            }
            Outcome::Refused { what } => {
                self.tally.counters.refused[list] += 1;
                self.tally.counters.add_error(&format!("send {what}"), 1);
            }
        }
        if line.is_closing() {
            line.fail(now_us);
        }
    }

    fn is_idle(&self) -> bool {
        let is_empty = self.kinds.iter().all(|kind| kind.waiting.is_empty());
        is_empty && self.lines.iter().all(|(_, line)| line.is_free())
    }

    /// Notes what was not sent and not answered, and tells readers how far the lists go.
    fn note_end(&mut self, settled: &Settled) {
        for kind in &self.kinds {
            self.tally.counters.missed[kind.list.index()] += kind.waiting.len() as u64;
        }
        for (kind, line) in &self.lines {
            self.facts.unanswered[self.kinds[*kind].list.index()] += u64::from(!line.is_free());
        }
        self.facts.sent = self.numbers.map(u64::from);
        settled.tell(std::mem::take(&mut self.last_seqs));
    }

    fn hand_over(&mut self, now_us: u64, seconds: &SyncSender<(bool, Second)>) {
        while u64::from(self.second + 1) * 1_000_000 <= now_us {
            let second = self.tally.take(self.second);
            self.second += 1;
            // The receiver goes only with the run.
            let _ = seconds.send((false, second));
        }
    }
}
