//! The front door: HTTP towards clients, on one thread a core.
//!
//! A request's way: `listener` accepts its connection, `connection` reads its head and, if it is a plain poll, serves
//! it right there (the fast lane); everything else goes through `routes`. `http2` leads to the same routes.

mod access;
mod addresses;
mod body;
mod clocks;
mod connection;
mod cors;
mod events;
mod fields;
mod front;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod head;
mod http2;
mod line;
mod listener;
mod presence;
mod proxy_protocol;
mod request;
mod response;
mod routes;
mod session;
mod stream;
mod target;

pub use front::{Front, FrontParts, Timeouts};
pub use listener::{Workers, bind};
