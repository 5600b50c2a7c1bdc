//! What a node does when it has more to do than it can: how much longer readers wait, what is left out, who is refused.
//!
//! [`Pressure`] is fed with what the node measured, a few times a second, and says which [`PressureStep`] holds and by
//! which [`LoadFactor`] intervals grow. No step touches priority messages.

mod factor;
mod ladder;
mod spread;
mod step;

pub use factor::{FACTOR_STEP, LoadFactor};
pub use ladder::{Pressure, PressureLoad};
pub use spread::{WAKEUP_SPREAD, WAKEUP_SPREAD_FROM, spread_wakeups};
pub use step::{PressureStep, SHED_MESSAGES_MAX, STRETCHED_INTERVAL_MIN};
