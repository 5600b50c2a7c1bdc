//! An authority that signs the certificates of a cluster's nodes.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// What the nodes of one cluster trust; its files go with it.
pub(crate) struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::with_prefix("bigroom-e2e-ca-").unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.as_ref().pem()).unwrap();
        Self { dir, issuer }
    }

    /// The configuration of a node whose certificate is for `name`, and which trusts `trusted`.
    pub(crate) fn node(&self, name: &str, trusted: &Self) -> String {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), cert.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        format!(
            "[cluster.tls]\ncert = {:?}\nkey = {:?}\nca = {:?}\n",
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
            trusted.path("ca.pem")
        )
    }

    /// One of its files: `ca.pem`, and those of nodes.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}
