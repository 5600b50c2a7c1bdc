//! How the node stands under its load: measured a few times a second, eased by the rules of [`room::pressure`].
//!
//! [`Relief`] looks after it. [`routes`] show it to the operator and take drills; [`Drill`] is the command for both.

mod drill;
mod routes;

use std::{
    convert::Infallible,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub use drill::{Drill, Order};
use parking_lot::Mutex;
use recvsvr::Rooms;
use room::pressure::{Forced, Ladder, Load, LoadFactor, PressureStep};
pub use routes::{FORCED_MAX, routes};
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::{metrics, ops::cpu_seconds};

/// How often the load is looked at. The rules smooth over seconds; a drill begins and ends this late at the most.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Measures the node's load and sets what its workers do about it.
pub struct Relief {
    rooms: Arc<Rooms>,
    is_automatic: bool,
    cores: f64,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    factor: LoadFactor,
    ladder: Ladder,
    load: Load,
    /// What holds.
    step: PressureStep,
    looked_at: Instant,
    cpu_s: f64,
}

/// How the node stands, as it is shown.
#[derive(Clone, Serialize, Debug)]
struct Standing {
    step: u8,
    degraded: &'static [&'static str],
    /// Unix milliseconds; `None` while no step is forced.
    forced_until_ms: Option<u64>,
    automatic: bool,
    load_factor: f64,
    lag_ms: f64,
    cpu: f64,
}

impl Relief {
    /// Looks after the node whose cache this is. Without `is_automatic` only drills change anything.
    #[must_use]
    pub fn new(rooms: Arc<Rooms>, is_automatic: bool) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            factor: LoadFactor::default(),
            ladder: Ladder::default(),
            load: Load { lag: Duration::ZERO, cpu: 0.0 },
            step: PressureStep::NONE,
            looked_at: now,
            cpu_s: cpu_seconds(),
        };
        Arc::new(Self {
            rooms,
            is_automatic,
            cores: thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64),
            started: now,
            state: Mutex::new(state),
        })
    }

    /// Looks after it for ever. Run it once; nothing is lost when it is dropped.
    pub async fn run(self: Arc<Self>) -> Infallible {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        // After a pause of this thread, one look is worth as much as many.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        let mut state = self.state.lock();
        let (now, cpu_s) = (Instant::now(), cpu_seconds());
        let since_s = (now - state.looked_at).as_secs_f64();
        if since_s > 0.0 {
            state.load.cpu = ((cpu_s - state.cpu_s) / (since_s * self.cores)).clamp(0.0, 1.0);
        }
        state.load.lag = self.rooms.pressure().take_lag();
        (state.looked_at, state.cpu_s) = (now, cpu_s);
        ::metrics::histogram!(metrics::EVENT_LOOP_LAG).record(state.load.lag);
        let (now_ms, load) = (self.now_ms(), state.load);
        if self.is_automatic {
            state.factor.observe(now_ms, load);
            state.ladder.observe(now_ms, load);
        }
        self.apply(&mut state, now_ms);
    }

    /// Lets hold what the rules say.
    fn apply(&self, state: &mut State, now_ms: u64) {
        let (factor, step) = (state.factor.get(), state.ladder.step(now_ms));
        self.rooms.pressure().hold(factor, step);
        ::metrics::gauge!(metrics::LOAD_FACTOR).set(factor);
        ::metrics::gauge!(metrics::PRESSURE_STEP).set(f64::from(step.get()));
        let before = std::mem::replace(&mut state.step, step);
        let (lag_ms, cpu) = (state.load.lag.as_millis() as u64, state.load.cpu);
        if step > before {
            warn!(step = step.get(), factor, lag_ms, cpu, degraded = ?step.degraded(), "pressure rises");
        } else if step < before {
            info!(step = step.get(), factor, lag_ms, cpu, "pressure falls");
        }
    }

    /// Holds the node at a step for a time, whatever its load; `None` ends that.
    fn force(&self, forced: Option<(PressureStep, Duration)>) -> Standing {
        let mut state = self.state.lock();
        let now_ms = self.now_ms();
        match forced {
            Some((step, lasts)) => {
                warn!(step = step.get(), for_s = lasts.as_secs(), "pressure step is forced")
            }
            None => info!("pressure step is no longer forced"),
        }
        let until =
            |(step, lasts): (_, Duration)| Forced { step, until_ms: now_ms + lasts.as_millis() as u64 };
        state.ladder.force(forced.map(until));
        self.apply(&mut state, now_ms);
        self.standing_of(&state, now_ms)
    }

    fn standing(&self) -> Standing {
        self.standing_of(&self.state.lock(), self.now_ms())
    }

    fn standing_of(&self, state: &State, now_ms: u64) -> Standing {
        let left_ms = state.ladder.forced(now_ms).map(|forced| forced.until_ms - now_ms);
        Standing {
            step: state.step.get(),
            degraded: state.step.degraded(),
            forced_until_ms: left_ms.map(|left_ms| recvsvr::now_ms() + left_ms),
            automatic: self.is_automatic,
            load_factor: state.factor.get(),
            lag_ms: state.load.lag.as_secs_f64() * 1_000.0,
            cpu: state.load.cpu,
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
