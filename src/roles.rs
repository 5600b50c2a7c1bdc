//! The roles as processes of their own: one log, behind it the recvsvrs of each sect, and proxies in front.
//!
//! Each is wired from the same parts as [`crate::serve`], with other nodes where that has another part of the process.
//! `bigroom statsvr` is in [`crate::statistics`].

mod inner_node;
pub mod proxy;
pub mod recvsvr;
pub mod sendsvr;
