//! goim's published profile: 40 messages a second to one crowd.
//!
//! goim pushes each message by itself over open connections; here clients get what has gathered at an interval of a
//! second, which is how bigroom serves a crowd of this size.

use std::time::Duration;

use super::{
    Chapter,
    play::{Scenario, Stage},
    storm::Storm,
};
use crate::{
    mark::MARK_BYTES,
    peers::{Peer, Start},
};

/// Above the ten thousand from which on the policy as shipped has an interval of a second.
const VIEWERS: u32 = 12_000;
const RATE: f64 = 40.0;
const INTERVAL: Duration = Duration::from_secs(1);

/// Name of the scenario in which clients pause.
const PAUSED: &str = "goim's profile";
/// Name of the scenario in which the server holds.
pub(super) const HELD: &str = "goim's profile, held by the server";

/// At equal pace, then with the policy as shipped.
pub(super) fn scenarios<'a>(
    stage: &'a Stage,
    all: &[&'a dyn Peer],
    ours: &[&'a dyn Peer],
) -> Vec<Scenario<'a>> {
    let storm = Storm {
        viewers: VIEWERS,
        rate: RATE,
        priority_rate: 0.0,
        message_bytes: MARK_BYTES,
        pause: INTERVAL,
        arrival: 2 * INTERVAL,
        time: stage.scale(Duration::from_secs(10), Duration::from_secs(3)),
    };
    let paused = storm.scenario(Chapter::Goim, all, stage.start()).told(
        PAUSED,
        format!(
            "{VIEWERS} viewers that pause {INTERVAL:?} between an answer and their next poll; {RATE} messages of \
             {MARK_BYTES} bytes a second, at set times, for {:?}.",
            storm.time
        ),
    );
    let held = Storm { pause: Duration::ZERO, ..storm };
    let held = held.scenario(Chapter::Goim, ours, Start { holds: true, ..stage.start() }).told(
        HELD,
        format!("The same, but viewers poll again at once, and the server's policy as shipped holds them {INTERVAL:?}."),
    );
    vec![paused, held]
}
