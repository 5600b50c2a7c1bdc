//! Connections that never block, from many addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

/// Begins to connect to `target`; the connection is there, or has failed, once it is writable.
///
/// On loopback it comes from an address that depends on `nth`: all of 127.0.0.0/8 is this machine's, so ports never run
/// out, and the server sees many clients. `receive_bytes` bounds what the kernel takes in for a reader that does not read.
pub(super) fn connect(target: SocketAddr, nth: u32, receive_bytes: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let IpAddr::V4(address) = target.ip()
        && address.is_loopback()
    {
        socket.bind(&SocketAddr::from((source_address(nth), 0)).into())?;
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// An address of 127.1.0.0 to 127.254.255.255, never one that ends in 0 or 255.
fn source_address(nth: u32) -> Ipv4Addr {
    let octet = |value: u32| u8::try_from(1 + value % 254).expect("less than 256");
    Ipv4Addr::new(127, octet(nth / (254 * 254)), octet(nth / 254), octet(nth))
}

/// What an error of the network is called in a report: the same on every machine, and without addresses.
pub(super) fn name_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::TimedOut => "connection timed out",
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => "no local port left",
        io::ErrorKind::UnexpectedEof => "connection closed",
        _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "too many open files here"
        }
        _ => "network error",
    }
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
}
