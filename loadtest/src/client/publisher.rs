//! The sender of a run: at a set rate, whatever the server does.
//!
//! A message that could not go out when it was due goes out later, counts as late, and its age counts from when it
//! was due. Each list has a connection of its own, with one request at a time: the order of sending is then the
//! order of the log.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mio::{Registry, Token};

use super::line::Line;
use crate::{
    mark::{List, Mark},
    peers::Peer,
};

/// Tokens of the publisher's connections, far above the viewers'.
const FIRST_TOKEN: usize = usize::MAX - 16;
/// Messages that are due and wait for those before them; beyond it, the run is given up.
const WAITING_MAX: usize = 100_000;
/// Connections from which messages are sent come after those of any viewer.
const FIRST_SOURCE: u32 = 15_000_000;
/// What goes out within so long of its time is not late.
const ON_TIME: Duration = Duration::from_millis(5);

/// Sends marked messages.
pub(super) struct Publisher {
    lists: [Feed; 2],
    message_bytes: usize,
    began: Instant,
    scratch: Vec<u8>,
}

/// The messages of one list.
struct Feed {
    line: Line,
    /// Numbers given out, and acknowledgements.
    sent: u32,
    acknowledged: u64,
    refused: Vec<u16>,
    late: u64,
    waiting: VecDeque<Mark>,
    pace: Option<Pace>,
}

struct Pace {
    interval: Duration,
    next: Instant,
}

impl Publisher {
    pub(super) fn open(
        server: SocketAddr,
        registry: &Registry,
        message_bytes: usize,
        began: Instant,
    ) -> Result<Self> {
        let feed = |list: List| -> Result<Feed> {
            let nth = u32::try_from(list.index()).expect("two lists");
            let line = Line::open(server, FIRST_SOURCE + nth, registry, Token(FIRST_TOKEN + list.index()))?;
            Ok(Feed {
                line,
                sent: 0,
                acknowledged: 0,
                refused: Vec::new(),
                late: 0,
                waiting: VecDeque::new(),
                pace: None,
            })
        };
        let lists = [feed(List::ALL[0])?, feed(List::ALL[1])?];
        Ok(Self { lists, message_bytes, began, scratch: Vec::new() })
    }

    /// Sends a message now, or as soon as those before it are acknowledged.
    pub(super) fn send_now(&mut self, list: List, peer: &dyn Peer) -> Result<()> {
        self.add(list, Instant::now())?;
        self.send_waiting(list, peer)
    }

    /// From now on, sends messages at a rate; zero for none.
    pub(super) fn set_rate(&mut self, list: List, per_second: f64) {
        let pace = (per_second > 0.0).then(|| {
            let interval = Duration::from_secs_f64(1.0 / per_second);
            Pace { interval, next: Instant::now() + interval }
        });
        self.lists[list.index()].pace = pace;
    }

    /// Sends what is due; tells when the next is.
    pub(super) fn send_due(&mut self, peer: &dyn Peer) -> Result<Option<Instant>> {
        let now = Instant::now();
        let mut next_due = None;
        for list in List::ALL {
            while let Some(pace) = &mut self.lists[list.index()].pace {
                if pace.next > now {
                    next_due = Some(next_due.map_or(pace.next, |due: Instant| due.min(pace.next)));
                    break;
                }
                let due = pace.next;
                pace.next += pace.interval;
                self.add(list, due)?;
            }
            self.send_waiting(list, peer)?;
        }
        Ok(next_due)
    }

    /// Reads acknowledgements if `token` is one of the publisher's; tells whether it is.
    pub(super) fn serve(&mut self, token: Token, buffer: &mut [u8], peer: &dyn Peer) -> Result<bool> {
        let Some(list) = List::ALL.into_iter().find(|list| token == Token(FIRST_TOKEN + list.index())) else {
            return Ok(false);
        };
        let feed = &mut self.lists[list.index()];
        if let Some(status) = feed.line.read(buffer, |status, _| status)? {
            match status {
                200..300 => feed.acknowledged += 1,
                _ => feed.refused.push(status),
            }
        }
        self.send_waiting(list, peer)?;
        Ok(true)
    }

    /// Messages sent so far, by list.
    pub(super) fn sent(&self) -> [u32; 2] {
        [self.lists[0].sent, self.lists[1].sent]
    }

    /// Whether every message that was due is acknowledged or refused.
    pub(super) fn is_idle(&self) -> bool {
        self.lists.iter().all(|feed| feed.waiting.is_empty() && !feed.line.is_waiting())
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.lists.iter().map(|feed| feed.acknowledged).sum()
    }

    /// Statuses of the sends that were refused.
    pub(super) fn refused(&self) -> impl Iterator<Item = u16> {
        self.lists.iter().flat_map(|feed| feed.refused.iter().copied())
    }

    /// Messages that went out later than they were due.
    pub(super) fn late(&self) -> u64 {
        self.lists.iter().map(|feed| feed.late).sum()
    }

    fn add(&mut self, list: List, due: Instant) -> Result<()> {
        let due_us = u64::try_from(due.duration_since(self.began).as_micros()).unwrap_or(u64::MAX);
        let feed = &mut self.lists[list.index()];
        ensure!(
            feed.waiting.len() < WAITING_MAX,
            "the server acknowledges sends so slowly that {WAITING_MAX} wait"
        );
        // The number counts as sent from here on: a viewer may have the message before its acknowledgement is read.
        feed.waiting.push_back(Mark { list, number: feed.sent, due_us });
        feed.sent += 1;
        Ok(())
    }

    fn send_waiting(&mut self, list: List, peer: &dyn Peer) -> Result<()> {
        let feed = &mut self.lists[list.index()];
        if feed.line.is_waiting() {
            return Ok(());
        }
        let Some(mark) = feed.waiting.pop_front() else { return Ok(()) };
        let due = self.began + Duration::from_micros(mark.due_us);
        feed.late += u64::from(due.elapsed() > ON_TIME);
        self.scratch.clear();
        peer.write_send(&mut self.scratch, &mark, &mark.text(self.message_bytes));
        feed.line.send(&self.scratch)
    }
}
