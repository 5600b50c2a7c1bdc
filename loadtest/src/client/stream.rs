//! A connection's bytes, plain or within TLS, for an event loop that is told of changes alone.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use mio::{Interest, Registry, Token, net::TcpStream};
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For TLS: whom to trust, and what to offer. The server's name is `localhost`.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Without TLS.
    pub(crate) const fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }
}

/// An open connection that never blocks.
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// Takes over a connected socket that still blocks, and shakes hands if the target wants that.
    pub(super) fn over(mut socket: std::net::TcpStream, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from("localhost").context("name the server")?;
                let mut connection = ClientConnection::new(Arc::clone(config), name).context("begin TLS")?;
                while connection.is_handshaking() {
                    connection.complete_io(&mut socket).context("shake hands for TLS")?;
                }
                Some(Box::new(connection))
            }
        };
        socket.set_nonblocking(true)?;
        Ok(Self { socket: TcpStream::from_std(socket), tls })
    }

    /// Asks for events of what can be read.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }
}

impl Read for Stream {
    /// Fewer bytes than there is room for mean that nothing more is there.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(buffer) };
        let mut filled = 0;
        loop {
            match tls.reader().read(&mut buffer[filled..]) {
                // The end, said so by the other side.
                Ok(0) => return Ok(filled),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if filled == buffer.len() {
                return Ok(filled);
            }
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Ok(filled),
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => return Ok(filled),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(bytes) };
        let taken = tls.writer().write(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.socket)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
