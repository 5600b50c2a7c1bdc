//! A parked poll's short way to its client.

use super::Answer;

/// Where a worker puts the answer of a parked poll, without waking whoever parked it.
///
/// Waking a task, letting the runtime find it and have it write costs more than the answer's way through the worker,
/// and lets other tasks go in between. A follower with an outlet is spared that: see
/// [`Follower::set_outlet`](super::Follower::set_outlet).
pub trait Outlet {
    /// Writes the answer of the poll that is parked, if that takes no waiting. Called on the worker's thread, in the
    /// middle of a fan-out: it must not call back into the worker.
    fn deliver(&self, answer: &Answer) -> Delivery;
}

/// What an outlet did with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It is written whole, and the poll is over. The follower's task is not woken.
    Written,
    /// It could not be written, or in part only: the follower's task is woken to see to it.
    Left,
}
