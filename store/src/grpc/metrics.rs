//! What following rooms on other nodes tells about itself.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const FOLLOWERS: &str = "bigroom_log_followers";
const FOLLOWED_ROOMS: &str = "bigroom_log_followed_rooms";
const NOTICES_SENT: &str = "bigroom_log_notices_sent_total";
const FOLLOWERS_CUT: &str = "bigroom_log_followers_cut_total";
const LINKS: &str = "bigroom_upstream_links";
const LINK_FAILURES: &str = "bigroom_upstream_link_failures_total";
const ROOMS_MOVED: &str = "bigroom_upstream_rooms_moved_total";
const REQUESTS: &str = "bigroom_upstream_requests_total";
const NOTICES: &str = "bigroom_upstream_notices_total";

/// Why a node reads a room from another node than before.
#[derive(Clone, Copy)]
pub(super) enum Moved {
    /// The one before went.
    Failed,
    /// Another one is its place now.
    Placed,
}

/// Describes the metrics, and counts from zero.
pub fn describe() {
    describe_gauge!(FOLLOWERS, Unit::Count, "Nodes that follow rooms here");
    describe_gauge!(FOLLOWED_ROOMS, Unit::Count, "Rooms that they follow, each counted for each node");
    describe_counter!(NOTICES_SENT, Unit::Count, "Notices of rooms sent to nodes that follow them");
    describe_counter!(
        FOLLOWERS_CUT,
        Unit::Count,
        "Nodes that could not keep up, and were cut off to begin anew"
    );
    describe_gauge!(LINKS, Unit::Count, "Nodes on which rooms are followed");
    describe_counter!(LINK_FAILURES, Unit::Count, "Times that such a node went or said nothing any more");
    describe_counter!(
        ROOMS_MOVED,
        Unit::Count,
        "Rooms followed on another node than before: failed (it went), placed (their place changed)"
    );
    describe_counter!(REQUESTS, Unit::Count, "Requests to other nodes for what rooms have: view, read");
    describe_counter!(NOTICES, Unit::Count, "Notices of rooms that came from other nodes");
    gauge!(FOLLOWERS).set(0.0);
    gauge!(FOLLOWED_ROOMS).set(0.0);
    gauge!(LINKS).set(0.0);
    for name in [NOTICES_SENT, FOLLOWERS_CUT, LINK_FAILURES, NOTICES] {
        counter!(name).increment(0);
    }
    for why in ["failed", "placed"] {
        counter!(ROOMS_MOVED, "why" => why).increment(0);
    }
    for call in ["view", "read"] {
        counter!(REQUESTS, "call" => call).increment(0);
    }
}

pub(super) fn followers(change: f64) {
    gauge!(FOLLOWERS).increment(change);
}

pub(super) fn followed_rooms(change: f64) {
    gauge!(FOLLOWED_ROOMS).increment(change);
}

pub(super) fn notices_sent(count: u64) {
    counter!(NOTICES_SENT).increment(count);
}

pub(super) fn follower_cut() {
    counter!(FOLLOWERS_CUT).increment(1);
}

pub(super) fn links(change: f64) {
    gauge!(LINKS).increment(change);
}

pub(super) fn link_failed() {
    counter!(LINK_FAILURES).increment(1);
}

pub(super) fn room_moved(why: Moved) {
    let why = match why {
        Moved::Failed => "failed",
        Moved::Placed => "placed",
    };
    counter!(ROOMS_MOVED, "why" => why).increment(1);
}

pub(super) fn request(call: &'static str) {
    counter!(REQUESTS, "call" => call).increment(1);
}

pub(super) fn notices(count: u64) {
    counter!(NOTICES).increment(count);
}
