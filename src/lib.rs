//! The `bigroom` server: command line, configuration, the HTTP front, and the wiring of the roles.
//!
//! [`cli`] reads the command line and [`config`] everything else that an operator sets; [`serve`] builds the roles
//! and runs them until [`shutdown`]. [`auth`] says who is asking; [`ops`] and [`canary`] say how the node is, [`pressure`]
//! what it does about its load.

pub mod auth;
pub mod canary;
pub mod cli;
pub mod cluster;
pub mod config;
mod front_node;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod logging;
pub mod metrics;
pub mod nofile;
pub mod ops;
pub mod placement;
pub mod plan;
pub mod pressure;
pub mod proxy;
pub mod reload;
pub mod roles;
pub mod sects;
pub mod serve;
pub mod shutdown;
pub mod statistics;
pub mod tls;
