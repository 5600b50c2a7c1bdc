//! What the front door knows: shared by all workers, and each worker's own.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::RngExt as _;
use recvsvr::{Compression, Form, Rooms, Worker, compress};
use room::{ErrorCode, Priority, Problem, pressure::RETRY_AFTER_MS};
use sendsvr::{Draft, SendLimits, SendService};
use statsvr::Stats;
use store::RoomLog;

use super::{
    access::Access,
    addresses::{AddressPlace, PerAddress},
    clocks::Clocks,
    cors::Cors,
    presence::Presence,
};
use crate::placement::SectService;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From a request's first byte to the end of its head.
    pub header: Duration,
    /// From the end of the head to the end of the body; also to take a response.
    pub body: Duration,
    /// Between two requests.
    pub idle: Duration,
}

/// Everything that serving a request needs, shared by all workers.
pub struct Front {
    pub(crate) log: Arc<dyn RoomLog>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) stats: Arc<Stats>,
    /// What makes the numbers of connections unlike those of other processes.
    pub(crate) salt: u64,
    pub(crate) sects: Arc<dyn SectService>,
    pub(crate) sender: Arc<dyn SendService>,
    pub(crate) send_limits: SendLimits,
    pub(crate) message_bytes_max: usize,
    pub(crate) access: Access,
    pub(crate) cors: Cors,
    pub(crate) timeouts: Timeouts,
    pub(crate) per_address: PerAddress,
    /// Whether connections of trusted balancers begin with a header of the PROXY protocol.
    pub(crate) proxy_protocol: bool,
    is_draining: AtomicBool,
    connections: AtomicU64,
}

/// What a front is made of.
pub struct FrontParts {
    /// The message log, for history.
    pub log: Arc<dyn RoomLog>,
    /// The cache that polls read.
    pub rooms: Arc<Rooms>,
    /// Where viewers are counted.
    pub stats: Arc<Stats>,
    /// Threads that serve clients.
    pub workers: usize,
    /// The write path.
    pub sender: Arc<dyn SendService>,
    /// The limits that rooms have unless they are set otherwise.
    pub send_limits: SendLimits,
    /// Where rooms live.
    pub sects: Arc<dyn SectService>,
    /// Who checks tokens; `None` for a server without keys.
    pub verifier: Option<Arc<crate::auth::Verifier>>,
}

impl Front {
    /// The front door of a node, by its configuration.
    #[must_use]
    pub fn new(parts: FrontParts, config: &crate::config::Config) -> Arc<Self> {
        Arc::new(Self {
            log: parts.log,
            rooms: parts.rooms,
            stats: parts.stats,
            salt: rand::random(),
            sects: parts.sects,
            sender: parts.sender,
            send_limits: parts.send_limits,
            message_bytes_max: config.limits.message_bytes_max,
            access: Access::new(parts.verifier, config.limits.polls_per_user),
            cors: Cors::new(config.http.cors_origins.clone()),
            timeouts: Timeouts {
                header: config.http.header_timeout,
                body: config.http.body_timeout,
                idle: config.http.idle_timeout,
            },
            per_address: PerAddress::new(config),
            proxy_protocol: config.http.proxy_protocol,
            is_draining: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        })
    }

    /// From now on new requests are refused, and parked polls are answered.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.rooms.drain();
    }

    /// Refuses a request when the node is going down.
    pub(crate) fn check_open(&self) -> Result<(), Problem> {
        if !self.is_draining.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::Draining, "this node is going down: connect again, to another one"))
    }

    /// Refuses a message of priority `low` while the node has to choose whom it serves.
    pub(crate) fn check_pressure(&self, draft: Draft) -> Result<Draft, Problem> {
        if draft.priority != Priority::Low || !self.rooms.pressure().step().refuses_low() {
            return Ok(draft);
        }
        let wait = Duration::from_millis(rand::rng().random_range(RETRY_AFTER_MS));
        let detail = "this node is overloaded and takes no messages of priority low: send it again later";
        Err(Problem { retry_after: Some(wait), ..Problem::new(ErrorCode::NodeFull, detail) })
    }

    /// Compresses a body that one client gets, as well as it takes, unless the node has to spare its cores.
    pub(crate) fn compress(&self, body: Vec<u8>, form: Form) -> (Vec<u8>, Compression) {
        let spares = !self.rooms.pressure().step().compresses(1);
        compress(body, if spares { Compression::None } else { form.compression })
    }

    /// A number that no other connection of this process has.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }
}

/// A client who was let in: counted for as long as it lives.
pub(crate) struct Admitted {
    pub(crate) context: Rc<Context>,
    _place: AddressPlace,
}

impl Admitted {
    pub(crate) fn new(context: Rc<Context>, place: AddressPlace) -> Self {
        context.connections.increment(1.0);
        Self { context, _place: place }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.context.connections.decrement(1.0);
    }
}

/// What the connections of one worker share.
pub(crate) struct Context {
    pub(crate) front: Arc<Front>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) clocks: Rc<Clocks>,
    pub(crate) presence: Rc<Presence>,
    /// Counts of what every connection does, found once: to look a metric up costs as much as to parse a request.
    pub(crate) connections: metrics::Gauge,
    pub(crate) reconnects: metrics::Counter,
    pub(crate) unannounced: metrics::Counter,
    /// Where requests are read into before anything is kept of them.
    pub(crate) scratch: std::cell::RefCell<Box<[u8]>>,
}
