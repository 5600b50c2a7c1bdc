//! The simulated cluster and its viewers, in virtual time.
//!
//! Everything happens by events, one after the other; nothing reads a clock or draws a number that the seed does not
//! decide. A node is a queue with one server of its speed: an answer takes what `costs.toml` says, and what waits in front
//! of it makes the ages.

use anyhow::Result;
use room::{List, PerList};

use super::{
    agenda::{Agenda, Event},
    chance::Chance,
    client::Client,
    log::Log,
    meter::{Meter, Outcome},
    proxy::Proxy,
    rules::{NodeControl, Places},
    setup::Setup,
    upstream::Sect,
};

mod answers;
mod crowd;
mod faults;
mod polls;
mod seconds;
mod spread;

/// Virtual time begins here (microseconds): a cursor's time of 0 means that it holds nobody.
pub(super) const BEGIN_US: u64 = 1_000_000_000;
/// Longest virtual time after the end in which what is under way may arrive.
const SETTLE_US: u64 = 40_000_000;

/// Everything there is.
pub(super) struct World<'s> {
    setup: &'s Setup,
    agenda: Agenda,
    now_us: u64,
    end_us: u64,
    chance: Chance,
    clients: Vec<Client>,
    rooms: Vec<Room>,
    proxies: Vec<Proxy>,
    /// What each proxy has decided about its load.
    controls: Vec<NodeControl>,
    /// Proxies that are there, for whoever connects.
    open: Vec<u16>,
    next_open: usize,
    sects: Vec<Sect>,
    places: Places,
    /// The log takes one after the other (microseconds).
    log_free_us: u64,
    sources: Vec<Pending<'s>>,
    meter: Meter,
}

/// A room.
pub(super) struct Room {
    pub(super) log: Log,
    /// Clients there now (simulated).
    pub(super) present: u32,
    /// Clients that went within the window, by second (simulated).
    pub(super) lingering: std::collections::VecDeque<u32>,
    pub(super) gone_this_second: u32,
    /// Users, as the nodes know it.
    pub(super) users: u64,
    /// The same, a second fresher: on its way to the nodes.
    pub(super) users_next: u64,
    /// How many of its sect's nodes its size asks for, beyond the first.
    pub(super) spread_over: u64,
}

/// A source with its next message.
struct Pending<'s> {
    room: u16,
    list: List,
    times: Box<dyn Iterator<Item = f64> + 's>,
}

impl<'s> World<'s> {
    /// Before anything has happened.
    ///
    /// # Errors
    /// If the thresholds of promotion contradict each other.
    pub(super) fn new(setup: &'s Setup) -> Result<Self> {
        let rooms = setup.rooms.len();
        let mut chance = Chance::new(setup.seed);
        let mut clients = Vec::new();
        for (nth, room) in (0..).zip(&setup.rooms) {
            for _ in 0..room.clients {
                clients.push(Client::new(nth, chance.share() < setup.viewers.polite_share));
            }
        }
        let mut world = Self {
            agenda: Agenda::default(),
            now_us: BEGIN_US,
            end_us: BEGIN_US + u64::from(setup.duration_s) * 1_000_000,
            clients,
            rooms: setup.rooms.iter().map(|_| Room::new()).collect(),
            proxies: (0..setup.front.proxies).map(|_| Proxy::new(rooms, setup.front.cores)).collect(),
            controls: (0..setup.front.proxies).map(|_| NodeControl::new(setup.is_adaptive)).collect(),
            open: (0..setup.front.proxies).collect(),
            next_open: 0,
            sects: setup.sects.iter().map(Sect::new).collect(),
            places: Places::new(
                rooms,
                setup.sects.map(|sect| sect.recvsvrs),
                setup.front.proxies,
                setup.promotions,
            )?,
            log_free_us: 0,
            sources: Vec::new(),
            meter: Meter::new(setup),
            chance,
            setup,
        };
        world.plan();
        Ok(world)
    }

    /// Puts what is known beforehand on the agenda.
    fn plan(&mut self) {
        let setup = self.setup;
        let mut first = 0;
        for room in &setup.rooms {
            self.plan_crowd(first, room);
            first += room.clients;
        }
        for (nth, room) in (0..).zip(&setup.rooms) {
            for proxy in 0..setup.front.proxies {
                self.choose_upstream(proxy, nth);
            }
            for source in &room.sources {
                let times = source.times.iter(f64::from(setup.duration_s));
                self.sources.push(Pending { room: nth, list: source.list, times });
            }
        }
        for source in 0..self.sources.len() as u32 {
            self.plan_message(source);
        }
        for (nth, fault) in (0..).zip(&setup.faults) {
            let at_us = BEGIN_US + (fault.at_s * 1e6) as u64;
            self.agenda.add(at_us, Event::Fault { nth, is_over: false });
            self.agenda.add(at_us + (fault.for_s * 1e6) as u64, Event::Fault { nth, is_over: true });
        }
        self.agenda.add(BEGIN_US + seconds::LOOK_EVERY_US, Event::Look);
        self.agenda.add(BEGIN_US + 1_000_000, Event::Second);
    }

    /// Lets everything happen, and gives what was measured.
    pub(super) fn run(mut self) -> Outcome {
        while let Some((at_us, event)) = self.agenda.next() {
            if at_us > self.end_us + SETTLE_US {
                break;
            }
            self.now_us = at_us;
            self.happen(event);
        }
        self.judge();
        self.meter.outcome()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look => self.look(),
            Event::Second => self.end_second(),
            Event::Message { source } => self.send(source),
            Event::Notice { proxy, room, priority, normal } => {
                self.hear(proxy, room, PerList { priority, normal });
            }
            Event::Follow { proxy, room } => self.follow(proxy, room),
            Event::Come { client } => self.come(client),
            Event::Go { client } => self.go(client),
            Event::Reconnect { client, life } => self.reconnect(client, life),
            Event::Poll { client, life } => self.poll(client, life),
            Event::Timer { client, turn } => self.fire(client, turn),
            Event::Wake { client, turn } => self.wake((client, turn)),
            Event::Work { proxy } => self.work(proxy),
            Event::Fault { nth, is_over } => self.befall(nth, is_over),
        }
    }

    /// Holds every viewer that is there to what the log has.
    fn judge(&mut self) {
        let Self { clients, rooms, meter, proxies, .. } = self;
        for client in clients.iter() {
            for list in List::ALL {
                let ledger = &client.ledger;
                meter.verdict.lost += ledger.lost(list, client.seen[list]);
                meter.verdict.repeated += ledger.repeated[list];
                meter.verdict.skipped[list] += ledger.skipped(list);
            }
            let is_there = client.state != super::client::State::Away && !client.is_new;
            if is_there && proxies[usize::from(client.proxy)].is_alive {
                let log = &rooms[usize::from(client.room)].log;
                meter.verdict.unread +=
                    u64::from(List::ALL.iter().any(|list| client.seen[*list] < log.last(*list)));
            }
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    /// Whether the story is over, and only what is under way still happens.
    fn is_over(&self) -> bool {
        self.now_us >= self.end_us
    }
}

impl Room {
    fn new() -> Self {
        Self {
            log: Log::new(),
            present: 0,
            lingering: std::collections::VecDeque::new(),
            gone_this_second: 0,
            users: 0,
            users_next: 0,
            spread_over: 0,
        }
    }
}
