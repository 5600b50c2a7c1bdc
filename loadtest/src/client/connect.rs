//! Connections to a server on this machine, from many addresses.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::stream::{Stream, Target};

/// How long a connection may take to be made: one retransmission of the first packet, and a bit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Raises the limit on open files to what is allowed; tells how many those are.
pub(crate) fn raise_file_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raise the limit on open files")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Connects to a server on loopback, from an address that depends on `nth`, ready for an event loop.
pub(super) fn connect(target: &Target, nth: u32) -> Result<Stream> {
    Stream::over(connect_blocking(target.address, nth)?, target.tls.as_ref())
}

/// Connects to a server on loopback, from an address that depends on `nth`.
///
/// All of 127.0.0.0/8 is this machine's, so ports never run out, and the server sees many clients.
fn connect_blocking(server: SocketAddr, nth: u32) -> Result<TcpStream> {
    ensure!(
        server.ip().is_loopback(),
        "{server} is not on loopback: a load test against somebody else's machine is an attack"
    );
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).context("open a socket")?;
    if server.is_ipv4() {
        let source = source_address(nth);
        socket.bind(&SocketAddr::from((source, 0)).into()).with_context(|| format!("bind {source}"))?;
    }
    socket
        .connect_timeout(&server.into(), CONNECT_TIMEOUT)
        .with_context(|| format!("connect to {server}"))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// An address of 127.1.0.0 to 127.254.255.255, never one that ends in 0 or 255.
fn source_address(nth: u32) -> Ipv4Addr {
    let octet = |value: u32| u8::try_from(1 + value % 254).expect("less than 256");
    Ipv4Addr::new(127, octet(nth / (254 * 254)), octet(nth / 254), octet(nth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_many_and_on_loopback() {
        let sources: std::collections::BTreeSet<_> = (0..100_000).map(source_address).collect();
        assert_eq!(sources.len(), 100_000);
        assert!(sources.iter().all(Ipv4Addr::is_loopback));
    }

    #[test]
    fn target_elsewhere_is_refused() {
        let error = connect_blocking(([192, 0, 2, 1], 80).into(), 0).unwrap_err();
        assert!(error.to_string().contains("not on loopback"), "{error}");
    }
}
