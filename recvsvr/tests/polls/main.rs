//! Polls as their readers see them: the crate through its public API, on the real message log in a temporary directory.
//!
//! `harness` has the node that each test runs on, and the two places where a test can do harm: the notices on their
//! way from the log to the rooms, and the reads on their way to the log. Each other module is one concern.

#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod behind;
mod bounds;
mod drain;
mod fill;
mod harness;
mod hold;
mod leaving;
mod model;
mod notices;
mod outlets;
mod parked;
mod pressure;
