//! What servers prove themselves with in TLS, and what clients trust.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rustls::{ClientConfig, RootCertStore, client::Resumption, pki_types::pem::PemObject as _};

/// A certificate for `localhost` that is made for one run (ECDSA, P-256), its key, and a client that trusts it.
#[derive(Debug)]
pub(crate) struct Identity {
    certificate: String,
    key: String,
    client: Arc<ClientConfig>,
}

impl Identity {
    /// A new one.
    pub(crate) fn generate() -> Result<Self> {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).context("make a certificate")?;
        let certificate = made.cert.pem();
        let mut roots = RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Each connection pays for a whole handshake, as each new viewer does.
        client.resumption = Resumption::disabled();
        Ok(Self { certificate, key: made.signing_key.serialize_pem(), client: Arc::new(client) })
    }

    /// How a client connects.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Writes certificate and key (PEM) into a server's directory; tells where they are.
    pub(crate) fn write_into(&self, directory: &Path) -> Result<[PathBuf; 2]> {
        let write = |name: &str, pem: &str| {
            let path = directory.join(name);
            std::fs::write(&path, pem).with_context(|| format!("write {}", path.display())).map(|()| path)
        };
        Ok([write("certificate.pem", &self.certificate)?, write("key.pem", &self.key)?])
    }
}
