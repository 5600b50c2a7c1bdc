//! Who may speak to whom: mutual TLS between the nodes of a deployment, or none at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::{
    RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    sign::CertifiedKey,
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the two sides of a connection may take to know each other: whoever says nothing is not waited for.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

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
    #[error("cluster.tls.{key} = {path:?}: the file can't be read: {error}")]
    Unreadable {
        /// `cert`, `key` or `ca`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What is in a file is not what belongs there.
    #[error("cluster.tls.{key} = {path:?}: {why}")]
    Bad {
        /// `cert`, `key` or `ca`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No certificate can be for such a name.
    #[error(
        "cluster.tls.name = {0:?}: must be a DNS name or an IP address, as in the certificates of all nodes"
    )]
    Name(String),
    /// An address is none, or TLS can't be set up.
    #[error("{0}")]
    Transport(#[from] tonic::transport::Error),
}

impl Security {
    /// Anybody may speak to anybody: for a network that is the deployment's own.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Every node shows a certificate that `authority` signed, for `name`, and asks for one. PEM files, read now and not again.
    ///
    /// # Errors
    /// [`SecurityError`] for a file that can't be read or has something else in it, a key that is not the certificate's, a name
    /// that is none. Whether other nodes take the certificate shows when a connection is made.
    pub fn mutual(cert: &Path, key: &Path, authority: &Path, name: &str) -> Result<Self, SecurityError> {
        let [cert_pem, key_pem, authority_pem] =
            [read("cert", cert)?, read("key", key)?, read("ca", authority)?];
        let chain = certificates("cert", cert, &cert_pem)?;
        let of_key = |why: String| bad("key", key, why);
        let private = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| of_key(format!("must be a private key in PEM: {error}")))?;
        CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| {
            of_key(format!("must be the key of the certificate in cluster.tls.cert: {error}"))
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca", authority, &authority_pem)? {
            let added = roots.add(certificate);
            added.map_err(|error| {
                bad("ca", authority, format!("must be certificates of authorities: {error}"))
            })?;
        }
        ServerName::try_from(name).map_err(|_| SecurityError::Name(name.to_owned()))?;
        Ok(Self(Some(Mutual {
            identity: Identity::from_pem(cert_pem, key_pem),
            authority: Certificate::from_pem(authority_pem),
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
    /// [`SecurityError::Transport`] if `address` is no `host:port`, or TLS can't be set up.
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
                .domain_name(&*mutual.name)
                .timeout(HANDSHAKE_TIMEOUT),
        )?)
    }

    /// A server for other nodes, without its services.
    ///
    /// # Errors
    /// [`SecurityError::Transport`] if TLS can't be set up.
    pub fn server(&self) -> Result<Server, SecurityError> {
        let server = Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE));
        let Some(mutual) = &self.0 else { return Ok(server) };
        Ok(server.tls_config(
            ServerTlsConfig::new()
                .identity(mutual.identity.clone())
                .client_ca_root(mutual.authority.clone())
                .timeout(HANDSHAKE_TIMEOUT),
        )?)
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
    fs::read(path).map_err(|error| SecurityError::Unreadable { key, path: path.to_owned(), error })
}

fn bad(key: &'static str, path: &Path, why: String) -> SecurityError {
    SecurityError::Bad { key, path: path.to_owned(), why }
}

/// The certificates of a file, one at least.
fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| bad(key, path, format!("must be certificates in PEM: {error}")))?;
    if found.is_empty() {
        return Err(bad(key, path, "must be certificates in PEM, and has no CERTIFICATE block".to_owned()));
    }
    Ok(found)
}
