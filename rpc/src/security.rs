//! Who may speak to whom: mutual TLS between the nodes of a deployment, or none at all.

use std::{fs, io, path::Path, time::Duration};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a connection is looked at, so that a node that is gone without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How the nodes of a deployment know each other.
#[derive(Clone, Default)]
pub struct Security(Option<Mutual>);

#[derive(Clone)]
struct Mutual {
    identity: Identity,
    authority: Certificate,
    /// The name that every node's certificate is for.
    name: Box<str>,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "mutual TLS" } else { "none" })
    }
}

/// Why files or addresses can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A file can't be read.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// An address is none, or the files don't fit together.
    #[error("{0}")]
    Transport(#[from] tonic::transport::Error),
}

impl Security {
    /// Anybody may speak to anybody: for a network that is the deployment's own.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Every node shows a certificate that `authority` signed, for `name`, and asks for one. PEM files.
    ///
    /// # Errors
    /// [`SecurityError::File`] for a file that can't be read. What is in them is looked at when a connection is made.
    pub fn mutual(cert: &Path, key: &Path, authority: &Path, name: &str) -> Result<Self, SecurityError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| SecurityError::File { path: path.display().to_string(), error })
        };
        Ok(Self(Some(Mutual {
            identity: Identity::from_pem(read(cert)?, read(key)?),
            authority: Certificate::from_pem(read(authority)?),
            name: name.into(),
        })))
    }

    /// Whether connections are secured.
    #[must_use]
    pub const fn is_mutual(&self) -> bool {
        self.0.is_some()
    }

    /// Where and how another node is connected to.
    ///
    /// # Errors
    /// [`SecurityError::Transport`] if `address` is no `host:port`, or the files are no certificates.
    pub fn endpoint(&self, address: &str) -> Result<Endpoint, SecurityError> {
        let scheme = if self.0.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let Some(mutual) = &self.0 else { return Ok(endpoint) };
        Ok(endpoint.tls_config(
            ClientTlsConfig::new()
                .identity(mutual.identity.clone())
                .ca_certificate(mutual.authority.clone())
                .domain_name(&*mutual.name),
        )?)
    }

    /// A server for other nodes, without its services.
    ///
    /// # Errors
    /// [`SecurityError::Transport`] if the files are no certificate and key.
    pub fn server(&self) -> Result<Server, SecurityError> {
        let server = Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE));
        let Some(mutual) = &self.0 else { return Ok(server) };
        Ok(server.tls_config(
            ServerTlsConfig::new().identity(mutual.identity.clone()).client_ca_root(mutual.authority.clone()),
        )?)
    }
}
