//! What the suites share: a running server, clients that hide nothing, and waiting for conditions.

mod answer;
mod authority;
mod balancer;
mod chat;
mod cluster;
mod h2;
mod hourglass;
mod http1;
mod metrics;
mod ports;
mod request;
mod server;
mod tokens;
mod wait;

pub(crate) use answer::Answer;
pub(crate) use authority::Authority;
pub(crate) use balancer::{Balancer, Kind, Upstreams};
pub(crate) use chat::{cursor, seqs, texts};
pub(crate) use cluster::Cluster;
pub(crate) use h2::{Body, H2};
pub(crate) use hourglass::Hourglass;
pub(crate) use http1::Conn;
pub(crate) use metrics::Metrics;
pub(crate) use ports::free_addr;
pub(crate) use request::Request;
pub(crate) use server::{Options, Role, Server, Stopped, config, data_dir, spawn_refused};
pub(crate) use tokens::{Keys, claims, compact, in_seconds};
pub(crate) use wait::{DEADLINE, eventually, raise_fd_limit, within};
