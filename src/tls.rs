//! TLS on the public listener.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring::{Ticketer, default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tracing::info;

use crate::reload::{self, Watched};

/// What is offered to clients, best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why TLS can't be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("tls.{key} = {path:?}: the file can't be read: {source}")]
    Unreadable {
        /// `cert` or `key`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The two files don't make an identity.
    #[error("tls.cert = {cert:?}, tls.key = {key:?}: {source:#}")]
    Bad {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: anyhow::Error,
    },
    /// The system has no randomness, or the like.
    #[error("set up TLS: {0}")]
    SetUp(#[from] rustls::Error),
}

/// The configuration for accepting connections, and the watch that replaces the certificate when the files change.
/// Connections that are open keep theirs.
///
/// TLS 1.2 and 1.3, HTTP/2 or 1.1 by ALPN, sessions resumed by tickets so that a reconnecting crowd saves us the
/// signatures.
///
/// # Errors
/// A sentence that names the file.
pub fn server_config(cert: &Path, key: &Path) -> Result<(Arc<ServerConfig>, Watched), TlsError> {
    let read = |name, path: &Path| {
        reload::read(path).map_err(|source| TlsError::Unreadable { key: name, path: path.to_owned(), source })
    };
    let (cert_bytes, key_bytes) = (read("cert", cert)?, read("key", key)?);
    let identity = identity(&cert_bytes, &key_bytes).map_err(|source| TlsError::Bad {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })?;

    let current = Arc::new(Identity(ArcSwap::from_pointee(identity)));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.ticketer = Ticketer::new()?;

    let files = vec![(cert.to_owned(), cert_bytes), (key.to_owned(), key_bytes)];
    let watched = Watched::new("tls", files, move |contents| {
        current.0.store(Arc::new(self::identity(contents[0], contents[1])?));
        info!("certificate reloaded");
        Ok(())
    });
    Ok((Arc::new(config), watched))
}

fn identity(cert: &[u8], key: &[u8]) -> anyhow::Result<CertifiedKey> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .context("read the certificate's PEM")?;
    anyhow::ensure!(!chain.is_empty(), "the certificate's file has no CERTIFICATE block");
    let key = PrivateKeyDer::from_pem_slice(key).context("read the key's PEM")?;
    CertifiedKey::from_der(chain, key, &default_provider()).context("put certificate and key together")
}

/// What the server shows of itself.
#[derive(Debug)]
struct Identity(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Fuzz target of certificate and key files: the bytes are either of the two, and both with a blank line between them.
///
/// # Panics
/// Never.
#[cfg(any(test, fuzzing))]
pub fn fuzz_identity(data: &[u8]) {
    let halves = data.windows(2).position(|two| two == b"\n\n").map_or((data, data), |at| data.split_at(at));
    let _ = identity(halves.0, halves.1);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A directory with `cert.pem` and `key.pem` of a new identity.
    fn files() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        write_identity(dir.path());
        dir
    }

    fn write_identity(dir: &Path) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    fn load(dir: &Path) -> Result<(Arc<ServerConfig>, Watched), TlsError> {
        server_config(&dir.join("cert.pem"), &dir.join("key.pem"))
    }

    #[test]
    fn http2_is_offered_before_http1() {
        let dir = files();
        let (config, _) = load(dir.path()).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn errors_name_the_file() {
        let dir = files();
        let refusal = || load(dir.path()).map(|_| ()).unwrap_err().to_string();

        let good = fs::read(dir.path().join("cert.pem")).unwrap();
        fs::write(dir.path().join("cert.pem"), "no certificate").unwrap();
        assert!(refusal().contains("no CERTIFICATE block"), "{}", refusal());
        assert!(refusal().contains("cert.pem"), "{}", refusal());

        fs::write(dir.path().join("cert.pem"), good).unwrap();
        let other = files();
        fs::copy(other.path().join("key.pem"), dir.path().join("key.pem")).unwrap();
        assert!(refusal().contains("put certificate and key together"), "{}", refusal());

        fs::remove_file(dir.path().join("key.pem")).unwrap();
        assert!(refusal().contains("key.pem\": the file can't be read"), "{}", refusal());
    }

    #[test]
    fn replaced_certificate_is_shown_to_new_connections() {
        let dir = files();
        let (config, watched) = load(dir.path()).unwrap();
        let cert_before = shown(&config);
        write_identity(dir.path());
        let _reloader = reload::Reloader::start(vec![watched], std::time::Duration::from_millis(1)).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while shown(&config) == cert_before {
            assert!(std::time::Instant::now() < deadline, "the certificate was not replaced");
            std::thread::yield_now();
        }
    }

    /// The certificate that a client gets to see in a handshake over memory.
    fn shown(config: &Arc<ServerConfig>) -> Vec<u8> {
        use rustls::{ClientConfig, ClientConnection, ServerConnection};
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(anything::Anything))
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::clone(config)).unwrap();
        while client.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            feed(&wire, |rest| server.read_tls(rest).unwrap());
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            feed(&wire, |rest| client.read_tls(rest).unwrap());
            client.process_new_packets().unwrap();
        }
        client.peer_certificates().unwrap()[0].to_vec()
    }

    fn feed(mut wire: &[u8], mut read: impl FnMut(&mut &[u8]) -> usize) {
        while !wire.is_empty() && read(&mut wire) > 0 {}
    }

    /// A client that doesn't check whom it talks to.
    mod anything {
        use rustls::{
            DigitallySignedStruct, Error, SignatureScheme,
            client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
            crypto::ring::default_provider,
            pki_types::{CertificateDer, ServerName, UnixTime},
        };

        #[derive(Debug)]
        pub(super) struct Anything;

        impl ServerCertVerifier for Anything {
            fn verify_server_cert(
                &self,
                _: &CertificateDer<'_>,
                _: &[CertificateDer<'_>],
                _: &ServerName<'_>,
                _: &[u8],
                _: UnixTime,
            ) -> Result<ServerCertVerified, Error> {
                Ok(ServerCertVerified::assertion())
            }

            fn verify_tls12_signature(
                &self,
                _: &[u8],
                _: &CertificateDer<'_>,
                _: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                Ok(HandshakeSignatureValid::assertion())
            }

            fn verify_tls13_signature(
                &self,
                _: &[u8],
                _: &CertificateDer<'_>,
                _: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                Ok(HandshakeSignatureValid::assertion())
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                default_provider().signature_verification_algorithms.supported_schemes()
            }
        }
    }
}
