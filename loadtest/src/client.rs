//! The viewers and senders of a run: one thread, one epoll instance, next to nothing a connection.
//!
//! A client must cost less than the server it measures, or it measures itself. So requests are put together from
//! prepared parts, an answer that equals the one before it is not parsed again, and what a connection holds is its
//! socket, its place and what it has received.

mod answer;
mod connect;
mod crowd;
mod line;
mod publisher;
mod querists;
mod senders;
mod stream;
mod viewer;

pub(crate) use self::{
    answer::Position,
    connect::raise_file_limit,
    crowd::{Behaviour, Crowd},
    line::ask,
    querists::{Querists, Questions, num_users_in},
    senders::Senders,
    stream::Target,
};

/// Bytes that are read at a time: more than any answer of the scenarios.
const READ_BYTES: usize = 256 * 1024;

/// Ages and latencies up to a minute, to a thousandth of their value (microseconds).
pub(crate) type Histogram = hdrhistogram::Histogram<u64>;

/// Longest age told apart (microseconds); what is older counts as this.
const AGE_MAX_US: u64 = 60_000_000;

/// An empty histogram.
pub(crate) fn histogram() -> Histogram {
    Histogram::new_with_bounds(1, AGE_MAX_US, 3).expect("the bounds are good")
}
