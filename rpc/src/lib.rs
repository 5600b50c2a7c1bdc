//! How nodes reach each other: one gRPC channel to each, deadlines, retries with a budget, breakers, mutual TLS.
//!
//! # Contract
//! - **No call waits for ever.** Every call has a deadline that travels along, so that the other node gives up, too.
//! - **Retries don't multiply a fault.** A call is tried again only where that is harmless (its caller says so), on another node
//!   if there is one, and as long as the [`RetryBudget`] has something left: at most a tenth of the calls in the long run.
//! - **A node that fails is left alone for a while.** Its [`Breaker`] opens after a few failures in a row; others are asked
//!   instead, and one call at a time finds out whether it is back.
//!
//! [`Peer`] is another node, [`call`] asks one of several.

mod breaker;
mod budget;
mod call;
mod explain;
mod metrics;
mod peer;
mod security;

pub use breaker::Breaker;
pub use budget::RetryBudget;
pub use call::{Idempotence, call, is_of_the_node};
pub use explain::explain;
pub use metrics::describe as describe_metrics;
pub use peer::{Address, Peer};
pub use security::{Security, SecurityError};
