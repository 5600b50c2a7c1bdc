//! What is simulated: rooms, crowds, messages, nodes, and what befalls them.

use room::{Costs, List, PollPolicy, Promotions};

use crate::run::{Curve, RateTimes};

/// Everything that a simulation follows from.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) seed: u64,
    /// Virtual time (seconds).
    pub(super) duration_s: u32,
    /// Time that a sample covers (seconds).
    pub(super) sample_s: u32,
    /// Viewers that a simulated one stands for.
    pub(super) weight: f64,
    pub(super) policy: PollPolicy,
    /// Whether nodes stretch intervals, thin out and refuse when they are loaded, and wake big rooms by and by.
    pub(super) is_adaptive: bool,
    /// The first one is the one that it is about.
    pub(super) rooms: Vec<RoomSetup>,
    pub(super) front: Front,
    /// Recvsvrs of the ordinary sect, and of the VIP sect.
    pub(super) sects: [SectSetup; 2],
    /// When a room moves from the one to the other, and back.
    pub(super) promotions: Promotions,
    pub(super) costs: Costs,
    /// Text of a message (bytes).
    pub(super) text_bytes: f64,
    /// What the receiving end takes of the same cores for an answer: where one machine plays both (see `against`).
    pub(super) has_clients_on_board: bool,
    pub(super) viewers: Viewers,
    pub(super) faults: Vec<Fault>,
}

/// How viewers behave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewers {
    /// Share that waits as it is told; the others poll again at once.
    pub(super) polite_share: f64,
    /// What polite ones wait instead of what they are told (milliseconds).
    pub(super) pause_ms: Option<u64>,
    pub(super) limit: u64,
    pub(super) timeout_ms: u64,
    /// There and back (microseconds).
    pub(super) round_trip_us: u64,
}

/// A room with its viewers.
#[derive(Clone, Debug)]
pub(super) struct RoomSetup {
    /// Simulated viewers.
    pub(super) clients: u32,
    /// Users that each of them is for the policy: the weight, except in a room that is there as it is and stands for
    /// others like it.
    pub(super) users_each: f64,
    /// Notices to one simulated proxy that one of its messages stands for.
    pub(super) notice_weight: f64,
    /// The share of them that is there, over time.
    pub(super) crowd: Curve,
    pub(super) sources: Vec<Source>,
}

/// Messages of one kind.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) list: List,
    pub(super) times: Times,
}

/// When messages are due.
#[derive(Clone, Debug)]
pub(super) enum Times {
    /// Messages a second over time (seconds).
    Rates(Vec<(f64, f64)>),
    /// At these times (seconds), ascending.
    At(Vec<f64>),
}

impl Times {
    pub(super) fn iter(&self, end_s: f64) -> Box<dyn Iterator<Item = f64> + '_> {
        match self {
            Self::Rates(points) => Box::new(RateTimes::new(points.clone(), end_s)),
            Self::At(times) => Box::new(times.iter().copied()),
        }
    }
}

/// The proxies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    /// Simulated ones.
    pub(super) proxies: u16,
    /// Processor time that each has for simulated clients (cores): a simulated one may stand for several, and its
    /// clients for many.
    pub(super) cores: f64,
    /// Real ones.
    pub(super) real: f64,
}

/// The recvsvrs of a sect.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectSetup {
    pub(super) recvsvrs: u16,
    pub(super) cores: f64,
}

/// Something that breaks for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) at_s: f64,
    pub(super) what: Lost,
    /// The first so many of them are lost, as a share.
    pub(super) share: f64,
    /// For so long (seconds).
    pub(super) for_s: f64,
}

/// What is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lost {
    /// Nodes of the sect.
    Recvsvrs {
        sect: u16,
    },
    Proxies,
}
