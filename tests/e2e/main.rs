//! End-to-end tests: the real binary as a child process, over real sockets, on a real message log.
//!
//! Each test starts a server of its own on free ports and an empty data directory, and talks to it as a client
//! would. `harness` starts, stops and asks; `auditor` compares what was acknowledged, logged and delivered; each
//! other module is one part of the contract.

#![allow(clippy::unwrap_used, reason = "a failed expectation in a test is the report")]

mod auditor;
mod bad_input;
mod both_versions;
mod cluster;
mod cluster_tls;
mod crash;
mod deploy;
mod encode_once;
mod flood;
mod forwarded;
mod harness;
mod history;
mod identity;
mod openapi;
mod poll;
mod pressure;
mod process;
mod proxy_protocol;
mod retract;
mod rooms;
mod sects;
mod send;
mod statistics;
mod statsvr_loss;
mod tls;
