//! Slow clients: one sweep over a worker's connections instead of a timer for each request.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Waker,
    time::{Duration, Instant},
};

use super::front::Timeouts;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
    /// Us: a parked poll, a send.
    Served,
    /// The client, to take a response.
    Write,
}

/// When the connections of a worker entered their phases.
pub(crate) struct Clocks {
    timeouts: Timeouts,
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<usize>>,
    started: Instant,
    /// When the sweep last went round (milliseconds since `started`).
    swept_ms: Cell<u32>,
}

/// Small, because there is one for each connection, and the sweep looks at all of them.
struct Entry {
    waker: Option<Waker>,
    /// When the phase began (milliseconds since the clocks', which after 49 days begin anew).
    since_ms: u32,
    phase: Phase,
    is_over: bool,
}

/// One connection's place among the clocks.
pub(crate) struct Ticket {
    clocks: Rc<Clocks>,
    at: usize,
}

impl Clocks {
    pub(crate) fn new(timeouts: Timeouts) -> Rc<Self> {
        Rc::new(Self {
            timeouts,
            entries: RefCell::default(),
            free: RefCell::default(),
            started: Instant::now(),
            swept_ms: Cell::new(0),
        })
    }

    pub(crate) fn register(self: &Rc<Self>) -> Ticket {
        let entry = Entry { phase: Phase::Idle, since_ms: self.swept_ms.get(), is_over: false, waker: None };
        let mut entries = self.entries.borrow_mut();
        let at = match self.free.borrow_mut().pop() {
            Some(at) => {
                entries[at] = entry;
                at
            }
            None => {
                entries.push(entry);
                entries.len() - 1
            }
        };
        Ticket { clocks: Rc::clone(self), at }
    }

    /// Whether a client is being served, or takes its response.
    pub(crate) fn is_busy(&self) -> bool {
        let free = self.free.borrow().len();
        let served = |entry: &Entry| matches!(entry.phase, Phase::Served | Phase::Write);
        // A free entry is left in the phase `Served`, which the sweep passes over.
        self.entries.borrow().iter().filter(|entry| served(entry)).count() > free
    }

    fn now_ms(&self) -> u32 {
        self.started.elapsed().as_millis() as u32
    }

    fn most(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Idle => Some(self.timeouts.idle),
            Phase::Head => Some(self.timeouts.header),
            Phase::Served => None,
            Phase::Write => Some(self.timeouts.body),
        }
    }

    /// Sweeps for ever: four times in the shortest timeout, once a second at the least.
    pub(crate) async fn sweep(self: Rc<Self>) {
        let Timeouts { header, body, idle } = self.timeouts;
        let period =
            (header.min(body).min(idle) / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut tick = tokio::time::interval(period);
        loop {
            tick.tick().await;
            let now_ms = self.now_ms();
            self.swept_ms.set(now_ms);
            for entry in self.entries.borrow_mut().iter_mut() {
                let waited = Duration::from_millis(now_ms.wrapping_sub(entry.since_ms).into());
                if self.most(entry.phase).is_some_and(|most| waited >= most) && !entry.is_over {
                    entry.is_over = true;
                    if let Some(waker) = entry.waker.take() {
                        waker.wake();
                    }
                }
            }
        }
    }
}

impl Ticket {
    /// Begins a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        let entry = &mut self.clocks.entries.borrow_mut()[self.at];
        entry.phase = phase;
        // Only the time of a head is short enough to be worth asking the clock: that happens when one comes in
        // pieces. The other phases begin at the last sweep, with every request.
        entry.since_ms = if phase == Phase::Head { self.clocks.now_ms() } else { self.clocks.swept_ms.get() };
        entry.is_over = false;
    }

    /// Begins a phase unless it has begun already.
    pub(crate) fn enter_once(&self, phase: Phase) {
        let known = self.clocks.entries.borrow()[self.at].phase;
        if known != phase {
            self.enter(phase);
        }
    }

    /// Whether the phase has lasted too long. If not, `waker` is woken when it has.
    pub(crate) fn is_over(&self, waker: &Waker) -> bool {
        let entry = &mut self.clocks.entries.borrow_mut()[self.at];
        if !entry.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            entry.waker = Some(waker.clone());
        }
        entry.is_over
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let entry = &mut self.clocks.entries.borrow_mut()[self.at];
        entry.waker = None;
        entry.phase = Phase::Served;
        self.clocks.free.borrow_mut().push(self.at);
    }
}
