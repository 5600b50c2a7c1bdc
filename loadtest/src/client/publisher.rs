//! The senders of a run: together at a set rate, whatever the server does.
//!
//! A message that could not go out when it was due goes out later, counts as late, and its age counts from when it
//! was due. A sender has one message under way at a time, so the order of its sending is its order in the log.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mio::{Registry, Token};

use super::{line::Line, stream::Target};
use crate::{
    audit::SentCounts,
    mark::{List, Mark, NORMAL_SENDERS},
    peers::Peer,
};

/// Tokens of the senders' connections, far above the viewers'.
const FIRST_TOKEN: usize = usize::MAX - 64;
/// Messages of one sender that are due and wait for those before them; beyond it, the run is given up.
const WAITING_MAX: usize = 100_000;
/// Connections from which messages are sent come after those of any viewer.
const FIRST_SOURCE: u32 = 15_000_000;
/// What goes out within so long of its time is not late.
const ON_TIME: Duration = Duration::from_millis(5);

/// Sends marked messages.
pub(super) struct Publisher {
    /// By numbering.
    feeds: Vec<Feed>,
    /// By list.
    paces: [Option<Pace>; 2],
    message_bytes: usize,
    began: Instant,
    scratch: Vec<u8>,
}

/// One sender.
struct Feed {
    line: Line,
    list: List,
    sender: u8,
    /// Numbers given out, and acknowledgements.
    sent: u32,
    acknowledged: u64,
    refused: Vec<u16>,
    late: u64,
    waiting: VecDeque<Mark>,
}

struct Pace {
    interval: Duration,
    next: Instant,
}

impl Publisher {
    pub(super) fn open(
        server: &Target,
        registry: &Registry,
        message_bytes: usize,
        began: Instant,
    ) -> Result<Self> {
        let normal = (0..NORMAL_SENDERS).map(|sender| (List::Normal, sender));
        let feeds =
            std::iter::once((List::Priority, 0)).chain(normal).enumerate().map(|(nth, (list, sender))| {
                let source = FIRST_SOURCE + u32::try_from(nth).expect("few senders");
                Ok(Feed {
                    line: Line::open(server, source, registry, Token(FIRST_TOKEN + nth))?,
                    list,
                    sender: u8::try_from(sender).expect("few senders"),
                    sent: 0,
                    acknowledged: 0,
                    refused: Vec::new(),
                    late: 0,
                    waiting: VecDeque::new(),
                })
            });
        Ok(Self {
            feeds: feeds.collect::<Result<_>>()?,
            paces: [None, None],
            message_bytes,
            began,
            scratch: Vec::new(),
        })
    }

    /// Sends a message now, or as soon as those before it are acknowledged.
    pub(super) fn send_now(&mut self, list: List, peer: &dyn Peer) -> Result<()> {
        self.add(list, Instant::now(), peer)
    }

    /// From now on, sends messages at a rate; zero for none.
    pub(super) fn set_rate(&mut self, list: List, per_second: f64) {
        self.paces[list.index()] = (per_second > 0.0).then(|| {
            let interval = Duration::from_secs_f64(1.0 / per_second);
            Pace { interval, next: Instant::now() + interval }
        });
    }

    /// Sends what is due; tells when the next is.
    pub(super) fn send_due(&mut self, peer: &dyn Peer) -> Result<Option<Instant>> {
        let now = Instant::now();
        let mut next_due: Option<Instant> = None;
        for list in List::ALL {
            while let Some(pace) = &mut self.paces[list.index()] {
                let due = pace.next;
                if due > now {
                    next_due = Some(next_due.map_or(due, |earlier| earlier.min(due)));
                    break;
                }
                pace.next += pace.interval;
                self.add(list, due, peer)?;
            }
        }
        Ok(next_due)
    }

    /// Reads acknowledgements if `token` is a sender's; tells whether it is.
    pub(super) fn serve(&mut self, token: Token, buffer: &mut [u8], peer: &dyn Peer) -> Result<bool> {
        let Some(feed) = token.0.checked_sub(FIRST_TOKEN).and_then(|nth| self.feeds.get_mut(nth)) else {
            return Ok(false);
        };
        if let Some(status) = feed.line.read(buffer, |status, _| status)? {
            match status {
                200..300 => feed.acknowledged += 1,
                _ => feed.refused.push(status),
            }
        }
        feed.send_waiting(peer, self.began, self.message_bytes, &mut self.scratch)?;
        Ok(true)
    }

    /// Messages sent so far.
    pub(super) fn sent(&self) -> SentCounts {
        std::array::from_fn(|numbering| self.feeds[numbering].sent)
    }

    /// Whether every message that was due is acknowledged or refused.
    pub(super) fn is_idle(&self) -> bool {
        self.feeds.iter().all(|feed| feed.load() == 0)
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.feeds.iter().map(|feed| feed.acknowledged).sum()
    }

    /// Statuses of the sends that were refused.
    pub(super) fn refused(&self) -> impl Iterator<Item = u16> {
        self.feeds.iter().flat_map(|feed| feed.refused.iter().copied())
    }

    /// Messages that went out later than they were due.
    pub(super) fn late(&self) -> u64 {
        self.feeds.iter().map(|feed| feed.late).sum()
    }

    /// Gives a message to the sender of its list who has least to do; they take turns where several have nothing, so that no
    /// connection idles until the server closes it.
    fn add(&mut self, list: List, due: Instant, peer: &dyn Peer) -> Result<()> {
        let due_us = u64::try_from(due.duration_since(self.began).as_micros()).unwrap_or(u64::MAX);
        let feeds = self.feeds.iter_mut().filter(|feed| feed.list == list);
        let feed = feeds.min_by_key(|feed| (feed.load(), feed.sent)).expect("every list has a sender");
        ensure!(
            feed.waiting.len() < WAITING_MAX,
            "the server acknowledges sends so slowly that {WAITING_MAX} wait"
        );
        // The number counts as sent from here on: a viewer may have the message before its acknowledgement is read.
        feed.waiting.push_back(Mark { list, sender: feed.sender, number: feed.sent, due_us });
        feed.sent += 1;
        feed.send_waiting(peer, self.began, self.message_bytes, &mut self.scratch)
    }
}

impl Feed {
    /// Messages that wait or are under way.
    fn load(&self) -> usize {
        self.waiting.len() + usize::from(self.line.is_waiting())
    }

    fn send_waiting(
        &mut self,
        peer: &dyn Peer,
        began: Instant,
        message_bytes: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        if self.line.is_waiting() {
            return Ok(());
        }
        let Some(mark) = self.waiting.pop_front() else { return Ok(()) };
        let due = began + Duration::from_micros(mark.due_us);
        self.late += u64::from(due.elapsed() > ON_TIME);
        scratch.clear();
        peer.write_send(scratch, 0, &mark, &mark.text(message_bytes));
        self.line.send(scratch)
    }
}
