//! Addresses for servers that others must know before they run.

use std::net::{SocketAddr, TcpListener};

use rand::RngExt as _;

/// An address of this machine that nobody has now, below the ports that systems give to whoever names none: another test's
/// connection would take one of those before the server does.
pub(crate) fn free_addr() -> SocketAddr {
    let mut rng = rand::rng();
    (0..100)
        .map(|_| SocketAddr::from(([127, 0, 0, 1], rng.random_range(10_000..32_768))))
        .find(|addr| TcpListener::bind(addr).is_ok())
        .expect("one of a hundred ports is free")
}
