//! The process: starting, refusing to start, draining, ending, and what it tells operators.

mod damage;
mod drain;
mod ops;
mod start;
